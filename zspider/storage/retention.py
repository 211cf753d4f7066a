"""Deletes old tasks and results: a pass along a project's tasks and results by key, some rows at a time."""

from collections.abc import Sequence
from enum import IntEnum
from typing import Any, NamedTuple

import sqlalchemy as sa

from zspider.storage.counter_names import GAUGES, RESULTS
from zspider.storage.counters import CounterTable
from zspider.storage.database import Database, Transaction
from zspider.storage.forget import Forgetting
from zspider.storage.ownership import EpochGuard
from zspider.storage.report import Committed
from zspider.storage.results import ResultTable
from zspider.storage.schema import tasks
from zspider.task import Ref, Status


class Table(IntEnum):
    """The tables that a pass goes along, in this order."""

    TASKS = 1
    RESULTS = 2


class Place(NamedTuple):
    """Where the pass along one project goes on."""

    table: Table = Table.TASKS
    after: bytes = b""


class Cutoffs(NamedTuple):
    """Wall-clock milliseconds: rows written last before them are deleted; 0: none are."""

    content_ms: int  # of finished tasks: their track
    tasks_ms: int  # finished tasks
    results_ms: int


class RetentionStep(NamedTuple):
    """One step of a pass."""

    report: Committed
    trimmed: int
    forgotten: int
    results: int
    next: Place | None  # None: the project is done


class RetentionPass:
    """Makes such steps, each of them one transaction. What waits is never touched."""

    _PAGE = (
        sa.select(tasks.c.key, tasks.c.status, tasks.c.run, tasks.c.updated_ms, tasks.c.track.is_not(None).label("has"))
        .where(tasks.c.project_id == sa.bindparam("project"), tasks.c.key > sa.bindparam("after"))
        .order_by(tasks.c.key)
        .limit(sa.bindparam("limit"))
    )
    _OF_KEYS = (tasks.c.project_id == sa.bindparam("project"), tasks.c.key.in_(sa.bindparam("keys", expanding=True)))
    _TRIM = sa.update(tasks).where(*_OF_KEYS).values(track=None)
    _DELETE = sa.delete(tasks).where(*_OF_KEYS)

    def __init__(self, db: Database, epoch_guard: EpochGuard, forgetting: Forgetting) -> None:
        self._db = db
        self._epoch_guard = epoch_guard
        self._forgetting = forgetting
        self._results = ResultTable(db.engine)
        self._counters = CounterTable(db.engine)

    def step(self, project: int, place: Place, cutoffs: Cutoffs, rows: int) -> RetentionStep:
        """Look at the next `rows` tasks, or results."""
        with self._db.transaction() as tx:
            self._epoch_guard.enter(tx)
            step = self._tasks_step if place.table is Table.TASKS else self._results_step
            taken = step(tx, project, place.after, cutoffs, rows)
            self._counters.add(tx, taken.report.counts)
        return taken

    def _tasks_step(self, tx: Transaction, project: int, after: bytes, cutoffs: Cutoffs, limit: int) -> RetentionStep:
        is_wanted = cutoffs.content_ms or cutoffs.tasks_ms
        rows = tx.rows(self._PAGE, {"project": project, "after": after, "limit": limit}) if is_wanted else []
        finished = [row for row in rows if row.status != Status.ACTIVE]
        old = [row for row in finished if row.updated_ms < cutoffs.tasks_ms]
        full = [row for row in finished if cutoffs.tasks_ms <= row.updated_ms < cutoffs.content_ms and row.has]
        if full:
            tx.change(self._TRIM, {"project": project, "keys": [row.key for row in full]})
        report = self._forget(tx, project, old)
        place = Place(Table.TASKS, rows[-1].key) if len(rows) == limit else Place(Table.RESULTS)
        return RetentionStep(report, len(full), len(old), 0, place)

    def _forget(self, tx: Transaction, project: int, rows: Sequence[Any]) -> Committed:
        report = Committed()
        if rows:
            tx.change(self._DELETE, {"project": project, "keys": [row.key for row in rows]})
            for row in rows:
                report.counts[project][GAUGES[Status(row.status)]] -= 1
            refs, last_run = [Ref(project, row.key) for row in rows], max(row.run for row in rows)
            self._forgetting.forget(tx, refs, last_run, report)
        return report

    def _results_step(self, tx: Transaction, project: int, after: bytes, cutoffs: Cutoffs, limit: int) -> RetentionStep:
        if not cutoffs.results_ms:
            return RetentionStep(Committed(), 0, 0, 0, None)
        cut, last = self._results.cut(tx, project, after, limit, cutoffs.results_ms)
        report = Committed()
        report.counts[project][RESULTS] -= cut
        return RetentionStep(report, 0, 0, cut, None if last is None else Place(Table.RESULTS, last))
