"""The operator's changes of many tasks at once, or of one: restart them, or take them out, a batch a transaction."""

from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

from zspider.errors import StorageError
from zspider.storage.batch import Batch
from zspider.storage.counter_names import RESULTS
from zspider.storage.counters import CounterTable
from zspider.storage.database import Database, Transaction
from zspider.storage.forget import Forgetting
from zspider.storage.ownership import EpochGuard
from zspider.storage.report import Committed
from zspider.storage.results import ResultTable
from zspider.storage.row_cache import RowCache
from zspider.storage.rows import TaskRow
from zspider.storage.tasks import TaskTable
from zspider.storage.walk import Cursor, Selection, Walk
from zspider.task import Ref, Status, task_key


class Change(StrEnum):
    """The change made to a task."""

    RESTART = "restart"  # it waits for a new run, with all its tries
    REMOVE = "remove"  # its row goes: its URL is new when it is found again


class Step(NamedTuple):
    """One batch of a bulk verb."""

    report: Committed
    changed: int
    looked: int  # at so many rows
    next: Cursor | None  # None: this was the last


class Bulk:
    """Writes such changes. batch: returns an empty Batch for a wall-clock time."""

    def __init__(
        self,
        db: Database,
        epoch_guard: EpochGuard,
        forgetting: Forgetting,
        batch: Callable[[int], Batch],
        row_cache: RowCache,
    ) -> None:
        self._db = db
        self._epoch_guard = epoch_guard
        self._batch = batch
        self._forgetting = forgetting
        self._row_cache = row_cache
        self._tasks = TaskTable(db.engine)
        self._results = ResultTable(db.engine)
        self._counters = CounterTable(db.engine)
        self._walk = Walk(db.engine)

    def step(
        self,
        change: Change,
        project: int,
        selection: Selection,
        cursor: Cursor,
        *,
        rows: int,
        most: int | None,
        now_ms: int,
    ) -> Step:
        """Look at the next `rows` tasks and change those selected. most: change at most so many; None: any number."""
        batch = self._batch(now_ms)
        with self._db.transaction() as tx:
            self._epoch_guard.enter(tx)
            page = self._walk.page(tx, project, selection, cursor, rows)
            chosen = page.rows[:most]
            self._change(tx, batch, change, chosen, now_ms)
        return Step(batch.report, len(chosen), page.looked, None if len(chosen) == most else page.next)

    def restart_one(self, project: int, taskid: str, now_ms: int) -> Committed:
        """Let a task run anew now; StorageError when there is none, or it may be running."""
        batch = self._batch(now_ms)
        with self._db.transaction() as tx:
            self._epoch_guard.enter(tx)
            row = self._one(tx, project, taskid)
            if row.stored.status is Status.ACTIVE and row.stored.due_ms <= now_ms:
                raise StorageError(f"task {taskid!r} is to run already: it is ready, or a slave has it")
            self._change(tx, batch, Change.RESTART, [row], now_ms)
        return batch.report

    def remove_one(self, project: int, taskid: str, now_ms: int, *, keep_results: bool) -> Committed:
        """Take out a task, and its results; StorageError when there is none."""
        batch = self._batch(now_ms)
        with self._db.transaction() as tx:
            self._epoch_guard.enter(tx)
            row = self._one(tx, project, taskid)
            if not keep_results:
                batch.report.counts[project][RESULTS] -= self._results.cut_task(tx, row.ref)
            self._change(tx, batch, Change.REMOVE, [row], now_ms)
        return batch.report

    def _one(self, tx: Transaction, project: int, taskid: str) -> TaskRow:
        ref = Ref(project, task_key(taskid))
        row = self._tasks.find(tx, [ref]).get(ref)
        if row is None:
            raise StorageError(f"there is no task {taskid!r}")
        return row

    def _change(self, tx: Transaction, batch: Batch, change: Change, rows: list[TaskRow], now_ms: int) -> None:
        batch.rows = {row.ref: row for row in rows}
        self._row_cache.take(batch.rows)  # they are written here, and read from the database next
        for row in rows:
            if change is Change.RESTART:
                batch.restart(row)
            else:
                batch.remove(row)
        self._tasks.settle(tx, batch.settled(), now_ms)
        self._forget(tx, batch)
        self._counters.add(tx, batch.report.counts)
        batch.report.entered += self._tasks.as_tasks(tx, batch.waiting())

    def _forget(self, tx: Transaction, batch: Batch) -> None:
        if to_delete := batch.to_delete():
            self._tasks.delete(tx, to_delete)
            refs, last_run = [row.ref for row in to_delete], max(row.stored.run for row in to_delete)
            self._forgetting.forget(tx, refs, last_run, batch.report)
