"""One run of a callback: from a fetched page to what it led to (docs/pyspider-behaviour.md 6.2)."""

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from time import perf_counter  # by itself: a script may replace what `time` holds
from types import GeneratorType
from typing import Any

import msgspec

from zspider.delivery import TRACK_BYTES_MAX, End, Follow, Message, NewSchedule
from zspider.script.arity import OF_A_RESULT, call
from zspider.script.collector import Collector
from zspider.script.crawl.follow import new_schedule
from zspider.script.deadline import Deadline, standing_still, time_limit_of
from zspider.script.errors import reason_of, user_traceback
from zspider.script.interpreter import kept
from zspider.script.known import Known
from zspider.script.limits import USUAL_LIMITS, ProcessorLimits
from zspider.script.loader import LoadedScript
from zspider.script.logs import LOG_CHARS, Tail, captured
from zspider.script.page.response import Response
from zspider.script.plain import plain, text
from zspider.task import GUARDED

FAILED_CONTENT_CHARS = 500  # of a failed page, kept in its track
RESULT_CHARS = 10  # of what the callback returned, kept in the track
VALIDATORS = ("etag", "last-modified")  # what a conditional request needs of the last success

_pack = msgspec.msgpack.Encoder().encode
_MAX_INT = 2**31 - 1


@dataclass(slots=True)
class RunResult:
    """The result of a run.

    follows: the follows that were not handed to `on_follows`. repeats: how many follows were left out.
    results: JSON texts. track: packed track dict of docs/pyspider-behaviour.md 3.5; None when the callback is marked
    @not_send_status. reason: why it failed; "" for a success. schedule: the task's new one, if the callback changed it.
    """

    end: End
    follows: list[Follow]
    follows_count: int
    results: list[bytes]
    messages: list[Message]
    repeats: int
    track: bytes | None
    reason: str
    logs: str
    save: Any
    fetch_ms: int
    process_ms: int
    schedule: NewSchedule | None = None


def run(
    loaded: LoadedScript,
    task: dict[str, Any],
    fetch_result: Mapping[str, Any],
    content: bytes,
    *,
    on_follows: Callable[[list[Follow]], None] | None = None,
    limits: ProcessorLimits = USUAL_LIMITS,
    log_chars: int = LOG_CHARS,
    known: Known | None = None,
    on_memory_error: Callable[[BaseException], str] | None = None,
    on_slow: Callable[[], None] | None = None,
) -> RunResult:
    """Run the task's callback with the page. Never raises for what user code does.

    on_follows: called during the run, with time standing still, whenever many follows are pending; in order.
    limits: the time limit is for the callback with its on_result calls.
    log_chars: how many characters of the end of the log are returned; the track keeps LOG_CHARS at most.
    known: URLs whose tasks have rows; they are not submitted unless that would change something.
    on_memory_error: called with what user code raised, before anything else; when it means that memory has run out,
        it makes room and returns what to say, else "".
    on_slow: called during the run, with time standing still, once it has taken longer than deadline.SLOW_S.
    """
    handler = loaded.handler
    response = Response(fetch_result, content)
    deadline = Deadline(time_limit_of(task, limits.process_time_limit_s), on_slow=on_slow)
    collector = Collector(_pausing(on_follows), limits, bool(task.get(GUARDED)), known)
    track = task.get("track") or {}
    schedule = dict(task.get("schedule") or {})  # its values are scalars
    handler.task, handler.response, handler._run = task, response, collector
    response._crawl = handler.crawl
    handler.save = track.get("save", {})
    handler.__env__["process_time_limit"] = limits.process_time_limit_s
    value, error = None, None
    started = perf_counter()
    with captured(log_chars) as tail:
        try:
            with kept(), deadline:
                value = _call(handler, task, response)
        except BaseException as exc:  # SystemExit as well: a script does not end a processor
            error = exc
        deadline.stop()
        process_s = perf_counter() - started
        if error is not None and on_memory_error is not None and (said := on_memory_error(error)):
            error = MemoryError(said).with_traceback(error.__traceback__)
        if error is not None:
            _log(handler, tail, error)
        edited = _edited(handler, tail, task, schedule)
        save = handler.save
        handler.task = handler.response = handler.save = handler._run = None
        ran = RunResult(
            end=_end(error, collector),
            follows=collector.follows,
            follows_count=collector.count,
            results=collector.results,
            messages=collector.messages,
            repeats=collector.repeats,
            track=None,
            reason=collector.fatal or (reason_of(error) if error else ""),
            logs=text(tail.tail()),
            save=save,
            fetch_ms=min(round(response.time * 1000), _MAX_INT),
            process_ms=min(round(process_s * 1000), _MAX_INT),
            schedule=edited,
        )
        if getattr(_callback(handler, task), "_not_send_status", False):
            ran.end, ran.reason, ran.schedule = End.SUCCESS, "", None
        else:
            headers = _kept_headers(fetch_result.get("headers") or {}, ran.end is End.SUCCESS)
            ran.track = _pack_track(ran, response, headers, value, process_s, track)
    return ran


