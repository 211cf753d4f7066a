"""What `zspiderd run` is made of: its directory, its children, its signals."""

import os
import signal
import sys
from contextlib import ExitStack

import psutil
import pytest
from tests.support.process import Process, eventually, run
from zspider.data_dir import RUN_MARK
from zspider.errors import ConfigError, OwnedElsewhere
from zspider.roles.machine.signals import CommandSignals
from zspider.roles.run.directory import LOCKS, opened
from zspider.roles.run.verb_process import VerbProcess


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "books.py"
    path.write_text("x = 1\n")
    return path


def test_starting_anew_deletes_what_zspider_made_and_nothing_else(tmp_path, script):
    directory = tmp_path / "books.py.zspider"
    with opened(directory, script, fresh=False):
        assert directory.stat().st_mode & 0o777 == 0o700
    for name in ("zspider.db", "zspider.db-wal", "join.token", "master.log", "notes.txt", "export.csv"):
        (directory / name).write_text("x")
    with opened(directory, script, fresh=False):
        assert (directory / "zspider.db").exists()
    with opened(directory, script, fresh=True):
        assert {file.name for file in directory.iterdir()} == {"notes.txt", "export.csv", RUN_MARK, *LOCKS}


def test_a_directory_that_somebody_else_made_is_refused(tmp_path, script):
    with pytest.raises(ConfigError, match="was not made by `zspiderd run`"), ExitStack() as stack:
        stack.enter_context(opened(tmp_path, script, fresh=True))
    assert script.exists()
    with pytest.raises(ConfigError, match="Not a directory"), ExitStack() as stack:
        stack.enter_context(opened(script / "x", script, fresh=False))


def test_a_directory_is_used_by_one_run_at_a_time(tmp_path, script):
    with (
        opened(tmp_path / "data", script, fresh=False),
        pytest.raises(OwnedElsewhere, match="another `zspiderd run` works here"),
        opened(tmp_path / "data", script, fresh=False),
    ):
        pass


def test_a_directory_is_in_use_until_the_last_child_has_ended(tmp_path, script):
    with opened(tmp_path / "data", script, fresh=False) as lock:
        child = VerbProcess("site", ["demo-site", "--port", "0", "--pages", "1"], tmp_path / "log", keep_fds=[lock])
    said = []

    def wait(seconds):
        child.close()  # its end is what is waited for
        return False

    with opened(tmp_path / "data", script, fresh=False, wait=wait, say=said.append):
        assert said == ["waiting for what a run that was killed has left to stop"]


def test_a_child_that_fails_says_why(tmp_path):
    child = VerbProcess("site", ["demo-site", "--pages", "0"], tmp_path / "log")
    try:
        assert child.wait(30)
        assert child.exit_code == 2
        assert "Invalid value for '--pages'" in child.complaint()
    finally:
        child.close()


def test_a_child_that_is_asked_to_end_ends_cleanly(tmp_path):
    child = VerbProcess("site", ["demo-site", "--port", "0", "--pages", "1"], tmp_path / "log")
    try:
        eventually(lambda: b"demo site" in child.log.read_bytes(), 30, "it serves")
        assert not child.wait(0)
        child.terminate()
        assert child.wait(30)
        assert child.exit_code == 0
    finally:
        child.close()


def test_a_child_ends_when_its_parent_is_killed(tmp_path):
    parent = (
        "import os, pathlib, signal\n"
        "from zspider.roles.run.verb_process import VerbProcess\n"
        f"log = pathlib.Path({str(tmp_path / 'log')!r})\n"
        "child = VerbProcess('site', ['demo-site', '--port', '0', '--parent', str(os.getpid())], log)\n"
        "print('child', child.pid, flush=True)\n"
        "signal.pause()\n"
    )
    with Process([sys.executable, "-c", parent]) as process:
        pid = int(process.wait_for(r"child (\d+)")[1])
        eventually(lambda: b"demo site" in (tmp_path / "log").read_bytes(), 30, "the child serves")
        child = psutil.Process(pid)
        process.kill()
        child.wait(20)


def test_the_first_signal_asks_and_the_second_interrupts():
    with CommandSignals() as stop:
        assert not stop.wait(0)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(30)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_an_interrupted_verb_ends_with_130():
    code = "import os, signal, sys, zspider.cli.app as app\napp.VERBS['boom'] = ('x', '')\n"
    code += "import click\n@click.command()\ndef boom():\n    os.kill(os.getpid(), signal.SIGINT)\n    signal.pause()\n"
    code += "app.Verbs.get_command = lambda *_: boom\nsys.exit(app.main(['boom']))"
    assert run([sys.executable, "-c", code]).code == 130
