"""Reads for the command line, beside the master's writes."""

from zspider.activity import WindowSlot
from zspider.storage.database import Database
from zspider.storage.engine import engine_of
from zspider.storage.projects import ProjectTable
from zspider.storage.results import ResultTable, StoredResult
from zspider.storage.tasks import TaskDetail, TaskTable
from zspider.storage.walk import Cursor, Selection, Walk
from zspider.storage.windows import WindowTable
from zspider.task import Project, Ref, Status, task_key


class Reader:
    """Looks at the database on a connection of its own, for one thread; short reads only, paged by key."""

    def __init__(self, address: str) -> None:
        self._db = Database(engine_of(address), writes=False)
        self._tasks = TaskTable(self._db.engine)
        self._projects = ProjectTable(self._db.engine)
        self._results = ResultTable(self._db.engine)
        self._walk = Walk(self._db.engine)
        self._windows = WindowTable(self._db.engine)

    def close(self) -> None:
        """Drop the connection."""
        self._db.close()

    def projects(self) -> list[Project]:
        """Return all projects, by name, with their counters."""
        with self._db.transaction() as tx:
            return self._projects.all(tx)

    def windows(self, now_ms: int) -> list[WindowSlot]:
        """Return what happened in each project in the slots of time that are in a window now, oldest first."""
        with self._db.transaction() as tx:
            return self._windows.newest(tx, now_ms)

    def results(self, project: int, after: bytes = b"", limit: int = 100) -> list[StoredResult]:
        """Return results of tasks with keys behind `after`; fewer than `limit` when they are large, [] at the end."""
        with self._db.transaction() as tx:
            return self._results.page(tx, project, after, limit)

    def tasks(
        self, project: int, status: Status | None = None, after: bytes = b"", limit: int = 100
    ) -> list[TaskDetail]:
        """Return tasks whose keys come after `after`."""
        with self._db.transaction() as tx:
            return self._tasks.page(tx, project, status, after, limit)

    def count(self, project: int, selection: Selection, cursor: Cursor | None, rows: int) -> tuple[int, Cursor | None]:
        """Return how many of the next `rows` tasks are selected, and where to go on; None at the end."""
        with self._db.transaction() as tx:
            page = self._walk.page(tx, project, selection, cursor or Cursor(), rows)
        return len(page.rows), page.next

    def task(self, project: int, taskid: str) -> TaskDetail | None:
        """Return one task, or None."""
        with self._db.transaction() as tx:
            return self._tasks.detail(tx, Ref(project, task_key(taskid)))

    def script(self, digest: bytes) -> str:
        """Return a script's text by its hash."""
        with self._db.transaction() as tx:
            return self._projects.script(tx, digest)
