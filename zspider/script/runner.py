"""One run of a callback: from a fetched page to what it led to (docs/pyspider-behaviour.md 6.2)."""

from collections.abc import Callable, Mapping
from contextlib import closing
from contextvars import copy_context
from dataclasses import dataclass
from time import perf_counter  # by itself: a script may replace what `time` holds
from types import GeneratorType
from typing import Any

from zspider.delivery import End, Follow, Message, NewSchedule
from zspider.script.arity import OF_A_RESULT, call
from zspider.script.collector import Collector
from zspider.script.crawl.follow import new_schedule
from zspider.script.deadline import Deadline, standing_still, time_limit_of
from zspider.script.errors import is_a, reason_of, traceback_of, user_traceback
from zspider.script.guard import attempt
from zspider.script.interpreter import Kept
from zspider.script.known import Known
from zspider.script.limits import USUAL_LIMITS, ProcessorLimits
from zspider.script.loader import LoadedScript
from zspider.script.logs import LOG_CHARS, Tail, captured
from zspider.script.page.response import Response
from zspider.script.plain import NestedTooDeep, plain, text
from zspider.script.track import TrackTooLarge, beginning, fetch_part, packed
from zspider.task import GUARDED

_MAX_INT = 2**31 - 1
_NOT_READ: Any = object()


