"""The master's decisions: events and the time go in, actions come out. No I/O, no clock.

`now` is monotonic seconds, `now_ms` wall-clock milliseconds. The role calls one method per event and then
`step`, which grants what can be granted and says by when it wants to be called again.
"""

from collections.abc import Collection, Iterable, Sequence
from heapq import heapify, heappop, heappush
from math import ceil
from typing import Literal, NamedTuple

from zspider.scheduler.actions import (
    Action,
    Challenge,
    Charge,
    Give,
    Gone,
    Refill,
    RefuseClone,
    Tell,
    Welcome,
)
from zspider.scheduler.leases import Lease, LeaseTable, Session
from zspider.scheduler.projects import ProjectState
from zspider.task import ATTEMPTS_MAX, CRONJOB, INTERNAL, Project, Ref, Task, task_key

AHEAD_S = 0.1  # tokens are granted this much ahead; the slave starts each task at its time
RATE_TURN_S = 0.03  # a project held back by its rate is looked at this often: one grant message, several tasks
EXPIRE_TURN_S = 0.1  # how often silent slaves are looked for
GRANTS_PER_TURN = 500  # then the sockets are looked at again


class Timing(NamedTuple):
    """The numbers of design section 5."""

    suspect_s: float = 6.0
    lease_s: float = 30.0
    adopt_s: float = 15.0
    answer_s: float = 4.0  # how long the older holder of a session has to show that it lives


class Greeting(NamedTuple):
    """What a slave says of itself in Hello."""

    session: bytes
    route: bytes
    roles: frozenset[str]
    host: str
    window: int
    seen: int


class HeldLease(NamedTuple):
    """A lease that a slave names in Hello; its proof was checked."""

    number: int
    project: int
    taskid: str
    run: int
    attempt: int


class _Claim(NamedTuple):
    """A second slave says Hello with a live session."""

    greeting: Greeting
    held: list[HeldLease]
    until: float


