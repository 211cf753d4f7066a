"""The slaves of a master: how they come, speak, fall silent and go, and what becomes of the leases that each holds.

It knows what a lease is for (a project's state takes back what was not done); which task is granted next, it does not.
"""

from collections.abc import Iterable, Mapping, Sequence

from zspider.scheduler.actions import (
    Action,
    AskHello,
    Challenge,
    Charge,
    Gone,
    RefuseClone,
    Tell,
    Welcome,
    tell_holders,
)
from zspider.scheduler.hosts import HostLimits
from zspider.scheduler.leases import Lease, LeaseTable, Session, is_over
from zspider.scheduler.membership import HEALTHY, Arrival, Condition, Greeting, HeldLease, Membership, Timing
from zspider.scheduler.project_queue import ProjectQueue
from zspider.scheduler.projects import ProjectState
from zspider.scheduler.story import ADOPTED, EXPIRED, GIVEN_BACK, LEFT, MISSED, TAKEN, WAITS, Story
from zspider.scheduler.task_choice import has_row
from zspider.task import Ref, Task, task_key

EXPIRE_LOOK_S = 0.1  # how often silent slaves are looked for


class Slaves:
    """The sessions of one master, with their leases. Each event is a method that returns what is to be done."""

    def __init__(
        self,
        timing: Timing,
        expected: Iterable[bytes],
        now: float,
        *,
        leases: LeaseTable,
        hosts: HostLimits,
        projects: Mapping[int, ProjectState],
        queue: ProjectQueue,
        story: Story,
    ) -> None:
        """expected: sessions of before a restart, which may come back.

        The other parameters are parts of the core, shared with it.
        """
        self.lost_leases = 0  # grants that did not reach their slaves
        self._members = Membership(timing, expected, now)
        self._lease_s = timing.lease_s
        self._expire_at = now
        self._leases = leases
        self._hosts = hosts
        self._projects = projects
        self._queue = queue
        self._story = story

    @property
    def sessions(self) -> dict[bytes, Session]:
        """The sessions that have joined, by their ids."""
        return self._members.sessions

    def hello(self, greeting: Greeting, held: Sequence[HeldLease], is_last: bool, now: float) -> list[Action]:
        """Let a slave join, or join again; its leases come in pages, and it is in after the last."""
        match self._members.hello(greeting, held, is_last, now):
            case Arrival() as arrival:
                return self._admit(arrival, now)
            case Challenge() as challenge:
                return [challenge]
            case None:
                return []

    def route_is_gone(self, session_id: bytes, now: float) -> list[Action]:
        """Let the newer claimant in: the challenged route is gone, so it is the same slave, reconnected."""
        claim = self._members.end_claim(session_id)
        return [] if claim is None else self._admit(claim, now)

    def beat(
        self,
        session_id: bytes,
        route: bytes,
        seen: int,
        named: Sequence[int],
        window: int,
        now: float,
        condition: Condition = HEALTHY,
        unfinished: Sequence[int] = (),
    ) -> list[Action]:
        """Note that a slave lives and what it has. What it should have and has not is granted again.

        unfinished: the numbers in `named` of grants whose outcome is not made.

        The session is one of `sessions`. From another route than the session's it counts for nothing: it may be
        the same slave, whose connection broke and came back, or a clone of it. Its Hello will tell.
        """
        session, claim = self.sessions[session_id], self._members.claim(session_id)
        if session.route != route:
            return [] if claim is not None and claim.greeting.route == route else [AskHello(route)]
        actions: list[Action] = []
        if claim is not None:
            self._members.end_claim(session_id)
            actions.append(RefuseClone(claim.greeting.route, session_id))
        self.heard(session, now)
        is_other = self._members.note_condition(session, condition, now)
        if session.window != window or is_other:
            session.window = window
            self._leases.changed.add(session)
        session.seen = max(session.seen, min(seen, session.next_number - 1))
        self._miss(self._leases.lost(session, session.seen, named, now - self._lease_s))
        return [*actions, *_release_expired(session, unfinished)]

    def heard(self, session: Session, now: float) -> None:
        """Note that a slave lives: any message of it shows that."""
        if session.is_silent:
            self._leases.changed.add(session)
        self._members.heard(session, now)

    def leave(self, session_id: bytes) -> list[Action]:
        """Let a slave go; what it did not give back waits for another one."""
        session = self._members.remove(session_id)
        if session is None:
            return []
        for lease in list(session.leases.values()):
            if not lease.has_arrived:
                self._put_back(lease, LEFT)
        return [Gone(session), *_resend(self._leases.forget_processor(session_id))]

    def give_back(self, session_id: bytes, numbers: Iterable[int], *, bar: bool, error: str = "") -> None:
        """Take back what a slave did not start. bar: it cannot load the script, and `error` says why."""
        session = self.sessions[session_id]
        for number in numbers:
            lease = session.leases.get(number)
            if lease is None or lease.has_arrived:
                continue
            project = lease.task.ref.project
            if bar and (state := self._projects.get(project)) is not None:
                session.barred.add((project, state.project.script))
                state.load_failure.note(error, session.host)
            if lease.host:  # its token is spent: given back late, more tasks would start than may
                self._hosts.refund(lease.host, lease.start)
            self._put_back(lease, GIVEN_BACK, error)

    def outcome_dropped(self, ref: Ref, run: int) -> list[Action]:
        """Note that the outcome of a run which had arrived is not committed after all: its task waits again."""
        lease = self._leases.get(ref)
        if lease is None or lease.task.run != run or not lease.has_arrived:
            return []
        self._put_back(lease, LEFT)
        return [Tell("release", lease.session, [lease.number])] if lease.session.id in self.sessions else []

    def took(self, session_id: bytes, ref: Ref, run: int) -> list[Action]:
        """Note that a processing slave has a relayed page: its fetcher need not send it again."""
        lease = self._leases.get(ref)
        if lease is None or lease.task.run != run:
            return []
        self._leases.take(lease, session_id)
        self._story.note(TAKEN, ref, session_id, lease.attempt)
        return [Tell("taken", lease.session, [lease.number])]

    def release(self, leases: Sequence[Lease]) -> list[Action]:
        """End leases whose runs are over, or whose tasks are gone, and tell their holders to stop."""
        for lease in leases:
            self._leases.end(lease)
        return tell_holders("release", leases)

    def let_wait(self, task: Task) -> None:
        """Let the newest run of a task wait, which a lease that has ended kept back."""
        if (state := self._projects.get(task.ref.project)) is not None:
            state.frontier.offer(task)
            self._story.note(WAITS, task.ref)

    # --- time

    def step(self, now: float) -> list[Action]:
        """Let time pass: claims are decided, and those that were silent for too long lose what they hold."""
        actions: list[Action] = []
        for claim in self._members.unanswered(now):
            actions += self.route_is_gone(claim.greeting.session, now)
        if now >= self._expire_at:
            self._expire_at = now + EXPIRE_LOOK_S
            self._hosts.set_capacity(sum(session.window for session in self.sessions.values()))
            actions += self._expire(now)
        actions += [Gone(session) for session in self._members.not_back_after_restart(now)]
        return actions

    def is_adopting(self, now: float) -> bool:
        """Return whether it waits for the slaves of before a restart, whose leases must not be granted twice."""
        return self._members.is_adopting(now)

    # --- inside

    def _admit(self, arrival: Arrival, now: float) -> list[Action]:
        greeting, held = arrival.greeting, arrival.held
        known = self.sessions.get(greeting.session)
        is_same_route = known is not None and known.route == greeting.route
        session = self._members.admit(greeting, now)
        self._leases.changed.add(session)
        session.next_number = max([session.next_number, greeting.seen + 1, *(one.number + 1 for one in held)])
        # What was granted on a connection that is no more will not arrive; on this one it may be on its way.
        came = greeting.seen if is_same_route else session.next_number
        self._miss(self._leases.lost(session, came, [one.number for one in held], now - self._lease_s))
        return [Welcome(session), *(action for one in held for action in self._adopt(session, one, now))]

    def _adopt(self, session: Session, held: HeldLease, now: float) -> list[Action]:
        """Take up a lease that the slave says it has, unless its run is over or a slave has the task already.

        A run that may be open is not released where it cannot be leased: its outcome may be made, and would count.
        """
        if held.number in session.leases or session.stuck_since is not None:
            return []
        ref, state = Ref(held.project, task_key(held.taskid)), self._projects.get(held.project)
        lease = self._leases.get(ref)
        waiting = None if state is None else state.frontier.get(ref)
        waiting = waiting or (None if lease is None else lease.newest)
        leased = lease.task if lease is not None and lease.has_full_task else None
        if state is None or is_over(held.run, waiting, leased):
            return [Tell("release", session, [held.number])]
        if lease is None or lease.task.run < held.run:
            state.frontier.take(ref)
            task = Task(ref, held.taskid, url="", body=b"", run=held.run, attempt=held.attempt - 1)
            self._leases.adopt(task, session, held.number, held.attempt, now, host=held.host, newest=waiting)
            self._story.note(ADOPTED, ref, session.id, held.attempt)
        return []

    def _expire(self, now: float) -> list[Action]:
        """Mark silent slaves, which are granted nothing; after lease_s expire their leases."""
        actions: list[Action] = []
        for session in self._members.mark_silent(now):
            self._members.remove(session.id)
            actions += [*self._expire_leases(session), Gone(session)]
        for session in self._members.stuck_too_long(now):
            actions += self._expire_leases(session)
        return actions

    def _expire_leases(self, session: Session) -> list[Action]:
        """Expire the leases of a slave that is gone, or cannot deliver its outcomes; each counts as an attempt."""
        lost = [lease for lease in session.leases.values() if not lease.has_arrived]
        charged = [(lease.task.ref, lease.task.run, lease.attempt) for lease in lost if has_row(lease.task)]
        for lease in lost:
            self._put_back(lease, EXPIRED, is_charged=True)
        session.expired_while_stuck |= bool(lost)
        return [*([Charge(charged)] if charged else []), *_resend(self._leases.forget_processor(session.id))]

    def _miss(self, leases: Iterable[Lease]) -> None:
        """Put back the tasks of grants that did not reach their slave."""
        for lease in leases:
            self.lost_leases += 1
            self._put_back(lease, MISSED)

    def _put_back(self, lease: Lease, event: str, detail: str = "", *, is_charged: bool = False) -> None:
        """End a lease whose task waits again: now, or, if it is charged, once that is written and it enters.

        Of a task that was replaced the newest run waits now, if there is one.
        """
        self._leases.end(lease)
        self._story.note(event, lease.task.ref, lease.session.id, lease.attempt, detail)
        self._queue.touch(lease.task.ref.project)
        task, state = lease.task, self._projects.get(lease.task.ref.project)
        if state is None:
            return
        if not has_row(task):
            state.put_back(task, lease.session.host, is_charged=is_charged)
        elif lease.is_replaced:
            if lease.newest is not None:
                self.let_wait(lease.newest)
        elif lease.has_full_task and not is_charged:
            state.frontier.offer(task)
        elif not is_charged:
            state.frontier.reset()  # only the database knows where it belongs


def _release_expired(session: Session, unfinished: Sequence[int]) -> list[Action]:
    """Tell a slave to forget tasks that it holds without a lease.

    (Outcomes that are made may still come, and count.)
    """
    if not session.expired_while_stuck:
        return []
    without = [number for number in unfinished if number not in session.leases]
    session.expired_while_stuck = bool(without) or session.stuck_since is not None
    return [Tell("release", session, without)] if without else []


def _resend(leases: Sequence[Lease]) -> list[Action]:
    """Ask the fetching slaves to send the pages again that a vanished slave was processing."""
    return tell_holders("resend", leases)
