"""The order in which the writer does what it is given: groups of outcomes, fair by project, and calls between them.

Pure: one thread uses it.

The outcomes of a project are committed in the order in which they were received, and a call that is said to belong to
a project comes after those of its outcomes that were given before. Every other call overtakes the outcomes that wait:
for the database they are changes that came later, as they might have been on the network; and what the loop is told
comes in the order of the transactions, whichever it is. Calls that do not wait for outcomes keep their order.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

from zspider.errors import ZspiderError
from zspider.roles.master.received import CUT_BYTES, ReceivedOutcome

GROUP_BYTES = CUT_BYTES  # of the outcomes of one group, unless one alone is larger


class Group(NamedTuple):
    """Outcomes that are committed together, and what is done in the loop then."""

    received: list[ReceivedOutcome]
    then: Callable[[Sequence[ReceivedOutcome], Any], None]


class Call(NamedTuple):
    """Work on the storage, and what is done in the loop then."""

    work: Callable[[Any], Any]
    then: Callable[[Any], None]
    failed: Callable[[ZspiderError], None] | None
    project: int = 0  # it comes after the outcomes of this project that were given before; 0: after none


class Drop(NamedTuple):
    """Outcomes that are not wanted any more, and what is done in the loop with those that were found."""

    is_unwanted: Callable[[ReceivedOutcome], bool]
    then: Callable[[Sequence[ReceivedOutcome]], None]


class Last(NamedTuple):
    """What comes after everything else; None: the end."""

    call: Call | None


Job: TypeAlias = Group | Call | Last
_Lane: TypeAlias = deque[ReceivedOutcome | Call]


class WriterQueue:
    """Takes what the loop gives, and says what is done next: all calls that wait, then one group, and so on."""

    def __init__(self, rows_max: int) -> None:
        """rows_max: most rows of one group, unless one outcome alone has more."""
        self._rows_max = rows_max
        self._lanes: OrderedDict[int, _Lane] = OrderedDict()  # by project; the one at the front has its turn
        self._calls: deque[Call] = deque()
        self._lane_calls = 0
        self._due: deque[Call] = deque()  # before the next group
        self._last: deque[Last] = deque()
        self._are_calls_next = True
        self._then: Callable[[Sequence[ReceivedOutcome], Any], None] = lambda received, report: None
        self.rows = 0  # of the outcomes that wait
        self.bytes = 0

    def __bool__(self) -> bool:
        return bool(self._lanes or self._calls or self._due or self._last)

    @property
    def wants_company(self) -> bool:
        """Whether a group might wait a little for more outcomes: it has room, and nothing waits for its end."""
        has_calls = self._calls or self._due or self._last or self._lane_calls
        return bool(self.rows) and not has_calls and self.rows < self._rows_max and self.bytes < GROUP_BYTES

    def put(self, job: Job) -> None:
        """Take a job; a Group's outcomes may be committed in several groups, all with the `then` that came last."""
        match job:
            case Group(received, then):
                self._then = then
                for one in received:
                    lane = self._lanes.get(one.outcome.project)
                    if lane is None:
                        lane = self._lanes[one.outcome.project] = deque()
                    lane.append(one)
                    self.rows += one.rows
                    self.bytes += one.size
            case Call() if job.project in self._lanes:
                self._lanes[job.project].append(job)
                self._lane_calls += 1
            case Call():
                self._calls.append(job)
            case Last():
                self._last.append(job)

    def next(self) -> Job | None:
        """Return what is done next; None: nothing waits."""
        if not self._due and (self._are_calls_next or not self.rows):
            self._let_call()
        if self._due:
            return self._due.popleft()
        if self.rows:
            self._are_calls_next = True
            return Group(self._group(), self._then)
        return self._last.popleft() if self._last else None

    def drop(self, is_unwanted: Callable[[ReceivedOutcome], bool]) -> list[ReceivedOutcome]:
        """Take out the outcomes that are not wanted any more, and return them."""
        dropped: list[ReceivedOutcome] = []
        for project, lane in list(self._lanes.items()):
            kept: _Lane = deque()
            for one in lane:
                if isinstance(one, ReceivedOutcome) and is_unwanted(one):
                    dropped.append(one)
                else:
                    kept.append(one)
            self._lanes[project] = kept
            self._forget_if_empty(project)
        self.rows -= sum(one.rows for one in dropped)
        self.bytes -= sum(one.size for one in dropped)
        return dropped

    def _let_call(self) -> None:
        """Let all calls be done that wait for no outcome."""
        self._due, self._calls = self._calls, self._due
        if self._lane_calls:
            for project, lane in list(self._lanes.items()):
                while lane and isinstance(call := lane[0], Call):
                    lane.popleft()
                    self._lane_calls -= 1
                    self._due.append(call)
                self._forget_if_empty(project)
        if self._due:
            self._are_calls_next = False

    def _group(self) -> list[ReceivedOutcome]:
        """Take the next group: the same share for each project in turn, until it is full."""
        group = _Room(self._rows_max)
        while self._take_round(group):
            pass
        self.rows -= group.rows
        self.bytes -= group.bytes
        return group.received

    def _take_round(self, group: "_Room") -> bool:
        """Take a share of each project in turn; returns whether there was any and more may be taken."""
        share = max(1, self._rows_max // max(1, len(self._lanes)))
        before = len(group.received)
        for project in list(self._lanes):
            self._take(project, share, group)
            if group.is_full:
                return False
        return len(group.received) > before

    def _take(self, project: int, share: int, group: "_Room") -> None:
        """Take outcomes of a project; what it takes puts it behind the others."""
        lane, until = self._lanes[project], group.rows + share
        has_taken = False
        while lane and isinstance(one := lane[0], ReceivedOutcome) and group.rows < until:
            if one.is_large:
                one, rest = one.cut()
                lane[0] = rest
                lane.appendleft(one)
            if not group.add(one):
                break
            lane.popleft()
            has_taken = True
        if has_taken:
            self._lanes.move_to_end(project)
        self._forget_if_empty(project)

    def _forget_if_empty(self, project: int) -> None:
        if not self._lanes[project]:
            del self._lanes[project]


class _Room:
    """A group that is filled."""

    def __init__(self, rows_max: int) -> None:
        self.received: list[ReceivedOutcome] = []
        self.rows = 0
        self.bytes = 0
        self.is_full = False
        self._rows_max = rows_max

    def add(self, one: ReceivedOutcome) -> bool:
        """Take one more if there is room; the first one always has."""
        rows, size = self.rows + one.rows, self.bytes + one.size
        if self.received and (rows > self._rows_max or size > GROUP_BYTES):
            self.is_full = True
            return False
        self.received.append(one)
        self.rows, self.bytes = rows, size
        self.is_full = rows >= self._rows_max or size >= GROUP_BYTES
        return True
