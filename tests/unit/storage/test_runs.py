"""Runs of a task in any order of submissions, ends, parts and lost deliveries, against a small model of what counts."""

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from zspider.delivery import ATTEMPTS_MAX, End, Follow, NewSchedule, Outcome
from zspider.scheduler.rules import SchedulerRules
from zspider.storage.batch import ArrivalNumbers, Batch
from zspider.storage.counter_names import ENDS, GAUGES
from zspider.storage.rows import TaskRow
from zspider.storage.seen import SeenKeys
from zspider.task import Ref, Status, task_key

PAGE = Ref(1, task_key("page"))
ENDINGS = st.sampled_from([End.SUCCESS, End.FAILURE, End.FATAL])
LEFT = NewSchedule(b"\x80", 9, 9, 0, 1000, None, True)
CHANCES = st.floats(0, 1, exclude_max=True)


class OneTask(RuleBasedStateMachine):
    """The model: a set of runs whose ends count, because a slave may have them and none after them has ended."""

    @initialize()
    def begin(self) -> None:
        self.row: TaskRow | None = None
        self.numbers, self.now_ms = ArrivalNumbers(), 1_000_000
        self.lent: list[
            int
        ] = []  # every run that has ever waited: slaves may have any of them, and send it at any time
        self.counts_on: set[int] = set()
        self.status, self.run = Status.ACTIVE, 0
        self.priority = self.children = self.stored = 0
        self.ends: Counter[str] = Counter()
        self.told: Counter[str] = Counter()
        self.submit(0, is_cancel=False)

    def batch(self) -> Batch:
        self.now_ms += 1000
        batch = Batch(SchedulerRules(), SeenKeys(0), self.numbers, self.now_ms, {1: 0})
        if self.row is not None:
            batch.rows[PAGE] = self.row
        return batch

    def written(self, batch: Batch) -> Batch:
        """As `RowCache.put` leaves a row."""
        batch.accept()
        self.row = batch.rows[PAGE]
        self.row.body = self.row.track = self.row.schedule = None
        self.row.reason, self.row.is_settled, self.row.is_placed = "", False, False
        self.told.update({name: n for name, n in batch.report.counts[1].items() if name in ENDS.values()})
        return batch

    def waits(self) -> None:
        """A new run: a slave may have it from now on."""
        if self.status is Status.ACTIVE:
            self.lent.append(self.run)
            self.counts_on.add(self.run)

    # --- what happens to it

    @rule(priority=st.integers(-5, 5), is_cancel=st.booleans())
    def submit(self, priority: int, is_cancel: bool) -> None:
        """By force."""
        was_there = self.row is not None
        batch = self.batch()
        page = Follow("page", "http://x/", b"", priority, retries=1, force_update=True, cancel=is_cancel)
        batch.follow(1, [page])
        self.written(batch)
        assert [task.is_placed for task in batch.placed()] == [] if is_cancel else batch.rows[PAGE].priority == priority
        assert bool(batch.report.replaced) or not self.counts_on
        assert batch.report.gone == []
        self.run += was_there
        self.status = Status.BAD if is_cancel else Status.ACTIVE
        self.priority = self.priority if is_cancel else priority
        self.waits()

    @rule()
    def an_operator_restarts_it(self) -> None:
        assert self.row is not None
        batch = self.batch()
        batch.restart(self.row)
        self.written(batch)
        self.run, self.status = self.run + 1, Status.ACTIVE
        self.waits()

    @rule(which=CHANCES, end=ENDINGS, leaves=st.booleans())
    def a_run_ends(self, which: float, end: End, leaves: bool) -> None:
        self._end(self.lent[int(which * len(self.lent))], end, leaves)

    @rule(end=ENDINGS)
    def the_oldest_that_counts_ends(self, end: End) -> None:
        if self.counts_on:
            self._end(min(self.counts_on), end, False)

    def _end(self, run: int, end: End, leaves: bool) -> None:
        counts, is_open = run in self.counts_on, run != self.run
        batch, status = self.batch(), self.status
        child = Follow(f"child{self.children}", "http://x/", b"")
        schedule = LEFT if leaves else None
        outcome = Outcome(1, "page", run, 1, b"", end, [child], [b"1"], b"track", "why", schedule=schedule)
        assert batch.end(outcome, True) is counts
        batch = self.written(batch)
        (ended,) = batch.report.ended
        assert (ended.late, ended.run) == (not counts, run)
        if not counts:
            assert not batch.results()
            assert not batch.placed()
            return
        self.children += 1
        assert len(batch.results()) == 1
        assert len(batch.placed()) == 1
        assert ended.is_success is (end is End.SUCCESS)
        assert self.row is not None
        self.counts_on = {other for other in self.counts_on if other > run}
        if is_open:
            assert (ended.status, self.row.priority) == (status, self.priority)
            self.ends[ENDS["success" if end is End.SUCCESS else "retry" if status is Status.ACTIVE else "failed"]] += 1
            assert self.row.stored.retried == 0 or status is Status.BAD  # a cancelled one keeps what it had
            return
        self.ends[ENDS[{End.SUCCESS: "success", End.FATAL: "failed"}.get(end) or _retry(self.row)]] += 1
        self.run, self.status, self.priority = self.run + 1, self.row.stored.status, self.row.priority
        assert not self.counts_on
        self.waits()

    @rule(which=CHANCES)
    def a_part_comes(self, which: float) -> None:
        run, batch = self.lent[int(which * len(self.lent))], self.batch()
        child = Follow(f"part{self.children}", "http://x/", b"")
        self.children += 1
        before = (self.run, self.status, set(self.counts_on))
        counted = batch.end(Outcome(1, "page", run, 1, b"", End.PART, [child]), True)
        assert counted is (run in self.counts_on)
        self.written(batch)
        assert before == (self.run, self.status, self.counts_on)

    @rule(which=CHANCES, attempt=st.sampled_from([1, 2, ATTEMPTS_MAX]))
    def a_delivery_comes_to_nothing(self, which: float, attempt: int) -> None:
        run, batch = self.lent[int(which * len(self.lent))], self.batch()
        is_current = run == self.run and self.status is Status.ACTIVE
        assert bool(batch.charge(PAGE, run, attempt)) is (is_current and attempt < ATTEMPTS_MAX)
        self.written(batch)
        if is_current and attempt == ATTEMPTS_MAX:
            self.ends[ENDS["failed"]] += 1
            self.run, self.status, self.counts_on = self.run + 1, Status.FAILED, set()

    @precondition(lambda self: hasattr(self, "row"))
    @invariant()
    def row_and_model_agree(self) -> None:
        row = self.row
        assert row is not None
        assert (row.stored.run, row.stored.status) == (self.run, self.status)
        assert {run for run in self.lent if row.is_current(run) or row.is_open(run)} == self.counts_on
        assert self.told == self.ends
        assert row.open_runs >= 0
        assert GAUGES[row.stored.status]


def _retry(row: TaskRow) -> str:
    return "retry" if row.stored.status is Status.ACTIVE else "failed"


TestOneTask = OneTask.TestCase
TestOneTask.settings = settings(max_examples=100, stateful_step_count=40, deadline=None, database=None)
