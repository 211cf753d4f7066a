"""Projects, tasks and results straight from the database of a stopped master, as the admin protocol has them."""

import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

from zspider.errors import ConfigError, ZspiderError
from zspider.roles.master.admin import rows
from zspider.scheduler.windows import Windows
from zspider.storage import Reader
from zspider.task import Project, Status

PAGE_ROWS = 500


class Offline:
    """Answers the verbs of the admin protocol that read. It writes nothing, so it may run beside anything."""

    def __init__(self, database: str) -> None:
        """database: the database's URL. Raises ConfigError or StorageUnavailable when it cannot be read."""
        self._reader = Reader(database)
        self._database = database

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._reader.close()

    def call(self, verb: str, **args: Any) -> Any:
        """Answer `task`, `project.list` and `project.show`."""
        match verb:
            case "task":
                return self._task(args["project"], args["taskid"])
            case "project.list":
                return {"rows": self._rows(self._reader.projects())}
            case "project.show":
                project = self._project(args["name"])
                script = self._reader.script(project.script)
                return {**self._rows([project])[0], "declared": rows.declared_row(project.info), "script": script}
        raise ConfigError(f"{verb} needs a running master")

    def pages(self, verb: str, **args: Any) -> Iterator[list[Any]]:
        """Answer `results` and `tasks`, page by page."""
        project = self._project(args["project"]).id
        status = next((status for status in Status if status.word == args.get("status")), None)
        after = b""
        while True:
            if verb == "results":
                results = self._reader.results(project, after, PAGE_ROWS)
                page = rows.page(results, rows.result_row)
            else:
                tasks = self._reader.tasks(project, status, after, PAGE_ROWS)
                page = rows.page(tasks, rows.task_row)
            yield page["rows"]
            if page["next"] is None:
                return
            after = page["next"]

    def _task(self, name: str, taskid: str) -> dict[str, Any]:
        row = self._reader.task(self._project(name).id, taskid)
        if row is None:
            raise ZspiderError(f"no task {taskid!r} in project {name!r}")
        return rows.task_detail(row, None)

    def _rows(self, projects: list[Project]) -> list[dict[str, Any]]:
        now_ms = time.time_ns() // 1_000_000
        windows = Windows()
        windows.load(self._reader.windows(now_ms))
        return [rows.project_row(one, windows.totals(one.id, now_ms), rows.Live()) for one in projects]

    def _project(self, name: str) -> Project:
        projects = {project.name: project for project in self._reader.projects()}
        if name not in projects:
            raise ZspiderError(f"no project {name!r} here; there are: {', '.join(projects) or 'none'}")
        return projects[name]
