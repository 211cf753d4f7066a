"""The signals that a loop acts on: counted by their handlers, which also wake it."""

import os
import select
import signal
from types import FrameType, TracebackType
from typing import Any, Self

from zspider.roles.machine.hangups import release_hangups
from zspider.waker import Waker, wait_ms

_STOP = (signal.SIGTERM, signal.SIGINT)


class Signals:
    """Counts SIGTERM and SIGINT in `stops`, and notes SIGHUP in `wants_reload`. Main thread only.

    Within `with`, or from `catch` until the process ends.
    """

    def __init__(self, waker: Waker | None = None) -> None:
        """waker: rung by each signal, and closed with this object; None: one is made."""
        self.stops = 0
        self.stop_number = 0  # which signal asked first to stop; 0: none
        self.wants_reload = False
        self._waker = waker if waker is not None else Waker()
        self._before: dict[int, Any] = {}

    @property
    def fd(self) -> int:
        """A descriptor that is readable after a signal, until `clear`."""
        return self._waker.fd

    def clear(self) -> None:
        """Say that the loop has seen the signals so far."""
        self._waker.clear()

    def wait(self, wait_s: float, *fds: int) -> bool:
        """Sleep until a signal comes, one of `fds` is readable, or the time is over; return whether we are to stop.

        It does not sleep after a signal that was not cleared.
        """
        poller = select.poll()
        for fd in (self.fd, *fds):
            poller.register(fd, select.POLLIN)
        poller.poll(wait_ms(wait_s))
        return self.stops > 0

    def catch(self) -> None:
        """Handle the signals from now on; a SIGHUP that was held is handled at once."""
        for number in _STOP:
            self._before[number] = signal.signal(number, self._on_stop)
        self._before[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._on_hangup)
        release_hangups()

    def __enter__(self) -> Self:
        self.catch()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()
        self.close()

    def close(self) -> None:
        """Give the descriptor back. Safe to repeat."""
        self._waker.close()

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        self.stops += 1
        self.stop_number = self.stop_number or number
        self._waker.ring()

    def _on_hangup(self, number: int, frame: FrameType | None) -> None:
        self.wants_reload = True
        self._waker.ring()


class CommandSignals(Signals):
    """The signals of a command in a terminal: a second one to stop raises KeyboardInterrupt.

    SIGHUP means nothing, unless the terminal is gone to which the command spoke: then it asks to stop.
    """

    def __init__(self) -> None:
        super().__init__()
        self._terminals = [fd for fd in range(3) if os.isatty(fd)]

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        if self.stops:
            raise KeyboardInterrupt
        super()._on_stop(number, frame)

    def _on_hangup(self, number: int, frame: FrameType | None) -> None:
        if self.stops or not self._terminals or any(map(os.isatty, self._terminals)):
            return
        with open(os.devnull, "r+b") as nowhere:  # noqa: PTH123 - what is written to a terminal that is gone fails
            for fd in self._terminals:
                os.dup2(nowhere.fileno(), fd)
        self._on_stop(number, frame)
