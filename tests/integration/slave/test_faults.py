"""Processors that die, loop or cannot load; a slave's work survives them."""

import os
import signal
import socket
from contextlib import suppress

import psutil
import pytest
from tests.integration.slave.conftest import SCRIPT, World
from zspider.broker import messages as m
from zspider.delivery import End


def processors():
    """The processor processes of this test's slaves."""
    return [child for child in psutil.Process().children() if "zspider.roles.processor" in child.cmdline()]


def test_a_page_whose_processor_is_killed_is_processed_again_without_another_fetch(world, tmp_path):
    world.slave()
    mark = tmp_path / "running"
    script = world.master.project(
        SCRIPT
        + f"""
    def first_time_slow(self, response):
        import pathlib, time
        mark = pathlib.Path({str(mark)!r})
        if not mark.exists():
            mark.touch()
            time.sleep(60)
        return {{"done": True}}
"""
    )
    world.master.grant(script, world.site.url("/hello"), callback="first_time_slow")
    world.until(mark.exists, "the page runs")
    (victim,) = processors()
    os.kill(victim.pid, signal.SIGKILL)
    world.until(world.master.ended, "an outcome")
    assert world.master.results() == [{"done": True}]
    assert world.site.paths() == ["/hello"]


def test_a_page_that_kills_three_processors_fails_for_good_and_its_neighbours_do_not(world):
    world.slave()
    script = world.master.project(
        SCRIPT
        + """
    def poison(self, response):
        import os, sys
        os.write(2, b"about to die\\n")
        os._exit(42)
"""
    )
    (bad,) = world.master.grant(script, world.site.url("/hello?bad"), callback="poison")
    good = world.master.grant(script, *[world.site.url(f"/hello?{i}") for i in range(10)])
    world.until(lambda: len(world.master.ended()) == 11, "outcomes", deadline_s=40)
    ended = world.master.ended()
    assert all(ended[grant.taskid].end is End.SUCCESS for grant in good)
    assert ended[bad.taskid].end is End.FATAL
    for word in ("3 times", "exit code 42", "peak memory", "about to die"):
        assert word in ended[bad.taskid].reason
    assert len(world.site.paths()) == 11  # each page was fetched once


def test_a_looping_page_holds_up_no_others_and_ends_by_its_time_limit(world):
    world.slave(processors=2)
    script = world.master.project(SCRIPT + "\n    def loop(self, response):\n        while True: pass\n")
    (bad,) = world.master.grant(
        script, world.site.url("/hello?bad"), callback="loop", process={"process_time_limit": 6}
    )
    good = world.master.grant(script, *[world.site.url(f"/hello?{i}") for i in range(30)])
    world.until(lambda: len(world.master.ended()) == 30, "the others", deadline_s=6)
    assert bad.taskid not in world.master.ended()
    assert all(grant.taskid in world.master.ended() for grant in good)
    world.until(lambda: len(world.master.ended()) == 31, "the time limit", deadline_s=15)
    assert world.master.ended()[bad.taskid].end is End.FAILURE
    assert "TimeoutError: process timeout" in world.master.ended()[bad.taskid].reason


def test_a_page_that_no_signal_stops_is_killed_from_outside(world, monkeypatch):
    monkeypatch.setattr("zspider.roles.slave.processors.processing.GRACE_S", 0.5)
    world.slave(processor={"process_time_limit_s": 1.0})
    script = world.master.project(
        SCRIPT
        + """
    def deaf(self, response):
        import signal, time
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
        while True: time.sleep(1)
"""
    )
    world.master.grant(script, world.site.url("/hello"), callback="deaf")
    world.until(world.master.ended, "the time limit")
    (outcome,) = world.master.ended().values()
    assert (outcome.end, outcome.reason) == (End.FAILURE, "TimeoutError: process timeout")
    world.master.grant(script, world.site.url("/hello"))
    world.until(lambda: len(world.master.ended()) == 2, "a new processor")


def test_a_script_that_cannot_be_loaded_here_is_given_back_and_no_page_of_it_is_begun(world):
    slave = world.slave()
    script = world.master.project("import no_such_module_anywhere\n" + SCRIPT)
    grants = world.master.grant(script, world.site.url("/hello"))
    grants += world.master.grant(script, world.site.url("/later"), start_ms=60_000)
    world.until(lambda: len(slave.work.held) == 0 and world.master.said(m.GiveBack), "given back")
    backs = world.master.said(m.GiveBack)
    assert sorted(number for back in backs for number in back.numbers) == [grant.number for grant in grants]
    assert {back.reason for back in backs} == {"script"}
    world.master.grant(script, world.site.url("/again"))
    world.until(lambda: len(world.master.said(m.GiveBack)) > len(backs), "given back at once")
    assert world.site.paths() == []  # the script is tried before the first fetch
    assert world.master.outcomes == []


