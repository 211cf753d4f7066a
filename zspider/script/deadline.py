"""A time limit on user code: SIGALRM in the main thread, which interrupts a loop and a sleep alike.

Code that never comes back to the interpreter cannot be stopped so; the slave ends such a process from outside.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from time import monotonic  # by itself: a script may replace what `time` holds
from types import FrameType, TracebackType
from typing import Any

REPEAT_S = 1.0  # raised again this long after, for code that swallows it: `except: pass` in a loop

_running: list["Deadline"] = []  # those whose time runs, the innermost last


class Deadline:
    """`with Deadline(30): ...` raises TimeoutError inside the block when the time is over.

    May be nested: an outer one goes on meanwhile. Without effect outside the main thread and without a limit.
    """

    def __init__(self, seconds: float | None, text: str = "process timeout") -> None:
        self._seconds = seconds
        self._text = text
        self._armed = False
        self._outer: tuple[Any, float, float] | None = None

    def __enter__(self) -> "Deadline":
        if self._seconds is None or threading.current_thread() is not threading.main_thread():
            return self
        handler = signal.signal(signal.SIGALRM, self._strike)
        self._armed = True
        left, _ = signal.setitimer(signal.ITIMER_REAL, max(self._seconds, 1e-6), REPEAT_S)
        self._outer = (handler, left, monotonic())
        _running.append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End the limit; again is harmless. Wanted after the block too: the last strike may have hit `__exit__`."""
        self._armed = False
        if self._outer is None:
            return
        handler, left, since = self._outer
        self._outer = None
        _running.remove(self)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if left:  # an outer one: give it what it has left
            signal.setitimer(signal.ITIMER_REAL, max(left - (monotonic() - since), 1e-6), REPEAT_S)

    def _strike(self, number: int, frame: FrameType | None) -> None:
        if self._armed:
            raise TimeoutError(self._text)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Inside, the time does not run and nothing is raised: for our own work within user code."""
        if not self._armed:
            yield
            return
        self._armed = False
        left, _ = signal.setitimer(signal.ITIMER_REAL, 0)
        try:
            yield
        finally:
            self._armed = True
            signal.setitimer(signal.ITIMER_REAL, left or 1e-6, REPEAT_S)  # 0 left: it was about to strike


def standing_still() -> AbstractContextManager[None]:
    """Inside, the time of whatever user code runs now stands still: for our own work in the middle of it."""
    return _running[-1].paused() if _running else nullcontext()
