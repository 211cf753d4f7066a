"""Auto-pause: a project whose pages all fail rests, then is tried with a few (docs/pyspider-behaviour.md 4.10)."""

from enum import StrEnum
from typing import NamedTuple

from zspider.scheduler.leases import LeaseTable
from zspider.task import Ref


class PauseLimits(NamedTuple):
    """The limits by which projects are paused. fail_num: 0 means never."""

    fail_num: int = 0
    pause_s: float = 300.0
    probe_num: int = 3


NEVER = PauseLimits()
_NO_LIMIT = 1 << 62


class Phase(StrEnum):
    """Where a project stands."""

    NORMAL = "normal"
    PAUSED = "paused"  # none of its pages is granted until a time
    PROBING = "probing"  # a few are: one success ends it, else it is paused again


class AutoPause:
    """One project's outcomes, as far as they decide about its pause.

    Only the ends of pages enter: those of @every methods, messages and the question what a script declares say
    nothing of a site (docs/pyspider-behaviour.md 4.10). NORMAL -> PAUSED by `fail_num` failures in a row; PAUSED ->
    PROBING by time, whatever arrives meanwhile; PROBING -> NORMAL by a success, -> PAUSED by `probe_num` failures
    without one.
    """

    def __init__(self, pausing: PauseLimits) -> None:
        self.until = 0.0  # PAUSED: monotonic seconds
        self.reason = ""  # why it was paused last
        self._pausing = pausing
        self._last_error = ""
        self._probes: set[Ref] = set()
        self._enter(Phase.NORMAL)

    def ended(self, is_success: bool, error: str) -> None:
        """Count a page that ended. error: why it failed."""
        if is_success:
            self._failures = 0
            self._has_success = True
        else:
            self._failures += 1
            self._last_error = error

    def decide(self, now: float) -> bool:
        """Decide by what has ended and the time; returns whether the phase is another now."""
        if not self.is_on and self._failures < self._limit:  # asked at each step, of each project
            return False
        before = self.phase
        if self.phase is Phase.PAUSED:
            if now >= self.until:
                self._enter(Phase.PROBING)
        elif self.phase is Phase.PROBING and self._has_success:
            self._enter(Phase.NORMAL)
        elif self._failures >= self._limit:
            self._pause(now)
        return self.phase is not before

    def clear(self) -> None:
        """Begin anew after an edit or by an operator's wish, as if nothing had failed."""
        self._enter(Phase.NORMAL)

    def allows(self, leases: LeaseTable) -> bool:
        """Return whether a page may be granted now."""
        if self.phase is not Phase.PROBING:
            return self.phase is Phase.NORMAL
        self._probes = {ref for ref in self._probes if leases.get(ref) is not None}
        return len(self._probes) + self._failures < self._pausing.probe_num

    def granted(self, ref: Ref) -> None:
        """Note that a page was granted, as it may be while the project is NORMAL or PROBING."""
        if self.is_on:
            self._probes.add(ref)

    def _pause(self, now: float) -> None:
        error = f", the last: {self._last_error}" if self._last_error else ""
        self.reason = f"{self._failures} failures in a row{error}"
        self.until = now + self._pausing.pause_s
        self._enter(Phase.PAUSED)

    def _enter(self, phase: Phase) -> None:
        self.phase = phase
        self.is_on = phase is not Phase.NORMAL
        self._limit = self._pausing.probe_num if phase is Phase.PROBING else self._pausing.fail_num or _NO_LIMIT
        self._failures = 0  # in a row
        self._has_success = False
        self._probes.clear()
