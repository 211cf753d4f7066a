"""The report of a write to storage, for the master's loop. It knows no database."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from zspider.task import Ref, Status, Task


class Ownership(NamedTuple):
    """The right to write: to this database, until another master takes a higher epoch."""

    cluster: bytes  # 16 random bytes, made with the database
    epoch: int


class Ended(NamedTuple):
    """A delivery that is over. `late`: its run was over before, so its outcome (or part) changed nothing."""

    ref: Ref
    run: int
    status: Status  # of the task now; BAD when there is no such task
    late: bool
    is_success: bool | None = None  # of a page; None for what says nothing about the project's pages
    error: str = ""  # why it failed


@dataclass(slots=True)
class Committed:
    """All that one call wrote. Adding two gives what both wrote, in order."""

    at_ms: int = 0  # wall-clock time of the call: of which slots of the windows `counts` are
    ended: list[Ended] = field(default_factory=list)
    entered: list[Task] = field(default_factory=list)  # wait now: new, restarted or to be retried
    gone: list[Ref] = field(default_factory=list)  # removed while they may have been leased: leases are void
    replaced: list[Ref] = field(default_factory=list)  # restarted or cancelled so: leases of earlier runs go on
    dropped: Counter[str] = field(default_factory=Counter)  # follows not accepted, by reason
    undelivered: Counter[str] = field(default_factory=Counter)  # messages to projects that are not there, by name
    counts: defaultdict[int, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))  # deltas, by project
    # By host: runs that ended, those that did not end well, their milliseconds of fetching.
    hosts: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0, 0]))
    bad: list[tuple[int, str]] = field(default_factory=list)  # outcomes that the database refused, and why
    followed: list[int] = field(default_factory=list)  # outcomes with follows that all have rows now, or cancel

    def add(self, other: "Committed") -> None:
        """Append what a later transaction wrote."""
        self.ended += other.ended
        self.entered += other.entered
        self.gone += other.gone
        self.replaced += other.replaced
        self.bad += other.bad
        self.followed += other.followed
        _sum(self.dropped, other.dropped)
        _sum(self.undelivered, other.undelivered)
        for project, counts in other.counts.items():
            _sum(self.counts[project], counts)
        for host, runs in other.hosts.items():
            self.hosts[host] = [sum(both) for both in zip(self.hosts[host], runs, strict=True)]


def _sum(counts: Counter[str], deltas: Mapping[str, int]) -> None:
    for name, delta in deltas.items():  # Counter's own `+=` forgets negative values
        counts[name] += delta
