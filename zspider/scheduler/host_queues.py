"""Tasks whose hosts may not be asked now: queues of a few per host, and where the others lie in the database.

Hosts are known by `task.host_hash` here, as in the frontier's index.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from heapq import heapify, heappop, heappush, heapreplace, nsmallest
from itertools import islice
from typing import NamedTuple

from zspider.hosts import host_hash, host_of
from zspider.scheduler.order import BEGIN, TaskHeap, position_of, ready_position
from zspider.task import Kind, Position, Ref, Task

QUEUE_MIN = 16  # tasks that a host may have deferred, while few hosts have
HOSTS_PER_RANGE = 1000  # as many numbers go into one query


class Range(NamedTuple):
    """A part of an order to be read from the database, for the tasks of some hosts or of all others."""

    kind: Kind
    after: Position | None  # exclusive; None: from the beginning
    until: Position  # inclusive
    hosts: frozenset[int]
    is_others: bool
    limit: int  # tasks


class SkippedSpans:
    """Keeps, for one order, between which positions each host has waiting tasks that are in the database only.

    `next_range` moves forward through the order; tasks skipped behind it are found by the next pass. So every host is
    served, and the work does not grow with the number of hosts.
    """

    def __init__(self) -> None:
        self._spans: dict[int, tuple[Position, Position]] = {}  # inclusive; the host skipped last stands last
        self._cursor = BEGIN  # the ranges of this way were read up to here

    def __len__(self) -> int:
        return len(self._spans)

    def __contains__(self, host: int) -> bool:
        return host in self._spans

    def covers(self, host: int, position: Position) -> bool:
        """Return whether a task of this host at this position may be in the database only."""
        first, last = self._spans.get(host, (position, BEGIN))
        return first <= position <= last

    def add(self, host: int, first: Position, last: Position) -> None:
        """Note that tasks of this host from `first` to `last` are not in memory."""
        span = self._spans.pop(host, (first, last))
        self._spans[host] = (min(first, span[0]), max(last, span[1]))

    def latest(self) -> frozenset[int]:
        """Return the hosts whose tasks were skipped last; all, if they are not too many for a query."""
        return frozenset(islice(reversed(self._spans), HOSTS_PER_RANGE))

    def next_range(self, hosts: Iterable[int]) -> tuple[Position, Position, frozenset[int]] | None:
        """Return after which position to read, up to which, and for which of these hosts; None: none has a span."""
        spans = [(*self._spans[host], host) for host in hosts if host in self._spans]
        ahead = [span for span in spans if span[0] > self._cursor]
        if not ahead:
            self._cursor, ahead = BEGIN, spans
        if not ahead:
            return None
        chosen = nsmallest(HOSTS_PER_RANGE, ahead)
        first, seq = chosen[0][0]
        return (first, seq - 1), max(last for _, last, _ in chosen), frozenset(host for _, _, host in chosen)

    def was_read(self, hosts: Iterable[int], after: Position, reached: Position) -> None:
        """Note that all tasks of these hosts behind `after`, up to and with `reached`, are in memory or leased."""
        self._cursor = reached
        behind = (reached[0], reached[1] + 1)
        for host in hosts:
            first, last = self._spans.get(host, (BEGIN, BEGIN))
            if first <= after:  # unknown, or more was skipped meanwhile, before what was read
                continue
            if behind > last:
                del self._spans[host]
            else:
                self._spans[host] = (max(first, behind), last)

    def clear(self) -> None:
        """Forget all spans."""
        self._spans.clear()
        self._cursor = BEGIN


class HostQueues:
    """Tasks deferred until their host may be asked, at most `size`, and what was skipped beyond that.

    A host is *open* when its tasks take part in the order, and *closed* from when it was seen that it may not be
    asked until `open` says that it may. It is *hungry* when it has skipped tasks and few or none in memory.
    A queue is the shorter the more hosts have one, so that many hosts have room for the first tasks of each.
    """

    def __init__(self, size: int) -> None:
        self.skipped: dict[Kind, SkippedSpans] = {"ready": SkippedSpans(), "delayed": SkippedSpans()}
        self._size = size
        self._queue_max = min(size, max(QUEUE_MIN, size // 64))
        self._queues: dict[int, TaskHeap] = {}  # none is empty
        self._hosts: dict[Ref, int] = {}  # of each task here
        self._open: set[int] = set()
        self._order: list[tuple[Position, int]] = []  # heap of open hosts by their first tasks, and outdated entries
        self._hungry: dict[int, None] = {}
        self._is_scanning = False
        self._turn: list[Kind] = ["ready", "delayed"]

    def __len__(self) -> int:
        return len(self._hosts)

    def __iter__(self) -> Iterator[Ref]:
        """The refs of all tasks here, in no order."""
        return iter(self._hosts)

    @property
    def has_skipped(self) -> bool:
        """Whether some tasks were skipped."""
        return any(map(len, self.skipped.values()))

    @property
    def hosts(self) -> Iterable[int]:
        """The hosts that have a queue."""
        return self._queues.keys()

    def get(self, ref: Ref) -> Task | None:
        """Return this task, or None if it is not here."""
        host = self._hosts.get(ref)
        return None if host is None else self._queues[host].get(ref)

    def discard(self, ref: Ref) -> Task | None:
        """Take out this task and return it; None if it is not here."""
        host = self._hosts.pop(ref, None)
        if host is None:
            return None
        task = self._queues[host].discard(ref)
        self._shrank(host)
        return task

    def peek(self) -> Task | None:
        """Return the first task of all open hosts, or None."""
        while self._order:
            position, host = self._order[0]
            task = self._queues[host].peek() if host in self._open else None
            if task is None:
                heappop(self._order)
            elif ready_position(task) == position:
                return task
            else:
                heapreplace(self._order, (ready_position(task), host))
        return None

    def pop(self) -> Task:
        """Take out the first task and return it; only after `peek` gave it. Its host stays open."""
        host = self._order[0][1]
        task = self._queues[host].pop()
        del self._hosts[task.ref]
        self._shrank(host)
        return task

    def close(self, host: int) -> None:
        """Close a host that may not be asked: its tasks wait until `open`."""
        self._open.discard(host)

    def open(self, host: int) -> None:
        """Let the tasks of this host take part in the order."""
        queue = self._queues.get(host)
        if queue is None or host in self._open or (task := queue.peek()) is None:
            return
        self._open.add(host)
        heappush(self._order, (ready_position(task), host))
        if len(self._order) > 2 * len(self._open) + QUEUE_MIN:
            firsts = [(self._queues[host].peek(), host) for host in self._open]
            self._order = [(ready_position(task), host) for task, host in firsts if task is not None]
            heapify(self._order)

    def defer(self, host: int, task: Task, *, may_skip: bool = True) -> bool:
        """Close the task's host, and keep the task here or skip it.

        False: there is no room for it here, and it may not be skipped, or too many hosts have skipped tasks.
        """
        self.close(host)
        if self._keep(host, task):
            return True
        if not may_skip:
            return False
        skipped = self.skipped[position_of(task)[0]]
        if host not in skipped and len(skipped) >= self._size:
            return False
        self._skip(host, task)
        return True

    def skip_beyond(self, part: Range, reached: Position) -> None:
        """Note that a refill up to `reached` left out the tasks of these hosts."""
        first, seq = part.after or BEGIN
        for host in part.hosts:
            self.skipped[part.kind].add(host, (first, seq + 1), reached)
            self._update_hungry(host)

    def next_range(self) -> Range | None:
        """Return the next range to read for the hungry hosts, or None. No other is given before `scanned`."""
        if self._is_scanning or not self._hungry:
            return None
        room = self._size - len(self._hosts)
        if room < max(1, self._size // 8):
            self._trim()
            room = self._size - len(self._hosts)
            if room < max(1, self._size // 8):
                return None
        hungry = [host for host in self._hungry if self._room(host) > 0]
        self._turn.reverse()
        for kind in self._turn:
            if (found := self.skipped[kind].next_range(hungry)) is not None:
                after, until, hosts = found
                self._is_scanning = True
                return Range(kind, after, until, hosts, False, min(room, sum(map(self._room, hosts))))
        return None

    def scanned(self, part: Range, tasks: Sequence[Task], reached: Position) -> None:
        """Take in the tasks of a range, which was read up to `reached`; those leased or in memory are left out."""
        self._is_scanning = False
        self.skipped[part.kind].was_read(part.hosts, part.after or BEGIN, reached)
        for task in tasks:
            host = host_hash(host_of(task.url))
            is_first = host not in self._queues
            if not self._keep(host, task):
                self._skip(host, task)
            elif is_first:  # whether it may be asked is not known
                self.open(host)
        for host in part.hosts:
            self._update_hungry(host)

    def clear(self) -> None:
        """Forget everything; an answer that is under way will still come."""
        for skipped in self.skipped.values():
            skipped.clear()
        self._queues.clear()
        self._hosts.clear()
        self._open.clear()
        self._order.clear()
        self._hungry.clear()

    def assert_invariants(self, awaited: Collection[int] | None) -> None:
        """Raise AssertionError when memory contradicts itself. awaited: hosts that will be opened; None: not known."""
        assert len(self._hosts) <= self._size, f"{len(self._hosts)} tasks deferred"
        assert sum(map(len, self._queues.values())) == len(self._hosts), "the queues are not what their hosts say"
        for host, queue in self._queues.items():
            assert len(queue), f"host {host} has an empty queue"
            assert awaited is None or host in self._open or host in awaited, f"host {host}: nobody will open it"

    # --- inside

    @property
    def _allowance(self) -> int:
        """How many tasks a queue may have."""
        return max(1, min(self._queue_max, self._size // (len(self._queues) + 1)))

    def _room(self, host: int) -> int:
        return self._allowance - len(self._queues.get(host, ()))

    def _keep(self, host: int, task: Task) -> bool:
        """Put a task into its host's queue, if there is room."""
        if len(self._hosts) >= self._size:
            self._trim()
        if len(self._hosts) >= self._size or self._room(host) <= 0:
            return False
        queue = self._queues.get(host)
        if queue is None:
            queue = self._queues[host] = TaskHeap(ready_position)
        queue.push(task)
        self._hosts[task.ref] = host
        if host in self._open and queue.peek() is task:
            heappush(self._order, (ready_position(task), host))
        self._update_hungry(host)
        return True

    def _trim(self) -> None:
        """Leave the ends of long queues to the database, as other hosts have no room. Half of the room is free then."""
        if len(self._queues) > self._size // 2:
            return
        share = max(1, self._size // (2 * len(self._queues)))
        for host, queue in self._queues.items():
            for task in queue.cut(share) if len(queue) > share else ():
                del self._hosts[task.ref]
                self._skip(host, task)

    def _skip(self, host: int, task: Task) -> None:
        kind, position = position_of(task)
        self.skipped[kind].add(host, position, position)
        self._update_hungry(host)

    def _shrank(self, host: int) -> None:
        if not len(self._queues[host]):
            del self._queues[host]
            self._open.discard(host)
        self._update_hungry(host)

    def _update_hungry(self, host: int) -> None:
        """Note whether a host is hungry, after its queue or its skipped span has changed."""
        has_skipped = host in self.skipped["ready"] or host in self.skipped["delayed"]
        if has_skipped and len(self._queues.get(host, ())) <= self._allowance // 4:
            self._hungry[host] = None
        else:
            self._hungry.pop(host, None)