class Core:
    """Sessions, leases and frontiers of one master."""

    def __init__(
        self, timing: Timing, *, window: int, expected: Iterable[bytes], now: float, has_cron: bool = True
    ) -> None:
        self.leases = LeaseTable()
        self.sessions: dict[bytes, Session] = {}
        self.projects: dict[int, ProjectState] = {}
        self.lost_leases = 0
        self._timing = timing
        self._window = window
        self._has_cron = has_cron
        self._expected = set(expected)  # sessions of before the restart that are not back yet
        self._adopt_until = now + timing.adopt_s
        self._pages: dict[bytes, tuple[bytes, list[HeldLease]]] = {}  # of a Hello in several messages, by its route
        self._claims: dict[bytes, _Claim] = {}
        self._expire_at = now
        self._turn = 0  # whose turn it is among projects, and the order in which sessions were served

    # --- projects -------------------------------------------------------------------------------

    def set_project(self, project: Project, now: float, now_ms: int) -> list[Action]:
        """A project is new or was changed. One that is not worked on any more gets its leases recalled."""
        state = self.projects.get(project.id)
        if state is None:
            self.projects[project.id] = ProjectState(
                project, window=self._window, now=now, now_ms=now_ms, has_cron=self._has_cron
            )
            return []
        state.change(project, now)
        return [] if state.is_active else self._tell_holders("recall", self.leases.of_project(project.id))

    def remove_project(self, project: int) -> list[Action]:
        """A project is gone with all its tasks."""
        self.projects.pop(project, None)
        return self._end_all(self.leases.of_project(project))

    # --- sessions -------------------------------------------------------------------------------

    def hello(self, greeting: Greeting, held: Sequence[HeldLease], is_last: bool, now: float) -> list[Action]:
        """A slave joins, or joins again; its leases come in pages, and it is in after the last."""
        route, pages = self._pages.pop(greeting.session, (greeting.route, []))
        pages = [*pages, *held] if route == greeting.route else list(held)
        if not is_last:
            self._pages[greeting.session] = (greeting.route, pages)
            return []
        session = self.sessions.get(greeting.session)
        if session is not None and session.route != greeting.route and self._lives(session, now):
            self._claims[greeting.session] = _Claim(greeting, pages, now + self._timing.answer_s)
            return [Challenge(session)]
        return self._admit(greeting, pages, now)

    def route_is_gone(self, session_id: bytes, now: float) -> list[Action]:
        """The challenged route does not exist any more: the newer one is the same slave, reconnected."""
        claim = self._claims.pop(session_id, None)
        return [] if claim is None else self._admit(claim.greeting, claim.held, now)

    def beat(
        self, session_id: bytes, route: bytes, seen: int, named: Sequence[int], window: int, now: float
    ) -> list[Action]:
        """A slave says that it lives and what it has. What it should have and has not is given again."""
        session = self.sessions[session_id]
        if session.route != route:  # a clone of a slave whose session is in use
            claim = self._claims.get(session_id)
            return [] if claim is not None and claim.greeting.route == route else [RefuseClone(route)]
        actions: list[Action] = []
        if (claim := self._claims.pop(session_id, None)) is not None:
            actions.append(RefuseClone(claim.greeting.route))
        self.heard(session, now)
        session.window = window
        session.seen = max(session.seen, min(seen, session.next_number - 1))
        for lease in self.leases.lost(session, session.seen, named):
            self.lost_leases += 1
            self._put_back(lease)
        return actions

    def heard(self, session: Session, now: float) -> None:
        """Any word of a slave shows that it lives."""
        session.heard = now
        session.is_silent = False

    def leave(self, session_id: bytes) -> list[Action]:
        """A slave ends; what it did not give back waits for somebody else."""
        session = self.sessions.pop(session_id, None)
        if session is None:
            return []
        self._expected.discard(session_id)
        for lease in list(session.leases.values()):
            if not lease.has_arrived:
                self._put_back(lease)
        return [Gone(session), *self._resend_taken(session_id)]

    def give_back(self, session_id: bytes, numbers: Iterable[int], *, bar: bool) -> None:
        """A slave did not start these; `bar`: because it cannot load their script."""
        session = self.sessions[session_id]
        for number in numbers:
            lease = session.leases.get(number)
            if lease is None or lease.has_arrived:
                continue
            project = lease.task.ref.project
            if bar and (state := self.projects.get(project)) is not None:
                session.barred.add((project, state.project.script))
            self._put_back(lease)

    def took(self, session_id: bytes, ref: Ref, run: int) -> list[Action]:
        """A processing slave has a relayed page: its fetcher need not send it again."""
        lease = self.leases.get(ref)
        if lease is None or lease.task.run != run:
            return []
        lease.taken_by = session_id
        return [Tell("taken", lease.session, [lease.number])]

    # --- outcomes -------------------------------------------------------------------------------

    def arrived(self, ref: Ref, run: int) -> None:
        """The ending outcome of a run is here and will be committed: its lease takes no more room."""
        lease = self.leases.get(ref)
        if lease is not None and lease.task.run == run:
            self.leases.arrive(lease)

    def ended(self, ref: Ref, run: int, by: bytes, *, is_late: bool) -> list[Action]:
        """A run ended in the database, by an outcome of session `by`; whoever else holds it is told.

        is_late: it had ended before; the task may wait for its next run already.
        """
        if not is_late and (state := self.projects.get(ref.project)) is not None:
            state.frontier.discard(ref)
        lease = self.leases.get(ref)
        if lease is None or lease.task.run > run:
            return []
        self.leases.end(lease)
        return [] if lease.session.id == by else [Tell("release", lease.session, [lease.number])]

    def void(self, refs: Iterable[Ref]) -> list[Action]:
        """These runs were cancelled or replaced: nobody need work on them."""
        actions: list[Action] = []
        for ref in refs:
            if (state := self.projects.get(ref.project)) is not None:
                state.frontier.discard(ref)
            if (lease := self.leases.get(ref)) is not None:
                actions += self._end_all([lease])
        return actions

    def entered(self, tasks: Iterable[Task]) -> None:
        """These tasks wait now, with their committed run: new, restarted or to be tried again."""
        for task in tasks:
            if (state := self.projects.get(task.ref.project)) is not None:
                state.frontier.offer(task)

    def refilled(
        self,
        project: int,
        kind: Literal["ready", "delayed"],
        after: tuple[int, int] | None,
        tasks: Sequence[Task],
        is_last: bool,
    ) -> None:
        """The answer to a Refill."""
        if (state := self.projects.get(project)) is not None:
            window = state.frontier.ready if kind == "ready" else state.frontier.delayed
            window.refill(after, tasks, is_last, self.leases.is_leased)

    # --- time -----------------------------------------------------------------------------------

    def step(self, now: float, now_ms: int) -> list[Action]:
        """Let time pass, then grant what can be granted."""
        actions = self._settle_claims(now)
        actions += self._expire(now)
        if self.is_adopting(now):
            return actions
        actions += self._refills()
        actions += self._grant(now, now_ms)
        return actions

    def is_adopting(self, now: float) -> bool:
        """After a restart: waiting for the slaves of before, whose leases must not be given twice."""
        if self._expected and now >= self._adopt_until:
            self._expected.clear()
        return bool(self._expected)

    def wait_s(self, now: float, now_ms: int) -> float:
        """Seconds until `step` has something to do, if nothing happens; at most one."""
        wait_s = 1.0
        can_grant = any(session.room > 0 for session in self.sessions.values())
        for state in self.projects.values():
            if not state.is_active or not can_grant:
                continue
            if state.is_limited:
                wait_s = min(wait_s, RATE_TURN_S + max(0.0, (state.bucket.wait_s(now) or 1.0) - AHEAD_S))
            for at_ms in (state.frontier.next_due_ms(), state.next_tick_ms(now_ms)):
                if at_ms is not None:
                    wait_s = min(wait_s, max(0.001, (at_ms - now_ms) / 1000))
        return wait_s

    # --- inside ---------------------------------------------------------------------------------

    def _lives(self, session: Session, now: float) -> bool:
        return now - session.heard < self._timing.suspect_s

    def _admit(self, greeting: Greeting, held: Sequence[HeldLease], now: float) -> list[Action]:
        session = self.sessions.get(greeting.session)
        if session is None:
            session = Session(
                greeting.session, greeting.route, greeting.roles, greeting.host, greeting.window, joined=now, heard=now
            )
            self.sessions[session.id] = session
        self.heard(session, now)
        session.route, session.window = greeting.route, greeting.window
        session.told.clear()
        session.seen = greeting.seen
        session.next_number = max([session.next_number, greeting.seen + 1, *(one.number + 1 for one in held)])
        named = {one.number for one in held}
        for lease in [x for x in session.leases.values() if x.number not in named and not x.has_arrived]:
            self.lost_leases += 1  # granted on a connection that is no more
            self._put_back(lease)
        for one in held:
            self._adopt(session, one, now)
        self._expected.discard(session.id)
        return [Welcome(session)]

    def _adopt(self, session: Session, held: HeldLease, now: float) -> None:
        ref = Ref(held.project, task_key(held.taskid))
        if held.number not in session.leases:
            task = Task(ref, held.taskid, url="", body=b"", run=held.run, attempt=held.attempt - 1)
            self.leases.adopt(task, session, held.number, held.attempt, now)
            if (state := self.projects.get(held.project)) is not None:
                state.frontier.discard(ref)

    def _settle_claims(self, now: float) -> list[Action]:
        actions: list[Action] = []
        for session_id, claim in list(self._claims.items()):
            if now >= claim.until:
                actions += self.route_is_gone(session_id, now)
        return actions

    def _expire(self, now: float) -> list[Action]:
        """Silent slaves get nothing new; after lease_s what they hold goes back, counted as an attempt."""
        if now < self._expire_at:
            return []
        self._expire_at = now + EXPIRE_TURN_S
        actions: list[Action] = []
        for session in list(self.sessions.values()):
            silent_s = now - session.heard
            session.is_silent = silent_s >= self._timing.suspect_s
            if silent_s < self._timing.lease_s:
                continue
            del self.sessions[session.id]
            lost = [lease for lease in session.leases.values() if not lease.has_arrived]
            charged = [(lease.task.ref, lease.task.run, lease.attempt) for lease in lost if _has_row(lease.task)]
            for lease in lost:
                self._put_back(lease, is_charged=True)
            actions += [Charge(charged)] if charged else []
            actions += [Gone(session), *self._resend_taken(session.id)]
        return actions

    def _put_back(self, lease: Lease, *, is_charged: bool = False) -> None:
        """End a lease whose task waits again."""
        self.leases.end(lease)
        task, state = lease.task, self.projects.get(lease.task.ref.project)
        if state is None:
            return
        if task.taskid in INTERNAL:
            if is_charged:
                state.charge_internal(task)
        elif not lease.is_known:
            state.frontier.reset()  # only the database knows where it belongs
        else:
            task.attempt = lease.attempt if is_charged else task.attempt
            if task.attempt < ATTEMPTS_MAX:
                state.frontier.offer(task)

    def _resend_taken(self, session_id: bytes) -> list[Action]:
        """Relayed pages that a vanished slave was processing."""
        leases = [lease for lease in self.leases if lease.taken_by == session_id]
        for lease in leases:
            lease.taken_by = None
        return self._tell_holders("resend", leases)

    def _end_all(self, leases: Sequence[Lease]) -> list[Action]:
        for lease in leases:
            self.leases.end(lease)
        return self._tell_holders("release", leases)

    def _tell_holders(self, what: Literal["release", "recall", "resend"], leases: Sequence[Lease]) -> list[Action]:
        numbers: dict[bytes, tuple[Session, list[int]]] = {}
        for lease in leases:
            numbers.setdefault(lease.session.id, (lease.session, []))[1].append(lease.number)
        return [Tell(what, session, found) for session, found in numbers.values()]

    def _refills(self) -> list[Action]:
        actions: list[Action] = []
        for state in self.projects.values():
            if state.is_active and state.has_script:
                for window in state.frontier.wants():
                    window.is_refilling = True
                    kind: Literal["ready", "delayed"] = "ready" if window is state.frontier.ready else "delayed"
                    actions.append(Refill(state.project.id, kind, window.after))
        return actions

    def _grant(self, now: float, now_ms: int) -> list[Action]:
        """Hand out tasks, one project after the other, to whoever has the least to do."""
        hungry = _Hungry(self.sessions.values())
        given: dict[bytes, tuple[Session, list[tuple[Lease, int]]]] = {}
        sources = [state for state in self.projects.values() if state.is_active]
        left = GRANTS_PER_TURN
        while sources and hungry and left:
            state = sources[self._turn % len(sources)]
            self._turn += 1
            session = hungry.take((state.project.id, state.project.script))
            found = self._next(state, now, now_ms) if session is not None else None
            if session is not None:
                hungry.put_back(session, was_served=found is not None)
            if session is None or found is None:
                sources.remove(state)
                continue
            task, start_ms = found
            lease = self.leases.add(task, session, now)
            given.setdefault(session.id, (session, []))[1].append((lease, start_ms))
            left -= 1
        return [Give(session, grants) for session, grants in given.values()]

    def _next(self, state: ProjectState, now: float, now_ms: int) -> tuple[Task, int] | None:
        """The project's next task and the milliseconds from now when it may start; None if it has to wait."""
        state.is_limited = False
        for task in state.internal_tasks(now_ms):
            if self.leases.get(task.ref) is None:
                if task.taskid == CRONJOB:
                    state.cron_ran(task)
                return task, 0
        if not state.has_script or not state.frontier.has_ready(now_ms):
            return None
        wait_s = state.bucket.reserve(now, AHEAD_S)
        if wait_s is None:
            state.is_limited = True
            return None
        found = state.frontier.next(now_ms)
        assert found is not None  # has_ready said so
        return found, ceil(wait_s * 1000)


