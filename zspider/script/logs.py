"""The log of a run: prints, log records and warnings, in one text of which the end is kept.

Source: docs/pyspider-behaviour.md 6.4.
"""

import io
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from time import localtime, strftime  # by themselves: a script may replace what `time` holds
from typing import Any

LOG_CHARS = 1000  # what pyspider keeps
_CHUNK_CHARS = 64 * 1024  # cut back to what is kept when this much more came together


class Tail(io.TextIOBase):
    """A file for writing whose last characters are kept."""

    encoding = "utf-8"

    def __init__(self, chars_max: int = LOG_CHARS) -> None:
        self._chars_max = chars_max
        self._parts: list[str] = []
        self._chars = 0

    def write(self, text: str) -> int:
        """Keep the text's end. Raises TypeError for what is no text."""
        if type(text) is not str:
            text = str.__str__(text)  # a subclass may answer anything to what is asked below
        kept = text[-self._chars_max :]
        self._parts.append(kept)
        self._chars += len(kept)
        if self._chars > self._chars_max + _CHUNK_CHARS:
            self._parts = [self.tail()]
            self._chars = len(self._parts[0])
        return len(text)

    def writable(self) -> bool:
        """Return True, as files for writing do."""
        return True

    def tail(self) -> str:
        """Return the last `chars_max` characters."""
        return "".join(self._parts)[-self._chars_max :] if self._parts else ""


class _Formatter(logging.Formatter):
    """`[I 240131 12:00:00 module:line] message`, and tracebacks without our frames."""

    def format(self, record: logging.LogRecord) -> str:
        moment = strftime("%y%m%d %H:%M:%S", localtime(record.created))
        text = f"[{record.levelname[0]} {moment} {record.module}:{record.lineno}] {record.getMessage()}"
        if record.exc_info and record.exc_info[1] is not None:
            from zspider.script.errors import user_traceback  # not before something failed

            text += "\n" + user_traceback(record.exc_info[1])
        return text


class TailHandler(logging.Handler):
    """Writes records into the Tail of the current run; outside of runs they are dropped."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(_Formatter())

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record into the Tail of the current run."""
        try:
            if _current is not None:
                _current.write(self.format(record) + "\n")
        except Exception:
            self.handleError(record)


_current: Tail | None = None
_root = logging.getLogger()
_handler = TailHandler()


@contextmanager
def captured(chars_max: int = LOG_CHARS) -> Iterator[Tail]:
    """Send prints, log records and warnings of this process to the Tail inside the block. Not reentrant."""
    global _current
    tail = _current = Tail(chars_max)
    before = sys.stdout, sys.stderr, warnings.showwarning
    _root.addHandler(_handler)
    sys.stdout = sys.stderr = tail
    warnings.showwarning = _show_warning
    try:
        yield tail
    finally:
        sys.stdout, sys.stderr, warnings.showwarning = before
        _root.removeHandler(_handler)
        _current = None


def _show_warning(message: Any, category: type[Warning], filename: str, lineno: int, *_: Any, **__: Any) -> None:
    if _current is not None:
        _current.write(f"{filename}:{lineno}: {category.__name__}: {message}\n")


def project_logger(name: str) -> logging.Logger:
    """Return a logger of the project's own, outside the logger tree."""
    logger = logging.Logger(name, logging.DEBUG)
    logger.addHandler(_handler)
    return logger


class LoggingProxy:
    """The `logging` of a script inside callbacks: the project's logger, and the module's other names.

    pyspider puts a bare logger there, so that `logging.getLogger()` fails; here both work.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def __getattr__(self, name: str) -> Any:
        first, second = (self._logger, logging) if name in _LOGGER_FIRST else (logging, self._logger)
        return getattr(first, name) if hasattr(first, name) else getattr(second, name)


_LOGGER_FIRST = frozenset(
    ("debug", "info", "warning", "warn", "error", "exception", "critical", "fatal", "log", "disable", "disabled")
)
