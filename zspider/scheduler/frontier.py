"""One project's waiting tasks: an ordered window on what the database holds.

The database is the truth. Memory holds the best tasks up to an *edge*: whatever lies before the edge and
waits is here (or leased), whatever lies behind it is in the database only. So a million waiting URLs cost
no more memory than ten thousand.
"""

from collections.abc import Callable, Collection, Iterable, Sequence

from zspider.hosts import host_hash, host_of
from zspider.scheduler.host_queues import HostQueues, Range
from zspider.scheduler.order import (
    BEGIN,
    END,
    TaskHeap,
    delayed_position,
    position_of,
    ready_position,
)
from zspider.task import Kind, Position, Ref, Task


class Window:
    """The first tasks of one order, up to an edge.

    Invariant: every waiting task whose position is <= `edge` is in `tasks` or was taken from there.
    """

    def __init__(self, position: Callable[[Task], Position], size: int) -> None:
        self.tasks = TaskHeap(position)
        self.edge = BEGIN
        self.is_refilling = False  # a refill was asked for and has not come back
        self._position = position
        self._size = size

    @property
    def is_complete(self) -> bool:
        """Whether no task lies behind the edge."""
        return self.edge == END

    @property
    def after(self) -> Position | None:
        """The position from which a refill goes on; None: from the beginning."""
        return None if self.edge == BEGIN else self.edge

    def offer(self, task: Task) -> None:
        """Take in a task that begins to wait, if it belongs before the edge."""
        if self._position(task) <= self.edge:
            self.tasks.push(task)
            self._cut()

    def refill(
        self, after: Position | None, found: Iterable[Task], reached: Position, is_taken: Callable[[Task], bool]
    ) -> bool:
        """Take in the tasks that the database had behind `after`, up to `reached`, but for those that are elsewhere
        already.

        Ignored (False) when the edge has moved since it was asked for: it will be asked again.
        """
        self.is_refilling = False
        if after != self.after:
            return False
        for task in found:
            if not is_taken(task):
                self.tasks.push(task)
        self.edge = reached
        self._cut()
        return True

    def reset(self) -> None:
        """Forget everything; the database is asked again."""
        self.tasks.clear()
        self.edge = BEGIN

    def assert_invariants(self) -> None:
        """Raise AssertionError when there are too many tasks, or one that belongs behind the edge."""
        assert len(self.tasks) <= 2 * self._size, f"{len(self.tasks)} tasks in a window of {self._size}"
        for ref in self.tasks:
            task = self.tasks.get(ref)
            is_before = task is not None and self._position(task) <= self.edge
            assert is_before, f"task {task and task.taskid!r} lies behind the edge {self.edge}"

    def _cut(self) -> None:
        """Leave tasks above the limit to the database."""
        if len(self.tasks) > 2 * self._size:
            self.edge = self.tasks.keep_first(self._size)


