"""A project's activity in the last minutes, hour and day: windows of time, and the counters summed in them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

# A counter: runs that ended since on_finished was made last; neither its own nor those of messages.
SINCE_FINISHED = "_since_finished"
# Counters: what the runs that ended took, and how many they were; pages fetched, and callbacks run.
FETCH_MS, FETCHED = "_fetch_ms", "_fetched"
PROCESS_MS, PROCESSED = "_process_ms", "_processed"


class Window(NamedTuple):
    """The last minutes, hour or day, for which a project's activity is summed, in slots of time.

    Source: docs/pyspider-behaviour.md 4.11.
    """

    name: str
    step_s: int  # of one slot
    slots: int

    def slot(self, ms: int) -> int:
        """Return the slot that this wall-clock millisecond is in: the epoch seconds of its begin."""
        return ms // 1000 // self.step_s * self.step_s

    def first(self, ms: int) -> int:
        """Return the oldest slot of the window that ends with this millisecond's."""
        return self.slot(ms) - (self.slots - 1) * self.step_s


WINDOWS = (Window("5m", 10, 30), Window("1h", 60, 60), Window("1d", 600, 144))
# What a window sums up, and the counters that have the sums since the project was made.
ACTIVITY = {
    "new": "new",
    "success": "success",
    "retry": "retry",
    "failed": "failed_total",
    "fetch_ms": FETCH_MS,
    "fetched": FETCHED,
    "process_ms": PROCESS_MS,
    "processed": PROCESSED,
}
Activity = Sequence[int]  # in the order of ACTIVITY


def activity_of(counts: Mapping[str, int]) -> Activity:
    """Return the activity in some counters, or in what was added to them."""
    return [counts.get(name, 0) for name in ACTIVITY.values()]


class WindowSlot(NamedTuple):
    """The activity of a project in one slot of a window."""

    step_s: int
    slot: int
    project: int
    activity: Activity
