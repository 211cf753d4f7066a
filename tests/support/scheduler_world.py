"""A world around the scheduler's core: a database that works in order, connections that break, slaves that lie still.

It does what the master's loop and its writer do, without sockets and threads: every step of it happens when the
test says so, which is how reads come late, messages cross each other and outcomes arrive twice.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from typing import Any

from msgspec import Struct
from msgspec.structs import replace
from zspider.delivery import ATTEMPTS_MAX, Answer
from zspider.hosts import host_hash, host_of
from zspider.scheduler.actions import (
    AskHello,
    Challenge,
    Charge,
    Finish,
    Give,
    Gone,
    Paused,
    Refill,
    RefuseClone,
    ScanHosts,
    Tell,
    Welcome,
)
from zspider.scheduler.core import Core, Greeting, HeldLease, Timing
from zspider.scheduler.host_queues import Range
from zspider.scheduler.membership import HEALTHY
from zspider.scheduler.order import delayed_position, ready_position
from zspider.scheduler.pause import NEVER, PauseLimits, Phase
from zspider.settings import PolitenessSettings
from zspider.task import GET_INFO, INTERNAL, Project, ProjectStatus, Ref, ScriptInfo, Status, Task, is_message, task_key

FETCHER = frozenset({"fetcher", "processor"})
RETRY_MS = 30_000
RETRIES = 2
NO_CRON = ScriptInfo()


def make_project(id: int = 1, *, rate: float = 1e6, burst: float = 1e6, **changes: Any) -> Project:
    """A project that runs a script without @every methods, as fast as it can."""
    fields = {"status": ProjectStatus.RUNNING, "script": id.to_bytes(4, "big") * 8, "info": NO_CRON} | changes
    return Project(id, f"project{id}", rate=rate, burst=burst, **fields)


class Row(Struct):
    """A task in the database."""

    ref: Ref
    taskid: str
    seq: int
    priority: int = 0
    run: int = 0
    attempt: int = 0
    retried: int = 0
    due_ms: int = 0
    status: Status = Status.ACTIVE
    open_runs: int = 0

    def is_open(self, run: int) -> bool:
        """It was replaced and has not ended."""
        return self.run - self.open_runs <= run < self.run

    def replace(self, status: Status) -> bool:
        """A new run takes the place of one that may be under way; whether there may be one."""
        if self.open_runs or self.status is Status.ACTIVE:
            self.open_runs += 1
        self.run, self.status, self.attempt = self.run + 1, status, 0
        return bool(self.open_runs)

    def task(self) -> Task:
        """What a read gives."""
        return Task(
            self.ref,
            self.taskid,
            self.url,
            b"",
            run=self.run,
            attempt=self.attempt,
            retried=self.retried,
            priority=self.priority,
            seq=self.seq,
            due_ms=self.due_ms,
            open_runs=self.open_runs,
        )

    @property
    def url(self) -> str:
        """A taskid such as `a.example/1` tells the host of its page."""
        host, slash, _ = self.taskid.partition("/")
        return f"http://{host if slash else 'example.org'}/"

    @property
    def position(self) -> tuple[int, int]:
        task = self.task()
        return delayed_position(task) if self.due_ms else ready_position(task)


class Delivery(Struct, frozen=True):
    """A grant as its slave has it; as an outcome, how it ended."""

    number: int
    ref: Ref
    taskid: str
    run: int
    attempt: int
    start_ms: int = 0
    is_success: bool = True
    answer: Answer | None = None
    fetch_s: float = 0.0
    follows: tuple[tuple[int, str, int], ...] = ()  # (project, taskid, priority)
    forces: tuple[tuple[int, str], ...] = ()  # (project, taskid) with force_update


class Slave:
    """A slave as seen from outside. A clone of it shares everything but the connection."""

    def __init__(self, world: "World", window: int, roles: frozenset[str] = FETCHER) -> None:
        self.world = world
        self.window = window
        self.roles = roles
        self.session = world.new_session()
        self.route = world.connect()
        self.seen = 0
        self.held: dict[int, Delivery] = {}
        self.outbox: dict[int, Delivery] = {}
        self.welcomed = 0
        self.told: list[tuple[str, list[int]]] = []
        self.is_up = True
        self.condition = HEALTHY

    def clone(self) -> "Slave":
        """What a copy of the running machine is: the same memory, another connection."""
        other = Slave(self.world, self.window, self.roles)
        other.session, other.seen = self.session, self.seen
        other.held, other.outbox = dict(self.held), dict(self.outbox)
        return other

    # --- it speaks

    def hello(self) -> None:
        held = [
            HeldLease(x.number, x.ref.project, x.taskid, x.run, x.attempt, (row and host_of(row.url)) or "")
            for x in self.held.values()
            for row in [self.world.rows.get(x.ref)]
        ]
        held += [HeldLease(x.number, x.ref.project, x.taskid, x.run, x.attempt) for x in self.outbox.values()]
        greeting = Greeting(self.session, self.route, self.roles, "host", self.window, self.seen)
        self.world.say(self.route, ("hello", greeting, held))

    def beat(self) -> None:
        named = [*self.held, *self.outbox]
        said = (self.seen, named, self.window, self.condition, list(self.held))
        self.world.say(self.route, ("beat", self.session, self.route, *said))

    def give_back(self, numbers: Iterable[int], *, bar: bool = False, error: str = "") -> None:
        numbers = [number for number in numbers if self.held.pop(number, None) is not None]
        self.world.say(self.route, ("give_back", self.session, numbers, bar, error))

    def leave(self) -> None:
        self.give_back(list(self.held))
        self.world.say(self.route, ("leave", self.session))
        self.is_up = False

    def finish(self, number: int, **changes: Any) -> None:
        """The work on one lease is done; its outcome is pushed."""
        held = self.held.pop(number)
        outcome = Delivery(held.number, held.ref, held.taskid, held.run, held.attempt, **changes)
        self.outbox[number] = outcome
        self.world.outcomes.append((self.session, outcome))

    def finish_all(self) -> None:
        for number in list(self.held):
            self.finish(number)

    def take(self, delivery: Delivery) -> None:
        """It processes the page of another slave's lease."""
        self.world.say(self.route, ("took", self.session, delivery.ref, delivery.run))

    def push_again(self) -> None:
        self.world.outcomes.extend((self.session, outcome) for outcome in self.outbox.values())

    # --- something happens to it

    def crash(self) -> None:
        self.world.disconnect(self.route)
        self.is_up = False

    def reconnect(self, *, says_hello: bool = True) -> None:
        """Its connection broke; without a Hello it did not notice."""
        self.world.disconnect(self.route)
        self.route = self.world.connect()
        if says_hello:
            self.hello()

    # --- it listens

    def listen(self, n: int = 1000) -> None:
        """Read up to n messages."""
        inbox = self.world.routes.get(self.route)
        while self.is_up and inbox and n:
            n -= 1
            self._hear(*inbox.popleft())

    def _hear(self, what: str, *said: Any) -> None:
        match what:
            case "grants":
                for delivery in said[0]:
                    self.held[delivery.number] = delivery
                    self.seen = max(self.seen, delivery.number)
            case "ping":
                self.beat()
            case "unknown":
                self.hello()
            case "welcome":
                self.welcomed += 1
                self.push_again()
            case "newsession" if said[0] == self.session:
                self.session = self.world.new_session()
                self.held.clear()
                self.seen = 0
                self.outbox = {-n: x for n, x in enumerate(self.outbox.values(), 1)}  # numbers of a former session
                self.hello()
            case "ack":
                for number in [n for n, x in self.outbox.items() if (x.ref, x.run) == said[0]]:
                    del self.outbox[number]
            case "release":
                self.told.append((what, said[0]))
                for number in said[0]:
                    self.held.pop(number, None)
                    if (made := self.outbox.pop(number, None)) is not None:
                        self.world.assert_over(made)
            case "recall":
                self.told.append((what, said[0]))
                self.give_back(said[0])
            case _:
                self.told.append((what, said[0]))


