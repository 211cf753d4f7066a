"""A slave whose process gets no more descriptors for a while: it goes on when there are some again."""

import os
import signal
from pathlib import Path

import psutil
import pytest
from tests.integration.slave.conftest import SCRIPT, World
from tests.integration.slave.test_faults import processors
from tests.support.shortage import without_descriptors
from zspider.roles.slave.processors import pool as roles_processors


def crawl_one(world: World, script: bytes, page: str, callback: str = "page") -> None:
    """Have one page fetched and processed."""
    before = len(world.master.ended())
    world.master.grant(script, world.site.url(page), callback=callback)
    world.until(lambda: len(world.master.ended()) > before, f"the outcome of {page}")


def test_a_processor_that_cannot_be_started_is_started_later(world: World) -> None:
    slave = world.slave()
    script = world.master.project(SCRIPT)
    crawl_one(world, script, "/hello?1")
    (victim,) = processors()
    pool = slave.work.processing._pool
    with without_descriptors():
        os.kill(victim.pid, signal.SIGKILL)
        world.until(lambda: pool.is_broken, "three starts have failed")
        assert pool.running == 0
        assert slave.work.window == 0  # it says that it takes no work
    world.until(lambda: slave.work.window > 0, "it takes work again")
    crawl_one(world, script, "/hello?2")
    assert [result["url"] for result in world.master.results()] == [world.site.url(f"/hello?{n}") for n in (1, 2)]


def test_what_a_dead_processor_left_is_ended_when_it_can_be_looked_for(world: World, tmp_path: Path) -> None:
    slave = world.slave()
    told = tmp_path / "pid"
    script = world.master.project(
        SCRIPT
        + f"""
    def leave(self, response):
        import pathlib, subprocess
        child = subprocess.Popen(["sleep", "600"], start_new_session=True)
        pathlib.Path({str(told)!r}).write_text(str(child.pid))
"""
    )
    crawl_one(world, script, "/hello?1", callback="leave")
    left = psutil.Process(int(told.read_text()))
    (victim,) = processors()
    pool = slave.work.processing._pool
    with without_descriptors():
        os.kill(victim.pid, signal.SIGKILL)
        world.until(lambda: pool._unswept, "its death is seen, and what it left is not looked for")
    assert left.is_running()
    world.until(lambda: not left.is_running() or left.status() == psutil.STATUS_ZOMBIE, "what it left has ended")
    crawl_one(world, script, "/hello?2")


@pytest.mark.parametrize("call", ["memfd_create", "dup", "pidfd_open"])
def test_a_start_that_fails_half_way_leaves_nothing(world: World, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    world.slave()
    script = world.master.project(SCRIPT)
    crawl_one(world, script, "/hello?1")
    (victim,) = processors()
    before = len(list(Path("/proc/self/fd").iterdir()))
    real, failures = getattr(os, call), []

    def short(*arguments: object) -> int:
        if len(failures) < 2:
            failures.append(arguments)
            raise OSError(24, "Too many open files")
        return int(real(*arguments))

    monkeypatch.setattr(roles_processors.os, call, short)
    os.kill(victim.pid, signal.SIGKILL)
    world.until(lambda: len(failures) == 2, "two starts have failed")
    crawl_one(world, script, "/hello?2")
    assert len(processors()) == 1
    assert len(list(Path("/proc/self/fd").iterdir())) == before
