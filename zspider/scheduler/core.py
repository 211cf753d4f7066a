"""The master's decisions: events and the time go in, actions come out. No I/O, no clock.

`now` is monotonic seconds, `now_ms` wall-clock milliseconds. The role calls one method per event and then
`step`, which grants what can be granted and says by when it wants to be called again.
"""

from collections.abc import Iterable, Sequence
from math import inf
from typing import Literal

from zspider.delivery import Answer
from zspider.hosts import host_hash, host_of
from zspider.scheduler.actions import (
    Action,
    AskHello,
    Challenge,
    Charge,
    Finish,
    Give,
    Gone,
    Paused,
    Refill,
    RefuseClone,
    Sweep,
    Tell,
    Welcome,
    tell_holders,
)
from zspider.scheduler.agenda import Agenda
from zspider.scheduler.choice import AHEAD_S, RATE_TURN_S, Choice, has_row, takes_token
from zspider.scheduler.host_queues import Stretch
from zspider.scheduler.hosts import HostLimits
from zspider.scheduler.leases import Lease, LeaseTable, Session
from zspider.scheduler.membership import WELL, Arrival, Condition, Greeting, HeldLease, Membership, Timing
from zspider.scheduler.pause import NEVER, Pausing, Phase
from zspider.scheduler.projects import CronRun, ProjectState
from zspider.scheduler.turns import Turns
from zspider.settings import PolitenessSettings
from zspider.task import Project, ProjectStatus, Ref, Task, task_key

__all__ = ["Condition", "Core", "Greeting", "HeldLease", "Timing"]

EXPIRE_TURN_S = 0.1  # how often silent slaves are looked for
GRANTS_PER_TURN = 500  # then the sockets are looked at again
NO_LIMITS = PolitenessSettings(silent_share=1.0)


