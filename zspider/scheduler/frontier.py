"""One project's waiting tasks: an ordered window on what the database holds.

The database is the truth. Memory holds the best tasks up to an *edge*: whatever lies before the edge and
waits is here (or leased), whatever lies behind it is in the database only. So a million waiting URLs cost
no more memory than ten thousand.
"""

from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from itertools import count
from typing import Literal

from zspider.task import Ref, Task

Position = tuple[int, int]  # sorts tasks: (-priority, seq) when ready, (due_ms, seq) when delayed
_BEGIN: Position = (-(1 << 62), -1)  # before every task
_END: Position = (1 << 62, 0)  # behind every task
_STALE_MAX = 64  # heap entries whose task is gone that are not worth cleaning up


def ready_position(task: Task) -> Position:
    """Higher priority first, then order of arrival (pyspider.md 4.4)."""
    return (-task.priority, task.seq)


def delayed_position(task: Task) -> Position:
    """Earlier due first, then order of arrival."""
    return (task.due_ms, task.seq)


class TaskHeap:
    """Tasks in the order of their positions, one per ref, any of which can be taken out."""

    def __init__(self, position: Callable[[Task], Position]) -> None:
        self._position = position
        self._heap: list[tuple[Position, int, Task]] = []
        self._tasks: dict[Ref, Task] = {}  # a heap entry whose task is not here any more is skipped
        self._serial = count()  # no two entries compare equal, so tasks are never compared

    def __len__(self) -> int:
        return len(self._tasks)

    def get(self, ref: Ref) -> Task | None:
        """This task, if it is here."""
        return self._tasks.get(ref)

    def push(self, task: Task) -> None:
        """Put a task in; it replaces one with the same ref."""
        self._tasks[task.ref] = task
        heappush(self._heap, (self._position(task), next(self._serial), task))
        if len(self._heap) > 2 * len(self._tasks) + _STALE_MAX:
            self.keep_first(len(self._heap))

    def peek(self) -> Task | None:
        """The first task, or None."""
        while self._heap:
            task = self._heap[0][2]
            if self._tasks.get(task.ref) is task:
                return task
            heappop(self._heap)
        return None

    def pop(self) -> Task:
        """Take out the first task; only after `peek` gave it."""
        task = heappop(self._heap)[2]
        del self._tasks[task.ref]
        return task

    def discard(self, ref: Ref) -> Task | None:
        """Take out this task; None if it is not here."""
        return self._tasks.pop(ref, None)

    def keep_first(self, n: int) -> Position:
        """Drop all but the first `n` tasks (at least one is here); returns the position of the last one kept."""
        live = {entry[2].ref: entry for entry in self._heap if self._tasks.get(entry[2].ref) is entry[2]}
        self._heap = sorted(live.values())[:n]  # sorted, so it is a heap
        self._tasks = {task.ref: task for _, _, task in self._heap}
        return self._heap[-1][0]

    def clear(self) -> None:
        """Drop everything."""
        self._heap.clear()
        self._tasks.clear()


class Window:
    """The first tasks of one order, up to an edge.

    Invariant: every waiting task whose position is <= `edge` is in `tasks` or was taken from there.
    """

    def __init__(self, position: Callable[[Task], Position], size: int) -> None:
        self.tasks = TaskHeap(position)
        self.edge = _BEGIN
        self.is_refilling = False  # a refill was asked for and has not come back
        self._position = position
        self._size = size

    @property
    def is_complete(self) -> bool:
        """Nothing lies behind the edge."""
        return self.edge == _END

    @property
    def after(self) -> Position | None:
        """Where a refill goes on; None: from the beginning."""
        return None if self.edge == _BEGIN else self.edge

    def offer(self, task: Task) -> None:
        """Take in a task that begins to wait, if it belongs before the edge."""
        if self._position(task) <= self.edge:
            self.tasks.push(task)
            self._cut()

    def refill(
        self, after: Position | None, found: Iterable[Task], is_last: bool, is_taken: Callable[[Task], bool]
    ) -> None:
        """Take in what the database had behind `after`, but for the leased.

        Ignored when the edge has moved since it was asked for: it will be asked again.
        """
        self.is_refilling = False
        if after != self.after:
            return
        for task in found:
            self.edge = self._position(task)
            if not is_taken(task):
                self.tasks.push(task)
        if is_last:
            self.edge = _END
        self._cut()

    def reset(self) -> None:
        """Forget everything; the database is asked again."""
        self.tasks.clear()
        self.edge = _BEGIN

    def _cut(self) -> None:
        """Leave what is too much to the database."""
        if len(self.tasks) > 2 * self._size:
            self.edge = self.tasks.keep_first(self._size)


