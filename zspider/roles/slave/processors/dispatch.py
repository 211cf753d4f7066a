"""Which page goes to which processor, and which page is to blame when one dies.

Pure: pages are the serials of their leases, processors are numbers, times are monotonic seconds.
"""

from collections import deque
from typing import NamedTuple

from msgspec import Struct

from zspider.roles.slave.processors.page_queue import Kind, PageQueue

PAGES_MAX = 48  # sent to one processor at a time: it never waits for the next, and few wait behind a slow one
STUCK_S = 1.0  # a page that runs longer holds up no others: they go to another processor


class DeadProcessor(NamedTuple):
    """The last page of a dead processor, and whether it is to blame."""

    blamed: int | None  # the page it ran, or was to run next
    is_charged: bool  # it ran it, or had no other
    is_unassigned: bool  # the blamed page is nowhere now: not in the queue, not at another processor


class RunningPage(NamedTuple):
    """The page that a processor is at."""

    processor: int
    page: int
    had_started: bool
    seconds: float  # since it was seen to run, showed progress or could have been started


class _Slot(Struct, eq=False):
    """One processor's pages."""

    pages: dict[int, None] = {}  # sent and not finished, in the order they will run
    started: int | None = None  # one of them that it was seen to run
    since: float = 0.0  # when that was seen first, or showed progress
    busy_since: float = 0.0  # when it ended the page before, or was given its first
    is_fresh: bool = True  # has had no page yet
    is_alone: bool = False  # has one page that may kill it, and gets no other

    def is_stuck(self, now: float) -> bool:
        """Return whether its page has run for so long that no others should wait behind it."""
        return self.started is not None and now - self.since >= STUCK_S


