"""The scheduler's core at work on a simulated clock, for thousands of slaves and a database of a million waiting tasks.

No socket, no file, no sleep: an hour of a large cluster is minutes of CPU, and the same seed gives the same hour. The
core's own CPU time is measured apart from the simulation's.
"""

import time
from array import array
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from heapq import heappop, heappush
from itertools import count, islice
from math import inf
from random import Random
from typing import Any, NamedTuple

from msgspec import Struct, field
from msgspec.structs import replace
from sortedcontainers import SortedList
from tests.support.scheduler_world import FETCHER, make_project
from zspider.scheduler.actions import Action, Charge, Give, Gone, Refill, Tell, Welcome
from zspider.scheduler.core import Core, Greeting, Timing
from zspider.scheduler.leases import Lease
from zspider.task import Kind, ProjectStatus, Ref, Task

TURN_S = 0.002  # the least time between two turns of the master's loop
BEAT_S = 2.0
COMMIT_S = 0.02  # an outcome is committed within this time, a refill is answered
BEGIN_S, BEGIN_MS = 1000.0, 1_700_000_000_000  # monotonic and wall-clock time of the start
REFILL_ROWS = 2000
FAILS = 0.03  # of all runs; tried again in RETRY_MS
RETRY_MS = 30_000
STOPPED_S = 2.0
URGENT = 0.1  # of all follows; they have priority 1
_SEQ_BITS = 40
_PRIORITY_MAX = 100


class Plan(NamedTuple):
    """What is simulated. `waiting` tasks in all at the start; each success leads to one more, so as many stay."""

    slaves: int = 10
    projects: int = 1
    waiting: int = 1000
    rate: float = 1e6  # of each project
    burst: float = 1e6
    window: int = 200  # of each slave
    concurrency: int = 100  # fetches of a slave at a time
    churn_s: float = 0.0  # every so often a slave crashes or leaves, and another one joins; 0: never
    stop_s: float = 0.0  # every so often a project is stopped for STOPPED_S; 0: never
    seed: int = 1


class Rows:
    """The waiting tasks of one project in the database: both orders of its index, as integers that sort like them."""

    def __init__(self, project: int) -> None:
        self.project = project
        self.orders: dict[str, SortedList] = {"ready": SortedList(), "delayed": SortedList()}
        self.again: dict[int, tuple[int, int, int]] = {}  # seq -> (first seq, run, attempt), if not (seq, 0, 0)

    def __len__(self) -> int:
        return sum(map(len, self.orders.values()))

    def add(self, task: Task) -> Task:
        """Begin to wait."""
        self.orders["delayed" if task.due_ms else "ready"].add(_code(task))
        first = int.from_bytes(task.ref.key, "big")
        if (first, task.run, task.attempt) != (task.seq, 0, 0):
            self.again[task.seq] = (first, task.run, task.attempt)
        return task

    def fill(self, seqs: range) -> None:
        """Many new tasks of priority 0."""
        self.orders["ready"].update(_PRIORITY_MAX << _SEQ_BITS | seq for seq in seqs)

    def remove(self, task: Task) -> None:
        """The task's run is over."""
        self.orders["delayed" if task.due_ms else "ready"].remove(_code(task))
        self.again.pop(task.seq, None)

    def read(self, kind: str, after: tuple[int, int] | None) -> list[Task]:
        """The next rows behind a position."""
        code = -1 if after is None else ((after[0] + _PRIORITY_MAX * (kind == "ready")) << _SEQ_BITS) | after[1]
        rows = self.orders[kind].irange(code, inclusive=(False, True))
        return [self._task(kind, code) for code in islice(rows, REFILL_ROWS)]

    def _task(self, kind: str, code: int) -> Task:
        first, seq = code >> _SEQ_BITS, code & ((1 << _SEQ_BITS) - 1)
        number, run, attempt = self.again.get(seq, (seq, 0, 0))
        if kind == "ready":
            return make_task(self.project, number, seq, run, attempt, priority=_PRIORITY_MAX - first)
        return make_task(self.project, number, seq, run, attempt, due_ms=first)


def _code(task: Task) -> int:
    first = task.due_ms or _PRIORITY_MAX - task.priority
    return first << _SEQ_BITS | task.seq


def make_task(project: int, number: int, seq: int, run: int = 0, attempt: int = 0, **changes: int) -> Task:
    """The task with this number; its place in the order may be another one than its first."""
    ref = Ref(project, number.to_bytes(16, "big"))
    return Task(ref, "t", "http://example.org/", b"", run=run, attempt=attempt, seq=seq, **changes)


