"""The master's storage, for its writer thread."""

from collections.abc import Collection, Sequence

from zspider.decisions import Rules
from zspider.delivery import Follow, Outcome
from zspider.storage.bulk import Bulk, Change, Step
from zspider.storage.commit import Committer
from zspider.storage.counter_names import RESULTS
from zspider.storage.database import Database, Transaction
from zspider.storage.forget import Forgetting
from zspider.storage.host_scan import HostScan, Scanned
from zspider.storage.project_storage import ProjectStorage
from zspider.storage.report import Committed
from zspider.storage.results import ResultTable
from zspider.storage.retention import Cutoffs, Place, RetentionPass, RetentionStep
from zspider.storage.rows import RowAndTask
from zspider.storage.tasks import TaskTable
from zspider.storage.walk import Cursor, Selection
from zspider.task import Kind, Project, ProjectStatus, Ref, Task

SCAN_ENTRIES = 5_000  # of the frontier's index, looked at in one go: commits wait meanwhile
BULK_ROWS = 300  # looked at, and perhaps changed, in one transaction: no longer than a group of outcomes takes


class Storage(ProjectStorage):
    """The master's hand on the database, for one thread. Every write is one transaction that asks first whose
    database this is (OwnedElsewhere). StorageUnavailable from any method: nothing was written, or (the answer to
    COMMIT was lost) all of it; the same call may be made again.
    """

    def __init__(self, db: Database, rules: Rules, known: int) -> None:
        super().__init__(db, known)
        self._committer = Committer(
            db,
            self._epoch_guard,
            rules,
            projects=self._writable,
            numbers=self._numbers,
            seen=self._seen,
            row_cache=self._row_cache,
        )
        self._tasks = TaskTable(db.engine)
        self._host_scan = HostScan(self._tasks)
        self._results = ResultTable(db.engine)
        forgetting = Forgetting(self._seen, self._writable)
        self._bulk = Bulk(db, self._epoch_guard, forgetting, self._committer.batch, self._row_cache)
        self._retention = RetentionPass(db, self._epoch_guard, forgetting)

    # --- tasks

    def commit(self, outcomes: Sequence[Outcome], now_ms: int) -> Committed:
        """Write all that these outcomes led to, in one transaction: all of it or nothing.

        now_ms: wall-clock milliseconds. Calling it again with the same outcomes is safe: they are late then, change
        nothing and are reported as ended all the same. An outcome that the database refuses ends its task as failed
        and is reported in `bad`; the others are written (in several transactions then).
        """
        return self._committer.commit(outcomes, now_ms)

    def submit(self, project: int, follows: Sequence[Follow], now_ms: int) -> Committed:
        """Accept URLs from outside, such as on_start; StorageError when there is no such project."""
        self._check_writable(project)
        return self._committer.submit(project, follows, now_ms)

    def finish(self, project: int, follow: Follow, now_ms: int) -> Committed:
        """Submit on_finished if, in this very transaction, no task waits and some run ended since the last one.

        Calling it again is safe: until another run has ended it does nothing. Nor does it for a project that is gone.
        """
        if project not in self._writable:
            return Committed()
        return self._committer.finish(project, follow, now_ms)

    def charge(self, deliveries: Sequence[tuple[Ref, int, int]], now_ms: int) -> Committed:
        """Note (task, run, attempt) of leases that expired; the task fails with attempt ATTEMPTS_MAX.

        `entered` of the report has the tasks that wait again. Runs that are over are left alone.
        """
        return self._committer.charge(deliveries, now_ms)

    def ready(self, project: int, after: tuple[int, int] | None, limit: int) -> list[Task]:
        """Return tasks that may be granted now, by (-priority, seq), strictly after `after`."""
        with self._db.transaction() as tx:
            return self._keep(self._tasks.ready(tx, project, after, limit))

    def delayed(self, project: int, after: tuple[int, int] | None, limit: int) -> list[Task]:
        """Return tasks that wait for their due_ms (it may have come), by (due_ms, seq), strictly after `after`."""
        with self._db.transaction() as tx:
            return self._keep(self._tasks.delayed(tx, project, after, limit))

    def tasks_of_hosts(
        self,
        project: int,
        kind: Kind,
        after: tuple[int, int] | None,
        until: tuple[int, int],
        hosts: Collection[int],
        *,
        is_others: bool,
        limit: int,
        entries: int = SCAN_ENTRIES,
    ) -> Scanned:
        """Return the first waiting tasks of these hosts, or of all but these, behind `after` up to `until`.

        hosts: not empty, some 1,000 at most. At most `limit` tasks are returned and some 2 * `entries` entries of the
        index looked at; `reached` tells how far that led: it is `until` when it led to the end.
        """
        with self._db.transaction() as tx:
            return self._host_scan.tasks_of_hosts(
                tx, project, kind, after, until, hosts, is_others=is_others, limit=limit, entries=entries
            )

    # --- many tasks

    def change_tasks(
        self,
        change: Change,
        project: int,
        selection: Selection,
        cursor: Cursor | None,
        *,
        now_ms: int,
        rows: int = BULK_ROWS,
        most: int | None = None,
    ) -> Step:
        """Look at the next `rows` tasks and change those selected; safe to repeat.

        cursor: that of the step before; None begins. most: the step that has changed so many tasks is the last one.
        Leases of what changed are void (`gone`). StorageError when there is no such project, or it is being removed.
        """
        self._check_writable(project)
        cursor = cursor or Cursor(until_seq=self._numbers.last)
        return self._bulk.step(change, project, selection, cursor, rows=rows, most=most, now_ms=now_ms)

    def restart_task(self, project: int, taskid: str, now_ms: int) -> Committed:
        """Let one task run anew now; StorageError when there is none, or it may be running."""
        self._check_writable(project)
        return self._bulk.restart_one(project, taskid, now_ms)

    def remove_task(self, project: int, taskid: str, now_ms: int, *, keep_results: bool = False) -> Committed:
        """Delete one task, and its results; StorageError when there is none."""
        self._check_writable(project)
        return self._bulk.remove_one(project, taskid, now_ms, keep_results=keep_results)

    def clear_results(self, project: int, after: bytes = b"", rows: int = BULK_ROWS) -> tuple[Committed, bytes | None]:
        """Delete the results of the next tasks by key; also returns the last key, None when there are no more."""
        self._check_writable(project)
        report = Committed()
        with self._write() as tx:
            cut, last = self._results.cut(tx, project, after, rows)
            report.counts[project][RESULTS] -= cut
            self._counters.add(tx, report.counts)
        return report, last

    def retention_step(self, project: int, place: Place, cutoffs: Cutoffs, rows: int = BULK_ROWS) -> RetentionStep:
        """Take the next step of a project's retention; nothing is done for a project that is gone."""
        if project not in self._writable:
            return RetentionStep(Committed(), 0, 0, 0, None)
        return self._retention.step(project, place, cutoffs, rows)

    def start(self, project: int, status: ProjectStatus, follow: Follow, now_ms: int) -> tuple[Committed, Project]:
        """Give a project a status and submit a follow (its on_start), in one transaction: both or neither.

        StorageError when there is no such project, or it is being removed.
        """
        self._check_writable(project)

        def change(tx: Transaction) -> Project:
            self._projects.change(tx, project, now_ms, {"status": status.value})
            return self._projects.one(tx, project)

        return self._committer.submit_with(project, [follow], now_ms, change)

    def _keep(self, waiting: Sequence[RowAndTask]) -> list[Task]:
        """Keep rows that were read for the frontier: they will be decided about soon."""
        self._row_cache.put(one.row for one in waiting)
        return [one.task for one in waiting]
