"""When each granted task may start, keeping each project's rate even if this slave runs late.

Pure: times are arguments, in monotonic seconds.
"""

from collections import deque
from collections.abc import Iterable
from heapq import heappop, heappush
from typing import NamedTuple

from msgspec import Struct, field

_WHOLE = 1.0 - 1e-9  # a token, after rounding
QUEUES_MAX = 10_000  # projects whose rates are kept, as many as `Projects` keeps


class _Start(NamedTuple):
    serial: int
    planned: float  # when it was to start
    gap_s: float  # least time after the start before it, if that was in the same message


class _ProjectQueue(Struct, eq=False):
    """The tasks of one project, in the order they start."""

    rate: float = 0.0  # 0: not known, only the planned times count
    burst: float = 1.0
    tokens: float = 1.0
    at: float = 0.0  # when `tokens` was right
    waiting: deque[_Start] = field(default_factory=deque)
    last: float = float("-inf")  # the latest start
    ready_at: float | None = None  # when the first one may start; the entry of the heap with this time is true


class Pacer:
    """Keeps tasks that wait for their time; each `pop` is a start.

    Two tasks of one message start no closer together than the master planned them, and however many
    messages a slave finds when it wakes up, a project starts no more than its burst at once and its
    rate from then on. A project's tasks start in the order of their grants.
    """

    def __init__(self) -> None:
        self._queues: dict[int, _ProjectQueue] = {}
        self._project: dict[int, int] = {}  # serial -> project; a serial not in it was removed
        self._heap: list[tuple[float, int]] = []  # (when its first task may start, project), and outdated entries

    def __len__(self) -> int:
        return len(self._project)

    def __contains__(self, serial: int) -> bool:
        return serial in self._project

    def set_rate(self, project: int, rate: float, burst: float, now: float) -> None:
        """Start at most `rate * t + burst` tasks of this project in any t seconds."""
        queue = self._queues.pop(project, None)
        if queue is None:
            self._forget_idle()
            self._queues[project] = _ProjectQueue(rate, burst, tokens=max(1.0, burst), at=now)
            return
        self._queues[project] = queue
        self._refill(queue, now)
        queue.rate, queue.burst = rate, burst
        queue.tokens = min(queue.tokens, max(1.0, burst))

    def add(self, project: int, tasks: Iterable[tuple[int, float]], now: float) -> None:
        """Take the tasks of one message: (serial, seconds from now before which the task does not start)."""
        queue = self._queues.setdefault(project, _ProjectQueue(at=now))
        before: float | None = None
        for serial, offset_s in tasks:
            gap_s = 0.0 if before is None else max(0.0, offset_s - before)
            queue.waiting.append(_Start(serial, now + offset_s, gap_s))
            self._project[serial] = project
            before = offset_s
        if queue.ready_at is None:
            self._schedule(project, queue, now)

    def remove(self, serial: int, now: float) -> None:
        """Take a task out that shall not start. Safe to repeat."""
        project = self._project.pop(serial, None)
        if project is None:
            return
        queue = self._queues[project]
        if queue.waiting[0].serial == serial:  # the one behind it may be ready much earlier
            self._schedule(project, queue, now)

    def pop(self, now: float) -> int | None:
        """Return the next task that starts now; None when none may."""
        while self._heap and self._heap[0][0] <= now:
            ready_at, project = heappop(self._heap)
            queue = self._queues.get(project)
            if queue is None or ready_at != queue.ready_at:
                continue  # its first task was another one then
            if self._ready_at(queue, now) > now:
                self._schedule(project, queue, now)
                continue
            start = queue.waiting.popleft()
            del self._project[start.serial]
            queue.last = now
            queue.tokens -= 1.0
            self._schedule(project, queue, now)
            return start.serial
        return None

    def wait_s(self, now: float) -> float | None:
        """Return the seconds until `pop` has something; None when nothing waits."""
        while self._heap and not self._is_true(*self._heap[0]):
            heappop(self._heap)
        return max(0.0, self._heap[0][0] - now) if self._heap else None

    def clear(self) -> None:
        """Forget all: project ids mean something else in another cluster."""
        self._queues.clear()
        self._project.clear()
        self._heap.clear()

    def _is_true(self, ready_at: float, project: int) -> bool:
        """Return whether an entry of the heap is not outdated."""
        queue = self._queues.get(project)
        return queue is not None and queue.ready_at == ready_at

    def _forget_idle(self) -> None:
        """Of too many projects, forget the one whose rate was told longest ago and that has no task here."""
        if len(self._queues) >= QUEUES_MAX:
            idle = next((one for one, queue in self._queues.items() if queue.ready_at is None), None)
            if idle is not None:
                del self._queues[idle]

    def _schedule(self, project: int, queue: _ProjectQueue, now: float) -> None:
        """See to it that `pop` looks at this queue when its first task is ready. Removed tasks are dropped."""
        while queue.waiting and queue.waiting[0].serial not in self._project:
            queue.waiting.popleft()
        queue.ready_at = None
        if queue.waiting:
            queue.ready_at = self._ready_at(queue, now)
            heappush(self._heap, (queue.ready_at, project))

    def _ready_at(self, queue: _ProjectQueue, now: float) -> float:
        start = queue.waiting[0]
        ready_at = max(start.planned, queue.last + start.gap_s)
        if queue.rate <= 0:
            return ready_at
        self._refill(queue, now)
        if queue.tokens < _WHOLE:
            ready_at = max(ready_at, now + (1.0 - queue.tokens) / queue.rate)
        return ready_at

    def _refill(self, queue: _ProjectQueue, now: float) -> None:
        if now > queue.at:
            queue.tokens = min(max(1.0, queue.burst), queue.tokens + (now - queue.at) * queue.rate)
            queue.at = now
