"""What the master keeps, for its writer thread."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

from zspider.activity import WindowSlot
from zspider.decisions import Rules
from zspider.delivery import Follow, Outcome
from zspider.errors import StorageError
from zspider.storage.batch import ArrivalNumbers
from zspider.storage.bulk import Bulk, Change, Step
from zspider.storage.commit import Committer
from zspider.storage.counter_names import FIRST_RUN, REMOVING, RESULTS
from zspider.storage.counters import CounterTable
from zspider.storage.database import Database, Transaction
from zspider.storage.forget import Forgetting
from zspider.storage.host_scan import HostScan, Scanned
from zspider.storage.ownership import WATCH_S, Fence
from zspider.storage.projects import ProjectTable, Removal, SessionTable
from zspider.storage.report import Committed, Ownership
from zspider.storage.results import ResultTable
from zspider.storage.retention import Cutoffs, Place, RetentionPass, RetentionStep
from zspider.storage.row_cache import RowCache
from zspider.storage.rows import Waiting
from zspider.storage.seen import SeenKeys
from zspider.storage.tasks import TaskTable
from zspider.storage.walk import Cursor, Selection
from zspider.storage.windows import WindowTable
from zspider.task import Kind, Project, ProjectStatus, Ref, ScriptInfo, Task

SEQ_SLACK = 3600 * 1000 * 1_000_000  # an hour of `seq`: far more than a master uses between two renewals
CACHED_ROWS = 20_000  # as many as two frontier windows; some 10 MB
TRIM_ROWS = 500  # of each window, in one transaction
SCAN_ENTRIES = 5_000  # of the frontier's index, looked at in one go: commits wait meanwhile
REMOVE_ROWS = 1000  # deleted in one transaction: some 20 ms
BULK_ROWS = 300  # looked at, and perhaps changed, in one transaction: no longer than a group of outcomes takes


class Storage:
    """The master's hand on the database, for one thread. Every write is one transaction that asks first whose
    database this is (OwnedElsewhere). StorageUnavailable from any method: nothing was written, or (the answer to
    COMMIT was lost) all of it; the same call may be made again.
    """

    def __init__(self, db: Database, rules: Rules, known: int) -> None:
        self._db = db
        self._fence = Fence(db)
        self._numbers = ArrivalNumbers()
        self._seen = SeenKeys(known)
        self._writable: dict[int, int] = {}  # projects that may be written to: the run their new tasks begin with
        self._row_cache = RowCache(CACHED_ROWS)
        self._committer = Committer(
            db,
            self._fence,
            rules,
            projects=self._writable,
            numbers=self._numbers,
            seen=self._seen,
            row_cache=self._row_cache,
        )
        self._tasks = TaskTable(db.engine)
        self._host_scan = HostScan(self._tasks)
        self._projects = ProjectTable(db.engine)
        self._sessions = SessionTable(db.engine)
        self._windows = WindowTable(db.engine)
        self._removal = Removal(db.engine)
        self._results = ResultTable(db.engine)
        self._counters = CounterTable(db.engine)
        forgetting = Forgetting(self._seen, self._writable)
        self._bulk = Bulk(db, self._fence, forgetting, self._committer.batch, self._row_cache)
        self._retention = RetentionPass(db, self._fence, forgetting)

    # --- ownership

    def take_over(self, owner: str, now_ms: int, *, watch_s: float = WATCH_S) -> Ownership:
        """Become the owner: the epoch grows, whoever had it before can write no more.

        owner: names this data directory; the same one re-enters at once. Another one that did not stop cleanly is
        watched for up to `watch_s`; OwnedElsewhere when it lives.
        """
        ownership, seq = self._fence.take(owner, watch_s)
        if seq:
            self._numbers.last = max(self._numbers.last, seq + SEQ_SLACK)
        self._numbers.next(now_ms)
        self._forget()
        with self._db.transaction() as tx:
            self._writable.clear()
            self._writable.update(
                (project.id, project.counts.get(FIRST_RUN, 0))
                for project in self._projects.all(tx)
                if not project.counts.get(REMOVING)
            )
        return ownership

    def renew(self) -> None:
        """Show others that we live, every few seconds; OwnedElsewhere when the database is not ours any more."""
        self._fence.renew(self._numbers.last)

    def release(self) -> None:
        """Give the database up, so that the next master need not wait."""
        self._fence.release(self._numbers.last)

    def close(self) -> None:
        """Drop the connection and the lock."""
        self._db.close()
        self._db.engine.unlock()

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

        `entered`: those that wait again. Runs that are over are left alone.
        """
        return self._committer.charge(deliveries, now_ms)

    def ready(self, project: int, after: tuple[int, int] | None, limit: int) -> list[Task]:
        """Tasks that may be granted now, by (-priority, seq), strictly after `after`."""
        with self._db.transaction() as tx:
            return self._keep(self._tasks.ready(tx, project, after, limit))

    def delayed(self, project: int, after: tuple[int, int] | None, limit: int) -> list[Task]:
        """Tasks that wait for their due_ms (it may have come), by (due_ms, seq), strictly after `after`."""
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
        """The first waiting tasks of these hosts (task.host_hash), or of all but these, behind `after` up to `until`.

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

        cursor: of the step before; None begins with what there is now. most: the last step is the one that has changed
        so many. Leases of what changed are void (`gone`).
        StorageError when there is no such project, or it is being removed.
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
        """Delete the results of the next tasks by key; also the last key, None when there are no more."""
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

    # --- projects

    def projects(self) -> list[Project]:
        """All projects, by name, with their counters."""
        with self._db.transaction() as tx:
            return self._projects.all(tx)

    def push(
        self,
        name: str,
        text: str,
        *,
        now_ms: int,
        status: ProjectStatus | None = None,
        known_status: ProjectStatus | None = None,
        rate: float | None = None,
        burst: float | None = None,
        group: str | None = None,
    ) -> Project:
        """Give a project a script version, and make the project if it is new.

        status: of a new project, RUNNING if None. known_status: of one that is known; None keeps its own.
        rate, burst, group: None keeps what is, or means task.Project's default. ConfigError for a name that is
        not allowed.
        """
        with self._write() as tx:
            project = self._projects.find(tx, name)
            if project is None:
                project = self._projects.add(tx, name, now_ms)
            elif project not in self._writable:
                raise StorageError(f"project {name} is being removed; push it again when it is gone")
            else:
                status = known_status
            script = self._projects.save_script(tx, text, now_ms)
            fields = {"status": status and status.value, "rate": rate, "burst": burst, "group": group, "script": script}
            self._projects.change(tx, project, now_ms, fields)
            pushed = self._projects.one(tx, project)
        self._writable[pushed.id] = pushed.counts.get(FIRST_RUN, 0)
        return pushed

    def set_project(
        self,
        project: int,
        *,
        now_ms: int,
        status: ProjectStatus | None = None,
        rate: float | None = None,
        burst: float | None = None,
        group: str | None = None,
    ) -> Project:
        """Change what is not None; StorageError when there is no such project, or it is being removed."""
        self._check_writable(project)
        with self._write() as tx:
            fields = {"status": status and status.value, "rate": rate, "burst": burst, "group": group}
            self._projects.change(tx, project, now_ms, fields)
            return self._projects.one(tx, project)

    def start(self, project: int, status: ProjectStatus, follow: Follow, now_ms: int) -> tuple[Committed, Project]:
        """Give a project a status and submit a follow (its on_start), in one transaction: both or neither.

        StorageError when there is no such project, or it is being removed.
        """
        self._check_writable(project)

        def change(tx: Transaction) -> Project:
            self._projects.change(tx, project, now_ms, {"status": status.value})
            return self._projects.one(tx, project)

        return self._committer.submit_with(project, [follow], now_ms, change)

    def remove(self, name: str, batch: int = REMOVE_ROWS, *, keep_results: bool = False) -> int:
        """Stop a project and delete up to `batch` of its rows, itself last; call it until it returns 0 rows left.

        keep_results: the project stays, without tasks, so that its results can be read by its name. In a removal that
        was begun without it, they go.
        From the first call to the last nothing else is written for this project, by no later master either: its
        counter REMOVING says so. 0 for an unknown name.
        """
        with self._write() as tx:
            project = self._projects.find(tx, name)
            if project is None:
                return 0
            self._writable.pop(project, None)
            self._forget()
            left = self._removal.step(tx, project, batch, keep_results=keep_results)
            first_run = self._counters.value(tx, project, FIRST_RUN)
        if keep_results and not left:
            self._writable[project] = first_run
        return left

    def project(self, name: str) -> Project | None:
        """One project with its counters, by its name; None when there is none."""
        with self._db.transaction() as tx:
            found = self._projects.find(tx, name)
            return None if found is None else self._projects.one(tx, found)

    def script(self, digest: bytes) -> str:
        """A script's text by its hash."""
        with self._db.transaction() as tx:
            return self._projects.script(tx, digest)

    def save_info(self, digest: bytes, info: ScriptInfo) -> None:
        """Note what a slave told about a script."""
        with self._write() as tx:
            self._projects.save_info(tx, digest, info)

    # --- activity

    def windows(self, now_ms: int) -> list[WindowSlot]:
        """What happened in each project in the slots of time that are in a window now, oldest first."""
        with self._db.transaction() as tx:
            return self._windows.newest(tx, now_ms)

    def trim_windows(self, now_ms: int) -> int:
        """Delete some slots that are in no window any more; call it until it returns 0."""
        with self._write() as tx:
            return self._windows.trim(tx, now_ms, TRIM_ROWS)

    # --- sessions

    def sessions(self) -> list[bytes]:
        """Slaves that may still hold leases."""
        with self._db.transaction() as tx:
            return self._sessions.all(tx)

    def add_session(self, session: bytes, host: str, now_ms: int) -> None:
        """Remember a slave before it is granted anything."""
        with self._write() as tx:
            self._sessions.add(tx, session, host, now_ms)

    def drop_session(self, session: bytes) -> None:
        """Forget a slave that holds nothing any more."""
        with self._write() as tx:
            self._sessions.drop(tx, session)

    def _check_writable(self, project: int) -> None:
        if project not in self._writable:
            raise StorageError(f"there is no project with id {project}, or it is being removed")

    def _keep(self, waiting: Sequence[Waiting]) -> list[Task]:
        """What was read for the frontier will be decided about soon."""
        self._row_cache.put(one.row for one in waiting)
        return [one.task for one in waiting]

    def _forget(self) -> None:
        """Rows are deleted, or another master may have written: nothing in memory is certain any more."""
        self._seen.clear()
        self._row_cache.clear()

    @contextmanager
    def _write(self) -> Iterator[Transaction]:
        with self._db.transaction() as tx:
            self._fence.enter(tx)
            yield tx