class Frontier:
    """The waiting tasks of one project: those ready now, and those due later.

    Memory: at most 2 * size ready, 2 * size delayed and `size` due tasks. The order is exact among the tasks in
    memory. A due task waits its turn in the delayed order (by its time, whatever its priority) only while `size`
    others are due, or while it lies behind the edge because more than size / 4 are in memory.
    """

    def __init__(self, size: int) -> None:
        self.ready = Window(ready_position, size)
        self.delayed = Window(delayed_position, size)
        self._due = TaskHeap(ready_position)  # were delayed, are due; the database still has them as delayed
        self._size = size
        self._low = size // 4

    def __len__(self) -> int:
        return len(self.ready.tasks) + len(self.delayed.tasks) + len(self._due)

    def offer(self, task: Task) -> None:
        """Take in a task that begins to wait; it may be left to the database."""
        self.take(task.ref)
        (self.delayed if task.due_ms else self.ready).offer(task)

    def get(self, ref: Ref) -> Task | None:
        """This task, if it waits in memory."""
        return self.ready.tasks.get(ref) or self.delayed.tasks.get(ref) or self._due.get(ref)

    def take(self, ref: Ref) -> Task | None:
        """Take out a task: it ended, was replaced or is leased already; None if it is not in memory."""
        return self.ready.tasks.discard(ref) or self.delayed.tasks.discard(ref) or self._due.discard(ref)

    def refill(
        self,
        kind: Literal["ready", "delayed"],
        after: Position | None,
        found: Iterable[Task],
        is_last: bool,
        is_leased: Callable[[Task], bool],
    ) -> None:
        """Take in what the database had behind `after` in one of the two orders."""
        window = self.ready if kind == "ready" else self.delayed
        window.refill(after, found, is_last, lambda task: is_leased(task) or self._due.get(task.ref) is not None)

    def peek(self, now_ms: int) -> Task | None:
        """The task to be granted next, or None when nothing is ready."""
        heap = self._first(now_ms)
        return None if heap is None else heap.peek()

    def next(self, now_ms: int) -> Task | None:
        """Take out the task to be granted next, or None when nothing is ready."""
        heap = self._first(now_ms)
        return None if heap is None else heap.pop()

    def has_ready(self, now_ms: int) -> bool:
        """Whether `next` would give a task."""
        return self.peek(now_ms) is not None

    def next_due_ms(self) -> int | None:
        """When the first delayed task in memory is due; None when there is none."""
        first = self.delayed.tasks.peek()
        return None if first is None else first.due_ms

    def wants(self) -> list[tuple[Literal["ready", "delayed"], Window]]:
        """The windows that run low while the database may have more."""
        low: list[tuple[Literal["ready", "delayed"], Window]] = []
        if len(self.ready.tasks) <= self._low:
            low.append(("ready", self.ready))
        if len(self.delayed.tasks) + len(self._due) <= self._low:
            low.append(("delayed", self.delayed))
        return [(kind, window) for kind, window in low if not window.is_complete and not window.is_refilling]

    @property
    def is_loaded(self) -> bool:
        """Everything that waits in the database is in memory, or leased."""
        return self.ready.is_complete and self.delayed.is_complete

    def reset(self) -> None:
        """Forget everything and load it from the database again."""
        self.ready.reset()
        self.delayed.reset()
        self._due.clear()

    def _first(self, now_ms: int) -> TaskHeap | None:
        """Where the first task is, once those whose time has come stand among the ready."""
        while len(self._due) < self._size and (first := self.delayed.tasks.peek()) and first.due_ms <= now_ms:
            self._due.push(self.delayed.tasks.pop())
        ready, due = self.ready.tasks.peek(), self._due.peek()
        if due is not None and (ready is None or ready_position(due) < ready_position(ready)):
            return self._due
        return None if ready is None else self.ready.tasks
