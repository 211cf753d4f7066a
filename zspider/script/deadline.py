"""A time limit on user code: SIGALRM in the main thread, which interrupts a loop and a sleep alike.

Code that never comes back to the interpreter cannot be stopped so; the slave ends such a process from outside.
"""

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from time import monotonic  # by itself: a script may replace what `time` holds
from types import FrameType, TracebackType
from typing import Any

TIME_LIMIT_MAX_S = 86_400  # as of processor.process_time_limit_s; a timer of the system knows no more than 2**63 ns
SLOW_S = 0.004  # user code that runs longer is slow
REPEAT_S = 1.0  # raised again this long after, for code that swallows it: `except: pass` in a loop

_MAIN = threading.main_thread().ident
_running: list["Deadline"] = []  # those whose time runs, the innermost last
_handles_alarms = False


class Deadline:
    """`with Deadline(30): ...` raises TimeoutError inside the block when the time is over.

    May be nested: an outer one goes on after it. Without effect outside the main thread and without a limit.
    The process's handler of SIGALRM is ours as soon as one is made: to set it each time would cost more than the timer.
    """

    def __init__(
        self, seconds: float | None, text: str = "process timeout", *, on_slow: Callable[[], None] | None = None
    ) -> None:
        """on_slow: called once within the block, with time standing still, if the block takes longer than SLOW_S."""
        self._seconds = seconds
        self._text = text
        self._on_slow = on_slow if seconds is not None and seconds > SLOW_S else None
        self._armed = False
        self._is_over = False  # the time ended while this was not armed
        self._outer = (0.0, 0.0)  # seconds that one had left, and when
        if seconds is not None and threading.get_ident() == _MAIN:
            _handle_alarms()

    def __enter__(self) -> "Deadline":
        if self._seconds is None or threading.get_ident() != _MAIN:
            return self
        has_outer = bool(_running)
        self._armed = True
        _running.append(self)
        seconds = max(self._seconds, 1e-6) if self._on_slow is None else SLOW_S
        left, _ = signal.setitimer(signal.ITIMER_REAL, seconds, REPEAT_S)
        self._outer = (left, monotonic()) if has_outer else (0.0, 0.0)  # else a timer that a script has left behind
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End the limit; again is harmless. Wanted after the block too: the last strike may have hit `__exit__`."""
        self._armed = False
        if self not in _running:
            return
        signal.setitimer(signal.ITIMER_REAL, 0)  # first: the outer one must not answer for what this has raised
        del _running[_running.index(self) :]
        left, since = self._outer
        if left:  # an outer one: give it what it has left
            signal.setitimer(signal.ITIMER_REAL, max(left - (monotonic() - since), 1e-6), REPEAT_S)

    def strike(self) -> None:
        """Act on the signal: the time is over, or the code is slow."""
        if not self._armed:
            self._is_over = True
        elif self._on_slow is not None and self._seconds is not None:
            on_slow, self._on_slow = self._on_slow, None
            with self.paused():
                on_slow()
            signal.setitimer(signal.ITIMER_REAL, self._seconds - SLOW_S, REPEAT_S)
        else:
            raise TimeoutError(self._text)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the time inside the block, and raise nothing: for our own work within user code."""
        if not self._armed:
            yield
            return
        self._armed = self._is_over = False
        left, _ = signal.setitimer(signal.ITIMER_REAL, 0)
        try:
            yield
        finally:
            self._armed = True
            if self._is_over:
                left = 1e-6
            if left:  # else the script has stopped the timer
                signal.setitimer(signal.ITIMER_REAL, left, REPEAT_S)


def _handle_alarms() -> None:
    global _handles_alarms
    if not _handles_alarms:
        signal.signal(signal.SIGALRM, _on_alarm)
        _handles_alarms = True


def _on_alarm(number: int, frame: FrameType | None) -> None:
    if _running:
        _running[-1].strike()


def time_limit_of(task: Mapping[str, Any], default_s: float | None) -> float | None:
    """Return the seconds that a task's callback may run: its own `process_time_limit`, at most a day, else the default.

    A value that is no number above 0 (True, NaN, text) counts as none.
    """
    process = task.get("process")
    own = process.get("process_time_limit") if isinstance(process, dict) else None
    if isinstance(own, bool) or not isinstance(own, int | float) or not own > 0:
        return default_s
    return float(min(own, TIME_LIMIT_MAX_S))


def standing_still() -> AbstractContextManager[None]:
    """Stop the time of the running user code inside the block: for our own work in the middle of it."""
    return _running[-1].paused() if _running else nullcontext()
