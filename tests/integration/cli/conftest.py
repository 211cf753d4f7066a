"""For the verbs: a master of the module's own to ask, and the web server with its faults."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.cluster import ZSPIDERD
from tests.support.process import Process, Ran, run
from tests.support.site import site  # noqa: F401


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Of a master that runs as long as the module's tests."""
    directory = tmp_path_factory.mktemp("master") / "data"
    argv = [*ZSPIDERD, "master", "--data-dir", str(directory), "--port", "0"]
    with Process(argv) as master:
        master.wait_for("master_started")
        yield directory
        assert master.stop() == 0


@pytest.fixture
def ask(data_dir: Path) -> Callable[..., Ran]:
    """Say a verb to that master; it ends with `code`."""

    def ask(*arguments: object, code: int = 0) -> Ran:
        ran = run([*ZSPIDERD, *map(str, arguments), "--data-dir", str(data_dir)])
        assert ran.code == code, ran
        return ran

    return ask