class Slave(Struct, eq=False):
    """One slave: it fetches up to `concurrency` pages at a time, each not before its time."""

    session: bytes
    held: dict[int, Lease] = {}
    early: dict[int, float] = {}  # grant number -> when its fetch may start, for those whose time has not come
    ready: deque[Lease] = field(default_factory=deque)  # wait for room
    fetching: int = 0
    seen: int = 0
    granted: int = 0
    is_up: bool = True
    is_steady: bool = True  # it was there all the time


class Figures(NamedTuple):
    """What a simulation has shown."""

    tasks: int  # granted
    core_us: float  # CPU time of the core, per granted task: all it was told and every step
    step_us: float  # the same, per turn of the loop
    slave_shares: tuple[float, float]  # least and most of the slaves, as part of the mean
    project_shares: tuple[float, float]
    over_burst: float  # how many more tasks than rate * t + burst started in the worst window; allowed: 0
    longest_wait_s: float  # of a task of priority 0, from when it was ready until it was granted
    longest_gap_s: float  # between two grants of a project that has waiting tasks
    lost: int  # leases that ran out


class Simulation:
    """A cluster; `run` lets time pass, `figures` says how it went since the last `forget`."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.random = Random(plan.seed)
        self.now = BEGIN_S
        self.core = Core(Timing(), window=10_000, expected=(), now=self.now)
        self.slaves: dict[bytes, Slave] = {}
        self.rows = {id: Rows(id) for id in range(1, plan.projects + 1)}
        self._held: dict[Ref, Task] = {}  # as they were granted last, until their runs end
        self._running: set[Ref] = set()  # nobody else may have these
        self._entered: dict[int, float] = {}  # seq of a waiting task -> since when
        self._outcomes: list[tuple[Slave, Lease]] = []  # of the group that is committed next
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._calls: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []  # what the core is told in this turn
        self._serial = count(1)
        self._seq = count(1)
        self.forget()
        self._begin()

    def forget(self) -> None:
        """The figures begin anew."""
        self.starts = {id: array("d") for id in self.rows}  # when each task may start
        self.returned: dict[int, Counter[float]] = {id: Counter() for id in self.rows}  # ... and did not
        self.core_s = 0.0
        self.turns = self.lost = 0
        self.longest_wait_s = self.longest_gap_s = 0.0
        self._granted_at = dict.fromkeys(self.rows, self.now)
        for slave in self.slaves.values():
            slave.granted, slave.is_steady = 0, True

    def _begin(self) -> None:
        plan = self.plan
        for id, rows in self.rows.items():
            first, number = next(self._seq), plan.waiting // plan.projects
            self._seq = count(first + number)
            rows.fill(range(first, first + number))
            self._set_project(id, ProjectStatus.RUNNING)
        for _ in range(plan.slaves):
            self._join(is_steady=True)
        if plan.churn_s:
            self._at(plan.churn_s, self._churn)
        if plan.stop_s:
            self._at(plan.stop_s, self._stop)

    @property
    def now_ms(self) -> int:
        return BEGIN_MS + int(1000 * (self.now - BEGIN_S))

    def run(self, seconds: float) -> None:
        """The master's loop: what came is told to the core, it steps, its actions are done."""
        until = self.now + seconds
        while self.now < until:
            while self._events and self._events[0][0] <= self.now:
                _, _, call, arguments = heappop(self._events)
                call(*arguments)
            wake_at = self.now + self._turn()
            self.turns += 1
            self.now = max(self.now + TURN_S, min(wake_at, self._events[0][0]))

    def _turn(self) -> float:
        calls, self._calls = self._calls, []
        now_ms, actions = self.now_ms, []
        began = time.thread_time()
        for call, arguments in calls:
            actions += call(*arguments) or ()
        actions += self.core.step(self.now, now_ms)
        wait_s = self.core.wait_s(self.now)
        self.core_s += time.thread_time() - began
        for action in actions:
            self._perform(action)
        return wait_s

    def _at(self, in_s: float, call: Callable[..., None], *arguments: Any) -> None:
        heappush(self._events, (self.now + in_s, next(self._serial), call, arguments))

    def _tell(self, call: Callable[..., Any], *arguments: Any) -> None:
        self._calls.append((call, arguments))

    # --- slaves -----------------------------------------------------------------------------------

    def _join(self, *, is_steady: bool) -> None:
        slave = Slave(next(self._serial).to_bytes(16, "big"), is_steady=is_steady)
        self.slaves[slave.session] = slave
        greeting = Greeting(slave.session, slave.session, FETCHER, "host", self.plan.window, 0)
        self._tell(self.core.slaves.hello, greeting, [], True, self.now)
        self._at(self.random.uniform(0, BEAT_S), self._beat, slave)

    def _beat(self, slave: Slave) -> None:
        if slave.is_up:
            session, named = slave.session, list(slave.held)
            self._tell(self.core.slaves.beat, session, session, slave.seen, named, self.plan.window, self.now)
            self._at(BEAT_S, self._beat, slave)

    def _churn(self) -> None:
        """One slave crashes, or gives back what it has not started and leaves; another comes."""
        slave = self.random.choice(list(self.slaves.values()))
        del self.slaves[slave.session]
        slave.is_up = False
        if self.random.random() < 0.5:
            self._give_back(slave, list(slave.early))
            self._tell(self.core.slaves.leave, slave.session)
        self._running -= {lease.task.ref for lease in slave.held.values()}
        self._join(is_steady=False)
        self._at(self.plan.churn_s, self._churn)

    def _give_back(self, slave: Slave, numbers: Iterable[int]) -> None:
        """What it has not started."""
        unstarted = [number for number in numbers if number in slave.early]
        for number in unstarted:
            ref = slave.held.pop(number).task.ref
            self._running.remove(ref)
            self.returned[ref.project][slave.early.pop(number)] += 1
        self._tell(self._core_give_back, slave.session, unstarted)

    def _core_give_back(self, session: bytes, numbers: list[int]) -> None:
        if session in self.core.sessions:
            self.core.slaves.give_back(session, numbers, bar=False)

    def _may_start(self, slave: Slave, lease: Lease) -> None:
        if slave.early.pop(lease.number, None) is not None:
            slave.ready.append(lease)
            self._fetch(slave)

    def _fetch(self, slave: Slave) -> None:
        while slave.is_up and slave.ready and slave.fetching < self.plan.concurrency:
            slave.fetching += 1
            self._at(self._fetch_s(), self._done, slave, slave.ready.popleft())

    def _fetch_s(self) -> float:
        """Most pages are quick, some are slow, a few time out."""
        kind = self.random.random()
        if kind < 0.75:
            return self.random.uniform(0.05, 0.4)
        return self.random.uniform(0.4, 3.0) if kind < 0.98 else 10.0

    def _done(self, slave: Slave, lease: Lease) -> None:
        """A page is fetched; its outcome is heard now and committed with the next group."""
        slave.fetching -= 1
        if slave.is_up:
            del slave.held[lease.number]
            self._running.remove(lease.task.ref)
            self._tell(self.core.arrived, lease.task.ref, lease.task.run, None, 0.0, self.now)
            if not self._outcomes:
                self._at(COMMIT_S, self._commit)
            self._outcomes.append((slave, lease))
        self._fetch(slave)

    # --- projects ---------------------------------------------------------------------------------

    def _set_project(self, id: int, status: ProjectStatus) -> None:
        project = make_project(id, rate=self.plan.rate, burst=self.plan.burst, status=status)
        self._tell(self.core.set_project, project, self.now, self.now_ms)

    def _stop(self) -> None:
        """Its tokens gather while it is stopped; then it may start as many as its burst at once."""
        id = self.random.choice(list(self.rows))
        self._set_project(id, ProjectStatus.STOP)
        self._at(STOPPED_S, self._set_project, id, ProjectStatus.RUNNING)
        self._at(self.plan.stop_s, self._stop)

    # --- the database -----------------------------------------------------------------------------

    def _commit(self) -> None:
        group, self._outcomes = self._outcomes, []
        entered: list[Task] = []
        for slave, lease in group:
            task = lease.task
            rows = self.rows[task.ref.project]
            rows.remove(task)
            del self._held[task.ref]
            if self.random.random() < FAILS:
                retry = {"run": task.run + 1, "attempt": 0, "due_ms": self.now_ms + RETRY_MS}
                entered.append(self._enter(rows, replace(task, seq=next(self._seq), **retry)))
            else:
                seq, is_urgent = next(self._seq), self.random.random() < URGENT
                entered.append(self._enter(rows, make_task(rows.project, seq, seq, priority=int(is_urgent))))
            self._tell(self._ended, task.ref, task.run, slave.session)
        self._tell(self.core.entered, entered)

    def _ended(self, ref: Ref, run: int, by: bytes) -> list[Action]:
        return self.core.ended(ref, run, by, is_late=False)

    def _enter(self, rows: Rows, task: Task) -> Task:
        if task.priority == 0 and not task.due_ms:
            self._entered[task.seq] = self.now
        return rows.add(task)

    def _charge(self, lost: Sequence[tuple[Ref, int, int]], tasks: dict[Ref, Task]) -> None:
        self.lost += len(lost)
        entered = []
        for ref, _, attempt in lost:
            rows = self.rows[ref.project]
            rows.remove(tasks[ref])
            entered.append(rows.add(replace(tasks[ref], attempt=attempt)))
        self._tell(self.core.entered, entered)

    def _refill(self, project: int, kind: Kind, after: tuple[int, int] | None) -> None:
        found = self.rows[project].read(kind, after)
        self._tell(self.core.refilled, project, kind, after, found, len(found) < REFILL_ROWS)

    # --- the core's actions -----------------------------------------------------------------------

    def _perform(self, action: Action) -> None:
        match action:
            case Give(session, grants):
                slave = self.slaves.get(session.id)
                for lease, start_ms in grants:
                    self._given(slave, lease, start_ms / 1000)
            case Tell("recall", session, numbers):
                if (slave := self.slaves.get(session.id)) is not None:
                    self._give_back(slave, numbers)
            case Refill(project, kind, after):
                self._at(COMMIT_S, self._refill, project, kind, after)
            case Charge(lost):
                self._at(COMMIT_S, self._charge, lost, {ref: self._held[ref] for ref, _, _ in lost})
            case Welcome() | Gone():
                pass
            case _:
                raise AssertionError(type(action))  # nothing here leads to any other

    def _given(self, slave: Slave | None, lease: Lease, in_s: float) -> None:
        task, project = lease.task, lease.task.ref.project
        start = self.now + in_s
        self.starts[project].append(start)
        self.longest_gap_s = max(self.longest_gap_s, self.now - self._granted_at[project])
        self._granted_at[project] = self.now
        is_first = task.ref not in self._held
        self._held[task.ref] = task
        if is_first and task.priority == 0 and not task.due_ms:
            self.longest_wait_s = max(self.longest_wait_s, self.now - self._entered.pop(task.seq, BEGIN_S))
        if slave is None:
            return  # crashed a moment ago, and nobody knows yet
        assert task.ref not in self._running
        self._running.add(task.ref)
        slave.held[lease.number] = lease
        slave.early[lease.number] = start
        self._at(in_s, self._may_start, slave, lease)
        slave.seen = lease.number
        slave.granted += 1

    # --- figures ----------------------------------------------------------------------------------

    def idle_step_us(self, steps: int = 200) -> float:
        """CPU microseconds of a step to which nothing was told, at best. Only after the last `run`."""
        best_s = inf
        for _ in range(steps):
            self.now += TURN_S
            began = time.thread_time()
            self.core.step(self.now, self.now_ms)
            best_s = min(best_s, time.thread_time() - began)
        return 1e6 * best_s

    def figures(self) -> Figures:
        """How it went."""
        tasks = sum(map(len, self.starts.values()))
        return Figures(
            tasks=tasks,
            core_us=1e6 * self.core_s / max(1, tasks),
            step_us=1e6 * self.core_s / max(1, self.turns),
            slave_shares=_shares([slave.granted for slave in self.slaves.values() if slave.is_steady]),
            project_shares=_shares([len(starts) for starts in self.starts.values()]),
            over_burst=max(self._over_burst(id) for id in self.rows),
            longest_wait_s=self.longest_wait_s,
            longest_gap_s=self.longest_gap_s,
            lost=self.lost,
        )

    def _over_burst(self, project: int) -> float:
        """The most that any window of time had above rate * t + burst; negative if every one had less."""
        returned = Counter(self.returned[project])
        level, worst, before = 0.0, 0.0, BEGIN_S
        for start in sorted(self.starts[project]):
            if returned[start] > 0:
                returned[start] -= 1
                continue
            level = max(0.0, level - self.plan.rate * (start - before)) + 1
            worst, before = max(worst, level), start
        return worst - self.plan.burst


def _shares(numbers: Sequence[int]) -> tuple[float, float]:
    """The least and the most, as parts of the mean."""
    mean = sum(numbers) / len(numbers)
    return (min(numbers) / mean, max(numbers) / mean) if mean else (0.0, 0.0)
