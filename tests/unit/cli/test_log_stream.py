"""A log that cannot be written ends nothing and holds up nobody."""

import io
import os
import time

import pytest
import structlog
from zspider.cli import logs
from zspider.cli.log_stream import LogStream
from zspider.settings import LogSettings


def log_lines(out: io.TextIOBase | None, count: int) -> None:
    """Log so many events as a daemon does."""
    logs.set_up(LogSettings(), out)  # type: ignore[arg-type]
    for number in range(count):
        structlog.get_logger("test").warning("event", number=number)


def test_a_full_disk_is_lived_through() -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123 - the device that is always full
        log_lines(full, 3000)


def test_a_reader_that_is_gone_is_lived_through() -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    with os.fdopen(theirs, "w", closefd=True, buffering=1) as out:
        log_lines(out, 3000)


def test_no_standard_error_at_all_is_lived_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", None)
    log_lines(None, 3)


def test_a_closed_stream_is_lived_through() -> None:
    out = io.StringIO()
    out.close()
    log_lines(out, 3)


def test_a_reader_that_does_not_read_holds_up_nobody_and_is_told_later_what_is_missing() -> None:
    ours, theirs = os.pipe()
    with os.fdopen(ours, "rb", buffering=0) as reader, os.fdopen(theirs, "w") as out:
        stream = LogStream(out)
        began = time.monotonic()
        line = f"{'x' * 99}\n"
        for _ in range(5000):  # 500 KB; a pipe holds 64
            stream.write(line)
        assert time.monotonic() - began < 5.0
        os.set_blocking(ours, False)
        said = b""
        while part := reader.read(1 << 20):
            said += part
        whole = said.count(line.encode())
        assert 100 < whole < 1000
        stream.write("here again\n")
        said = reader.read(1 << 20)
        assert said.decode().splitlines()[-2:] == [
            f"{5000 - whole} lines of the log could not be written",
            "here again",
        ]


def test_lines_longer_than_a_pipe_takes_at_once_are_written_whole() -> None:
    ours, theirs = os.pipe()
    with os.fdopen(ours, "rb", buffering=0) as reader, os.fdopen(theirs, "w") as out:
        LogStream(out).write("ä" * 15_000 + "\n")
        assert reader.read(1 << 20).decode() == "ä" * 15_000 + "\n"


def test_a_stream_that_is_no_file_gets_the_text() -> None:
    out = io.StringIO()
    log_lines(out, 1)
    assert "warning event number=0" in out.getvalue()
