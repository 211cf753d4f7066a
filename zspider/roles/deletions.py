"""Projects that are to be deleted by themselves: stopped, with `delete` in their group, and left alone for long."""

from collections.abc import Callable

import structlog

from zspider.roles.desk import Desk
from zspider.roles.writer import Writer, now_ms
from zspider.scheduler.states import is_to_be_deleted
from zspider.task import Project

log = structlog.get_logger(__name__)
LOOK_S = 10.0  # how often projects are looked at
REMOVE_ROWS = 2000  # deleted in one transaction; commits go on between two


class Deletions:
    """Deletes such projects one after the other, as `project rm` does. A restarted master goes on with it."""

    def __init__(self, desk: Desk, writer: Writer, delete_s: float, clock_ms: Callable[[], int] = now_ms) -> None:
        self._desk = desk
        self._writer = writer
        self._delete_s = delete_s
        self._clock_ms = clock_ms
        self._is_busy = False

    def look(self) -> None:
        """Begin with the next project, unless one is under way."""
        if self._is_busy:
            return
        projects = [state.project for state in self._desk.core.projects.values()]
        due = (project for project in projects if is_to_be_deleted(project, self._clock_ms(), self._delete_s))
        if (project := next(due, None)) is not None:
            log.info("project_deletion", project=project.name, group=project.group)
            self._is_busy = True
            self._cut(project)

    def _cut(self, project: Project) -> None:
        self._writer.call(
            lambda storage: storage.remove(project.name, REMOVE_ROWS), lambda left: self._done(project, left)
        )

    def _done(self, project: Project, left: int) -> None:
        if left:
            self._cut(project)
            return
        self._is_busy = False
        self._desk.remove_project(project.id)
        log.info("project_removed", project=project.name, kept_results=False)
