"""Log lines on projects: pauses, and new tasks that were refused."""

import structlog

from zspider.scheduler.pause import Phase

log = structlog.get_logger(__name__)
REFUSED_S = 60.0  # how often a project's refusals are told


class ProjectLog:
    """Logs the events that an operator would act on; each refusal of a project once a minute at most."""

    def __init__(self, pause_s: float) -> None:
        self._pause_s = pause_s
        self._refused: dict[tuple[str, str], int] = {}  # by project and event, since it was logged last
        self._logged: dict[tuple[str, str], float] = {}

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
        if total := self._total(project, "queue_full", number, now):
            log.warning("queue_full", project=project, refused=total, limit="limits.waiting")

    def reserved(self, project: str, number: int, now: float) -> None:
        """Log that a slave submitted tasks with names that only the master gives. now: monotonic seconds."""
        if total := self._total(project, "follows_reserved", number, now):
            log.warning("follows_reserved", project=project, dropped=total, reason="a taskid of zspider's own")

    def forget(self, project: str) -> None:
        """Forget a project that is gone."""
        for key in [key for key in self._logged if key[0] == project]:
            del self._logged[key], self._refused[key]

    def _total(self, project: str, event: str, number: int, now: float) -> int:
        """Return how many there were since the last line, or 0 if it is too early for another."""
        key = (project, event)
        total = self._refused[key] = self._refused.get(key, 0) + number
        if now - self._logged.get(key, float("-inf")) < REFUSED_S:
            return 0
        self._logged[key] = now
        self._refused[key] = 0
        return total
