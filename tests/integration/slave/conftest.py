"""A slave and its scripted master, turned by the test in one thread; a web server; real processors."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.scripted_master import ScriptedMaster, step_until
from tests.support.site import Site
from zspider.broker.keys import find_token
from zspider.roles.slave.daemon import Slave
from zspider.settings import SlaveFile

SCRIPT = """
from zspider import BaseHandler, catch_status_code_error

class Handler(BaseHandler):
    crawl_config = {}

    def page(self, response):
        return {"url": response.url, "text": response.text, "save": response.save}

    @catch_status_code_error
    def any_status(self, response):
        return {"status": response.status_code, "error": response.error}
"""


class World:
    """One master, any number of slaves; `until` turns them all."""

    def __init__(self, directory: Path, site: Site) -> None:
        self.directory = directory
        self.site = site
        self.master = ScriptedMaster(directory / "master")
        self.slaves: list[Slave] = []

    def settings(self, **slave: Any) -> SlaveFile:
        sections = {name: slave.pop(name) for name in ("processor", "limits", "token_file", "fetch") if name in slave}
        return SlaveFile.model_validate(
            {
                "data_dir": self.directory / "nowhere",
                "slave": {"master": self.master.address, "processors": 1, **slave},
                "fetch": {"private_networks": "allow"},
                **sections,
            }
        )

    def slave(self, *, joins: bool = True, **settings: Any) -> Slave:
        """Start a slave, and wait until it has joined."""
        token = self.directory / "master" / "join.token"
        slave = Slave(self.settings(**settings), lambda: find_token("join", token, self.directory, {}))
        self.slaves.append(slave)
        slave.start()
        if joins:
            self.until(lambda: slave.master_session.is_joined, "the slave joins")
        return slave

    def until(self, done: Callable[[], Any], what: str, deadline_s: float = 20.0) -> Any:
        return step_until(done, [self._turn], what, deadline_s)

    def _turn(self) -> None:
        for slave in self.slaves:
            if not slave.is_done:
                slave.step(0.01)
        if not self.master.hub._context.closed:
            self.master.step()

    def close(self) -> None:
        for slave in self.slaves:
            slave.close()
        self.master.close()


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as server:
        yield server


@pytest.fixture
def world(tmp_path: Path, site: Site) -> Iterator[World]:
    world = World(tmp_path, site)
    try:
        yield world
    finally:
        world.close()
