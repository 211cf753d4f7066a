"""The sessions of slaves, and the leases lent to them."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain

from msgspec import Struct

from zspider.scheduler.hosts import HostLimits
from zspider.task import INTERNAL, Ref, Task


class Lease(Struct, eq=False):
    """The right of one session to work on one run of a task."""

    task: Task
    session: "Session"
    number: int  # of the grant, within the session
    attempt: int
    granted: float  # monotonic seconds
    has_arrived: bool = False  # an outcome of it waits to be committed
    has_full_task: bool = (
        True  # False: named by its slave, as after a restart; URL and options are in the database only
    )
    processed_by: bytes | None = None  # session of the processing slave that has its relayed page
    host: str = ""  # in whose limit it counts; "": in none
    start: float = 0.0  # when it may start, in monotonic seconds; where `host` is set
    is_replaced: bool = False  # the task was restarted or cancelled: this run ends and counts, and is not granted again
    newest: Task | None = None  # the run in its place, if it is known here: it waits for the end of the lease


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
    outcomes: int = 0  # the highest serial of its messages with outcomes that has arrived
    complaint: str = ""  # what it says keeps it from working
    stuck_since: float | None = None  # it says that what it makes does not get through
    expired_while_stuck: bool = False  # leases ended because it was stuck; it may still hold what they were for
    told: dict[tuple[int, bytes], tuple[int, ...]] = {}  # what it was told last of (project, script): of which state
    barred: set[tuple[int, bytes]] = set()  # (project, script) it cannot load
    served: int = 0  # order of the last grant, for turns
    turn: "tuple[int, int, bytes, int, Session] | None" = None  # its place among the slaves with room

    @property
    def room(self) -> int:
        """How many more leases it may get."""
        if self.is_silent or self.stuck_since is not None or "fetcher" not in self.roles:
            return 0
        return self.window - (len(self.leases) - self.arrived)


class LeaseTable:
    """All leases, by task, by session and by who processes its page. A task has at most one.

    A lease with a host counts in that host's limit from `add` or `adopt` until its outcome is here or it ends.
    """

    def __init__(self, hosts: HostLimits) -> None:
        self.changed: set[Session] = set()  # sessions whose leases have changed; the reader empties it
        self._hosts = hosts
        self._by_project: dict[int, dict[Ref, Lease]] = {}
        self._taken: dict[bytes, set[Lease]] = {}  # by the session that has the relayed page

    def __len__(self) -> int:
        return sum(map(len, self._by_project.values()))

    def __iter__(self) -> Iterator[Lease]:
        return chain.from_iterable(leases.values() for leases in self._by_project.values())

    def get(self, ref: Ref) -> Lease | None:
        """Return the lease on this task, or None."""
        leases = self._by_project.get(ref.project)
        return None if leases is None else leases.get(ref)

    def count(self, project: int) -> int:
        """Return how many tasks of this project are leased."""
        return len(self._by_project.get(project, ()))

    def has_rows(self, project: int) -> bool:
        """Return whether tasks of this project that have rows are leased: they wait, or were cancelled meanwhile."""
        return any(lease.task.taskid not in INTERNAL for lease in self._by_project.get(project, {}).values())

    def is_leased(self, task: Task) -> bool:
        """Return whether this run of the task is leased, or an earlier one that has to end first."""
        lease = self.get(task.ref)
        return lease is not None and (lease.task.run == task.run or task.is_open(lease.task.run))

    def hold_back(self, task: Task) -> bool:
        """Return what `is_leased` does of a waiting task; the lease on an earlier run keeps it until it ends."""
        lease = self.get(task.ref)
        if lease is None or lease.task.run > task.run:
            return False
        if lease.task.run == task.run:
            return True
        is_open = task.is_open(lease.task.run)
        lease.is_replaced, lease.newest = True, task if is_open else None
        return is_open

    def add(self, task: Task, session: Session, now: float, host: str = "", start: float = 0.0) -> Lease:
        """Lend a task that is not leased to a session, under its next number.

        host, start: whose limit counts it, and from when.
        """
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
        host: str = "",
        newest: Task | None = None,
    ) -> None:
        """Accept a lease that a former master granted; one on an earlier run of the task ends.

        task: as far as the slave can tell. newest: its newest run that is known here, whole; a later one is held back.
        """
        if (older := self.get(task.ref)) is not None:
            self.end(older)
        is_newest = newest is not None and newest.run == task.run
        lease = Lease(newest if newest and is_newest else task, session, number, attempt, now, has_full_task=is_newest)
        self._put(lease)
        if host:
            self._count(lease, host, now)
        if newest is not None:
            self.hold_back(newest)

    def replace(self, ref: Ref) -> bool:
        """Note that a task was restarted or cancelled; returns whether it is leased: that run ends first."""
        lease = self.get(ref)
        if lease is not None:
            lease.is_replaced, lease.newest = True, None
        return lease is not None

    def forget_newest(self) -> None:
        """Forget the runs that are held back: the database is asked again."""
        for lease in self:
            lease.newest = None

    def end(self, lease: Lease) -> None:
        """End a lease; safe to repeat."""
        if lease.session.leases.pop(lease.number, None) is None:
            return
        lease.session.arrived -= lease.has_arrived
        self.changed.add(lease.session)
        del self._by_project[lease.task.ref.project][lease.task.ref]
        if lease.processed_by is not None:
            self._drop_processor(lease, lease.processed_by)
        if lease.host:
            self._uncount(lease)

    def arrive(self, lease: Lease) -> None:
        """Note that a lease's outcome is here: it takes no more room at the slave."""
        if not lease.has_arrived:
            lease.has_arrived = True
            lease.session.arrived += 1
            self.changed.add(lease.session)
            if lease.host:
                self._uncount(lease)

    def of_project(self, project: int) -> list[Lease]:
        """Return all leases of a project."""
        return list(self._by_project.get(project, {}).values())

    def take(self, lease: Lease, session_id: bytes) -> None:
        """Note that a processing slave has the page of this lease, whichever had it before."""
        if lease.processed_by is not None:
            self._drop_processor(lease, lease.processed_by)
        lease.processed_by = session_id
        self._taken.setdefault(session_id, set()).add(lease)

    def forget_processor(self, session_id: bytes) -> list[Lease]:
        """Return the leases whose pages a slave had that is gone, by session and number."""
        leases = sorted(self._taken.pop(session_id, ()), key=lambda lease: (lease.session.id, lease.number))
        for lease in leases:
            lease.processed_by = None
        return leases

    def lost(self, session: Session, seen: int, named: Iterable[int], granted_by: float) -> list[Lease]:
        """Return the leases that a slave should name and does not, without those whose outcome is here.

        seen: highest number of a grant that reached it. granted_by: leases granted at this time or earlier should be
        named, too.
        """
        named = set(named)
        return [
            lease
            for number, lease in session.leases.items()
            if number not in named and not lease.has_arrived and (number <= seen or lease.granted <= granted_by)
        ]

    def assert_invariants(self, sessions: Mapping[bytes, Session]) -> None:
        """Raise AssertionError when the three views of the leases differ. sessions: those that have joined."""
        assert len({lease.task.ref for lease in self}) == len(self), "a task is leased twice"
        for lease in self:
            text = f"lease {lease.number} of session {lease.session.id.hex()[:8]} on {lease.task.taskid!r}"
            assert self.get(lease.task.ref) is lease, f"{text}: another one is known for its task"
            if lease.newest is not None:
                assert lease.newest.ref == lease.task.ref, f"{text}: it keeps back another task"
                assert lease.newest.is_open(lease.task.run), f"{text}: it keeps back what need not wait for it"
                assert lease.is_replaced, f"{text}: it keeps back a newer run and is not replaced"
            assert lease.session.leases.get(lease.number) is lease, f"{text}: its session does not have it"
            is_in = sessions.get(lease.session.id) is lease.session
            assert is_in or lease.has_arrived, f"{text}: its session is gone, and no outcome is here"
            is_noted = lease.processed_by is None or lease in self._taken.get(lease.processed_by, ())
            assert is_noted, f"{text}: its page was taken, and that is not noted"
        for id, session in sessions.items():
            text = f"session {id.hex()[:8]}"
            assert session.id == id, f"{text} is known as another one"
            arrived = sum(lease.has_arrived for lease in session.leases.values())
            assert session.arrived == arrived, f"{text}: {session.arrived} outcomes counted, there are {arrived}"
            for number, lease in session.leases.items():
                assert lease.number == number < session.next_number, f"{text}: lease {number} has a wrong number"
                assert self.get(lease.task.ref) is lease, f"{text}: lease {number} is not known"

    def _count(self, lease: Lease, host: str, start: float) -> None:
        if self._hosts.begin(host, start):
            lease.host, lease.start = host, start

    def _uncount(self, lease: Lease) -> None:
        self._hosts.end(lease.host)
        lease.host = ""

    def _put(self, lease: Lease) -> None:
        self._by_project.setdefault(lease.task.ref.project, {})[lease.task.ref] = lease
        lease.session.leases[lease.number] = lease
        self.changed.add(lease.session)

    def _drop_processor(self, lease: Lease, session_id: bytes) -> None:
        leases = self._taken[session_id]
        leases.discard(lease)
        if not leases:
            del self._taken[session_id]


def is_over(run: int, *later: Task | None) -> bool:
    """Return whether a run of a task has ended for certain, by what is known of later runs."""
    return any(task is not None and run < task.run and not task.is_open(run) for task in later)