def test_no_processor_outlives_its_slave(world):
    slave = world.slave(processors=2)
    script = world.master.project(SCRIPT)
    world.master.grant(script, world.site.url("/hello"))
    world.until(world.master.ended, "an outcome")
    running = processors()
    assert len(running) == 2
    slave.close()
    assert not any(process.is_running() for process in running)


def test_a_machine_whose_processors_do_not_start_asks_for_no_work(world, monkeypatch):
    monkeypatch.setattr("zspider.roles.slave.processors.pool.RESTART_S", (0.01, 0.01))
    monkeypatch.setattr("sys.executable", "/bin/false")
    slave = world.slave()
    script = world.master.project(SCRIPT)
    (grant,) = world.master.grant(script, world.site.url("/hello"))
    world.until(lambda: world.master.last_beat.window == 0, "no more, please")
    assert [back.numbers for back in world.master.said(m.GiveBack)] == [[grant.number]]
    assert len(slave.work.held) == 0


def test_what_is_granted_to_a_machine_whose_processors_do_not_start_comes_back_at_once(world, monkeypatch):
    monkeypatch.setattr("zspider.roles.slave.processors.pool.RESTART_S", (0.01, 30.0))
    monkeypatch.setattr("sys.executable", "/bin/false")
    slave = world.slave()
    world.until(lambda: world.master.last_beat.window == 0, "no more, please")
    script = world.master.project(SCRIPT)
    (grant,) = world.master.grant(script, world.site.url("/hello"))  # it was on its way
    world.until(lambda: world.master.said(m.GiveBack), "given back")
    assert [back.numbers for back in world.master.said(m.GiveBack)] == [[grant.number]]
    assert len(slave.work.held) == 0
    assert world.site.paths() == []


def test_why_processors_do_not_start_is_told_to_the_master_and_to_systemd(world, monkeypatch, tmp_path):
    broken = tmp_path / "python"
    broken.write_text(
        "#!/bin/sh\necho 'Traceback (most recent call last):'\necho 'PermissionError: [Errno 1] no'\nexit 1\n"
    )
    broken.chmod(0o755)
    monkeypatch.setattr("zspider.roles.slave.processors.pool.RESTART_S", (0.01, 0.01))
    monkeypatch.setattr("sys.executable", str(broken))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as manager:
        manager.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        _complaint_is_told(world, manager)


def _complaint_is_told(world: World, manager: socket.socket) -> None:
    said: list[bytes] = []

    def is_said(text: str) -> bool:
        with suppress(BlockingIOError):
            while True:
                said.append(manager.recv(4096))
        return any(text.encode() in one for one in said)

    world.slave()
    complaint = "cannot start its processors: PermissionError: [Errno 1] no"
    world.until(lambda: world.master.last_beat.complaint == complaint, "the master is told")
    assert world.master.last_beat.delivers
    world.until(lambda: is_said(complaint), "systemd is told")


@pytest.mark.parametrize("handler", ["signal.SIG_IGN", "signal.SIG_DFL", "lambda *_: None", "lambda *_: 1 / 0"])
def test_a_handler_that_a_script_leaves_behind_keeps_no_limit_from_ending_the_next_ones_loop(
    world, monkeypatch, handler
):
    monkeypatch.setattr("zspider.roles.slave.processors.processing.GRACE_S", 0.5)
    world.slave(processor={"process_time_limit_s": 0.5})
    script = world.master.project(
        "import signal\n"
        + SCRIPT
        + f"""
    def replace(self, response):
        signal.signal(signal.SIGALRM, {handler})

    def loop(self, response):
        while True: pass
"""
    )
    world.master.grant(script, world.site.url("/hello?replace"), callback="replace")
    world.until(world.master.ended, "the handler is replaced")
    (bad,) = world.master.grant(script, world.site.url("/hello?bad"), callback="loop")
    good = world.master.grant(script, *[world.site.url(f"/hello?{i}") for i in range(10)])
    world.until(lambda: len(world.master.ended()) == 12, "outcomes")
    ended = world.master.ended()
    assert all(ended[grant.taskid].end is End.SUCCESS for grant in good)
    assert (ended[bad.taskid].end, ended[bad.taskid].reason) == (End.FAILURE, "TimeoutError: process timeout")
    assert len(world.site.paths()) == 12
