"""What the core keeps of a project: its frontier, its rate, its clock and the tasks zspider makes itself."""

from zspider.scheduler.bucket import TokenBucket
from zspider.scheduler.frontier import Frontier
from zspider.scheduler.internal import cron_task, info_task
from zspider.task import ATTEMPTS_MAX, GET_INFO, Project, ScriptInfo, Task

CRON_MIN_TICK_S = 1


class ProjectState:
    """A project at work."""

    def __init__(self, project: Project, *, window: int, now: float, now_ms: int, has_cron: bool) -> None:
        self.project = project
        self.frontier = Frontier(window)
        self.bucket = TokenBucket(project.rate, project.burst, now)
        self.is_limited = False  # at the last turn, only the rate held it back
        self._has_cron = has_cron
        self._last_tick_s = now_ms // 1000  # nothing is made up for from before the start (pyspider.md 4.9)
        self._info_attempt = 0

    def change(self, project: Project, now: float) -> None:
        """Follow an edit: another rate, status or script version."""
        self.bucket.change(project.rate, project.burst, now)
        self.project = project

    @property
    def is_active(self) -> bool:
        return self.project.status.is_active

    @property
    def has_script(self) -> bool:
        """What the script declares is known, and it can be loaded."""
        return self.project.info is not None and not self.project.info.error

    def internal_tasks(self, now_ms: int) -> list[Task]:
        """The tasks of our own that are due now; the caller grants each that is not leased."""
        if self.project.info is None:
            return [info_task(self.project.id, self.project.script, self._info_attempt)]
        return self._cron(now_ms)

    def charge_internal(self, task: Task) -> None:
        """A delivery of one of these tasks was lost."""
        if task.taskid != GET_INFO:
            return
        self._info_attempt += 1
        if self._info_attempt >= ATTEMPTS_MAX and self.project.info is None:
            self.project.info = ScriptInfo(error=f"gave up: {ATTEMPTS_MAX} slaves were lost while loading the script")

    def cron_ran(self, task: Task) -> None:
        """The cron task was granted: its ticks are taken care of."""
        self._last_tick_s = max(self._last_tick_s, task.run)

    def next_tick_ms(self, now_ms: int) -> int | None:
        """When the next @every tick is; None without one."""
        tick_s = self._tick_s()
        return None if tick_s is None else (now_ms // 1000 // tick_s + 1) * tick_s * 1000

    def _cron(self, now_ms: int) -> list[Task]:
        tick_s = self._tick_s()
        if tick_s is None:
            return []
        last = now_ms // 1000 // tick_s * tick_s  # ticks are aligned to the epoch (pyspider.md 4.9)
        return [cron_task(self.project.id, last, self._last_tick_s)] if last > self._last_tick_s else []

    def _tick_s(self) -> int | None:
        info = self.project.info
        if not self._has_cron or info is None or info.error or not info.min_tick:
            return None
        return max(CRON_MIN_TICK_S, info.min_tick)
