"""Granting: tasks of the projects that are awake go to slaves with room, one project after the other."""

from collections.abc import Mapping
from math import inf

from zspider.hosts import host_hash
from zspider.scheduler.actions import Action, Give
from zspider.scheduler.hosts import HostLimits
from zspider.scheduler.leases import Lease, LeaseTable, Session
from zspider.scheduler.project_queue import ProjectQueue
from zspider.scheduler.projects import ProjectState
from zspider.scheduler.slaves import Slaves
from zspider.scheduler.story import GRANTED, Story
from zspider.scheduler.task_choice import AHEAD_S, TaskChoice
from zspider.scheduler.turns import Turns

GRANTS_PER_STEP = 500  # then the sockets are looked at again


class Granting:
    """Joins the three questions: whose turn among the projects, which of its tasks, and to which slave it goes."""

    def __init__(
        self,
        projects: Mapping[int, ProjectState],
        slaves: Slaves,
        leases: LeaseTable,
        hosts: HostLimits,
        queue: ProjectQueue,
        story: Story,
    ) -> None:
        """All of these are the core's, and shared with it."""
        self.is_cut_short = False  # the last step had more to grant
        self.turns = Turns(slaves.sessions, leases.changed)
        self.choice = TaskChoice(leases, hosts)
        self._projects = projects
        self._slaves = slaves
        self._leases = leases
        self._hosts = hosts
        self._queue = queue
        self._story = story
        self._grants = 0  # counts; the order in which projects had their turns

    def open_hosts(self, now: float) -> None:
        """Put the deferred tasks of hosts that may be asked again into their frontiers' order."""
        for name in self._hosts.now_allowed(now, AHEAD_S):
            host = host_hash(name)
            for state in self._projects.values():
                if state.frontier.has_deferred:
                    state.frontier.open(host)
                    self._queue.touch(state.project.id)

    def step(self, now: float, now_ms: int) -> list[Action]:
        """Grant tasks, one of each project after the other, to the slave that has the least to do."""
        actions: list[Action] = []
        given: dict[bytes, tuple[Session, list[tuple[Lease, int]]]] = {}
        unable: list[ProjectState] = []  # no slave with room can load their scripts
        until = self._grants + GRANTS_PER_STEP
        self.choice.begin()
        while self._grants < until and (session := self.turns.first()) is not None:
            if (project := self._queue.next()) is None:
                break
            state = self._projects.get(project)
            if state is None or not state.is_active:
                self._queue.sleep(project, inf, now)
                continue
            wanted = self.choice.next(state, now, now_ms)
            if wanted is None:
                self._sleep(state, now, now_ms)
                continue
            script = (project, state.project.script)
            if script in session.barred and (session := self.turns.first_able(script)) is None:
                unable.append(state)
                continue
            if wanted.older is not None:
                actions += self._slaves.release([wanted.older])
            start_ms = self.choice.take(state, wanted, now)
            lease = self._leases.add(wanted.task, session, now, wanted.host, now + start_ms / 1000)
            self._story.note(GRANTED, wanted.task.ref, session.id, lease.attempt)
            self.turns.served(session)
            given.setdefault(session.id, (session, []))[1].append((lease, start_ms))
            self._grants += 1
            state.turn = self._grants
            self._queue.touch(project)
            self._queue.put_back(project, state.turn)
        self.is_cut_short = (self._grants == until and self.turns.first() is not None) or self.choice.is_cut_short
        for state in unable:
            self._queue.put_back(state.project.id, state.turn)
        return [*actions, *(Give(session, grants) for session, grants in given.values())]

    def _sleep(self, state: ProjectState, now: float, now_ms: int) -> None:
        """Leave a project alone that has no task to give, until its time comes or something happens to it."""
        project = state.project.id
        self._queue.sleep(project, self.choice.asleep_until(state, now, now_ms), now)
        if self.choice.is_cut_short:
            self._queue.touch(project)  # it is looked at again at once
