"""Log lines on projects: pauses, and new tasks that were refused."""

import structlog

from zspider.scheduler.pause import Phase

log = structlog.get_logger(__name__)
REFUSED_S = 60.0  # how often a project's refusals are told


class ProjectLog:
    """Logs the events that an operator would act on; the refusals of a project once a minute at most."""

    def __init__(self, pause_s: float) -> None:
        self._pause_s = pause_s
        self._refused: dict[str, int] = {}  # by project, since it was logged last
        self._logged: dict[str, float] = {}

    def paused(self, project: str, phase: Phase, reason: str) -> None:
        """Log that a project is paused or probed, or that its pause is over."""
        match phase:
            case Phase.PAUSED:
                log.warning("project_paused", project=project, reason=reason, for_s=self._pause_s)
            case Phase.PROBING:
                log.info("project_probed", project=project)
            case Phase.NORMAL:
                log.info("project_unpaused", project=project)

    def refused(self, project: str, number: int, now: float) -> None:
        """Log that new tasks of a project were refused, since as many wait as may. now: monotonic seconds."""
        total = self._refused[project] = self._refused.get(project, 0) + number
        if now - self._logged.get(project, float("-inf")) >= REFUSED_S:
            log.warning("queue_full", project=project, refused=total, limit="limits.waiting")
            self._logged[project] = now
            self._refused[project] = 0
