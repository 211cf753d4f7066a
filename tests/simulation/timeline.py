"""Simulated time: events in their order, and machines whose clocks follow it."""

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from math import inf

from zspider.roles.machine.clock import Clock, SteadyClock

START_MS = 1_700_000_000_000
UPTIME_S = 1000.0  # of every machine when a history begins
TURN_S = 0.001  # what a turn of a loop takes at least


class Timeline:
    """What happens when. Nothing takes time but what says so; events of one moment keep the order they were made in."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], object]]] = []
        self._serial = count()

    def at(self, when: float, call: Callable[[], object]) -> None:
        """Have this called at a time."""
        heappush(self._events, (max(when, self.now), next(self._serial), call))

    def after(self, seconds: float, call: Callable[[], object]) -> None:
        """Have this called in a while."""
        self.at(self.now + seconds, call)

    def run(self, until: float) -> None:
        """Let time pass."""
        while self._events and self._events[0][0] <= until:
            self.now, _, call = heappop(self._events)
            call()
        self.now = until


class MachineClock(Clock):
    """The clocks of one machine."""

    def __init__(self, timeline: Timeline) -> None:
        self.suspended_s = 0.0  # in all, as a virtual machine
        self.jumped_ms = 0  # somebody set the wall clock
        self._timeline = timeline
        self._steady = SteadyClock(self._wall_ns, lambda: int(1e9 * self.monotonic()))

    def monotonic(self) -> float:
        return UPTIME_S + self._timeline.now - self.suspended_s

    def boottime(self) -> float:
        return UPTIME_S + self._timeline.now

    def wall_ms(self) -> int:
        return self._steady.now_ms()

    def _wall_ns(self) -> int:
        return 1_000_000 * (START_MS + int(1000 * self._timeline.now) + self.jumped_ms)


class Machine:
    """A process with a loop: it turns when something came for it, or when its time has come."""

    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline
        self.clock = MachineClock(timeline)
        self.is_up = False
        self.stopped_until = 0.0  # SIGSTOP, or a virtual machine that is suspended
        self._due = inf
        self._busy_until = 0.0

    def turn(self) -> float:
        """One turn of the loop; returns in how many seconds it wants the next."""
        raise NotImplementedError

    def wake(self) -> None:
        """Something is there for it."""
        self.turn_at(self.timeline.now)

    def turn_at(self, when: float) -> None:
        """Turn at this time, or before."""
        when = max(when, self._busy_until)
        if when < self._due:
            self._due = when
            self.timeline.at(when, self._turn)

    def stop(self, seconds: float) -> None:
        """SIGSTOP, and SIGCONT after a while."""
        self.stopped_until = max(self.stopped_until, self.timeline.now + seconds)

    @property
    def is_stopped(self) -> bool:
        return self.timeline.now < self.stopped_until

    def _turn(self) -> None:
        now = self.timeline.now
        if not self.is_up or self._due > now:
            return  # it was asked for again, for another time
        self._due = inf
        if self.is_stopped:
            self.turn_at(self.stopped_until)
            return
        self._busy_until = now + TURN_S
        wait_s = self.turn()
        if self.is_up:
            self.turn_at(now + wait_s)
