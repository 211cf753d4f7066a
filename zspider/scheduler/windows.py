"""Each project's activity in the last five minutes, hour and day, in memory (docs/pyspider-behaviour.md 4.11).

A mirror of the database's table `windows`: read at the start, then told the activity of each transaction.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterable

from zspider.activity import ACTIVITY, WINDOWS, Activity, Window, WindowSlot

WIDTH = len(ACTIVITY)
_NOTHING = array("q", [0] * WIDTH)


class SlidingSum:
    """The activity in one window of one project: slots in order of time, at most as many as the window has.

    A clock that was set back leaves slots of the future; they stay until newer ones push them out.
    """

    __slots__ = ("_begins", "_slots", "_total", "_window")

    def __init__(self, window: Window) -> None:
        self._window = window
        self._begins: list[int] = []  # ascending
        self._slots = array("q")  # what happened in each of them, one after the other: half of what lists take
        self._total = [0] * WIDTH

    def __len__(self) -> int:
        return len(self._begins)

    def add(self, ms: int, activity: Activity) -> None:
        """Add activity to the slot of this wall-clock millisecond."""
        slot = self._window.slot(ms)
        at = bisect_left(self._begins, slot)
        if at == len(self._begins) or self._begins[at] != slot:
            self._begins.insert(at, slot)
            self._slots[at * WIDTH : at * WIDTH] = _NOTHING
        for word, value in enumerate(activity):
            self._slots[at * WIDTH + word] += value
            self._total[word] += value
        self._forget(ms)

    def total(self, ms: int) -> Activity:
        """Return the sum over the window that ends now."""
        self._forget(ms)
        return tuple(self._total)

    def _forget(self, ms: int) -> None:
        first = self._window.first(ms)
        while self._begins and (self._begins[0] < first or len(self._begins) > self._window.slots):
            for word, value in enumerate(self._slots[:WIDTH]):
                self._total[word] -= value
            del self._begins[0]
            del self._slots[:WIDTH]


class Windows:
    """All windows of all projects. A project costs memory for what happened in it in the last day."""

    def __init__(self) -> None:
        self._sums: dict[int, dict[int, SlidingSum]] = {}  # by project and step

    def load(self, slots: Iterable[WindowSlot]) -> None:
        """Forget everything and begin with what the database has."""
        self._sums.clear()
        for step_s, slot, project, activity in slots:
            self._of(project)[step_s].add(slot * 1000, activity)

    def add(self, project: int, activity: Activity, at_ms: int) -> None:
        """Add a transaction's activity to the windows. at_ms: when it was written."""
        if any(activity):
            for sums in self._of(project).values():
                sums.add(at_ms, activity)

    def totals(self, project: int, now_ms: int) -> dict[str, Activity]:
        """Return the sums up to now, by name of the window."""
        sums = self._of(project)
        return {window.name: sums[window.step_s].total(now_ms) for window in WINDOWS}

    def forget(self, project: int) -> None:
        """Forget a project that is gone."""
        self._sums.pop(project, None)

    def _of(self, project: int) -> dict[int, SlidingSum]:
        found = self._sums.get(project)
        if found is None:
            found = self._sums[project] = {window.step_s: SlidingSum(window) for window in WINDOWS}
        return found
