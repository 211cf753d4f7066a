"""The signals a daemon's loop acts on: counted by their handlers, which also wake the loop."""

import signal
from types import FrameType, TracebackType
from typing import Any, Self

from zspider.roles.machine.hangups import release_hangups
from zspider.waker import Waker

_STOP = (signal.SIGTERM, signal.SIGINT)


class Signals:
    """Within `with`, SIGTERM and SIGINT are counted in `stops`, SIGHUP sets `wants_reload`. Main thread only."""

    def __init__(self) -> None:
        self.stops = 0
        self.wants_reload = False
        self._waker = Waker()
        self._before: dict[int, Any] = {}

    @property
    def fd(self) -> int:
        """Readable after a signal, until `clear`."""
        return self._waker.fd

    def clear(self) -> None:
        """The loop has seen it."""
        self._waker.clear()

    def wait(self, wait_s: float) -> None:
        """Sleep until a signal comes, or the time is over."""
        self._waker.wait(wait_s)

    def __enter__(self) -> Self:
        for number in (*_STOP, signal.SIGHUP):
            self._before[number] = signal.signal(number, self._on_signal)
        release_hangups()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def close(self) -> None:
        """Give the descriptor back. Safe to repeat."""
        self._waker.close()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if number in _STOP:
            self.stops += 1
        else:
            self.wants_reload = True
        self._waker.ring()