class Core:
    """Sessions, leases and frontiers of one master."""

    def __init__(
        self,
        timing: Timing,
        *,
        window: int,
        expected: Iterable[bytes],
        now: float,
        has_cron: bool = True,
        pausing: Pausing = NEVER,
        politeness: PolitenessSettings | None = None,
    ) -> None:
        self.hosts = HostLimits(politeness or NO_LIMITS)
        self.leases = LeaseTable(self.hosts)
        self.projects: dict[int, ProjectState] = {}
        self.lost_leases = 0
        self._members = Membership(timing, expected, now)
        self._turns = Turns(self._members.sessions, self.leases.changed)
        self._choice = Choice(self.leases, self.hosts)
        self._agenda = Agenda()
        self._lease_s = timing.lease_s
        self._window = window
        self._has_cron = has_cron
        self._pausing = pausing
        self._expire_at = now
        self._grants = 0  # counts; the order in which projects had their turns
        self._is_cut_short = False  # the last step had more to grant

    @property
    def sessions(self) -> dict[bytes, Session]:
        """The slaves that are in."""
        return self._members.sessions

    # --- projects -------------------------------------------------------------------------------

    def set_project(self, project: Project, now: float, now_ms: int) -> list[Action]:
        """A project is new or was changed. One that is not worked on any more gets its leases recalled."""
        self._agenda.touch(project.id)
        state = self.projects.get(project.id)
        if state is None:
            self.projects[project.id] = ProjectState(
                project,
                window=self._window,
                now=now,
                now_ms=now_ms,
                has_cron=self._has_cron,
                pausing=self._pausing,
            )
            return []
        state.change(project, now, now_ms)
        if not state.is_active:
            return tell_holders("recall", self.leases.of_project(project.id))
        return self._recall_pages(project.id) if project.status is ProjectStatus.PAUSED else []

    def unpause(self, project: int) -> None:
        """Somebody says that a project may go on: what failed before does not count any more."""
        self.projects[project].pause.clear()
        self._agenda.touch(project)

    def unloadable(self, project: int) -> str:
        """Why no slave can load a project's script; "" if one may be able to, or nobody is there."""
        state = self.projects[project]
        script = (project, state.project.script)
        fetchers = [session for session in self.sessions.values() if "fetcher" in session.roles]
        is_barred = bool(fetchers) and all(script in session.barred for session in fetchers)
        return state.load_error if is_barred else ""

    def remove_project(self, project: int) -> list[Action]:
        """A project is gone with all its tasks."""
        self.projects.pop(project, None)
        return self._end_all(self.leases.of_project(project))

    # --- sessions -------------------------------------------------------------------------------

    def hello(self, greeting: Greeting, held: Sequence[HeldLease], is_last: bool, now: float) -> list[Action]:
        """A slave joins, or joins again; its leases come in pages, and it is in after the last."""
        match self._members.hello(greeting, held, is_last, now):
            case Arrival() as arrival:
                return self._admit(arrival, now)
            case Challenge() as challenge:
                return [challenge]
            case None:
                return []

    def route_is_gone(self, session_id: bytes, now: float) -> list[Action]:
        """The challenged route does not exist any more: the newer one is the same slave, reconnected."""
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
        condition: Condition = WELL,
        unfinished: Sequence[int] = (),
    ) -> list[Action]:
        """A slave says that it lives and what it has. What it should have and has not is given again.

        unfinished: those of `named` whose outcome is not made.

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
        is_other = self._members.says(session, condition, now)
        if session.window != window or is_other:
            session.window = window
            self.leases.changed.add(session)
        session.seen = max(session.seen, min(seen, session.next_number - 1))
        self._miss(self.leases.lost(session, session.seen, named, now - self._lease_s))
        return [*actions, *self._release_lapsed(session, unfinished)]

    def heard(self, session: Session, now: float) -> None:
        """Any word of a slave shows that it lives."""
        if session.is_silent:
            self.leases.changed.add(session)
        self._members.heard(session, now)

    def leave(self, session_id: bytes) -> list[Action]:
        """A slave ends; what it did not give back waits for somebody else."""
        session = self._members.remove(session_id)
        if session is None:
            return []
        for lease in list(session.leases.values()):
            if not lease.has_arrived:
                self._put_back(lease)
        return [Gone(session), *self._resend_taken(session_id)]

    def give_back(self, session_id: bytes, numbers: Iterable[int], *, bar: bool, error: str = "") -> None:
        """A slave did not start these; `bar`: because it cannot load their script, and `error` says why."""
        session = self.sessions[session_id]
        for number in numbers:
            lease = session.leases.get(number)
            if lease is None or lease.has_arrived:
                continue
            project = lease.task.ref.project
            if bar and (state := self.projects.get(project)) is not None:
                session.barred.add((project, state.project.script))
                state.load_error = error or state.load_error
            self._refund(lease)
            self._put_back(lease)

    def took(self, session_id: bytes, ref: Ref, run: int) -> list[Action]:
        """A processing slave has a relayed page: its fetcher need not send it again."""
        lease = self.leases.get(ref)
        if lease is None or lease.task.run != run:
            return []
        self.leases.take(lease, session_id)
        return [Tell("taken", lease.session, [lease.number])]

    # --- outcomes -------------------------------------------------------------------------------

    def arrived(self, ref: Ref, run: int, answer: Answer | None, fetch_s: float, now: float) -> None:
        """The ending outcome of a run is here and will be committed: its lease takes no more room.

        answer, fetch_s: what the page's host had to say, and how long that took; None for a usual 200.
        """
        lease = self.leases.get(ref)
        if lease is None or lease.task.run != run:
            return
        if (answer is not None or self.hosts.is_used) and not lease.has_arrived:
            self._hear_host(lease, answer, fetch_s, now)
        self.leases.arrive(lease)

    def ended(
        self, ref: Ref, run: int, by: bytes, *, is_late: bool, is_success: bool | None = None, error: str = ""
    ) -> list[Action]:
        """A run ended in the database, by an outcome of session `by`; whoever else holds it is told.

        is_late: it had ended before; the task may wait for its next run already. is_success: of a page; None for
        what says nothing about the project's pages. error: why it failed.
        """
        self._agenda.touch(ref.project)
        if not is_late and (state := self.projects.get(ref.project)) is not None:
            state.frontier.take(ref)
            if is_success is not None:
                state.pause.ended(is_success, error)
        lease = self.leases.get(ref)
        if lease is None or lease.task.run > run:
            return []
        self.leases.end(lease)
        return [] if lease.session.id == by else [Tell("release", lease.session, [lease.number])]

    def cron_ended(self, project: int, tick_s: int, error: str, now_ms: int) -> None:
        """The @every methods of a project ran for the ticks up to this one. error: "" if all went well."""
        if (state := self.projects.get(project)) is not None:
            state.last_cron = CronRun(tick_s, now_ms, error)

    def void(self, refs: Iterable[Ref]) -> list[Action]:
        """These runs were cancelled or replaced: nobody need work on them."""
        actions: list[Action] = []
        for ref in refs:
            self._agenda.touch(ref.project)
            if (state := self.projects.get(ref.project)) is not None:
                state.frontier.take(ref)
            if (lease := self.leases.get(ref)) is not None:
                actions += self._end_all([lease])
        return actions

    def entered(self, tasks: Iterable[Task]) -> None:
        """These tasks wait now, as they are committed: new, restarted, to be tried again, or charged."""
        for task in tasks:
            state = self.projects.get(task.ref.project)
            if state is not None and not self.leases.is_leased(task):
                state.frontier.offer(task)
                self._agenda.touch(task.ref.project)

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
            state.frontier.refill(kind, after, tasks, is_last, self.leases.is_leased)
            self._agenda.touch(project)

    def swept(self, project: int, stretch: Stretch, tasks: Sequence[Task], reached: tuple[int, int]) -> None:
        """The answer to a Sweep. reached: everything up to there was looked at."""
        if (state := self.projects.get(project)) is not None:
            state.frontier.swept(stretch, tasks, reached, self.leases.is_leased)
            self._agenda.touch(project)

    def finish_answered(self, project: int) -> None:
        """A Finish was done; what it led to has entered."""
        if (state := self.projects.get(project)) is not None:
            state.is_finish_asked = False
            self._agenda.touch(project)

    def reload(self) -> None:
        """What is known of the waiting tasks may be wrong: ask the database again."""
        for state in self.projects.values():
            state.frontier.reset()
            self._agenda.touch(state.project.id)

    # --- time -----------------------------------------------------------------------------------

    def step(self, now: float, now_ms: int) -> list[Action]:
        """Let time pass, then grant what can be granted."""
        actions: list[Action] = []
        for claim in self._members.unanswered(now):
            actions += self.route_is_gone(claim.greeting.session, now)
        actions += self._expire(now)
        if self.is_adopting(now):
            return actions
        actions += [Gone(session) for session in self._members.missing(now)]
        self._open_hosts(now)
        self._agenda.wake(self.projects, now)
        actions += self._pauses(now)
        actions += self._grant(now, now_ms)
        actions += self._ask()
        return actions

    def is_adopting(self, now: float) -> bool:
        """After a restart: waiting for the slaves of before, whose leases must not be given twice."""
        return self._members.is_adopting(now)

    def wait_s(self, now: float) -> float:
        """Seconds until `step` has something to do, if nothing happens; at most one."""
        if self._is_cut_short:
            return 0.0
        wait_s = self._agenda.wait_s(now)
        if (host_s := self.hosts.next_s(now)) < wait_s:
            wait_s = min(wait_s, RATE_TURN_S + max(0.0, host_s - AHEAD_S))
        return wait_s

    # --- inside ---------------------------------------------------------------------------------

    def _admit(self, arrival: Arrival, now: float) -> list[Action]:
        greeting, held = arrival.greeting, arrival.held
        known = self.sessions.get(greeting.session)
        is_same_route = known is not None and known.route == greeting.route
        session = self._members.admit(greeting, now)
        self.leases.changed.add(session)
        session.next_number = max([session.next_number, greeting.seen + 1, *(one.number + 1 for one in held)])
        # What was granted on a connection that is no more will not arrive; on this one it may be on its way.
        came = greeting.seen if is_same_route else session.next_number
        self._miss(self.leases.lost(session, came, [one.number for one in held], now - self._lease_s))
        return [Welcome(session), *(action for one in held for action in self._adopt(session, one, now))]

    def _adopt(self, session: Session, held: HeldLease, now: float) -> list[Action]:
        """Take up a lease that the slave says it has, unless its run is over or a slave has it already."""
        if held.number in session.leases or session.stuck_since is not None:
            return []
        ref, state = Ref(held.project, task_key(held.taskid)), self.projects.get(held.project)
        waiting, lease = None if state is None else state.frontier.get(ref), self.leases.get(ref)
        newest = max(0 if waiting is None else waiting.run, 0 if lease is None else lease.task.run)
        if state is None or held.run < newest:
            return [Tell("release", session, [held.number])]
        if lease is not None and lease.task.run == held.run:
            return []
        actions = [] if lease is None else self._end_all([lease])
        state.frontier.take(ref)
        task = waiting or Task(ref, held.taskid, url="", body=b"", run=held.run, attempt=held.attempt - 1)
        is_known = waiting is not None
        self.leases.adopt(task, session, held.number, held.attempt, now, is_known=is_known, host=held.host)
        return actions

    def _expire(self, now: float) -> list[Action]:
        """Silent slaves get nothing new; after lease_s what they hold goes back, counted as an attempt."""
        if now < self._expire_at:
            return []
        self._expire_at = now + EXPIRE_TURN_S
        self.hosts.set_capacity(sum(session.window for session in self.sessions.values()))
        actions: list[Action] = []
        for session in self._members.fallen_silent(now):
            self._members.remove(session.id)
            actions += [*self._lapse(session), Gone(session)]
        for session in self._members.lapsed(now):
            actions += self._lapse(session)
        return actions

    def _lapse(self, session: Session) -> list[Action]:
        """Leases of one that is gone, or cannot deliver what it makes, are over; each was an attempt."""
        lost = [lease for lease in session.leases.values() if not lease.has_arrived]
        charged = [(lease.task.ref, lease.task.run, lease.attempt) for lease in lost if has_row(lease.task)]
        for lease in lost:
            self._put_back(lease, is_charged=True)
        session.has_lapsed |= bool(lost)
        return [*([Charge(charged)] if charged else []), *self._resend_taken(session.id)]

    def _release_lapsed(self, session: Session, unfinished: Sequence[int]) -> list[Action]:
        """Have it forget what it holds without a lease. (Outcomes that are made may come yet, and the first counts.)"""
        if not session.has_lapsed:
            return []
        without = [number for number in unfinished if number not in session.leases]
        session.has_lapsed = bool(without) or session.stuck_since is not None
        return [Tell("release", session, without)] if without else []

    def _miss(self, leases: Iterable[Lease]) -> None:
        """These grants did not reach their slave."""
        for lease in leases:
            self.lost_leases += 1
            self._put_back(lease)

    def _put_back(self, lease: Lease, *, is_charged: bool = False) -> None:
        """End a lease whose task waits again: now, or, if it is charged, once that is written and it enters."""
        self.leases.end(lease)
        self._agenda.touch(lease.task.ref.project)
        task, state = lease.task, self.projects.get(lease.task.ref.project)
        if state is None:
            return
        if not has_row(task):
            state.put_back(task, is_charged=is_charged)
        elif lease.is_known and not is_charged:
            state.frontier.offer(task)
        elif not is_charged:
            state.frontier.reset()  # only the database knows where it belongs

    def _refund(self, lease: Lease) -> None:
        """Its turn at its host was not used. (Its token is spent: given back late, more would start than may.)"""
        if lease.host:
            self.hosts.refund(lease.host, lease.start)

    def _resend_taken(self, session_id: bytes) -> list[Action]:
        """Relayed pages that a vanished slave was processing."""
        return tell_holders("resend", self.leases.untake(session_id))

    def _end_all(self, leases: Sequence[Lease]) -> list[Action]:
        for lease in leases:
            self.leases.end(lease)
        return tell_holders("release", leases)

    def _pauses(self, now: float) -> list[Action]:
        """Pause projects whose pages all fail, and let paused ones try again."""
        actions: list[Action] = []
        for project in self._agenda.touched:
            state = self.projects.get(project)
            if state is not None and state.pause.turn(now):
                actions.append(Paused(project, state.pause.phase, state.pause.reason))
                actions += self._recall_pages(project) if state.pause.phase is Phase.PAUSED else []
        return actions

    def _recall_pages(self, project: int) -> list[Action]:
        """What no slave has begun shall wait here; what goes on while a project is paused stays."""
        return tell_holders("recall", [one for one in self.leases.of_project(project) if takes_token(one.task)])

    def _ask(self) -> list[Action]:
        """What the database is asked for projects that were looked at: more tasks, or on_finished."""
        actions: list[Action] = []
        for project in self._agenda.looked_at():
            state = self.projects.get(project)
            if state is None or not state.is_active:
                continue
            if state.is_finishing and not state.is_finish_asked:
                state.is_finish_asked = True
                actions.append(Finish(project))
            if not state.has_script:
                continue
            for kind, window in state.frontier.wants():
                window.is_refilling = True
                beyond = state.frontier.stretch_beyond() if kind == "ready" else None
                actions.append(Sweep(project, beyond) if beyond else Refill(project, kind, window.after))
            if (stretch := state.frontier.stretch()) is not None:
                actions.append(Sweep(project, stretch))
        return actions

    def _open_hosts(self, now: float) -> None:
        """Let the tasks of hosts that may be asked again take part."""
        for name in self.hosts.freed(now, AHEAD_S):
            host = host_hash(name)
            for state in self.projects.values():
                if state.frontier.has_aside:
                    state.frontier.open(host)
                    self._agenda.touch(state.project.id)

    def _hear_host(self, lease: Lease, answer: Answer | None, fetch_s: float, now: float) -> None:
        name = lease.host or host_of(lease.task.url)
        if name and takes_token(lease.task):
            self.hosts.answered(name, answer, fetch_s, lease.granted, now)

    def _grant(self, now: float, now_ms: int) -> list[Action]:
        """Hand out tasks, one of each project after the other, to whoever has the least to do."""
        actions: list[Action] = []
        given: dict[bytes, tuple[Session, list[tuple[Lease, int]]]] = {}
        unable: list[ProjectState] = []  # nobody who has room can load their scripts
        until = self._grants + GRANTS_PER_TURN
        self._choice.begin()
        while self._grants < until and (session := self._turns.first()) is not None:
            if (project := self._agenda.next()) is None:
                break
            state = self.projects.get(project)
            if state is None or not state.is_active:
                self._agenda.sleep(project, inf, now)
                continue
            wanted = self._choice.next(state, now, now_ms)
            if wanted is None:
                self._agenda.sleep(project, self._choice.asleep_until(state, now, now_ms), now)
                if self._choice.is_cut_short:
                    self._agenda.touch(project)  # it is looked at again at once
                continue
            script = (project, state.project.script)
            if script in session.barred and (session := self._turns.first_able(script)) is None:
                unable.append(state)
                continue
            if wanted.older is not None:
                actions += self._end_all([wanted.older])
            start_ms = self._choice.take(state, wanted, now)
            lease = self.leases.add(wanted.task, session, now, wanted.host, now + start_ms / 1000)
            self._turns.served(session)
            given.setdefault(session.id, (session, []))[1].append((lease, start_ms))
            self._grants += 1
            state.turn = self._grants
            self._agenda.touch(project)
            self._agenda.stay(project, state.turn)
        self._is_cut_short = (self._grants == until and self._turns.first() is not None) or self._choice.is_cut_short
        for state in unable:
            self._agenda.stay(state.project.id, state.turn)
        return [*actions, *(Give(session, grants) for session, grants in given.values())]