def _has_row(task: Task) -> bool:
    return task.taskid not in INTERNAL


class _Hungry:
    """Slaves with room, the one with the least work (and then the longest wait) first."""

    def __init__(self, sessions: Collection[Session]) -> None:
        self._order = max((session.served for session in sessions), default=0)
        self._room = {session.id: session.room for session in sessions if session.room > 0}
        self._heap = [self._entry(session) for session in sessions if session.id in self._room]
        heapify(self._heap)

    def __bool__(self) -> bool:
        return bool(self._heap)

    def take(self, script: tuple[int, bytes]) -> Session | None:
        """Take out the one to be served next, of those that can load this script; `put_back` follows."""
        barred = []
        while self._heap and script in self._heap[0][-1].barred:
            barred.append(heappop(self._heap))
        found = heappop(self._heap)[-1] if self._heap else None
        for entry in barred:
            heappush(self._heap, entry)
        return found

    def put_back(self, session: Session, *, was_served: bool) -> None:
        """Return what `take` gave, with one place less if it got a task."""
        if was_served:
            self._order += 1
            session.served = self._order
            self._room[session.id] -= 1
        if self._room[session.id] > 0:
            heappush(self._heap, self._entry(session))

    def _entry(self, session: Session) -> tuple[float, int, bytes, Session]:
        return ((session.window - self._room[session.id]) / session.window, session.served, session.id, session)
