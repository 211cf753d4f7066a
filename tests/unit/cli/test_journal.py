"""What systemd's journal gets: a priority on each line, no second time; and everybody else gets neither."""

import io
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest
import structlog
from zspider.cli import logs
from zspider.cli.journal import is_journal
from zspider.settings import LogSettings

CRASH = """
import sys, threading
from zspider.cli import logs
from zspider.settings import LogSettings
logs.set_up(LogSettings())
quiet = threading.Thread(target=sys.exit)
quiet.start()
quiet.join()
raise ValueError("two\\nlines")
"""


def named(stream: IO[str]) -> str:
    """As systemd names a stream."""
    found = os.fstat(stream.fileno())
    return f"{found.st_dev}:{found.st_ino}"


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list[str]]]:
    """Log something to a stream that systemd says is the journal; returns its lines."""
    with (tmp_path / "stream").open("w+") as stream:
        monkeypatch.setenv("JOURNAL_STREAM", named(stream))

        def said(log_it: Callable[[structlog.typing.FilteringBoundLogger], None], form: str = "auto") -> list[str]:
            logs.set_up(LogSettings(format=form, level="debug"), stream)  # type: ignore[arg-type]
            log_it(structlog.get_logger("test"))
            stream.seek(0)
            return stream.read().splitlines()

        yield said


@pytest.mark.parametrize(
    ("level", "priority"), [("debug", 7), ("info", 6), ("warning", 4), ("error", 3), ("critical", 2)]
)
@pytest.mark.parametrize("form", ["auto", "console"])
def test_a_line_has_its_priority_and_no_time(journal, level: str, priority: int, form: str) -> None:
    (line,) = journal(lambda log: getattr(log, level)("database_away", reason="gone"), form)
    assert line == f"<{priority}>{level} database_away reason=gone"


def test_json_has_its_priority_before_it(journal) -> None:
    (line,) = journal(lambda log: log.error("database_away", reason="gone"), "json")
    assert line.startswith("<3>{")
    assert json.loads(line[3:]) == {"event": "database_away", "level": "error", "reason": "gone"}


def test_each_line_of_a_traceback_has_the_priority(journal) -> None:
    def fail(log: structlog.typing.FilteringBoundLogger) -> None:
        try:
            raise ValueError("a\nb")
        except ValueError:
            log.exception("script_failed")

    lines = journal(fail)
    assert len(lines) > 3
    assert all(line.startswith("<3>") for line in lines)


def test_what_libraries_log_is_graded_too(journal) -> None:
    (line,) = journal(lambda log: logging.getLogger("some.package").warning("gone"))
    assert line.startswith("<4>warning library ")


def test_another_stream_than_the_one_that_systemd_named_is_not_the_journal(tmp_path: Path) -> None:
    with (tmp_path / "one").open("w") as one, (tmp_path / "other").open("w") as other:
        env = {"JOURNAL_STREAM": named(one)}
        assert is_journal(one, env)
        assert not is_journal(other, env)
        assert not is_journal(one, {})
        assert not is_journal(one, {"JOURNAL_STREAM": "nonsense"})
        assert not is_journal(io.StringIO(), env)
    assert not is_journal(one, env)  # closed


def run_with_journal(code: list[str], tmp_path: Path) -> tuple[int, list[str]]:
    path = tmp_path / "stream"
    with path.open("w") as stream:
        env = {**os.environ, "JOURNAL_STREAM": named(stream)}
        done = subprocess.run([sys.executable, *code], stderr=stream, env=env, check=False, timeout=60)
    return done.returncode, path.read_text().splitlines()


def test_the_traceback_that_ends_a_daemon_is_grave(tmp_path: Path) -> None:
    code, lines = run_with_journal(["-c", CRASH], tmp_path)
    assert code == 1
    assert lines[0] == "<2>Traceback (most recent call last):"
    assert lines[-2:] == ["<2>ValueError: two", "<2>lines"]


def test_the_line_in_which_a_daemon_refuses_its_settings_is_an_error(tmp_path: Path) -> None:
    arguments = ["-m", "zspider.cli", "master", "--data-dir", str(tmp_path / "data"), "--port", "none"]
    code, lines = run_with_journal(arguments, tmp_path)
    assert code == 2
    assert [re.match(r"<3>zspiderd: .*port", line) is not None for line in lines] == [True]
