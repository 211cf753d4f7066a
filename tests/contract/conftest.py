"""Storage on both databases: every test that takes `crawl` or `address` runs on SQLite and on MariaDB."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.mariadb import MariaDb, private_server
from tests.support.storage import Crawl


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDb]:
    """One server for all tests of a run; a test that kills it starts it again."""
    with private_server() as server:
        yield server


@pytest.fixture(params=["sqlite", "mariadb"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a database that does not exist yet."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/zspider.db"
        return
    server: MariaDb = request.getfixturevalue("mariadb")
    name = server.new_database()
    yield server.address(name)
    server.query(f"DROP DATABASE IF EXISTS `{name}`")


@pytest.fixture
def crawl(address: str) -> Iterator[Crawl]:
    """A fresh database, owned, with one project."""
    with Crawl(address) as crawl:
        yield crawl
