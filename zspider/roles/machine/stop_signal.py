"""SIGINT and SIGTERM as something a command can wait on, beside what else it waits for."""

import os
import select
import signal
from types import FrameType
from typing import Any

from zspider.roles.machine.hangups import release_hangups


class StopSignal:
    """Within `with`: the first signal sets it, a second one raises KeyboardInterrupt.

    SIGHUP means nothing, unless the terminal is gone to which the command spoke: then it is as the first signal.
    """

    def __init__(self) -> None:
        self.is_set = False
        self.number = 0  # of the first signal
        self._read, self._write = os.pipe()
        self._before: dict[int, Any] = {}
        self._terminals = [fd for fd in range(3) if os.isatty(fd)]

    def __enter__(self) -> "StopSignal":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._on_signal)
        self._before[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._on_hangup)
        release_hangups()
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._read)
        os.close(self._write)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.is_set:
            raise KeyboardInterrupt
        self.is_set = True
        self.number = number
        os.write(self._write, b".")

    def _on_hangup(self, number: int, frame: FrameType | None) -> None:
        if self.is_set or not self._terminals or any(map(os.isatty, self._terminals)):
            return
        with open(os.devnull, "r+b") as nowhere:  # noqa: PTH123 - what is written to a terminal that is gone fails
            for fd in self._terminals:
                os.dup2(nowhere.fileno(), fd)
        self._on_signal(number, frame)

    def wait(self, timeout_s: float, *fds: int) -> bool:
        """Wait for a signal, for one of `fds` to be readable, or for the time to pass. Whether a signal came."""
        if not self.is_set:
            select.select([self._read, *fds], [], [], timeout_s)
        return self.is_set
