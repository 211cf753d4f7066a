"""The core's requests to the database: more tasks, to charge lost deliveries, to submit on_finished."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import structlog

from zspider.roles.machine.clock import Clock
from zspider.roles.master.writer_thread import WriterThread
from zspider.scheduler.core import Core
from zspider.scheduler.host_queues import Range
from zspider.scheduler.internal_tasks import entry_follow
from zspider.storage import Committed
from zspider.task import ON_FINISHED, Kind, Ref, Task

log = structlog.get_logger(__name__)
REFILL_ROWS = 2000
SCAN_ROWS = 500  # they lie scattered


class StorageRequests:
    """Hands the core's requests to the writer: reads and writes. The answer goes to the core in a later step.

    Each comes after the outcomes of its project that were received before: one that has arrived is not charged as lost,
    and what it submits keeps its project from being finished.
    """

    def __init__(
        self, core: Core, writer: WriterThread, clock: Clock, *, window: int, committed: Callable[[Committed], None]
    ) -> None:
        """window: size of a frontier window. committed: called with the report of each request's transaction."""
        self._core = core
        self._writer = writer
        self._clock = clock
        self._refill_rows = min(REFILL_ROWS, window)
        self._committed = committed

    def refill(self, project: int, kind: Kind, after: tuple[int, int] | None) -> None:
        """Read more tasks behind a position of one of the two orders."""
        limit = self._refill_rows

        def done(tasks: list[Task]) -> None:
            self._core.refilled(project, kind, after, tasks, len(tasks) < limit)

        self._writer.call(
            lambda storage: (storage.ready if kind == "ready" else storage.delayed)(project, after, limit),
            done,
            project=project,
        )

    def scan_hosts(self, project: int, part: Range) -> None:
        """Read the tasks of some hosts in a range of an order."""
        kind, after, until, hosts, is_others, limit = part
        limit = min(SCAN_ROWS, limit)
        self._writer.call(
            lambda storage: storage.tasks_of_hosts(
                project, kind, after, until, hosts, is_others=is_others, limit=limit
            ),
            lambda scanned: self._core.scanned(project, part, scanned.tasks, scanned.reached),
            project=project,
        )

    def charge(self, lost: Sequence[tuple[Ref, int, int]]) -> None:
        """Write down deliveries that came to nothing."""
        log.warning("leases_expired", tasks=len(lost))
        by_project: dict[int, list[tuple[Ref, int, int]]] = {}
        for one in lost:
            by_project.setdefault(one[0].project, []).append(one)
        for project, its in by_project.items():
            self._writer.call(partial(self._charge, its), self._committed, project=project)

    def finish(self, project: int) -> None:
        """Submit on_finished, if no task is left."""

        def done(report: Committed) -> None:
            self._committed(report)
            self._core.finish_answered(project)
            if report.entered and (state := self._core.projects.get(project)) is not None:
                log.info("project_finished", project=state.project.name)

        follow = entry_follow(ON_FINISHED)
        self._writer.call(lambda storage: storage.finish(project, follow, self._clock.wall_ms()), done, project=project)

    def _charge(self, lost: Sequence[tuple[Ref, int, int]], storage: Any) -> Committed:
        return storage.charge(lost, self._clock.wall_ms())  # type: ignore[no-any-return]
