"""The master as `zspiderd status` shows it, and projects as all verbs show them."""

from math import inf
from typing import Any

import structlog

from zspider.roles.machine.clock import Clock
from zspider.roles.master.admin import rows
from zspider.roles.master.admin.request import PAGE_MAX, Request
from zspider.roles.master.admin.rows import Live, LoadFailureState, PauseState
from zspider.roles.master.coordinator import Coordinator
from zspider.roles.master.writer_thread import WriterThread
from zspider.scheduler.projects import ProjectState
from zspider.settings import MasterFile
from zspider.task import Project, Status

log = structlog.get_logger(__name__)
NAME_CHARS = 256  # of a host, in the log


class StatusVerb:
    """Answers `status`."""

    def __init__(
        self,
        coordinator: Coordinator,
        writer: WriterThread,
        settings: MasterFile,
        project_rows: "ProjectRows",
        clock: Clock,
    ) -> None:
        """writer: asked whether the database is away; nothing is written through it."""
        self._coordinator = coordinator
        self._writer = writer
        self._settings = settings
        self._rows = project_rows
        self._clock = clock

    def answer(self, request: Request) -> None:
        """Answer with the master, its slaves and its projects.

        hosts: how many of the busiest hosts are shown, too; 0 if absent.
        """
        hosts = min(PAGE_MAX, max(0, request.optional("hosts", int) or 0))
        now = self._clock.monotonic()
        coordinator, core = self._coordinator, self._coordinator.core
        stats = coordinator.registry.stats
        slaves = [rows.slave_row(session, stats[session.id], now) for session in core.sessions.values()]
        request.answer(
            {
                "epoch": coordinator.epoch,
                "cluster": coordinator.cluster.hex(),
                "uptime_s": round(now - coordinator.started, 1),
                "database": self._settings.database_shown,
                "database_away": self._writer.is_away,
                "adopting": core.is_adopting(now),
                "rate": round(sum(one["rate"] for one in slaves), 1),
                "slaves": slaves,
                "projects": self._rows.all(),
                "hosts": [rows.host_row(rate) for rate in coordinator.hosts.busiest(hosts, now)] if hosts else [],
            }
        )


class HostVerbs:
    """Answers the verbs on hosts."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator

    def resume(self, request: Request) -> None:
        """Forget the pauses and delays that a host has asked for; answered with {"host", "was_known"}."""
        name = request.text("host").lower()
        was_known = self._coordinator.core.hosts.resume(name)
        log.info("host_resumed", host=name[:NAME_CHARS], was_known=was_known)
        request.answer({"host": name, "was_known": was_known})


class ProjectRows:
    """Makes the rows of projects from the state of the core."""

    def __init__(self, coordinator: Coordinator, waiting_max: int, clock: Clock) -> None:
        """waiting_max: most tasks of a project that may wait; 0: no limit."""
        self._coordinator = coordinator
        self._waiting_max = waiting_max
        self._clock = clock

    def all(self) -> list[dict[str, Any]]:
        """Return a row of each project."""
        return [self.row(state) for state in self._coordinator.core.projects.values()]

    def row_of(self, project: int) -> dict[str, Any]:
        """Return the row of a project that the core has."""
        return self.row(self._coordinator.core.projects[project])

    def row(self, state: ProjectState) -> dict[str, Any]:
        """Return the row of a project."""
        project, core, now_ms = state.project, self._coordinator.core, self._clock.wall_ms()
        live = Live(
            load_error=core.scripts.why_unloadable(project.id),
            load_failure=self._load_failure(state),
            paused=self._pausing(state),
            last_cron=state.last_cron,
            leased=core.leases.count(project.id),
            is_limited=state.is_limited,
            is_full=self._is_full(project),
            is_finishing=state.is_finishing,
            is_ready=state.frontier.has_ready(now_ms),
            is_loaded=state.frontier.is_loaded,
            next_due_ms=state.frontier.next_due_ms(),
        )
        return rows.project_row(project, self._coordinator.windows.totals(project.id, now_ms), live)

    def _is_full(self, project: Project) -> bool:
        """Whether it has as many tasks waiting as it may: new URLs are refused."""
        waiting = project.counts.get(Status.ACTIVE.word, 0)
        return bool(self._waiting_max) and waiting >= self._waiting_max

    def _load_failure(self, state: ProjectState) -> LoadFailureState | None:
        """Return which slave could not load a project's script, and when it is tried again; None: none failed."""
        failure = state.load_failure
        if not failure.error:
            return None
        until_ms = None
        if failure.until < inf:
            until_ms = self._clock.wall_ms() + int(1000 * (failure.until - self._clock.monotonic()))
        return LoadFailureState(failure.error, failure.host, until_ms)

    def _pausing(self, state: ProjectState) -> PauseState | None:
        """Return why a project is paused, until when, and whether it is probed meanwhile; None: it is not."""
        pause = state.pause
        if not pause.is_on:
            return None
        until_ms = self._clock.wall_ms() + int(1000 * (pause.until - self._clock.monotonic()))
        return PauseState(pause.phase, pause.reason, until_ms)
