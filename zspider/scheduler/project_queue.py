"""Which projects are looked at in a step: a project without news costs nothing, however many there are."""

from collections.abc import Mapping, Set
from heapq import heappop, heappush
from math import inf

from zspider.scheduler.projects import ProjectState

# All projects are looked at this often, whether something is known to have happened to them or not: what changes
# by other ways than an event of the core (counters, a clock that was set) is seen this much later.
LOOK_AT_ALL_S = 1.0
REMEMBERED_S = 2 * LOOK_AT_ALL_S + 1.0  # by then all were looked at: later times need not be remembered


class ProjectQueue:
    """Projects that something happened to, those whose time has come, and the order in which they are served.

    A project is *awake* from when it is touched until `sleep` says that it has no task to give.
    """

    def __init__(self) -> None:
        self._touched: set[int] = set()
        self._awake: set[int] = set()
        self._line: list[tuple[int, int]] = []  # heap of the awake: order of their last grants, project
        self._times: list[tuple[float, int]] = []  # heap: when a sleeping project may have a task
        self._at: dict[int, float] = {}  # the earliest of them, by project
        self._all_at = -inf

    @property
    def touched(self) -> Set[int]:
        """The projects that something happened to since the last step, or whose time has come."""
        return self._touched

    def touch(self, project: int) -> None:
        """Have a project looked at in the next step: something happened to it."""
        self._touched.add(project)

    def wake(self, projects: Mapping[int, ProjectState], now: float) -> None:
        """Begin a step: projects that were touched, or whose time has come, may have a task to give."""
        if now >= self._all_at:
            self._all_at = now + LOOK_AT_ALL_S
            self._touched.update(projects)
        while self._times and self._times[0][0] <= now:
            at, project = heappop(self._times)
            self._touched.add(project)
            if self._at.get(project) == at:
                del self._at[project]
        for project in self._touched - self._awake:
            if (state := projects.get(project)) is not None:
                self._awake.add(project)
                heappush(self._line, (state.turn, project))

    def next(self) -> int | None:
        """Take the project that was served longest ago from the line of the awake; None when the line is empty."""
        return heappop(self._line)[1] if self._line else None

    def put_back(self, project: int, turn: int) -> None:
        """Put a project back into the line: it was served, or cannot be now."""
        heappush(self._line, (turn, project))

    def sleep(self, project: int, until: float, now: float) -> None:
        """Leave a project out that has no task to give before this time (inf: before something happens)."""
        self._awake.discard(project)
        if until < min(now + REMEMBERED_S, self._at.get(project, inf)):
            self._at[project] = until
            heappush(self._times, (until, project))

    def end_step(self) -> set[int]:
        """End a step and return the projects that were touched before or in it."""
        touched, self._touched = self._touched, set()
        return touched

    def wait_s(self, now: float) -> float:
        """Return the seconds until the time of a project comes; at most one."""
        return min(1.0, max(0.001, self._times[0][0] - now)) if self._times else 1.0
