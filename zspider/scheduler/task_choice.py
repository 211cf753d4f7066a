"""Which task of a project is granted next, and when it may start: clock, pauses, rate and hosts decide."""

from math import ceil, inf
from typing import NamedTuple

from zspider.hosts import host_of
from zspider.scheduler.hosts import HostLimits
from zspider.scheduler.leases import Lease, LeaseTable
from zspider.scheduler.pause import Phase
from zspider.scheduler.projects import ProjectState
from zspider.task import CRONJOB, INTERNAL, Task, is_message

AHEAD_S = 0.1  # tokens are granted this much ahead; the slave starts each task at its time
RATE_LOOK_S = 0.03  # a project held back by its rate is looked at this often: one grant message, several tasks
DEFERRED_PER_STEP = 2000  # tasks deferred for their hosts' sake: some 10 ms


class Wanted(NamedTuple):
    """The task that a project wants done next."""

    task: Task
    takes_token: bool = False
    host: str = ""  # under whose limits it is; "": nobody's
    host_s: float = 0.0  # until it may be asked
    older: Lease | None = None  # on an earlier run of it: void once this one is granted


class TaskChoice:
    """Looks for the next tasks, in the steps of a core."""

    def __init__(self, leases: LeaseTable, hosts: HostLimits) -> None:
        self._leases = leases
        self._hosts = hosts
        self._deferred = 0  # tasks deferred in this step

    @property
    def is_cut_short(self) -> bool:
        """Whether this step has deferred so many tasks that the rest is left to the next one."""
        return self._deferred > DEFERRED_PER_STEP

    def begin(self) -> None:
        """Begin a step."""
        self._deferred = 0

    def next(self, state: ProjectState, now: float, now_ms: int) -> Wanted | None:
        """Return the task that the project wants done next; None if it has to wait."""
        state.is_limited = False
        for task in state.internal_tasks(now_ms):
            if self._leases.get(task.ref) is None:
                return Wanted(task)
        if not state.has_script:
            return None
        found = self._first(state, now, now_ms)
        if found is not None and found.takes_token:
            if state.is_paused and not state.allows_page(self._leases):
                return None
            token_s = state.bucket.wait_s(now)
            state.is_limited = token_s is None or token_s > AHEAD_S
        return None if state.is_limited else found

    def take(self, state: ProjectState, wanted: Wanted, now: float) -> int:
        """Take the task that `next` has just given, and its token; returns in how many milliseconds it may start."""
        if wanted.task.taskid == CRONJOB:
            state.cron_ran(wanted.task)
        if not has_row(wanted.task):
            return 0
        state.frontier.pop()
        if not wanted.takes_token:
            return 0
        state.pause.granted(wanted.task.ref)
        return ceil(1000 * max(state.bucket.reserve(now, AHEAD_S) or 0.0, wanted.host_s))

    def asleep_until(self, state: ProjectState, now: float, now_ms: int) -> float:
        """Return when to look again at a project that has nothing to grant; inf: only when something happens to it."""
        until = state.pause.until if state.pause.phase is Phase.PAUSED else inf
        if state.is_limited and (token_s := state.bucket.wait_s(now)) is not None:
            until = now + RATE_LOOK_S + max(0.0, token_s - AHEAD_S)
        for at_ms in (state.frontier.next_due_ms(), state.next_tick_ms(now_ms)):
            if at_ms is not None and at_ms > now_ms:  # else something other than time holds it back
                until = min(until, now + (at_ms - now_ms) / 1000)
        return until

    def _first(self, state: ProjectState, now: float, now_ms: int) -> Wanted | None:
        """The first task whose host may be asked; those before it are deferred, and their hosts awaited."""
        frontier, hosts = state.frontier, self._hosts
        while (found := frontier.peek(now_ms)) is not None:
            lease = self._leases.get(found.ref)
            if lease is not None and lease.task.run >= found.run:
                frontier.pop()  # outrun: a slave of before a restart has this run, or a later one
                continue
            takes = takes_token(found)
            name = host_of(found.url) if takes and hosts.is_used else ""
            wait_s = hosts.wait_s(name, now) if name else 0.0
            if wait_s <= AHEAD_S:
                return Wanted(found, takes, name, wait_s, lease)
            hosts.wait_for(name, now)
            self._deferred += 1
            if self.is_cut_short or not frontier.defer(may_skip=not hosts.is_new(name, now)):
                return None
        return None


def has_row(task: Task) -> bool:
    """Return whether the database has it: it waits in a frontier before it is granted."""
    return task.taskid not in INTERNAL


def takes_token(task: Task) -> bool:
    """Return whether it is under its project's rate: messages go past it (docs/pyspider-behaviour.md 3.6)."""
    return has_row(task) and not is_message(task.taskid)