class Frontier:
    """The waiting tasks of one project: those ready now, those due later, and those whose hosts may not be asked.

    Memory: at most 2 * size ready, 2 * size delayed, `size` due tasks and `size` deferred. The order is exact among
    the tasks in memory. A due task waits its turn in the delayed order (by its time, whatever its priority) only while
    `size` others are due, or while it lies behind the edge because more than size / 4 are in memory.
    Invariant: a waiting task before the edge of its order is in memory, or its host's tasks there were skipped.
    """

    def __init__(self, size: int) -> None:
        self.ready = Window(ready_position, size)
        self.delayed = Window(delayed_position, size)
        self.deferred = HostQueues(size)
        self._source: TaskHeap | HostQueues = self.ready.tasks  # where `peek` has found its task
        self._due = TaskHeap(ready_position)  # were delayed, are due; the database still has them as delayed
        self._size = size
        self._low = size // 4

    def __len__(self) -> int:
        return len(self.ready.tasks) + len(self.delayed.tasks) + len(self._due) + len(self.deferred)

    def offer(self, task: Task) -> None:
        """Take in a task that begins to wait; it may be left to the database."""
        self.take(task.ref)
        (self.delayed if task.due_ms else self.ready).offer(task)

    def get(self, ref: Ref) -> Task | None:
        """Return this task, or None if it does not wait in memory."""
        return self.ready.tasks.get(ref) or self.delayed.tasks.get(ref) or self._due.get(ref) or self.deferred.get(ref)

    def take(self, ref: Ref) -> Task | None:
        """Take out a task that ended, was replaced or is leased; returns it, or None if it is not in memory."""
        return (
            self.ready.tasks.discard(ref)
            or self.delayed.tasks.discard(ref)
            or self._due.discard(ref)
            or self.deferred.discard(ref)
        )

    def end(self, ref: Ref, run: int) -> None:
        """Take out a task whose run ended, unless a later run of it waits."""
        if (waiting := self.take(ref)) is not None and waiting.run > run:
            self.offer(waiting)

    def refill(
        self,
        kind: Kind,
        after: Position | None,
        found: Sequence[Task],
        is_last: bool,
        is_leased: Callable[[Task], bool],
    ) -> None:
        """Take in the tasks that the database had behind `after` in one of the two orders."""
        window = self.ready if kind == "ready" else self.delayed
        reached = END if is_last else position_of(found[-1])[1] if found else window.edge
        window.refill(after, found, reached, self._is_taken(is_leased))

    def peek(self, now_ms: int) -> Task | None:
        """Return the task to be granted next, or None when nothing is ready."""
        task, self._source = self._first(now_ms)
        return task

    def pop(self) -> Task:
        """Take out the task that `peek` has just given, and return it."""
        return self._source.pop()

    def has_ready(self, now_ms: int) -> bool:
        """Return whether a task may be granted."""
        return self.peek(now_ms) is not None

    def next_due_ms(self) -> int | None:
        """Return when the first delayed task in memory is due; None when there is none."""
        first = self.delayed.tasks.peek()
        return None if first is None else first.due_ms

    def wants(self) -> list[tuple[Kind, Window]]:
        """Return the windows that run low while the database may have more."""
        low: list[tuple[Kind, Window]] = []
        if len(self.ready.tasks) <= self._low:
            low.append(("ready", self.ready))
        if len(self.delayed.tasks) + len(self._due) <= self._low:
            low.append(("delayed", self.delayed))
        return [(kind, window) for kind, window in low if not window.is_complete and not window.is_refilling]

    @property
    def is_loaded(self) -> bool:
        """Whether all waiting tasks of the database are in memory, or leased."""
        return self.ready.is_complete and self.delayed.is_complete and not self.deferred.has_skipped

    def reset(self) -> None:
        """Forget everything and load it from the database again."""
        self.ready.reset()
        self.delayed.reset()
        self._due.clear()
        self.deferred.clear()

    # --- hosts that may not be asked

    def defer(self, *, may_skip: bool = True) -> bool:
        """Let others go before the task that `peek` has just given: its host may not be asked now.

        may_skip: the task may be left to the database if its host's queue is full. Returns False if the task stays the
        first one: it may not be skipped, or too many hosts wait already. `open` tells when the host may be asked.
        """
        source, task = self._source, self._source.peek()
        if task is None:
            return False
        host = host_hash(host_of(task.url))
        if source is self.deferred:
            self.deferred.close(host)
        elif self.deferred.defer(host, task, may_skip=may_skip):
            source.pop()
        else:
            return False
        return True

    @property
    def has_deferred(self) -> bool:
        """Whether some tasks wait for their hosts, here or in the database only."""
        return bool(len(self.deferred)) or self.deferred.has_skipped

    def open(self, host: int) -> None:
        """Put the deferred tasks of this host into the order again."""
        self.deferred.open(host)

    def next_range(self) -> Range | None:
        """Return the next database range to scan for hosts short of tasks in memory; None if there is none now."""
        return self.deferred.next_range()

    def range_beyond(self) -> Range | None:
        """Return a refill of the ready order without the hosts that have skipped tasks; None: there are none."""
        hosts = self.deferred.skipped["ready"].latest()
        return Range("ready", self.ready.after, END, hosts, True, self._size) if hosts else None

    def scanned(self, part: Range, found: Iterable[Task], reached: Position, is_leased: Callable[[Task], bool]) -> None:
        """Take in the tasks that the database had in a range, which was read up to `reached`."""
        is_taken = self._is_taken(is_leased)
        if not part.is_others:
            self.deferred.scanned(part, [task for task in found if not is_taken(task)], reached)
        elif self.ready.refill(part.after, found, reached, is_taken):
            self.deferred.skip_beyond(part, reached)

    # --- for tests and debugging

    def assert_invariants(self, is_leased: Callable[[Task], bool], awaited: Collection[int] | None = None) -> None:
        """Raise AssertionError when memory contradicts itself; what the database has is not looked at.

        is_leased: tells whether a task's run is leased. awaited: hosts that will be opened; None: not known here.
        """
        self.ready.assert_invariants()
        self.delayed.assert_invariants()
        self.deferred.assert_invariants(awaited)
        assert len(self._due) <= self._size, f"{len(self._due)} due tasks in memory"
        refs = [*self.ready.tasks, *self.delayed.tasks, *self._due, *self.deferred]
        assert len(set(refs)) == len(refs), "a task is in memory twice"
        for ref in refs:
            task = self.get(ref)
            assert task is not None
            assert not is_leased(task), f"task {task.taskid!r} waits in memory and is leased"

    def _is_taken(self, is_leased: Callable[[Task], bool]) -> Callable[[Task], bool]:
        """Whether a task that the database has waiting is leased, or here already."""
        return lambda task: is_leased(task) or self.get(task.ref) is not None

    def _first(self, now_ms: int) -> tuple[Task | None, TaskHeap | HostQueues]:
        """The first task, once those whose time has come stand among the ready, and where it is."""
        while len(self._due) < self._size and (first := self.delayed.tasks.peek()) and first.due_ms <= now_ms:
            self._due.push(self.delayed.tasks.pop())
        best, source = self.ready.tasks.peek(), self.ready.tasks
        due = self._due.peek() if len(self._due) else None
        if due is not None and (best is None or ready_position(due) < ready_position(best)):
            best, source = due, self._due
        deferred = self.deferred.peek() if len(self.deferred) else None
        if deferred is not None and (best is None or ready_position(deferred) < ready_position(best)):
            return deferred, self.deferred
        return best, source
