"""The daemon's log: structlog to standard error, one event per line, safe to read on a terminal.

In systemd's journal each line has its priority, and no time: the journal has one.
"""

import json
import logging
import sys
import threading
import traceback
from collections.abc import MutableMapping
from types import TracebackType
from typing import Any, TextIO, cast

import structlog

from zspider.cli.journal import graded, is_journal
from zspider.cli.log_stream import LogStream
from zspider.cli.text import TEXT_CHARS_MAX, visible
from zspider.settings import LogSettings

_Event = MutableMapping[str, Any]


def set_up(settings: LogSettings, stream: TextIO | None = None) -> None:
    """Send all logging of this process to `stream` (standard error when None) as the settings say."""
    out = LogStream(stream or sys.stderr)
    level = getattr(logging, settings.level.upper())
    is_ours = is_journal(out)
    stamp = [] if is_ours else [structlog.processors.TimeStamper(fmt="iso", utc=True)]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            *stamp,
            structlog.processors.format_exc_info,
            *(_for_journal(settings.format, out) if is_ours else _renderers(settings.format, out)),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, out)),
        cache_logger_on_first_use=False,  # a second set_up (a reload) must reach loggers made before it
    )
    _adopt_standard_logging(max(level, logging.WARNING))
    if is_ours:
        _grade_crashes(out)


def _for_journal(form: str, out: LogStream) -> list[Any]:
    """Return the same lines with their priorities. The console's columns and colours are for terminals."""
    *steps, last = _renderers("json", out) if form == "json" else (_harmless, plain)

    def rendered(logger: object, method: str, event: _Event) -> str:
        level = str(event.get("level", method))
        return graded(last(logger, method, event), level)

    return [*steps, rendered]


def _grade_crashes(out: LogStream) -> None:
    """Log the traceback that ends our process or thread with the priority of an error."""

    def crashed(kind: type[BaseException], error: BaseException | None, where: TracebackType | None) -> None:
        text = "".join(traceback.format_exception(kind, error, where)).rstrip("\n")
        out.write(graded(text, "critical") + "\n")
        out.flush()

    def thread_crashed(args: threading.ExceptHookArgs) -> None:
        if args.exc_type is not SystemExit:  # which ends a thread in peace
            crashed(args.exc_type, args.exc_value, args.exc_traceback)

    sys.excepthook = crashed
    threading.excepthook = thread_crashed


def _renderers(form: str, out: LogStream) -> list[Any]:
    if form == "json":
        return [_short, structlog.processors.JSONRenderer(default=str)]
    if form == "console" or out.isatty():
        return [_harmless, structlog.dev.ConsoleRenderer(colors=out.isatty())]
    return [_harmless, plain]


def _short(_logger: object, _method: str, event: _Event) -> _Event:
    """Cut long values; JSON escapes what it must by itself."""
    for key, value in event.items():
        if isinstance(value, str) and len(value) > TEXT_CHARS_MAX and key != "exception":
            event[key] = f"{value[:TEXT_CHARS_MAX]}... ({len(value)} characters)"
    return event


def _harmless(_logger: object, _method: str, event: _Event) -> _Event:
    """Cut long values and escape what would act on a terminal."""
    for key, value in event.items():
        if key == "exception":
            event[key] = visible(str(value), 100 * TEXT_CHARS_MAX, keep="\n")
        elif not isinstance(value, int | float | bool | None):
            event[key] = visible(str(value))
    return event


def plain(_logger: object, _method: str, event: _Event) -> str:
    """Render `time level event key=value ...`; a value with spaces, quotes or = stands in quotes."""
    exception = event.pop("exception", None)
    head = [str(event.pop(name)) for name in ("timestamp", "level", "event") if name in event]
    line = " ".join(head + [f"{key}={_quoted(value)}" for key, value in event.items()])
    return line if exception is None else f"{line}\n{exception}"


def _quoted(value: object) -> str:
    text = str(value)
    needs_quotes = not text or any(character in ' "=' for character in text)
    return json.dumps(text, ensure_ascii=False) if needs_quotes else text


class _ToStructlog(logging.Handler):
    """Passes what libraries log on to structlog, so that there is one format and one stream."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger(record.name)
        log.log(record.levelno, "library", name=record.name, text=record.getMessage(), exc_info=record.exc_info)


def _adopt_standard_logging(level: int) -> None:
    logging.captureWarnings(True)
    root = logging.getLogger()
    root.handlers = [_ToStructlog()]
    root.setLevel(level)
