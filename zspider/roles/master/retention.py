"""The pace of retention: small steps through the writer that take a fiftieth of its time, round after round."""

from collections import deque
from typing import Any, NamedTuple

import structlog

from zspider.errors import ZspiderError
from zspider.roles.machine.clock import SYSTEM_CLOCK, Clock
from zspider.roles.master.coordinator import Coordinator
from zspider.roles.master.writer_thread import WriterThread
from zspider.settings import RetentionSettings
from zspider.storage import Cutoffs, Place, RetentionStep

log = structlog.get_logger(__name__)
DAY_MS = 24 * 3600 * 1000
SHARE = 0.02  # of the writer's time, at most
PAUSE_MIN_S = 0.1  # between two steps, however short they are
REST_S = 600.0  # between two rounds


class _Timed(NamedTuple):
    step: RetentionStep
    took_s: float


class Retention:
    """Deletes what is too old, one project after the other. The master's loop calls `run_if_due`."""

    def __init__(
        self,
        settings: RetentionSettings,
        coordinator: Coordinator,
        writer: WriterThread,
        now: float,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """now: when the first step is due, in monotonic seconds."""
        self.due = now
        self._settings = settings
        self._coordinator = coordinator
        self._writer = writer
        self._clock = clock
        self._projects: deque[int] = deque()  # left of this round
        self._place = Place()
        self._gone = (0, 0, 0)  # in this round: trimmed, forgotten, results

    def run_if_due(self, now: float) -> None:
        """Ask the writer for the next step, if it is time. The one after it is due some time after its answer.

        now: monotonic seconds.
        """
        if now < self.due:
            return
        self._projects = self._projects or deque(self._coordinator.core.projects)
        if not self._projects:
            self.due = now + REST_S
            return
        self.due = float("inf")
        project, place, cutoffs = self._projects[0], self._place, self._cutoffs(self._clock.wall_ms())

        def work(storage: Any) -> _Timed:
            began = self._clock.monotonic()
            step = storage.retention_step(project, place, cutoffs)
            return _Timed(step, self._clock.monotonic() - began)

        self._writer.call(work, self._swept, self._failed)

    def _cutoffs(self, at_ms: int) -> Cutoffs:
        """Return before which time each kind of row is too old, counted back from `at_ms`; 0: it is kept."""
        days = self._settings.finished_tasks_days, self._settings.forget_tasks_days, self._settings.results_days
        return Cutoffs(*(max(1, at_ms - int(one * DAY_MS)) if one else 0 for one in days))

    def _swept(self, timed: _Timed) -> None:
        """Take in what a step has deleted, and set the time of the next."""
        step = timed.step
        self._coordinator.apply(step.report)
        trimmed, forgotten, results = self._gone
        self._gone = (trimmed + step.trimmed, forgotten + step.forgotten, results + step.results)
        pause_s = max(PAUSE_MIN_S, timed.took_s / SHARE)
        if step.next is not None:
            self._place = step.next
        else:
            pause_s = self._next_project(pause_s)
        self.due = self._clock.monotonic() + pause_s

    def _failed(self, error: ZspiderError) -> None:
        log.warning("retention_failed", reason=str(error))
        self.due = self._clock.monotonic() + self._next_project(REST_S)

    def _next_project(self, pause_s: float) -> float:
        """Go on to the next project, and return the seconds to wait before: `pause_s`, or a rest after the last."""
        self._projects.popleft()
        self._place = Place()
        if self._projects:
            return pause_s
        trimmed, forgotten, results = self._gone
        if any(self._gone):
            log.info("retention_swept", trimmed=trimmed, forgotten=forgotten, results=results)
        self._gone = (0, 0, 0)
        return REST_S