class World:
    """A master's core, its database and its slaves."""

    def __init__(
        self,
        *,
        window: int = 100,
        limit: int = 100,
        timing: Timing | None = None,
        pausing: PauseLimits = NEVER,
        politeness: PolitenessSettings | None = None,
        entries: int = 1000,
    ) -> None:
        """entries: of the index, looked at in one scan."""
        self.politeness, self.entries = politeness, entries
        self.window, self.limit, self.timing = window, min(window, limit), timing or Timing()
        self.pausing = pausing
        self.now, self.now_ms = 1000.0, 1_700_000_000_000
        self.rows: dict[Ref, Row] = {}
        self.projects: dict[int, Project] = {}
        self.persisted: set[bytes] = set()
        self.routes: dict[bytes, deque[Any]] = {}  # open connections, with what is on its way to the slave
        self.to_master: dict[bytes, deque[Any]] = {}
        self.outcomes: deque[tuple[bytes, Delivery]] = deque()
        self.writer: deque[Callable[[], Callable[[], None]]] = deque()  # calls; each gives its consequence
        self.finished: deque[Callable[[], None]] = deque()
        self.attempts: dict[tuple[Ref, int], int] = {}  # the highest ever granted
        self.granted: list[tuple[float, bytes, Delivery]] = []
        self.starts: dict[int, list[tuple[float, bytes, int]]] = {}  # by project: when, and whose grant
        self.late = 0
        self.counted: list[tuple[str, int]] = []  # taskid and run of outcomes that were not late
        self.finish_asked: list[int] = []  # projects
        self.pauses: list[tuple[float, Phase, str]] = []
        self._names = count(1)
        self._seq = count(1)
        self.core = self._new_core()

    def _new_core(self) -> Core:
        core = Core(
            self.timing,
            window=self.window,
            expected=set(self.persisted),
            now=self.now,
            pausing=self.pausing,
            politeness=self.politeness,
        )
        for project in self.projects.values():
            core.set_project(project, self.now, self.now_ms)
        return core

    # --- what a test does

    def add_project(self, project: Project) -> None:
        """Make or change one."""
        before = self.projects.get(project.id)
        if before is not None and (before.rate, before.burst) != (project.rate, project.burst):
            self.starts.pop(project.id, None)
        self.projects[project.id] = project
        self.perform(self.core.set_project(project, self.now, self.now_ms))

    def slave(self, window: int = 10, **kwargs: Any) -> Slave:
        """A new slave that has said Hello."""
        slave = Slave(self, window, **kwargs)
        slave.hello()
        return slave

    def submit(self, *names: str, project: int = 1, priority: int = 0, in_s: float = 0.0) -> None:
        """URLs that somebody outside asks for. in_s: not before then; 0: at once."""
        follows = tuple((project, name, priority) for name in names)
        due_ms = self.now_ms + int(1000 * in_s) if in_s else 0
        self.writer.append(lambda: self._committed([], self._accept(follows, (), due_ms)))

    def cancel(self, name: str, project: int = 1) -> None:
        """Nobody need work on this task any more."""
        self.writer.append(lambda: self._cancel(Ref(project, task_key(name))))

    def force(self, *names: str, project: int = 1) -> None:
        """Tasks that somebody wants crawled once more, whatever they do now."""
        forces = tuple((project, name) for name in names)
        self.writer.append(lambda: self._committed([], self._accept((), forces)))

    def advance(self, seconds: float) -> None:
        """Time passes, nothing else."""
        self.now += seconds
        self.now_ms += int(1000 * seconds)

    def step(self) -> None:
        """The master's loop decides."""
        actions = self.core.step(self.now, self.now_ms)
        if not self.core.is_adopting(self.now):
            self._assert_order(actions)
            self._assert_nobody_oversleeps()
        self.perform(actions)

    def write(self, n: int = 1_000_000) -> None:
        """The database works."""
        while self.writer and n:
            n -= 1
            self.finished.append(self.writer.popleft()())

    def hear_writer(self, n: int = 1_000_000) -> None:
        """The master's loop learns what the database did."""
        while self.finished and n:
            n -= 1
            self.finished.popleft()()

    def hear_slaves(self, route: bytes | None = None, n: int = 1_000_000) -> None:
        """The master's loop reads its control socket; messages of one connection keep their order."""
        for name in [route] if route is not None else list(self.to_master):
            said = self.to_master.get(name, deque())
            left = n
            while said and left:
                left -= 1
                self._on_word(name, *said.popleft())

    def hear_outcomes(self, n: int = 1_000_000) -> None:
        """The master's loop reads its outcomes socket."""
        while self.outcomes and n:
            n -= 1
            sender, outcome = self.outcomes.popleft()
            if (session := self.core.sessions.get(sender)) is None:
                continue
            assert outcome.attempt <= self.attempts[outcome.ref, outcome.run]  # it has a proof
            self.core.slaves.heard(session, self.now)
            self.core.arrived(outcome.ref, outcome.run, outcome.answer, outcome.fetch_s, self.now)
            self.writer.append(lambda sender=sender, outcome=outcome: self._commit(sender, outcome))

    def settle(self, *slaves: Slave) -> None:
        """Until nothing is on its way any more."""
        for _ in range(50):
            for slave in slaves:
                slave.listen()
            self.hear_slaves()
            self.hear_outcomes()
            self.write()
            self.hear_writer()
            self.step()
            on_its_way = [self.routes.get(slave.route) for slave in slaves if slave.is_up]
            if not (self.writer or self.outcomes or any(self.to_master.values()) or any(on_its_way)):
                return
        raise AssertionError("it does not settle")

    def restart_master(self) -> None:
        """kill -9 and start: what the database did stays, all connections and everything else is gone."""
        self.routes.clear()
        self.to_master.clear()
        self.outcomes.clear()
        self.writer.clear()
        self.finished.clear()
        self.starts.clear()  # buckets begin anew
        self.core = self._new_core()

    # --- connections

    def new_session(self) -> bytes:
        return next(self._names).to_bytes(16, "big")

    def connect(self) -> bytes:
        route = b"r%d" % next(self._names)
        self.routes[route], self.to_master[route] = deque(), deque()
        return route

    def disconnect(self, route: bytes) -> None:
        self.routes.pop(route, None)
        self.to_master.pop(route, None)

    def say(self, route: bytes, message: Any) -> None:
        if route in self.to_master:
            self.to_master[route].append(message)

    def send(self, route: bytes, *message: Any) -> bool:
        if route not in self.routes:
            return False
        self.routes[route].append(message)
        return True

    # --- the master's loop

    def perform(self, actions: Iterable[Any]) -> None:
        """Do what the core wants."""
        for action in actions:
            match action:
                case Give(session, grants):
                    self._give(session, grants)
                case Tell(what, session, numbers):
                    self.send(session.route, what, list(numbers))
                case Refill(project, kind, after):
                    self.writer.append(lambda x=(project, kind, after): self._read(*x))
                case ScanHosts(project, part):
                    self.writer.append(lambda x=(project, part): self._scan_hosts(*x))
                case Charge(lost):
                    self.writer.append(lambda lost=lost: self._charge(lost))
                case Finish(project):
                    self.finish_asked.append(project)
                case Paused(_, phase, reason):
                    self.pauses.append((self.now, phase, reason))
                case Welcome(session):
                    self.send(session.route, "welcome")
                case Challenge(session):
                    if not self.send(session.route, "ping"):
                        self.perform(self.core.slaves.route_is_gone(session.id, self.now))
                case RefuseClone(route, session_id):
                    self.send(route, "newsession", session_id)
                case AskHello(route):
                    self.send(route, "unknown")
                case Gone(session):
                    self.writer.append(lambda id=session.id: self._drop_session(id))

    def _give(self, session: Any, grants: Any) -> None:
        assert not self.core.is_adopting(self.now)
        batch = []
        for lease, start_ms in grants:
            task = lease.task
            before = self.attempts.get((task.ref, task.run), 0)
            assert lease.attempt <= ATTEMPTS_MAX
            assert lease.attempt >= before or task.taskid in INTERNAL  # theirs are forgotten by a restart
            self.attempts[task.ref, task.run] = max(before, lease.attempt)
            if lease.host:
                figures = self.core.hosts.figures(lease.host)
                assert figures is not None
                assert figures.leased <= figures.concurrency or not figures.concurrency
            batch.append(Delivery(lease.number, task.ref, task.taskid, task.run, lease.attempt, start_ms))
            self.granted.append((self.now + start_ms / 1000, session.id, batch[-1]))
            if task.taskid not in INTERNAL and not is_message(task.taskid):
                start = (self.now + start_ms / 1000, session.id, lease.number)
                self.starts.setdefault(task.ref.project, []).append(start)
        assert len(session.leases) - session.arrived <= session.window
        if not self.send(session.route, "grants", batch):
            self.core.slaves.give_back(session.id, [x.number for x in batch], bar=False)
            session.is_silent = True

    def _on_word(self, route: bytes, what: str, *said: Any) -> None:
        if what == "hello":
            greeting, held = said
            self.writer.append(lambda: self._add_session(greeting, held))
        elif said[0] not in self.core.sessions:
            self.send(route, "unknown")
        elif what == "beat":
            *state, condition, unfinished = said
            self.perform(self.core.slaves.beat(*state, self.now, condition, unfinished))
        elif what == "give_back":
            session_id, numbers, bar, error = said
            self.core.slaves.give_back(session_id, numbers, bar=bar, error=error)
        elif what == "took":
            self.perform(self.core.slaves.took(*said))
        else:
            self.perform(self.core.slaves.leave(said[0]))

    # --- the database: each call does its work and returns what the loop does when it hears of it

    def _add_session(self, greeting: Greeting, held: list[HeldLease]) -> Callable[[], None]:
        self.persisted.add(greeting.session)
        return lambda: self.perform(self.core.slaves.hello(greeting, held, True, self.now))

    def _drop_session(self, session_id: bytes) -> Callable[[], None]:
        self.persisted.discard(session_id)
        return lambda: None

    def _read(self, project: int, kind: Any, after: Any) -> Callable[[], None]:
        rows = [
            row
            for row in self.rows.values()
            if row.ref.project == project
            and row.status is Status.ACTIVE
            and bool(row.due_ms) == (kind == "delayed")
            and (after is None or row.position > after)
        ]
        found = [row.task() for row in sorted(rows, key=lambda row: row.position)[: self.limit]]
        is_last = len(found) < self.limit
        return lambda: self.core.refilled(project, kind, after, found, is_last)

    def _scan_hosts(self, project: int, part: Range) -> Callable[[], None]:
        """As Storage.tasks_of_hosts: look at a few entries of the index, in order, and take those that fit."""
        rows = [
            row
            for row in self.rows.values()
            if row.ref.project == project
            and row.status is Status.ACTIVE
            and bool(row.due_ms) == (part.kind == "delayed")
            and (part.after is None or row.position > part.after)
            and row.position <= part.until
        ]
        rows.sort(key=lambda row: row.position)
        looked = rows[: self.entries]
        reached = looked[-1].position if len(rows) > self.entries else part.until
        fitting = [row for row in looked if (host_hash(host_of(row.url)) in part.hosts) != part.is_others]
        limit = min(self.limit, part.limit)
        if len(fitting) > limit:
            fitting = fitting[:limit]
            reached = fitting[-1].position
        found = [row.task() for row in fitting]
        return lambda: self.core.scanned(project, part, found, reached)

    def _charge(self, lost: Any) -> Callable[[], None]:
        ended, again = [], []
        for ref, run, attempt in lost:
            row = self.rows.get(ref)
            if row is not None and row.status is Status.ACTIVE and row.run == run:
                row.attempt = max(row.attempt, attempt)
                if attempt >= ATTEMPTS_MAX:
                    row.status, row.run, row.attempt, row.open_runs = Status.FAILED, run + 1, 0, 0
                    ended.append((ref, run, b"", False, None))
                else:
                    again.append(row)
        return self._committed(ended, (again, []))

    def _commit(self, sender: bytes, outcome: Delivery) -> Callable[[], None]:
        row = self.rows.get(outcome.ref)
        entered: list[Row] = []
        replaced: list[Ref] = []
        is_late = False
        if outcome.taskid not in INTERNAL:
            is_late = row is None or not row.is_open(outcome.run)
            is_late = is_late and (row is None or row.status is not Status.ACTIVE or row.run != outcome.run)
            if row is not None and not is_late:
                if row.is_open(outcome.run):
                    row.open_runs = row.run - 1 - outcome.run
                else:
                    self._end(row, outcome.is_success)
                entered += [row] if row.status is Status.ACTIVE else []
        if not is_late:
            self.counted.append((outcome.taskid, outcome.run))
            more, replaced = self._accept(outcome.follows, outcome.forces)
            entered = [*[row for row in entered if row not in more], *more]
        self.late += is_late
        is_page = not (outcome.taskid in INTERNAL or is_message(outcome.taskid))
        is_success = outcome.is_success if is_page else None
        consequence = self._committed([(outcome.ref, outcome.run, sender, is_late, is_success)], (entered, replaced))

        def acknowledge() -> None:
            consequence()
            if outcome.taskid == GET_INFO and (project := self.projects[outcome.ref.project]).info is None:
                self.add_project(replace(project, info=NO_CRON))
            if (session := self.core.sessions.get(sender)) is not None:
                self.send(session.route, "ack", (outcome.ref, outcome.run))

        return acknowledge

    def _cancel(self, ref: Ref) -> Callable[[], None]:
        row = self.rows.get(ref)
        if row is None or row.status is not Status.ACTIVE:
            return lambda: None
        row.replace(Status.BAD)
        return self._committed([], ([], [ref]))

    def _end(self, row: Row, is_success: bool) -> None:
        row.run += 1
        row.attempt = row.open_runs = 0
        if is_success:
            row.status = Status.SUCCESS
        elif row.retried >= RETRIES:
            row.status = Status.FAILED
        else:
            row.retried += 1
            row.seq, row.due_ms = next(self._seq), self.now_ms + RETRY_MS

    def _accept(self, follows: Any, forces: Any, due_ms: int = 0) -> tuple[list[Row], list[Ref]]:
        entered, replaced = [], []
        for project, taskid, priority in follows:
            ref = Ref(project, task_key(taskid))
            if ref not in self.rows:
                self.rows[ref] = Row(ref, taskid, next(self._seq), priority, due_ms=due_ms)
                entered.append(self.rows[ref])
        for project, taskid in forces:
            row = self.rows.get(Ref(project, task_key(taskid)))
            if row is not None:
                replaced += [row.ref] if row.replace(Status.ACTIVE) else []
                row.seq, row.due_ms, row.retried = next(self._seq), 0, 0
                entered = [*[x for x in entered if x is not row], row]
        return entered, replaced

    def _committed(self, ended: Any, accepted: tuple[list[Row], list[Ref]]) -> Callable[[], None]:
        tasks = [row.task() for row in accepted[0]]  # as they are now: the loop hears of it later
        replaced = accepted[1]

        def tell() -> None:
            for ref, run, by, is_late, is_success in ended:
                error = "" if is_success else "HTTP 503"
                self.perform(self.core.ended(ref, run, by, is_late=is_late, is_success=is_success, error=error))
            self.core.replaced(replaced)
            self.core.entered(tasks)

        return tell

    # --- what must be true

    @property
    def waiting(self) -> list[Row]:
        """Tasks that are not final."""
        return [row for row in self.rows.values() if row.status is Status.ACTIVE]

    def assert_invariants(self) -> None:
        """The core is consistent; and when it has heard all that the database did, it forgot no waiting task."""
        self.core.assert_invariants()
        for lease in self.core.leases:
            state = self.core.projects.get(lease.task.ref.project)
            task = None if state is None else state.frontier.get(lease.task.ref)
            assert task is None or lease.task.run < task.run
        if not self.writer and not self.finished:
            self._assert_nothing_is_forgotten()

    def assert_over(self, made: Delivery) -> None:
        """A slave drops an outcome only if it would change nothing, had it arrived."""
        row = self.rows.get(made.ref)
        assert row is None or row.run > made.run, (row, made)
        assert row is None or not row.is_open(made.run), (row, made)

    def assert_rates(self) -> None:
        """No window of time, however long, has more starts than rate * t + burst."""
        for id, starts in self.starts.items():
            rate, burst = self.projects[id].rate, self.projects[id].burst
            level, before = 0.0, 0.0
            for at, _, _ in sorted(starts):
                level = max(0.0, level - rate * (at - before)) + 1
                before = at
                assert level <= burst + 0.001 * rate + 1e-6, (id, level)  # starts are told in whole milliseconds

    def _assert_order(self, actions: Sequence[Any]) -> None:
        """What was granted comes before what was ready, in memory and was not; each slave got it in this order."""
        last: dict[int, tuple[int, int]] = {}
        for action in actions:
            if not isinstance(action, Give):
                continue
            begun: dict[int, tuple[int, int]] = {}
            for lease, _ in action.grants:
                project, position = lease.task.ref.project, ready_position(lease.task)
                if lease.task.taskid not in INTERNAL:
                    assert begun.get(project, position) <= position
                    begun[project] = position
                    last[project] = max(last.get(project, position), position)
        for project, position in last.items():
            frontier = self.core.projects[project].frontier
            heads = [frontier.ready.tasks.peek(), frontier._due.peek()]
            assert all(position < ready_position(head) for head in heads if head is not None)

    def _assert_nobody_oversleeps(self) -> None:
        """Each project that has a task for a slave with room is looked at in the next step."""
        queue = self.core._queue
        now = {id for id, at in queue._at.items() if at <= self.now + 1e-6}  # sums of seconds are rounded
        for id, state in self.core.projects.items():
            if state.is_active and id not in queue._awake | queue._touched | now and not state.is_limited:
                assert self.core._granting.choice.next(state, self.now, self.now_ms) is None, id

    def _assert_nothing_is_forgotten(self) -> None:
        for row in self.waiting:
            state = self.core.projects[row.ref.project]
            lease = self.core.leases.get(row.ref)
            if lease is not None and lease.task.run == row.run:
                continue
            task = state.frontier.get(row.ref)
            if lease is not None and lease.newest is not None:
                assert task is None
                task = lease.newest
            if task is not None:
                assert task.run == row.run
                assert task.attempt <= row.attempt  # a read may have been under way while the row was charged
            else:
                window = state.frontier.delayed if row.due_ms else state.frontier.ready
                skipped = state.frontier.deferred.skipped["delayed" if row.due_ms else "ready"]
                assert row.position > window.edge or skipped.covers(host_hash(host_of(row.url)), row.position), row


# --- words that stories are told in


def only(found: Iterable[Any]) -> Any:
    """The one thing in there."""
    (one,) = found
    return one


def names(slave: Slave) -> list[str]:
    """The tasks that a slave holds."""
    return sorted(held.taskid for held in slave.held.values())


def wait(world: World, seconds: int, *alive: Slave) -> None:
    """Time passes; these slaves beat."""
    for _ in range(seconds):
        world.advance(1.0)
        for slave in alive:
            slave.beat()
        world.settle(*alive)