class Dispatch:
    """Assigns pages to processors, and keeps those that wait.

    A page is in the queue, or assigned to one processor. A page that was taken back from a stuck
    processor may still be run by it as well; whose outcome comes first counts, which the caller sees to.
    """

    def __init__(self) -> None:
        self._slots: dict[int, _Slot] = {}
        self._queue = PageQueue()
        self._alone: deque[int] = deque()
        self._waiting: set[int] = set()  # those in a queue; a serial in a queue and not here was dropped
        self._holder: dict[int, int] = {}  # page -> processor

    @property
    def waiting(self) -> int:
        """How many pages wait for a processor."""
        return len(self._waiting)

    @property
    def assigned(self) -> int:
        """How many pages processors have."""
        return len(self._holder)

    def up(self, processor: int) -> None:
        """Note that a new processor may be given pages."""
        self._slots[processor] = _Slot()

    def put(self, page: int, kind: Kind | None = None, *, first: bool = False, alone: bool = False) -> None:
        """Have a page wait. first: before all others. alone: for a new processor, and with no other page.

        kind: its project and callback; None for a page that has waited before.
        """
        self._waiting.add(page)
        if not alone:
            self._queue.put(page, kind, first=first)
        elif first:
            self._alone.appendleft(page)
        else:
            self._alone.append(page)

    def take(self, now: float) -> tuple[int, int] | None:
        """Return the next (processor, page) to be sent; None when no page waits or no processor has room."""
        if not self._waiting:
            return None
        if self._first(self._alone) is not None:
            for processor, slot in self._slots.items():
                if slot.is_fresh:
                    slot.is_alone = True
                    return self._assign(processor, slot, self._alone.popleft(), now)
        found, least = self._emptiest(now)
        if found is None:
            return None
        page = self._queue.peek(self._waiting)
        if page is None or least >= self._queue.ahead(page, PAGES_MAX):
            return None
        return self._assign(found, self._slots[found], self._queue.pop(), now)

    def _emptiest(self, now: float) -> tuple[int | None, int]:
        """Return the processor that has the fewest pages, if one has room, and how many these are."""
        least, found = PAGES_MAX, None
        for processor, slot in self._slots.items():
            if len(slot.pages) < least and not slot.is_alone and not slot.is_stuck(now):
                least, found = len(slot.pages), processor
                if not least:
                    break
        return found, least

    def saw(self, processor: int, page: int, now: float) -> None:
        """Note that a processor is seen to run this page; one that it was not given means none."""
        slot = self._slots.get(processor)
        if slot is None:
            return
        started = page if page in slot.pages else None
        if started != slot.started:
            slot.started, slot.since = started, now

    def progress(self, processor: int, now: float) -> None:
        """Note that the page a processor runs gets on."""
        if (slot := self._slots.get(processor)) is not None:
            slot.since = now

    def finished(self, processor: int, page: int, now: float, *, has_run: bool = False) -> None:
        """Note that a processor is through with this page. has_run: it ran it, and did not only let it go."""
        slot = self._slots.get(processor)
        if slot is None:
            return
        slot.pages.pop(page, None)
        if has_run:
            self._queue.took(page, now - slot.busy_since)
            slot.busy_since = now
        if slot.started is None or slot.started == page:  # else the next one was seen already
            slot.started, slot.since = None, now
        slot.is_alone = False
        if self._holder.get(page) == processor:
            del self._holder[page]

    def drop(self, page: int) -> None:
        """Forget a page, wherever it is: its outcome is not needed any more."""
        self._waiting.discard(page)
        self._holder.pop(page, None)
        self._queue.drop(page)

    def is_running(self, page: int) -> bool:
        """Return whether a processor was seen to run this page."""
        holder = self._holder.get(page)
        return holder is not None and self._slots[holder].started == page

    def is_waiting(self, page: int) -> bool:
        """Return whether a page waits for a processor."""
        return page in self._waiting

    def move_waiting_pages(self, now: float) -> None:
        """Take back the pages that wait behind one that runs long, if another processor has nothing to do."""
        if self._waiting or all(slot.pages for slot in self._slots.values()):
            return
        for processor, slot in self._slots.items():
            if not slot.is_stuck(now):
                continue
            behind = [page for page in slot.pages if page != slot.started and self._holder.get(page) == processor]
            for page in reversed(behind):
                del self._holder[page]
                self.put(page, first=True)

    def running_pages(self, now: float) -> list[RunningPage]:
        """Return the pages that processors are at, and for how long."""
        running_pages = []
        for processor, slot in self._slots.items():
            page = slot.started if slot.started is not None else next(iter(slot.pages), None)
            if page is not None:
                running_pages.append(RunningPage(processor, page, slot.started is not None, now - slot.since))
        return running_pages

    def died(self, processor: int) -> DeadProcessor:
        """Have a dead processor's pages wait again, first of all, but for the one that is to blame."""
        slot = self._slots.pop(processor, None) or _Slot()
        blamed = slot.started if slot.started is not None else next(iter(slot.pages), None)
        is_unassigned = self._give_up(processor, slot, blamed)
        return DeadProcessor(blamed, slot.started is not None or slot.is_alone, is_unassigned)

    def retired(self, processor: int) -> None:
        """Have the pages wait again, first of all, that a processor does not take any more; none is to blame."""
        if (slot := self._slots.pop(processor, None)) is not None:
            self._give_up(processor, slot, None)

    def _give_up(self, processor: int, slot: _Slot, kept: int | None) -> bool:
        """Have a processor's pages wait again, but for `kept`; returns whether that one was the processor's still."""
        was_held = False
        for page in reversed(slot.pages):
            if self._holder.get(page) == processor:
                del self._holder[page]
                if page == kept:
                    was_held = True
                else:
                    self.put(page, first=True)
        return was_held

    def _assign(self, processor: int, slot: _Slot, page: int, now: float) -> tuple[int, int]:
        self._waiting.discard(page)
        self._holder[page] = processor
        if not slot.pages:
            slot.since = slot.busy_since = now
        slot.pages[page] = None
        slot.is_fresh = False
        return processor, page

    def _first(self, queue: deque[int]) -> int | None:
        while queue and queue[0] not in self._waiting:
            queue.popleft()
        return queue[0] if queue else None
