"""Who holds what: sessions of slaves, and the leases lent to them."""

from collections.abc import Iterable, Iterator

from msgspec import Struct

from zspider.scheduler.hosts import HostLimits
from zspider.task import Ref, Task


class Lease(Struct, eq=False):
    """The right of one session to work on one run of a task."""

    task: Task
    session: "Session"
    number: int  # of the grant, within the session
    attempt: int
    granted: float  # monotonic seconds
    has_arrived: bool = False  # an outcome of it waits to be committed
    is_known: bool = True  # False: named by its slave, as after a restart; the row is in the database only
    taken_by: bytes | None = None  # session of the processing slave that has its relayed page
    host: str = ""  # in whose limit it counts; "": in none
    start: float = 0.0  # when it may start, in monotonic seconds; where `host` is set


class Session(Struct, eq=False):
    """A slave since its start, as the master sees it."""

    id: bytes
    route: bytes  # how to reach it; another one after each reconnect
    roles: frozenset[str]
    host: str
    window: int
    joined: float
    heard: float  # when it last said something
    seen: int = 0  # highest grant number it has confirmed
    next_number: int = 1
    leases: dict[int, Lease] = {}
    arrived: int = 0  # leases whose outcome waits to be committed: they take no room at the slave
    is_silent: bool = False  # no new grants until it is heard again
    told: set[tuple[int, bytes, int]] = set()  # (project, script, updated_ms) it was told about
    barred: set[tuple[int, bytes]] = set()  # (project, script) it cannot load
    served: int = 0  # order of the last grant, for turns

    @property
    def room(self) -> int:
        """How many more leases it may get."""
        if self.is_silent or "fetcher" not in self.roles:
            return 0
        return self.window - (len(self.leases) - self.arrived)


class LeaseTable:
    """All leases, by task and by session. A task has at most one.

    A lease with a host counts in that host's limit from `add` or `adopt` until its outcome is here or it ends.
    """

    def __init__(self, hosts: HostLimits) -> None:
        self._hosts = hosts
        self._by_ref: dict[Ref, Lease] = {}
        self._per_project: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._by_ref)

    def __iter__(self) -> Iterator[Lease]:
        return iter(self._by_ref.values())

    def get(self, ref: Ref) -> Lease | None:
        """The lease on this task, if there is one."""
        return self._by_ref.get(ref)

    def count(self, project: int) -> int:
        """How many tasks of this project are leased."""
        return self._per_project.get(project, 0)

    def is_leased(self, task: Task) -> bool:
        """Whether this run of the task is leased."""
        lease = self._by_ref.get(task.ref)
        return lease is not None and lease.task.run == task.run

    def add(self, task: Task, session: Session, now: float, host: str = "", start: float = 0.0) -> Lease:
        """Lend a task that is not leased to a session, under its next number. host, start: for the host's limit."""
        lease = Lease(task, session, session.next_number, task.attempt + 1, now)
        session.next_number += 1
        self._put(lease)
        if host:
            self._count(lease, host, start)
        return lease

    def adopt(
        self,
        task: Task,
        session: Session,
        number: int,
        attempt: int,
        now: float,
        *,
        is_known: bool = False,
        host: str = "",
    ) -> None:
        """Accept a lease that a former master granted, on a task that is not leased."""
        lease = Lease(task, session, number, attempt, now, is_known=is_known)
        self._put(lease)
        if host:
            self._count(lease, host, now)

    def end(self, lease: Lease) -> None:
        """Take the lease away; safe to repeat."""
        if lease.session.leases.pop(lease.number, None) is None:
            return
        lease.session.arrived -= lease.has_arrived
        del self._by_ref[lease.task.ref]
        self._per_project[lease.task.ref.project] -= 1
        if lease.host:
            self._uncount(lease)

    def arrive(self, lease: Lease) -> None:
        """Its outcome is here: it takes no more room at the slave."""
        if not lease.has_arrived:
            lease.has_arrived = True
            lease.session.arrived += 1
            if lease.host:
                self._uncount(lease)

    def of_project(self, project: int) -> list[Lease]:
        """All leases of a project."""
        return [lease for lease in self._by_ref.values() if lease.task.ref.project == project]

    def lost(self, session: Session, seen: int, named: Iterable[int], granted_by: float) -> list[Lease]:
        """Leases that the slave does not name, of those delivered or overtaken, and of those granted by this time."""
        named = set(named)
        return [
            lease
            for number, lease in session.leases.items()
            if number not in named and not lease.has_arrived and (number <= seen or lease.granted <= granted_by)
        ]

    def _count(self, lease: Lease, host: str, start: float) -> None:
        if self._hosts.begin(host, start):
            lease.host, lease.start = host, start

    def _uncount(self, lease: Lease) -> None:
        self._hosts.end(lease.host)
        lease.host = ""

    def _put(self, lease: Lease) -> None:
        project = lease.task.ref.project
        self._by_ref[lease.task.ref] = lease
        lease.session.leases[lease.number] = lease
        self._per_project[project] = self._per_project.get(project, 0) + 1
