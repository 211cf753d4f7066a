"""How far a crawl is, and when it has ended: what `zspiderd run` reads from the master's status."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

SPEED_S = 5.0  # the window in which pages per second are counted


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the crawl is."""

    elapsed_s: float
    done: int
    waiting: int
    failed: int
    results: int
    pages_per_s: float
    limited_by: float | None  # the rate per second, when that is what holds the crawl back

    @property
    def eta_s(self) -> float | None:
        """Seconds until what waits now is done; None when that cannot be told."""
        return self.waiting / self.pages_per_s if self.pages_per_s > 0 else None


@dataclass(slots=True)
class Summary:
    """How a run ended."""

    project: str
    data_dir: str
    database: str
    ended: str = "done"  # done, nothing_left (already at the start) or stopped
    signal: int = 0  # that stopped it
    resumed: bool = False
    done: int = 0
    failed: int = 0
    waiting: int = 0
    results: int = 0
    next_due_ms: int | None = None  # of what waits
    seconds: float = 0.0
    pages_per_s: float = 0.0
    first: list[dict[str, Any]] = field(default_factory=list)  # the first results, rows of the admin verb `results`


class View(Protocol):
    """Where a run is shown."""

    def say(self, text: str) -> None:
        """Show one line that stays."""
        ...

    def update(self, progress: Progress) -> None:
        """Show how far the crawl is, in place of what was shown before."""
        ...


class Speed:
    """Tasks per second over the last SPEED_S seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def of(self, now: float, count: int) -> float:
        """Note a count that only grows; returns its growth per second. now: monotonic seconds."""
        self._seen.append((now, count))
        while len(self._seen) > 2 and now - self._seen[1][0] >= SPEED_S:
            self._seen.popleft()
        then, before = self._seen[0]
        return max(0.0, (count - before) / (now - then)) if now > then else 0.0


def is_nothing_left(row: Mapping[str, Any], now_ms: int, wait_s: float) -> bool:
    """Return whether a project has nothing to do within `wait_s`. row: a project row of `status`."""
    counts = row["counts"]
    if counts.get("leased", 0):
        return False
    if not counts.get("waiting", 0):
        return not row["finishing"]  # on_finished is about to wait
    if row["ready"] or not row["loaded"]:
        return False
    due_ms = row["next_due_ms"]
    return due_ms is not None and bool(due_ms > now_ms + wait_s * 1000)
