"""A hub with keys, and slaves that connect to it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.wire import Wire
from zspider.broker.hub import Hub
from zspider.broker.keys import MasterKeys, Token


@pytest.fixture
def keys(tmp_path: Path) -> MasterKeys:
    return MasterKeys(tmp_path / "data")


@pytest.fixture
def token_of(tmp_path: Path, keys: MasterKeys) -> Callable[[str], Token]:
    """The tokens of the first start, by kind."""
    return lambda kind: Token.parse((tmp_path / "data" / f"{kind}.token").read_text())


@pytest.fixture
def join(token_of: Callable[[str], Token]) -> Token:
    return token_of("join")


@pytest.fixture
def admin_token(token_of: Callable[[str], Token]) -> Token:
    return token_of("admin")


@pytest.fixture
def hub(keys: MasterKeys) -> Iterator[Hub]:
    with Hub("127.0.0.1", 0, keys) as hub:
        yield hub


@pytest.fixture
def wire(hub: Hub) -> Iterator[Wire]:
    wire = Wire(hub)
    yield wire
    wire.close()


@pytest.fixture
def open_wire() -> Iterator[Wire]:
    """Without security."""
    with Hub("127.0.0.1", 0, None) as hub:
        wire = Wire(hub)
        yield wire
        wire.close()
