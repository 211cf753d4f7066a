"""Removal of projects: those an operator removes, and those of the group `delete` that were stopped for long.

A removal that was begun is finished, also when nobody asks for it any more, and by the next master as well.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import structlog

from zspider.errors import ZspiderError
from zspider.roles.master.admin.rows import is_removing
from zspider.roles.master.coordinator import Coordinator
from zspider.roles.master.writer_thread import WriterThread
from zspider.scheduler.project_states import is_to_be_deleted
from zspider.storage.counter_names import ALL_BUT_RESULTS, REMOVING
from zspider.task import Project

log = structlog.get_logger(__name__)
LOOK_S = 10.0  # how often projects are looked at
REMOVE_ROWS = 2000  # deleted in one transaction; commits go on between two


class Waiter(NamedTuple):
    """A request that waits for the next batch of a removal."""

    progress: Callable[[int], None]  # called with how many rows are left; 0: it is done
    failed: Callable[[ZspiderError], None]


class _Removal(NamedTuple):
    """A removal that is under way."""

    project: Project  # as it was
    keeps_results: bool
    waiters: list[Waiter]  # for the next batch


class ProjectRemovals:
    """Removes projects batch by batch. Of those that are deleted by themselves, one is begun at a time."""

    def __init__(
        self, coordinator: Coordinator, writer: WriterThread, delete_s: float, clock_ms: Callable[[], int]
    ) -> None:
        self._coordinator = coordinator
        self._writer = writer
        self._delete_s = delete_s
        self._clock_ms = clock_ms
        self._under_way: dict[int, _Removal] = {}

    def look(self) -> None:
        """Go on with removals that an earlier master began or that failed, then begin one that is due."""
        projects = [state.project for state in self._coordinator.core.projects.values()]
        for begun in projects:
            if is_removing(begun) and begun.id not in self._under_way:
                log.info("project_removal_goes_on", project=begun.name)
                self._begin(begun, keeps_results=begun.counts[REMOVING] == ALL_BUT_RESULTS)
        if self._under_way:
            return
        due = (project for project in projects if is_to_be_deleted(project, self._clock_ms(), self._delete_s))
        if (project := next(due, None)) is not None:
            log.info("project_deletion", project=project.name, group=project.group)
            self._begin(project, keeps_results=False)

    def remove(self, project: Project, waiter: Waiter, *, keep_results: bool) -> None:
        """Begin to remove a project, or join the removal that is under way.

        waiter: the request to answer after the next batch. If the removal under way keeps the results and this one is
        to delete them, the answer at its end says that at least 1 row is left: ask again then.
        """
        if project.id not in self._under_way:
            log.info("project_removal", project=project.name, keep_results=keep_results)
            self._begin(project, keeps_results=keep_results)
        removal = self._under_way[project.id]
        if removal.keeps_results and not keep_results:
            progress = waiter.progress
            waiter = waiter._replace(progress=lambda left: progress(max(1, left)))
        removal.waiters.append(waiter)

    def _begin(self, project: Project, *, keeps_results: bool) -> None:
        removal = self._under_way[project.id] = _Removal(project, keeps_results, [])
        self._cut(removal, is_first=True)

    def _cut(self, removal: _Removal, *, is_first: bool) -> None:
        """Have the next batch of rows deleted."""
        name = removal.project.name

        def work(storage: Any) -> tuple[int, Project | None]:
            left = storage.remove(name, REMOVE_ROWS, keep_results=removal.keeps_results)
            return left, storage.project(name)

        self._writer.call(
            work,
            lambda done: self._done(removal, *done, is_first=is_first),
            lambda error: self._failed(removal, error),
        )

    def _done(self, removal: _Removal, left: int, now: Project | None, *, is_first: bool) -> None:
        """Go on, or finish. now: the project as the database has it; None: its row is gone."""
        project, waiters = removal.project, removal.waiters.copy()
        removal.waiters.clear()
        if left and now is not None:
            self._coordinator.recount([now])
            if is_first:
                self._coordinator.set_project(now)  # it is stopped: what slaves have not begun comes back
            self._cut(removal, is_first=False)
        else:
            del self._under_way[project.id]
            self._coordinator.remove_project(project.id)
            if now is not None:  # for its results
                self._coordinator.set_project(now)
            log.info("project_removed", project=project.name, kept_results=now is not None)
        for waiter in waiters:
            waiter.progress(left)

    def _failed(self, removal: _Removal, error: ZspiderError) -> None:
        """Answer those that wait; `look` tries again."""
        log.error("project_removal_failed", project=removal.project.name, reason=str(error))
        del self._under_way[removal.project.id]
        for waiter in removal.waiters:
            waiter.failed(error)
