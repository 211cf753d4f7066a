"""What time it is, as a daemon's loop asks for it."""

import time


class Clock:
    """This machine's clocks. Loops take one as an argument, so that they can live in another time."""

    def monotonic(self) -> float:
        """Seconds for waiting; it stands still while the machine is suspended."""
        return time.monotonic()

    def boottime(self) -> float:
        """Seconds of the clock that goes on while the machine is suspended."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def wall_ms(self) -> int:
        """Wall-clock milliseconds since the epoch, for records; it may jump."""
        return time.time_ns() // 1_000_000


SYSTEM_CLOCK = Clock()
