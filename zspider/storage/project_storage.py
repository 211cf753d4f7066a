"""Projects, their scripts and activity, and the sessions of slaves, as the master keeps them."""

from collections.abc import Sequence

from zspider.activity import WindowSlot
from zspider.errors import StorageError
from zspider.storage.counter_names import FIRST_RUN
from zspider.storage.counters import CounterTable
from zspider.storage.database import Database
from zspider.storage.owned_database import OwnedDatabase
from zspider.storage.projects import Removal, SessionTable
from zspider.storage.windows import WindowTable
from zspider.task import Project, ProjectStatus, ScriptInfo

TRIM_ROWS = 500  # of each window, in one transaction
SCRIPTS_SHOWN = 200  # unused ones, deleted in one transaction
REMOVE_ROWS = 1000  # deleted in one transaction: some 20 ms


class ProjectStorage(OwnedDatabase):
    """Projects and slaves in the database; `Storage` adds the tasks."""

    def __init__(self, db: Database, seen: int) -> None:
        super().__init__(db, seen)
        self._sessions = SessionTable(db.engine)
        self._windows = WindowTable(db.engine)
        self._removal = Removal(db.engine)
        self._counters = CounterTable(db.engine)

    # --- projects

    def projects(self) -> list[Project]:
        """Return all projects, by name, with their counters."""
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

        status: the status of a new project, RUNNING if None. known_status: the new status of a known project; None
        keeps its own. rate, burst, group: None keeps the value, or for a new project takes task.Project's default.
        ConfigError for a name that is not allowed.
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
        """Return one project with its counters, by its name; None when there is none."""
        with self._db.transaction() as tx:
            found = self._projects.find(tx, name)
            return None if found is None else self._projects.one(tx, found)

    def script(self, digest: bytes) -> str:
        """Return a script's text by its hash."""
        with self._db.transaction() as tx:
            return self._projects.script(tx, digest)

    def unused_scripts(self, before_ms: int) -> list[bytes]:
        """Return scripts that no project uses and that were pushed first before this time: some, oldest first."""
        with self._db.transaction() as tx:
            return self._projects.unused_scripts(tx, before_ms, SCRIPTS_SHOWN)

    def delete_scripts(self, digests: Sequence[bytes]) -> int:
        """Delete these scripts, unless a project uses them again; returns how many went."""
        with self._write() as tx:
            return self._projects.delete_scripts(tx, digests)

    def save_info(self, digest: bytes, info: ScriptInfo | None) -> None:
        """Note what a slave told about a script; None: forget it."""
        with self._write() as tx:
            self._projects.save_info(tx, digest, info)

    # --- activity

    def windows(self, now_ms: int) -> list[WindowSlot]:
        """Return what happened in each project in the slots of time that are in a window now, oldest first."""
        with self._db.transaction() as tx:
            return self._windows.newest(tx, now_ms)

    def trim_windows(self, now_ms: int) -> int:
        """Delete some slots that are in no window any more; call it until it returns 0."""
        with self._write() as tx:
            return self._windows.trim(tx, now_ms, TRIM_ROWS)

    # --- sessions

    def sessions(self) -> list[bytes]:
        """Return the slaves that may still hold leases."""
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
