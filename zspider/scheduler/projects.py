"""The core's state of a project: its frontier, its rate, its pause, its clock and the tasks zspider makes itself."""

from collections.abc import Iterable
from typing import NamedTuple

from zspider.delivery import ATTEMPTS_MAX
from zspider.scheduler.actions import Action, Finish, Refill, ScanHosts
from zspider.scheduler.bucket import TokenBucket
from zspider.scheduler.frontier import Frontier
from zspider.scheduler.internal_tasks import cron_task, info_task
from zspider.scheduler.leases import LeaseTable
from zspider.scheduler.load_failure import RETRY_S, LoadFailure
from zspider.scheduler.pause import AutoPause, PauseLimits
from zspider.scheduler.rules import is_finished
from zspider.task import GET_INFO, Project, ProjectStatus, Task, info_run

CRON_MIN_TICK_S = 1


class CronRun(NamedTuple):
    """How a run of the @every methods ended."""

    tick_s: int  # its latest tick, in seconds since the epoch
    ended_ms: int
    error: str  # "": it went well


class ProjectState:
    """A project at work."""

    def __init__(
        self,
        project: Project,
        *,
        window: int,
        now: float,
        now_ms: int,
        has_cron: bool,
        pausing: PauseLimits,
        script_retry_s: float = RETRY_S,
    ) -> None:
        self.project = project
        self.frontier = Frontier(window)
        self.bucket = TokenBucket(project.rate, project.burst, now)
        self.pause = AutoPause(pausing)
        self.last_cron: CronRun | None = None  # since the master's start
        self.load_failure = LoadFailure(script_retry_s)
        self.is_limited = False  # when it was looked at last, only the rate held it back
        self.is_finish_asked = False  # whether on_finished is to be submitted
        self._has_cron = has_cron
        # nothing is made up for from before the start (docs/pyspider-behaviour.md 4.9)
        self._last_tick_s = now_ms // 1000
        self._since_s = self._last_tick_s  # the last tick before those of the cron task that was granted last
        self._info_attempt = 0
        self._cron_attempt = 0
        self.turn = 0  # order of its last grant among the projects

    def change(self, project: Project, now: float, now_ms: int) -> None:
        """Follow an edit: another rate, status or script version."""
        is_new_script = project.script != self.project.script
        if is_new_script or (project.status.is_active and not self.is_active):
            self._last_tick_s = now_ms // 1000  # ticks count from when they could run
            self._cron_attempt = 0
        if is_new_script or project.status is not self.project.status:
            self.pause.clear()
        if is_new_script:
            self.load_failure.clear()
            self._info_attempt = 0
        self.bucket.change(project.rate, project.burst, now)
        self.project = project

    @property
    def is_active(self) -> bool:
        """Whether its script runs at all."""
        return self.project.status.is_active

    @property
    def is_paused(self) -> bool:
        """Whether its pages have to wait, all or (while it is probed) all but a few."""
        return self.pause.is_on or self.project.status is ProjectStatus.PAUSED

    def allows_page(self, leases: LeaseTable) -> bool:
        """Return whether a page may be granted though the project is paused."""
        return self.project.status is not ProjectStatus.PAUSED and self.pause.allows(leases)

    @property
    def has_script(self) -> bool:
        """Whether the script's declarations are known, and it can be loaded."""
        return self.project.info is not None and not self.project.info.error

    @property
    def is_finishing(self) -> bool:
        """Whether its on_finished is to be submitted."""
        info = self.project.info
        wants = info is not None and info.has_on_finished and not info.error
        return wants and self.is_active and is_finished(self.project.counts)

    def internal_tasks(self, now_ms: int) -> list[Task]:
        """Return the tasks of our own that are due now; the caller grants each that is not leased."""
        if self.project.info is None:
            if self.load_failure.has_given_up:
                return []
            return [info_task(self.project.id, self.project.script, self._info_attempt)]
        return self._cron(now_ms)

    def put_back(self, task: Task, host: str, *, is_charged: bool) -> None:
        """Take back one of these tasks that its slave, on `host`, did not do.

        is_charged: the task may have ended its slave.
        """
        if task.taskid == GET_INFO:
            self._info_attempt += is_charged and task.run == info_run(self.project.script)
            if self._info_attempt >= ATTEMPTS_MAX and self.project.info is None:
                self._info_attempt = ATTEMPTS_MAX - 1  # when it is asked again, it costs one slave
                text = f"gave up: {ATTEMPTS_MAX} slaves were lost while loading the script"
                self.load_failure.note(text, host, has_given_up=True)
        elif task.run == self._last_tick_s:
            self._cron_attempt += is_charged
            if self._cron_attempt < ATTEMPTS_MAX:
                self._last_tick_s = self._since_s
            else:  # these ticks harm slaves; the next ones may be better
                self._cron_attempt = 0

    def ask_anew(self) -> None:
        """Forget what the script declares, and who could not load it: it is asked."""
        self.project.info = None
        self.load_failure.clear()
        self._info_attempt = 0

    def cron_ran(self, task: Task) -> None:
        """Note that the cron task was granted: its ticks are taken care of, unless it is put back."""
        self._since_s, self._last_tick_s = self._last_tick_s, task.run

    def next_tick_ms(self, now_ms: int) -> int | None:
        """Return when the next @every tick is; None without one."""
        tick_s = self._tick_s()
        return None if tick_s is None else (now_ms // 1000 // tick_s + 1) * tick_s * 1000

    def _cron(self, now_ms: int) -> list[Task]:
        tick_s = self._tick_s()
        if tick_s is None:
            return []
        last = now_ms // 1000 // tick_s * tick_s  # ticks are aligned to the epoch (docs/pyspider-behaviour.md 4.9)
        if last <= self._last_tick_s:
            return []
        return [cron_task(self.project.id, last, self._last_tick_s, self._cron_attempt)]

    def _tick_s(self) -> int | None:
        info = self.project.info
        if not self._has_cron or info is None or info.error or not info.min_tick:
            return None
        return max(CRON_MIN_TICK_S, info.min_tick)


def storage_requests(states: Iterable[ProjectState | None], leases: LeaseTable) -> list[Action]:
    """Return the requests to the database for these projects: to submit on_finished, or for more waiting tasks.

    states: the projects to look at; None stands for one that is gone. leases: a task that was cancelled while it is
    leased is work left. Each question is asked once, until its answer comes.
    """
    actions: list[Action] = []
    for state in states:
        if state is None or not state.is_active:
            continue
        project, frontier = state.project.id, state.frontier
        if state.is_finishing and not state.is_finish_asked and not leases.has_rows(project):
            state.is_finish_asked = True
            actions.append(Finish(project))
        if not state.has_script:
            continue
        for kind, window in frontier.wants():
            window.is_refilling = True
            beyond = frontier.range_beyond() if kind == "ready" else None
            actions.append(ScanHosts(project, beyond) if beyond else Refill(project, kind, window.after))
        if (part := frontier.next_range()) is not None:
            actions.append(ScanHosts(project, part))
    return actions
