"""Outcomes to rows: everything that a batch led to, in one transaction; one bad datum harms its own task only."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TypeVar

import structlog

from zspider.decisions import Accept, Rules
from zspider.delivery import End, Follow, Outcome
from zspider.storage.batch import ArrivalNumbers, Batch, cron_projects, refs_of
from zspider.storage.counter_names import CRON_TICK, GAUGES, RESULTS
from zspider.storage.counters import CounterTable
from zspider.storage.database import Database, Transaction
from zspider.storage.engine import BadDatum
from zspider.storage.ownership import EpochGuard
from zspider.storage.projects import ProjectTable
from zspider.storage.report import Committed
from zspider.storage.results import ResultTable
from zspider.storage.row_cache import RowCache
from zspider.storage.rows import TaskRow, storable
from zspider.storage.seen import SeenKeys
from zspider.storage.tasks import TaskTable
from zspider.storage.windows import WindowTable
from zspider.task import Ref, Status

_WAITING = GAUGES[Status.ACTIVE]
T = TypeVar("T")
# What no value of an outcome should lead to, and what one that nobody thought of may.
_ODD = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
log = structlog.get_logger(__name__)


class Committer:
    """Writes batches.

    projects: the projects that may be written to, each with the run of its new tasks; kept by the caller.
    """

    def __init__(
        self,
        db: Database,
        epoch_guard: EpochGuard,
        rules: Rules,
        *,
        projects: Mapping[int, int],
        numbers: ArrivalNumbers,
        seen: SeenKeys,
        row_cache: RowCache,
    ) -> None:
        self._db = db
        self._epoch_guard = epoch_guard
        self._rules = rules
        self._projects = projects
        self._numbers = numbers
        self._seen = seen
        self._row_cache = row_cache
        self._tasks = TaskTable(db.engine)
        self._project_table = ProjectTable(db.engine)
        self._results = ResultTable(db.engine)
        self._counters = CounterTable(db.engine)
        self._windows = WindowTable(db.engine)

    def commit(self, outcomes: Sequence[Outcome], now_ms: int) -> Committed:
        """Write outcomes; halves of a batch that cannot be written are tried by themselves.

        The lone offender ends its task as FATAL, with the database's reason or ours.
        """
        report = Committed(now_ms)
        self._commit(outcomes, 0, now_ms, report)
        return report

    def submit(self, project: int, follows: Sequence[Follow], now_ms: int) -> Committed:
        """Accept URLs that no task led to."""
        return self.submit_with(project, follows, now_ms, lambda tx: None)[0]

    def submit_with(
        self, project: int, follows: Sequence[Follow], now_ms: int, change: Callable[[Transaction], T]
    ) -> tuple[Committed, T]:
        """Accept URLs together with another change in the same transaction; also returns the value of that change."""
        batch = self.batch(now_ms)
        with self._db.transaction() as tx:
            self._epoch_guard.enter(tx)
            batch.follow(project, follows)
            self._accept_and_write(tx, batch, now_ms)
            changed = change(tx)
        return self._done(batch), changed

    def finish(self, project: int, follow: Follow, now_ms: int) -> Committed:
        """Accept on_finished if no task is left."""
        batch = self.batch(now_ms)
        with self._db.transaction() as tx:
            self._epoch_guard.enter(tx)
            batch.finish(project, follow, self._counters.read(tx).get(project, {}))
            self._accept_and_write(tx, batch, now_ms)
        return self._done(batch)

    def charge(self, deliveries: Sequence[tuple[Ref, int, int]], now_ms: int) -> Committed:
        """Note (task, run, attempt) of deliveries that came to nothing."""
        batch = self.batch(now_ms)
        with self._db.transaction() as tx:
            self._epoch_guard.enter(tx)
            batch.rows = self._find(tx, {ref for ref, _, _ in deliveries if ref.project in self._projects})
            charged = [row for delivery in deliveries if (row := batch.charge(*delivery))]
            again = list({row.ref: row for row in charged}.values())
            self._tasks.charge(tx, again, now_ms)
            self._accept_and_write(tx, batch, now_ms)
            batch.report.entered += self._tasks.as_tasks(tx, again)
        return self._done(batch)

    def batch(self, now_ms: int) -> Batch:
        """Return an empty batch, for one transaction."""
        return Batch(self._rules, self._seen, self._numbers, now_ms, self._projects)

    def _commit(self, outcomes: Sequence[Outcome], first: int, now_ms: int, report: Committed) -> None:
        try:
            report.add(self._write(outcomes, first, now_ms))
        except (BadDatum, *_ODD) as exc:
            if len(outcomes) == 1:
                if not isinstance(exc, BadDatum):
                    one = outcomes[0]
                    log.error("internal_error", where="a commit", project=one.project, task=one.taskid, exc_info=exc)
                report.bad.append((first, str(exc)))
                report.add(self._write([_refused(outcomes[0], exc)], first, now_ms))
                return
            half = len(outcomes) // 2
            self._commit(outcomes[:half], first, now_ms, report)
            self._commit(outcomes[half:], first + half, now_ms, report)

    def _write(self, outcomes: Sequence[Outcome], first: int, now_ms: int) -> Committed:
        batch = self.batch(now_ms)
        with self._db.transaction() as tx:
            self._epoch_guard.enter(tx)
            batch.rows = self._find(tx, set(refs_of(outcomes)))
            batch.cron_ticks = {
                project: self._counters.value(tx, project, CRON_TICK) for project in cron_projects(outcomes)
            }
            followed = [
                number
                for number, outcome in enumerate(outcomes, first)
                if batch.end(outcome, outcome.project in self._projects)
            ]
            batch.deliver(self._ids_of(tx, batch.messages.receivers))
            self._accept_and_write(tx, batch, now_ms)
        if not batch.report.dropped[Accept.FULL]:
            batch.report.followed = followed
        return self._done(batch)

    def _ids_of(self, tx: Transaction, names: Collection[str]) -> dict[str, int]:
        """Return the ids of these projects, by name, without those that are being removed."""
        found = {name: self._project_table.find(tx, name) for name in sorted(names)}
        return {name: project for name, project in found.items() if project is not None and project in self._projects}

    def _find(self, tx: Transaction, refs: Iterable[Ref]) -> dict[Ref, TaskRow]:
        """Return the rows of the tasks that exist, from memory or read."""
        rows, unknown = self._row_cache.take(refs)
        return rows | self._tasks.find(tx, unknown)

    def _accept_and_write(self, tx: Transaction, batch: Batch, now_ms: int) -> None:
        undecided = batch.undecided()
        batch.rows |= self._find(tx, undecided)
        if self._rules.waiting_max:
            projects = {ref.project for ref in undecided}
            batch.waited = {project: self._counters.value(tx, project, _WAITING) for project in projects}
        batch.accept()
        self._tasks.reschedule(tx, batch.rescheduled)
        self._tasks.place(tx, batch.placed(), now_ms)
        self._tasks.settle(tx, batch.settled(), now_ms)
        self._tasks.delete(tx, batch.to_delete())
        for project, delta in self._results.write(tx, batch.results()).items():
            batch.report.counts[project][RESULTS] += delta
        batch.costs.count()
        self._counters.add(tx, batch.report.counts)
        self._windows.add(tx, batch.report.counts, now_ms)
        batch.report.entered += self._tasks.as_tasks(tx, batch.waiting())

    def _done(self, batch: Batch) -> Committed:
        """After COMMIT: the rows are certain now."""
        self._seen.update(batch.cacheable())
        self._row_cache.put(batch.rows.values())
        return batch.report


def _refused(outcome: Outcome, exc: Exception) -> Outcome:
    """Return what is stored for an outcome that cannot be: that its task failed, and why."""
    return outcome.failed(End.FATAL, storable(f"the database refused what it led to: {exc}"))
