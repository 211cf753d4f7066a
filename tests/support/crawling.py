"""Fixtures of whole crawls, which the end-to-end and the fault tests share: site, servers, clusters."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.cluster import Cluster
from tests.support.mariadb import MariaDb, private_server
from tests.support.nginx import Nginx
from zspider.roles.demo_site import export_site


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo site as files: articles 1 to 11,110 and more."""
    directory = tmp_path_factory.mktemp("site")
    export_site(directory)
    return directory


@pytest.fixture
def site(pages: Path, tmp_path: Path) -> Iterator[Nginx]:
    """The demo site, served on loopback."""
    with Nginx(pages, tmp_path / "nginx") as nginx:
        yield nginx


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Masters and slaves, all ended afterwards."""
    with Cluster(tmp_path) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDb]:
    """A database server for the session; tests take a database of their own from it."""
    with private_server() as server:
        yield server


@pytest.fixture(params=["sqlite", "mariadb"])
def database(request: pytest.FixtureRequest) -> str:
    """What stands after `database:` for each kind in turn."""
    if request.param == "sqlite":
        return ""
    server: MariaDb = request.getfixturevalue("mariadb")
    return server.address(server.new_database())
