"""The two orders that waiting tasks stand in, and a heap of tasks in one of them."""

from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from itertools import count

from zspider.task import Kind, Position, Ref, Task

BEGIN: Position = (-(1 << 62), -1)  # before every task
END: Position = (1 << 62, 0)  # behind every task
_STALE_MAX = 64  # heap entries whose task is gone that are not worth cleaning up


def ready_position(task: Task) -> Position:
    """Return a place among the ready: higher priority first, then order of arrival (docs/pyspider-behaviour.md 4.4)."""
    return (-task.priority, task.seq)


def delayed_position(task: Task) -> Position:
    """Return a task's place among the delayed: earlier due first, then order of arrival."""
    return (task.due_ms, task.seq)


def position_of(task: Task) -> tuple[Kind, Position]:
    """Return which order the database has a waiting task in, and where."""
    return ("delayed", delayed_position(task)) if task.due_ms else ("ready", ready_position(task))


class TaskHeap:
    """Tasks in the order of their positions, one per ref, any of which can be taken out."""

    def __init__(self, position: Callable[[Task], Position]) -> None:
        self._position = position
        self._heap: list[tuple[Position, int, Task]] = []
        self._tasks: dict[Ref, Task] = {}  # a heap entry whose task is not here any more is skipped
        self._serial = count()  # no two entries compare equal, so tasks are never compared

    def __len__(self) -> int:
        return len(self._tasks)

    def __iter__(self) -> Iterator[Ref]:
        """The refs of all tasks, in no order."""
        return iter(self._tasks)

    def get(self, ref: Ref) -> Task | None:
        """Return this task, or None if it is not here."""
        return self._tasks.get(ref)

    def push(self, task: Task) -> None:
        """Put a task in; it replaces one with the same ref."""
        self._tasks[task.ref] = task
        heappush(self._heap, (self._position(task), next(self._serial), task))
        if len(self._heap) > 2 * len(self._tasks) + _STALE_MAX:
            self.keep_first(len(self._heap))

    def peek(self) -> Task | None:
        """Return the first task, or None."""
        while self._heap:
            task = self._heap[0][2]
            if self._tasks.get(task.ref) is task:
                return task
            heappop(self._heap)
        return None

    def pop(self) -> Task:
        """Take out the first task and return it; only after `peek` gave it."""
        task = heappop(self._heap)[2]
        del self._tasks[task.ref]
        return task

    def discard(self, ref: Ref) -> Task | None:
        """Take out this task and return it; None if it is not here."""
        return self._tasks.pop(ref, None)

    def keep_first(self, n: int) -> Position:
        """Drop all but the first `n` tasks (at least one is here); returns the position of the last one kept."""
        self.cut(n)
        return self._heap[-1][0]

    def cut(self, n: int) -> list[Task]:
        """Drop all but the first `n` tasks; returns those dropped, in order."""
        live = sorted({e[2].ref: e for e in self._heap if self._tasks.get(e[2].ref) is e[2]}.values())
        self._heap = live[:n]  # sorted, so it is a heap
        self._tasks = {task.ref: task for _, _, task in self._heap}
        return [task for _, _, task in live[n:]]

    def clear(self) -> None:
        """Drop everything."""
        self._heap.clear()
        self._tasks.clear()
