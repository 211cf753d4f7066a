"""A living cluster that is short of descriptors, processes, memory or disk space: nothing ends, nothing is lost.

All places one after the other: `python -m tests.fault.shortage --all`.
"""

import time
from pathlib import Path

import pytest
from tests.conftest import lacking
from tests.fault.shortage.campaign import attempt, is_asserted, places, quick
from tests.fault.shortage.world import EVENTS, RATE, World
from tests.support import shortage

SHORT_S = 5.0
QUICK = ("the crawl goes on", "a new project", "a processor dies", "reload", "a slave comes and goes", "tokens")
BUSY = ("a processor dies", "a new project", "a slave comes and goes", "the local slave dies", "reload")


@pytest.fixture(autouse=True)
def _needs_a_compiler() -> None:
    if shortage.preloadable() is None:
        lacking("gcc")


@pytest.mark.timeout(900)
def test_a_call_that_fails_ends_nobody_and_loses_nothing(tmp_path: Path) -> None:
    with World(tmp_path, int(100 * RATE)) as world:
        trials = quick(trial for trial in places(world, QUICK) if not is_asserted(trial))
        told = []
        for trial in trials:
            told.append(attempt(world, trial))
            print(told[-1].row(), flush=True)
        table = "\n".join(one.row() for one in told)
        assert not [one.ended for one in told if one.ended], table
        assert sum(one.failed > 0 for one in told) >= 20, table  # else the harness has missed them
        assert world.finish() == 0


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["master", "slave"])
def test_a_daemon_without_descriptors_goes_on_when_there_are_some_again(tmp_path: Path, name: str) -> None:
    with World(tmp_path, int(40 * RATE)) as world:
        with world.out_of_descriptors(name):
            until = time.monotonic() + SHORT_S
            for event in BUSY:
                if name == "slave" or event != "a slave comes and goes":  # which the master cannot accept
                    EVENTS[event](world)
            while time.monotonic() < until:
                world.wait_a_while()
            world.daemon(name).check_alive()
        world.wait_progress("pages again")
        world.visit()
        assert world.finish() == 0
        assert not world.ended


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["master", "slave"])
def test_a_daemon_without_memory_lives_or_ends_cleanly_and_loses_nothing(tmp_path: Path, name: str) -> None:
    with World(tmp_path, int(40 * RATE)) as world:
        for most in (1, 2, 5):
            with world.victims[name].failing(shortage.ERRORS["arena"][0], calls=["arena"], most=most):
                for event in BUSY:
                    EVENTS[event](world)
                    world.revive()
        world.revive()
        world.wait_progress("pages again")
        assert world.finish() == 0
        assert all("exit code 71" in ended for ended in world.ended), world.ended
