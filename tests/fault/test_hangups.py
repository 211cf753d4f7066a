"""SIGHUP ends nothing: not while a daemon starts, nor while it ends, nor when what it should read again is bad.

SIGTERM and SIGINT end a daemon with exit code 0, however soon they come.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.cluster import ZSPIDERD, Cluster, Daemon
from tests.support.process import Process, eventually, run
from zspider.roles.machine.signals import CommandSignals

SCRIPT = """\
from zspider import BaseHandler


class Handler(BaseHandler):
    def on_start(self):
        self.crawl(["data:,%d" % number for number in range(5)], callback=self.page)

    def page(self, response):
        return {"text": response.text}
"""


def catches_or_holds(pid: int) -> bool:
    """Whether this process has seen to it that SIGHUP does not end it: it is handled or blocked (proc(5), status).

    That it is ignored says nothing: so it may have been when the tests were started.
    """
    masks = {}
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in ("SigBlk", "SigCgt"):
            masks[name] = int(value, 16)
    return bool((masks["SigBlk"] | masks["SigCgt"]) & 1 << (signal.SIGHUP - 1))


def hang_up_until(process: Process, is_up: Callable[[], bool]) -> int:
    """Send SIGHUP as fast as can be from the first moment on that it does not kill by default; how often."""
    eventually(lambda: catches_or_holds(process.pid), 30, "SIGHUP is held")
    end = time.monotonic() + 60
    sent = 0
    while not is_up():
        assert process.returncode is None, process.tail()
        assert time.monotonic() < end, process.tail()
        os.kill(process.pid, signal.SIGHUP)
        sent += 1
        time.sleep(0.01)
    return sent


def test_hangups_during_a_masters_start_are_harmless_and_not_lost(tmp_path: Path) -> None:
    with Cluster(tmp_path) as cluster:
        master = cluster.master()
        process = master.spawn()
        assert hang_up_until(process, lambda: "master_started" in process.output) > 5
        process.wait_for("info reloaded")  # what came before the loop could listen
        assert master.status()["slaves"] == []
        assert master.stop() == 0


def test_hangups_during_a_slaves_start_are_harmless(tmp_path: Path) -> None:
    with Cluster(tmp_path) as cluster:
        master = cluster.master().start()
        slave = cluster.slave(master)
        process = slave.spawn()
        assert hang_up_until(process, lambda: " joined " in process.output) > 5
        master.wait_slaves(1)
        assert slave.stop() == 0


DELAYS_MS = [0, 50, 100, 150, 200, 300, 500, 1000, 1500]


def start_signalled(daemon: Daemon, number: signal.Signals, delay_ms: int) -> Process:
    """Start a daemon, and send it a signal so long after its first statement."""
    process = daemon.spawn()
    eventually(lambda: catches_or_holds(process.pid), 30, "SIGHUP is held")
    time.sleep(delay_ms / 1000)
    os.kill(process.pid, number)
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["TERM", "INT"])
def test_a_daemon_that_is_stopped_while_it_starts_ends_with_0(tmp_path: Path, number: signal.Signals) -> None:
    with Cluster(tmp_path) as cluster:
        master = cluster.master()
        slave = cluster.slave(master)
        for delay_ms in DELAYS_MS:
            for daemon in (master, slave):
                process = start_signalled(daemon, number, delay_ms)
                assert process.wait(10) == 0, (daemon.name, delay_ms, process.tail())
                assert "Traceback" not in process.output
        master.start()  # nothing was left half done
        assert master.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2], ids=["HUP", "USR1", "USR2"])
def test_a_daemon_outlives_other_signals_while_it_starts(tmp_path: Path, number: signal.Signals) -> None:
    with Cluster(tmp_path) as cluster:
        master = cluster.master()
        for delay_ms in DELAYS_MS:
            process = start_signalled(master, number, delay_ms)
            master.wait_listening()
            if number is signal.SIGHUP:
                process.wait_for("info reloaded")
            assert master.stop() == 0
        master.start()
        slave = cluster.slave(master)
        for delay_ms in DELAYS_MS:
            start_signalled(slave, number, delay_ms).wait_for(" joined ")
            assert slave.stop() == 0


def test_hangups_during_a_run_are_harmless(tmp_path: Path) -> None:
    script = tmp_path / "few.py"
    script.write_text(SCRIPT)
    with Process([*ZSPIDERD, "run", str(script), "--rate", "1000", "--wait", "1"]) as process:
        eventually(lambda: catches_or_holds(process.pid), 30, "SIGHUP is held")
        end = time.monotonic() + 90
        while process.returncode is None:
            assert time.monotonic() < end, process.tail()
            os.kill(process.pid, signal.SIGHUP)
            time.sleep(0.02)
        assert process.returncode == 0, process.tail()


def test_hangups_while_a_daemon_ends_do_not_end_it_otherwise(tmp_path: Path) -> None:
    with Cluster(tmp_path) as cluster:
        master = cluster.master().start()
        slave = cluster.slave(master).start()
        master.wait_slaves(1)
        for daemon in (slave, master):
            pid = daemon.process.pid
            os.kill(pid, signal.SIGTERM)
            end = time.monotonic() + 60
            while daemon.process.returncode is None:
                assert time.monotonic() < end, daemon.process.tail()
                os.kill(pid, signal.SIGHUP)
                time.sleep(0.002)
            assert daemon.process.returncode == 0, daemon.process.tail()


@pytest.mark.parametrize("text", [None, "", "log: [", "log: {level: loud}\n", "log: {}\nno: 1\n"])
def test_a_slave_refuses_settings_that_it_cannot_read_again(tmp_path: Path, text: str | None) -> None:
    with Cluster(tmp_path) as cluster:
        master = cluster.master().start()
        slave = cluster.slave(master).start()
        master.wait_slaves(1)
        if text is None:
            slave.config.unlink()
        else:
            slave.config.write_text(text)
        os.kill(slave.process.pid, signal.SIGHUP)
        slave.process.wait_for("error reload_refused ")
        slave.check_alive()
        assert slave.stop() == 0


def test_a_run_ends_cleanly_when_its_terminal_is_gone() -> None:
    leader, follower = os.openpty()
    code = (
        "import os, signal, sys\nfrom zspider.roles.machine.signals import CommandSignals\n"
        "with CommandSignals() as stop:\n"
        "    os.kill(os.getpid(), signal.SIGHUP)\n"
        "    assert not stop.stops\n"
        "    os.write(3, b'r')\n"
        "    assert stop.wait(30) and stop.stop_number == signal.SIGHUP\n"
        "    print('the summary', flush=True)\n"
        "os.write(3, b'e')\n"
    )
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:  # the terminal is its controlling one: as in a shell
        os.setsid()
        os.dup2(write, 3)
        for fd in range(3):
            os.dup2(follower, fd)
        import fcntl
        import termios

        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        for fd in {leader, follower, read, write} - {0, 1, 2, 3}:
            os.close(fd)
        os.execv(sys.executable, [sys.executable, "-c", code])
    os.close(follower)
    os.close(write)
    try:
        assert os.read(read, 1) == b"r"
        os.close(leader)  # the window is closed
        assert os.read(read, 1) == b"e"
        assert os.waitpid(pid, 0)[1] == 0
    finally:
        os.close(read)


def test_a_hangup_with_a_terminal_or_without_one_means_nothing() -> None:
    with CommandSignals() as stop:
        os.kill(os.getpid(), signal.SIGHUP)
        assert not stop.wait(0)


def test_nothing_slow_is_imported_before_a_daemon_is_safe() -> None:
    slow = ("click", "yaml", "zmq", "pydantic", "structlog")
    code = f"import sys\nfrom zspider.cli import main\nprint(*(name for name in {slow!r} if name in sys.modules))"
    assert run([sys.executable, "-c", code]).out == "\n"