def _call(handler: Any, task: dict[str, Any], response: Response) -> Any:
    """Apply the status rules, call the callback, and pass what it returns to on_result."""
    callback = _callback(handler, task)
    if callback is None:
        raise NotImplementedError(f"self.{_callback_name(task)}() not implemented!")
    if not getattr(callback, "_catch_status_code_error", False):
        if response.status_code == 304:  # as it was: there is nothing to parse
            return None
        response.raise_for_status()
    value = call(callback, (response, task))
    if isinstance(value, GeneratorType):
        with closing(value):  # now, and not when it is forgotten: its `finally` is the user's code, too
            for item in value:
                call(handler.on_result, (item, response, task), OF_A_RESULT)
    else:
        call(handler.on_result, (value, response, task), OF_A_RESULT)
    return value


def _log(handler: Any, tail: Tail, error: BaseException) -> None:
    try:
        handler.logger.error("%s", user_traceback(error))
    except Exception:  # the script has replaced its logger, or what loggers need
        tail.write(user_traceback(error))


def _edited(handler: Any, tail: Tail, task: Mapping[str, Any], before: dict[str, Any]) -> NewSchedule | None:
    """Return `task['schedule']` as the callback left it; if it cannot be kept it is logged, and the old one stays."""
    try:
        schedule = task.get("schedule") or {}
        return None if schedule == before else new_schedule(schedule)
    except Exception as exc:  # whatever the script put there
        _log(handler, tail, exc)
        return None


def _callback_name(task: Mapping[str, Any]) -> str:
    return (task.get("process") or {}).get("callback") or "__call__"


def _callback(handler: Any, task: Mapping[str, Any]) -> Any:
    callback = getattr(handler, _callback_name(task), None)
    return callback if callable(callback) else None


def _pausing(on_follows: Callable[[list[Follow]], None] | None) -> Callable[[list[Follow]], None] | None:
    """Wrap a call so that the script's time stands still: sending must not be interrupted, and may have to wait."""
    if on_follows is None:
        return None

    def hand_on(follows: list[Follow]) -> None:
        with standing_still():
            on_follows(follows)

    return hand_on


def _end(error: BaseException | None, collector: Collector) -> End:
    if collector.fatal:
        return End.FATAL
    return End.SUCCESS if error is None else End.FAILURE


def _pack_track(
    ran: RunResult, response: Response, headers: dict[str, str], value: Any, process_s: float, before: Mapping[str, Any]
) -> bytes:
    """Return the packed track (docs/pyspider-behaviour.md 3.5).

    A `save` that cannot be kept fails the run for good; the old one stays.
    """
    ok = ran.end is End.SUCCESS
    track: dict[str, Any] = {
        "fetch": {
            "ok": response.isok(),
            "redirect_url": None if response.url == response.orig_url else response.url,
            "time": response.time,
            "error": response.error,
            "status_code": response.status_code,
            "encoding": response.known_encoding,
            "headers": headers,
            "content": None if ok else text(response.start_of_text(FAILED_CONTENT_CHARS)),
        },
        "process": {
            "ok": ok,
            "time": process_s,
            "follows": ran.follows_count,
            "result": _beginning(value),
            "logs": ran.logs[-LOG_CHARS:],
            "exception": ran.reason or None,
        },
    }
    try:
        packed = _pack({**track, "save": plain(ran.save)})
        if len(packed) <= TRACK_BYTES_MAX:
            return packed
        problem = f"self.save and the rest of the track are {len(packed)} bytes, the limit is {TRACK_BYTES_MAX}"
    except Exception as exc:  # `str(x)` of a user's object may do anything
        problem = f"self.save cannot be kept: {reason_of(exc)}"
    ran.end, ran.reason, ran.save = End.FATAL, problem, before.get("save", {})
    track["process"].update(ok=False, exception=problem)
    track["fetch"]["headers"] = {}
    return _pack({**track, "save": plain(ran.save)})


def _kept_headers(headers: Mapping[str, str], ok: bool) -> dict[str, str]:
    if not ok:
        return {text(name): text(value) for name, value in headers.items()}
    return {name: text(value) for key, value in headers.items() if (name := key.lower()) in VALIDATORS}


def _beginning(value: Any) -> str | None:
    if value is None:
        return None
    try:
        return text(str(value)[:RESULT_CHARS])
    except Exception:  # a user's class may do anything
        return None