@dataclass(slots=True)
class RunResult:
    """The result of a run.

    follows: the follows that were not handed to `on_follows`. repeats: how many follows were left out.
    results: JSON texts. track: packed track dict of docs/pyspider-behaviour.md 3.5; None when the callback is marked
    @not_send_status. reason: why it failed; "" for a success. schedule: the task's new one, if the callback changed it.
    save: JSON-like. is_damaged: the script has changed what we need ourselves; this process should run nothing more.
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
    is_damaged: bool = False


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
    make_room: Callable[[], object] = bool,
    on_slow: Callable[[], None] | None = None,
) -> RunResult:
    """Run the task's callback with the page. Never raises for what user code does.

    on_follows: called during the run, with time standing still, whenever many follows are pending; in order.
    limits: the time limit is for the callback with its on_result calls.
    log_chars: how many characters of the end of the log are returned; the track keeps LOG_CHARS at most.
    known: URLs whose tasks have rows; they are not submitted unless that would change something.
    on_memory_error: called with what user code raised, before anything else; when it means that memory has run out,
        it makes room and returns what to say, else "".
    make_room: called at once when memory has run out in user code; it needs no memory itself.
    on_slow: called during the run, with time standing still, once it has taken longer than deadline.SLOW_S.
    """
    response, headers = Response(fetch_result, content), fetch_result.get("headers") or {}
    deadline = Deadline(time_limit_of(task, limits.process_time_limit_s), on_slow=on_slow)
    collector = Collector(_pausing(on_follows), limits, bool(task.get(GUARDED)), known)
    loaded.env["process_time_limit"] = limits.process_time_limit_s
    try:
        with captured(log_chars) as tail, Kept():
            one = _Run(loaded.handler, task, headers, response, collector, tail)
            return one.run(deadline, on_memory_error, make_room)
    except BaseException as exc:
        make_room()
        deadline.stop()
        return RunResult(End.FAILURE, [], 0, [], [], 0, None, reason_of(exc), "", None, 0, 0, None, is_damaged=True)


class _Run:
    """One run. All that may enter user code is within the time limit, or in an `attempt`."""

    __slots__ = (
        "_before",
        "_can_read",
        "_collector",
        "_fetch",
        "_fetch_ms",
        "_handler",
        "_headers",
        "_name",
        "_process_s",
        "_response",
        "_returned",
        "_save",
        "_schedule",
        "_schedule_before",
        "_sends_status",
        "_tail",
        "_task",
        "_what_failed",
    )

    def __init__(
        self,
        handler: Any,
        task: dict[str, Any],
        headers: Mapping[str, str],
        response: Response,
        collector: Collector,
        tail: Tail,
    ) -> None:
        self._handler = handler
        self._task = task
        self._response = response
        self._collector = collector
        self._tail = tail
        # All that is needed of task and page is read now: the callback may put anything there.
        self._name = (task.get("process") or {}).get("callback") or "__call__"
        self._before = (task.get("track") or {}).get("save", {})
        self._schedule_before = dict(task.get("schedule") or {})  # its values are scalars
        self._headers = headers
        self._fetch_ms = max(0, min(round(response.time * 1000), _MAX_INT))
        self._process_s = 0.0
        self._sends_status = True
        self._what_failed = ""  # before the reason
        self._returned: str | None = None
        self._can_read = False  # the handler's `save` and `task` are this run's
        self._save = _NOT_READ
        self._schedule: NewSchedule | None = None
        self._fetch: dict[str, Any] = {}

    def run(
        self,
        deadline: Deadline,
        on_memory_error: Callable[[BaseException], str] | None,
        make_room: Callable[[], object],
    ) -> RunResult:
        error: BaseException | None = None
        try:
            with deadline:
                self._go()
        except MemoryError as exc:
            make_room()  # first of all: even a call may need memory
            error = exc
        except BaseException as exc:  # SystemExit as well: a script does not end a processor
            error = exc
        deadline.stop()
        if error is None:
            return self._result(End.SUCCESS, "")
        if on_memory_error is not None and (said := _said_of_memory(error, on_memory_error)):
            error = MemoryError(said).with_traceback(traceback_of(error))
        what_failed, raised = self._what_failed, error
        self._fail(error)
        return self._result(End.FAILURE, what_failed + attempt(lambda: reason_of(raised), "an error without a text"))

    def _go(self) -> None:
        """Call the callback, and read what it has left behind."""
        handler, response = self._handler, self._response
        handler.task, handler.response, handler._run = self._task, response, self._collector
        response._crawl = handler.crawl
        handler.save = self._before
        self._can_read = True
        callback = getattr(handler, self._name, None)
        if not callable(callback):
            raise NotImplementedError(f"self.{self._name}() not implemented!")
        self._sends_status = not getattr(callback, "_not_send_status", False)
        started = perf_counter()
        try:
            value = copy_context().run(_call, handler, callback, self._task, response)
        finally:
            self._process_s = perf_counter() - started
        self._returned = beginning(value)
        self._read_schedule()
        self._fetch = fetch_part(response, self._headers, not self._collector.fatal)
        self._read_save()
        self._let_go()

    def _fail(self, error: BaseException) -> None:
        """Log an error, and read what the callback has left behind as far as that can be had."""
        attempt(lambda: _log(self._handler, self._tail, error), None)
        if self._can_read and self._save is _NOT_READ:
            attempt(self._read_schedule, None)
            attempt(self._read_save, None)
        if self._save is _NOT_READ:
            self._save = self._before
        if not self._fetch or self._fetch["content"] is None:
            self._fetch = attempt(lambda: fetch_part(self._response, self._headers, False), {})
        attempt(self._let_go, None)

    def _let_go(self) -> None:
        handler = self._handler
        handler.task = handler.response = handler.save = handler._run = None

    def _read_save(self) -> None:
        """Read `self.save`. Raises what its values raise; one that is nested too deep fails the run for good."""
        self._what_failed = "self.save cannot be kept: "
        try:
            self._save = plain(self._handler.save)
        except NestedTooDeep as exc:
            self._collector.fail(f"{self._what_failed}{exc}")
            raise
        self._what_failed = ""

    def _read_schedule(self) -> None:
        """Read `task['schedule']` as the callback left it; if it cannot be kept it is logged, and the old one stays."""
        try:
            schedule = self._task.get("schedule") or {}
            self._schedule = None if schedule == self._schedule_before else new_schedule(schedule)
        except BaseException as exc:  # whatever the script put there
            _log(self._handler, self._tail, exc)

    def _result(self, end: End, reason: str) -> RunResult:
        collector = self._collector
        if collector.fatal:
            end, reason = End.FATAL, collector.fatal
        ran = RunResult(
            end=end,
            follows=collector.follows,
            follows_count=collector.count,
            results=collector.results,
            messages=collector.messages,
            repeats=collector.repeats,
            track=None,
            reason=reason,
            logs=text(Tail.tail(self._tail)),
            save=self._save,
            fetch_ms=self._fetch_ms,
            process_ms=min(round(self._process_s * 1000), _MAX_INT),
            schedule=self._schedule,
        )
        if self._sends_status:
            self._add_track(ran)
        else:
            ran.end, ran.reason, ran.schedule = End.SUCCESS, "", None
        return ran

    def _add_track(self, ran: RunResult) -> None:
        """Add the packed track. A `save` that is too large fails the run for good; the old one stays."""
        process = {
            "ok": ran.end is End.SUCCESS,
            "time": self._process_s,
            "follows": ran.follows_count,
            "result": self._returned,
            "logs": ran.logs[-LOG_CHARS:],
            "exception": ran.reason or None,
        }
        try:
            ran.track = packed(self._fetch, process, ran.save)
        except TrackTooLarge as exc:
            ran.end, ran.reason, ran.save = End.FATAL, str(exc), self._before
            process.update(ok=False, exception=ran.reason)
            ran.track = packed({**self._fetch, "headers": {}}, process, ran.save)


def _call(handler: Any, callback: Callable[..., Any], task: dict[str, Any], response: Response) -> Any:
    """Apply the status rules, call the callback, and pass what it returns to on_result."""
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
    told = user_traceback(error)
    try:
        handler.logger.error("%s", told)
    except BaseException:  # the script has replaced its logger, or what loggers need
        tail.write(told)


def _said_of_memory(error: BaseException, on_memory_error: Callable[[BaseException], str]) -> str:
    if is_a(error, MemoryError):  # there may be no memory for more
        return on_memory_error(error)
    return attempt(lambda: on_memory_error(error), "")


def _pausing(on_follows: Callable[[list[Follow]], None] | None) -> Callable[[list[Follow]], None] | None:
    """Wrap a call so that the script's time stands still: sending must not be interrupted, and may have to wait."""
    if on_follows is None:
        return None

    def hand_on(follows: list[Follow]) -> None:
        with standing_still():
            on_follows(follows)

    return hand_on
