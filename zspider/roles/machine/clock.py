"""What time it is, as a daemon's loop asks for it."""

import threading
import time
from collections.abc import Callable

CATCH_UP = 2  # while it is ahead of the system's clock it runs so many times slower


class SteadyClock:
    """Wall-clock time that a jump of the system's clock cannot stop.

    When the system's clock jumps ahead (set right, or the machine was suspended), so does this one. When the system's
    clock goes back, this one goes on at half its speed until the two meet: what is due in 30 s waits for 60 s, and not
    for as long as the clock went back.
    """

    def __init__(
        self, wall_ns: Callable[[], int] = time.time_ns, monotonic_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._wall_ns = wall_ns
        self._monotonic_ns = monotonic_ns
        self._lock = threading.Lock()
        self._now, self._at = wall_ns(), monotonic_ns()

    def now_ms(self) -> int:
        """Return the milliseconds since the epoch. Any thread may ask."""
        with self._lock:
            at = self._monotonic_ns()
            self._now = max(self._wall_ns(), self._now + (at - self._at) // CATCH_UP)
            self._at = at
            return self._now // 1_000_000


class Clock:
    """This machine's clocks. Loops take one as an argument, so that they can live in another time."""

    def __init__(self) -> None:
        self._steady = SteadyClock()

    def monotonic(self) -> float:
        """Return seconds for waiting; they stand still while the machine is suspended."""
        return time.monotonic()

    def boottime(self) -> float:
        """Return seconds of the clock that goes on while the machine is suspended."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def wall_ms(self) -> int:
        """Return wall-clock milliseconds since the epoch, by which tasks become due; they never go back."""
        return self._steady.now_ms()


SYSTEM_CLOCK = Clock()
