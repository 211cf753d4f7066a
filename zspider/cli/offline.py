"""Tasks and results straight from a database whose master does not run, as the admin protocol would give them."""

from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

from zspider.broker.codec import unpack_to_show
from zspider.errors import ConfigError, ZspiderError
from zspider.storage import Reader, StoredResult, TaskDetail
from zspider.task import Status

PAGE_ROWS = 500


class Offline:
    """The reading half of the admin protocol. Nothing is written, so it may run beside anything."""

    def __init__(self, database: str) -> None:
        """database: its URL. Raises ConfigError or StorageUnavailable when it cannot be read."""
        self._reader = Reader(database)
        self._database = database

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._reader.close()

    def call(self, verb: str, **args: Any) -> Any:
        """`task`."""
        if verb != "task":
            raise ConfigError(f"{verb} needs a running master")
        row = self._reader.task(self._project(args["project"]), args["taskid"])
        if row is None:
            raise ZspiderError(f"no task {args['taskid']!r} in project {args['project']!r}")
        return task_detail(row)

    def pages(self, verb: str, **args: Any) -> Iterator[list[Any]]:
        """`results` and `tasks`, page by page."""
        project = self._project(args["project"])
        status = next((status for status in Status if status.word == args.get("status")), None)
        after = b""
        while True:
            if verb == "results":
                rows: list[Any] = self._reader.results(project, after, PAGE_ROWS)
                yield [result_row(row) for row in rows]
            else:
                rows = self._reader.tasks(project, status, after, PAGE_ROWS)
                yield [task_row(row) for row in rows]
            if not rows:
                return
            after = rows[-1].key

    def _project(self, name: str) -> int:
        projects = {project.name: project.id for project in self._reader.projects()}
        if name not in projects:
            raise ZspiderError(f"no project {name!r} here; there are: {', '.join(projects) or 'none'}")
        return projects[name]


def result_row(row: StoredResult) -> dict[str, Any]:
    """A result as exports want it."""
    return {"taskid": row.taskid, "url": row.url, "result": row.result_json, "updated_ms": row.updated_ms}


def task_row(row: TaskDetail) -> dict[str, Any]:
    """A task in words, as lists show it."""
    return {**row._asdict(), "status": row.status.word}


def task_detail(row: TaskDetail) -> dict[str, Any]:
    """Everything about a task, with what is packed in the database unpacked."""
    fields = task_row(row)
    del fields["key"]
    return {**fields, **unpack_to_show(fields.pop("body")), "track": unpack_to_show(row.track or b"\x80")}
