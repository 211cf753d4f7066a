"""Pages that wait for a processor: projects get equal parts of the processors' time, whatever their pages take.

Pure: pages are the serials of their leases, times are in seconds.
"""

from collections import deque

AHEAD_S = 0.25  # what a processor is given to do at a time, by what such pages took before
KINDS_MAX = 10_000  # of pages whose times are remembered
SMOOTHING = 8  # pages; one that takes longer than AHEAD_S counts at once

Kind = tuple[int, str]  # project and callback: such pages take about the same time


class PageQueue:
    """The waiting pages, by project. A page that was taken out otherwise is skipped: `is_waiting` tells."""

    def __init__(self) -> None:
        self._first: deque[int] = deque()
        self._queues: dict[int, deque[int]] = {}
        self._kinds: dict[int, Kind] = {}  # of pages that wait or are at a processor
        self._seconds: dict[Kind, float] = {}  # what a page of this kind takes
        self._used: dict[int, float] = {}  # seconds that a project's pages have taken, from `_floor` on
        self._floor = 0.0  # of the project that was served last
        self._next = 0  # project of the page that `peek` has given

    def put(self, page: int, kind: Kind | None, *, first: bool) -> None:
        """Have a page wait, after those of its project or before all. kind: None for one that has waited before."""
        if kind is not None:
            self._kinds[page] = kind
        project = self._kinds[page][0] if page in self._kinds else 0
        if first:
            self._first.appendleft(page)
            return
        queue = self._queues.get(project)
        if queue is None:
            queue = self._queues[project] = deque()
            self._used[project] = max(self._used.get(project, 0.0), self._floor)
        queue.append(page)

    def peek(self, waiting: set[int]) -> int | None:
        """Return the next page: of the project whose pages have had the least time; None when no page waits."""
        while self._first and self._first[0] not in waiting:
            self._first.popleft()
        if self._first:
            return self._first[0]
        while self._queues:
            project = (
                min(self._queues, key=self._used.__getitem__) if len(self._queues) > 1 else next(iter(self._queues))
            )
            queue = self._queues[project]
            while queue and queue[0] not in waiting:
                queue.popleft()
            if queue:
                self._next = project
                return queue[0]
            del self._queues[project]
        return None

    def pop(self) -> int:
        """Take out the page that `peek` has just given, and return it."""
        if self._first:
            return self._first.popleft()
        self._floor = self._used[self._next]
        return self._queues[self._next].popleft()

    def ahead(self, page: int, most: int) -> int:
        """Return how many pages a processor may have with this one: 1 where such pages take long, or nobody knows."""
        kind = self._kinds.get(page)
        seconds = None if kind is None else self._seconds.get(kind)
        if seconds is None:
            return 1 if kind is not None else most
        return most if seconds * most <= AHEAD_S else max(1, int(AHEAD_S / seconds))

    def took(self, page: int, seconds: float) -> None:
        """Note how long a page was worked on. Of pages that are read together the first has the time of all."""
        kind = self._kinds.pop(page, None)
        if kind is None:
            return
        known = self._seconds.get(kind)
        if known is None and len(self._seconds) >= KINDS_MAX:
            self._seconds.clear()
            self._used = {project: self._used[project] for project in self._queues}
        if kind[0] in self._used:
            self._used[kind[0]] += seconds
        if known is None or seconds > max(known, AHEAD_S):
            self._seconds[kind] = seconds
        else:
            self._seconds[kind] = known + (seconds - known) / SMOOTHING

    def drop(self, page: int) -> None:
        """Forget a page."""
        self._kinds.pop(page, None)
