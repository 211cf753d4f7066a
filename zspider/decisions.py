"""The decisions that storage asks of the scheduler within a transaction, on a submitted URL and on the end of a run."""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple, Protocol

from zspider.delivery import End, Follow
from zspider.task import Status, Stored


class Finish(NamedTuple):
    """The state that a task gets when a run of it has ended."""

    status: Status
    due_ms: int  # ACTIVE only; 0: ready now
    retried: int
    counter: str  # "success", "retry" or "failed"


class Accept(StrEnum):
    """The decision on a submitted URL; KNOWN and those after it are drops; their values are the reasons shown."""

    NEW = "new"
    RESTART = "restart"
    CANCEL = "cancel"
    KNOWN = "known"  # finished or waiting, and nothing asks for it again
    RUNNING = "running"  # ready or leased; only force_update restarts it
    NOTHING_TO_CANCEL = "nothing to cancel"
    FULL = "queue full"  # as many tasks of its project wait as may: limits.waiting
    RESERVED = "reserved taskid"  # of tasks that only the master makes; a slave let a page submit it

    @property
    def is_drop(self) -> bool:
        """Whether the submission changes nothing."""
        return self not in _ACCEPTED


_ACCEPTED = (Accept.NEW, Accept.RESTART, Accept.CANCEL)


class Rules(Protocol):
    """The scheduler's decisions that storage asks for within a transaction. Pure: same answer for same arguments."""

    @property
    def waiting_max(self) -> int:
        """Most tasks that may wait in a project; 0: no limit, and `has_room` need not be asked."""
        ...

    def has_room(self, waiting: int, follow: Follow) -> bool:
        """Return whether a URL that is NEW finds room in its project, where so many tasks wait."""
        ...

    def accept(self, stored: Stored | None, follow: Follow, now_ms: int) -> Accept:
        """Decide about a submitted URL; `stored` is None when it is not known."""
        ...

    def finish(self, project: int, stored: Stored, end: End, now_ms: int) -> Finish:
        """Decide about a task whose current run ended; `end` is not PART."""
        ...

    def is_finished(self, counts: Mapping[str, int]) -> bool:
        """Return whether it is time for on_finished, by a project's counters."""
        ...
