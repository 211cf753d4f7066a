"""What the master's log says of projects: that they pause, and that they refuse new tasks."""

import structlog

from zspider.scheduler.pause import Phase

log = structlog.get_logger(__name__)
REFUSED_S = 60.0  # how often a project's refusals are told


class ProjectLog:
    """Tells what an operator would act on, and no project's refusals more than once a minute."""

    def __init__(self, pause_s: float) -> None:
        self._pause_s = pause_s
        self._refused: dict[str, int] = {}  # by project, since it was told last
        self._told: dict[str, float] = {}

    def paused(self, project: str, phase: Phase, reason: str) -> None:
        """A project is paused, probed, or as it was."""
        match phase:
            case Phase.PAUSED:
                log.warning("project_paused", project=project, reason=reason, for_s=self._pause_s)
            case Phase.PROBING:
                log.info("project_probed", project=project)
            case Phase.NORMAL:
                log.info("project_unpaused", project=project)

    def refused(self, project: str, number: int, now: float) -> None:
        """New tasks of a project were refused, because it has as many waiting as it may. now: monotonic seconds."""
        total = self._refused[project] = self._refused.get(project, 0) + number
        if now - self._told.get(project, float("-inf")) >= REFUSED_S:
            log.warning("queue_full", project=project, refused=total, limit="limits.waiting")
            self._told[project] = now
            self._refused[project] = 0
