"""How fast a count grows that is told now and then."""

from math import exp

MEASURE_S = 1e-3  # nothing is measured in less
SMOOTH_S = 10.0  # a change of speed is two thirds visible after this time


class SmoothRate:
    """Growth per second: each new measure counts by the time it covers, older ones fade."""

    def __init__(self) -> None:
        self.per_s = 0.0
        self._last: tuple[float, int] | None = None
        self._is_new = True  # nothing was measured yet

    def note(self, count: int, now: float) -> None:
        """Note the count at this time (monotonic seconds). One that fell is a new count: it shows no growth."""
        if self._last is None:
            self._last = now, count
            return
        at, before = self._last
        if now < at + MEASURE_S:
            return
        measured = max(0, count - before) / (now - at)
        share = 1.0 if self._is_new else 1 - exp((at - now) / SMOOTH_S)
        self.per_s += share * (measured - self.per_s)
        self._last, self._is_new = (now, count), False
