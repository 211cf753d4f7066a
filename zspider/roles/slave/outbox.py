"""Outcomes that the master has not acknowledged yet: when each is sent, and when there is no room for more.

Pure: times are arguments, in monotonic seconds.
"""

import heapq
from collections import OrderedDict
from collections.abc import Iterable, Iterator

from msgspec import Struct

from zspider.broker.messages import OutcomeItem

BATCH_ITEMS_MAX = 200
BATCH_BYTES_MAX = 200 * 1024  # a message fits in one frame, unless one outcome alone is larger
FLUSH_ITEMS = 50  # so many go at once ...
FLUSH_S = 0.01  # ... and fewer wait so long for company
RESEND_S = (10.0, 20.0, 40.0, 60.0)  # after each sending; the last one for ever
TIGHT = 0.75  # of a limit: no more work is asked for ...
EASED = 0.5  # ... until so much of it is left
WINDOW_BYTES = 4 * 1024 * 1024  # of ends that were sent and are not acknowledged: no more are sent
PARTS_WINDOW_BYTES = 1024 * 1024  # the same of parts: some 10,000 short URLs
ITEM_BYTES = 200  # what an item costs beside its outcome, in memory and on the wire


class Item(Struct, eq=False):
    """One outcome that waits for its acknowledgement."""

    id: int
    owner: int  # whose outcome it is; its parts have the same
    number: int  # of the grant it answers; 0 when it was not granted to the present session
    outcome: bytes
    is_final: bool
    sent: int = 0  # times
    due: float = 0.0  # sent: when it is sent again

    @property
    def size(self) -> int:
        """Bytes that the item takes, with an allowance."""
        return len(self.outcome) + ITEM_BYTES


class _Kind:
    """The items of one kind that are to be sent, and how much of it is on its way."""

    def __init__(self, window: int) -> None:
        self.fresh: OrderedDict[int, Item] = OrderedDict()
        self.bytes = 0  # of `fresh`
        self.under_way = 0  # bytes that were sent and are not acknowledged, nor to be sent again
        self._window = window

    @property
    def room(self) -> int:
        """Bytes that may be sent; the last item may be larger."""
        return self._window - self.under_way

    @property
    def may_go(self) -> bool:
        """Whether one may be sent."""
        return bool(self.fresh) and self.under_way < self._window

    def put(self, item: Item) -> None:
        """Have an item sent."""
        self.fresh[item.id] = item
        self.bytes += item.size

    def pop(self, id: int) -> Item | None:
        """Take an item that was to be sent; None: it was not."""
        item = self.fresh.pop(id, None)
        if item is not None:
            self.bytes -= item.size
        return item


class Outbox:
    """Keeps outcomes until they are acknowledged, in a bounded space.

    An owner is a lease's serial. Its parts may be sent at any time, and the final outcome only when all parts before it
    are acknowledged. Every item is in exactly one of: `fresh` of its kind (to be sent), a queue of `_sent` (to be sent
    again when due), or it is a final that waits for parts.

    Of each kind only so much is under way: a master whose database is behind need not keep more, and a page with many
    links does not hold up the ends of others.
    """

    def __init__(self, items_max: int, bytes_max: int) -> None:
        self._items_max = items_max
        self._bytes_max = bytes_max
        self._next_id = 1
        self._items: dict[int, Item] = {}
        self._bytes = 0
        self._ends, self._part_kind = self._kinds = (_Kind(WINDOW_BYTES), _Kind(PARTS_WINDOW_BYTES))
        self._flush_at = 0.0
        self._sent: list[OrderedDict[int, Item]] = [OrderedDict() for _ in RESEND_S]  # each in the order of `due`
        self._parts: dict[int, set[int]] = {}  # owner -> ids of its parts
        self._finals: dict[int, Item] = {}  # by owner
        self._is_tight = False

    def __len__(self) -> int:
        return len(self._items)

    @property
    def size(self) -> int:
        """Bytes that the items take, with an allowance for each."""
        return self._bytes

    @property
    def is_tight(self) -> bool:
        """Whether no more work should be asked for: true from 75 % full until it is down to 50 % (TIGHT, EASED)."""
        return self._is_tight

    @property
    def is_full(self) -> bool:
        """Whether the outbox is at a limit: no more outcomes should be made."""
        return len(self._items) >= self._items_max or self._bytes >= self._bytes_max

    def add(self, owner: int, number: int, outcome: bytes, now: float, *, is_final: bool) -> int:
        """Take an outcome, always: the caller looks at `is_full` before it makes one. Returns its id."""
        item = Item(self._next_id, owner, number, outcome, is_final)
        self._next_id += 1
        self._items[item.id] = item
        self._bytes += item.size
        if is_final:
            self._finals[owner] = item
        else:
            self._parts.setdefault(owner, set()).add(item.id)
        if not (is_final and owner in self._parts):
            self._freshen(item, now + FLUSH_S)
        self._weigh()
        return item.id

    def batch(self, now: float) -> list[OutcomeItem]:
        """Return what should go now as one message, oldest first; [] when nothing is due, or enough is under way.

        Call `sent` when it has gone. If it could not go, ask again later: nothing has changed.
        """
        self._take_overdue(now)
        if not any(kind.may_go for kind in self._kinds) or not self._is_flush(now):
            return []
        batch: list[OutcomeItem] = []
        size = 0
        for item in self._in_turn():
            size += item.size
            if batch and (size > BATCH_BYTES_MAX or len(batch) == BATCH_ITEMS_MAX):
                break
            batch.append(OutcomeItem(item.id, item.number, item.outcome))
        return batch

    def sent(self, batch: Iterable[OutcomeItem], now: float) -> None:
        """Note that this batch has gone; its items go again unless they are acknowledged in time."""
        for one in batch:
            item = self._items[one.id]
            kind = self._kind(item)
            kind.pop(item.id)
            kind.under_way += item.size
            level = min(item.sent, len(RESEND_S) - 1)
            item.sent += 1
            item.due = now + RESEND_S[level]
            self._sent[level][item.id] = item

    def acknowledge(self, ids: Iterable[int], now: float) -> list[int]:
        """Forget these items; unknown ids are passed over. Returns the owners whose final outcome was among them."""
        owners = []
        for id_ in ids:
            item = self._items.get(id_)
            if item is not None:
                self._remove(item, now)
                if item.is_final:
                    owners.append(item.owner)
        self._weigh()
        return owners

    def forget(self, owner: int, now: float) -> None:
        """Drop all items of this owner: they are not wanted any more."""
        if (final := self._finals.get(owner)) is not None:
            self._remove(final, now)
        for id_ in list(self._parts.get(owner, ())):
            self._remove(self._items[id_], now)
        self._weigh()

    def send_again(self, ids: Iterable[int], now: float) -> None:
        """Send these items again, now: the master asks for them. Those that are not under way are passed over."""
        for id_ in ids:
            item = self._items.get(id_)
            if (
                item is not None
                and item.sent
                and self._sent[min(item.sent, len(RESEND_S)) - 1].pop(id_, None) is not None
            ):
                self._kind(item).under_way -= item.size
                item.sent -= 1  # it did not fail: it came too early
                self._freshen(item, now)

    def resend_all(self, now: float) -> None:
        """Send everything again, now: the master is a new one, or the connection is."""
        for queue in self._sent:
            for item in queue.values():
                self._kind(item).put(item)
            queue.clear()
        for kind in self._kinds:
            kind.under_way = 0
            kind.fresh = OrderedDict(sorted(kind.fresh.items()))
            for item in kind.fresh.values():
                item.sent = 0
        self._flush_at = now

    def disown(self) -> None:
        """Note that a new session begins: no item answers one of its grants."""
        for item in self._items.values():
            item.number = 0

    def clear(self) -> None:
        """Drop everything; ids go on."""
        for id_ in list(self._items):
            self._remove(self._items[id_], 0.0)
        self._weigh()

    def wait_s(self, now: float) -> float | None:
        """Return the seconds until `batch` has something; None while there is nothing to wait for."""
        dues = [next(iter(queue.values())).due for queue in self._sent if queue]
        if any(kind.may_go for kind in self._kinds):
            dues.append(now if self._is_flush(now) else self._flush_at)
        return max(0.0, min(dues) - now) if dues else None

    def _kind(self, item: Item) -> _Kind:
        return self._ends if item.is_final else self._part_kind

    def _in_turn(self) -> Iterator[Item]:
        """Return what may go, oldest first."""
        if not self._part_kind.fresh:
            return _within(self._ends)
        return heapq.merge(*map(_within, self._kinds), key=lambda item: item.id)

    def _is_flush(self, now: float) -> bool:
        if now >= self._flush_at:
            return True
        kinds = [kind for kind in self._kinds if kind.may_go]
        return sum(len(one.fresh) for one in kinds) >= FLUSH_ITEMS or sum(one.bytes for one in kinds) >= BATCH_BYTES_MAX

    def _freshen(self, item: Item, flush_at: float) -> None:
        if not any(kind.fresh for kind in self._kinds) or flush_at < self._flush_at:
            self._flush_at = flush_at
        self._kind(item).put(item)

    def _take_overdue(self, now: float) -> None:
        for queue in self._sent:
            while queue and (item := next(iter(queue.values()))).due <= now:
                del queue[item.id]
                self._kind(item).under_way -= item.size
                self._freshen(item, now)

    def _remove(self, item: Item, now: float) -> None:
        del self._items[item.id]
        self._bytes -= item.size
        kind = self._kind(item)
        if kind.pop(item.id) is None and item.sent:
            self._sent[min(item.sent, len(RESEND_S)) - 1].pop(item.id, None)
            kind.under_way -= item.size
        if item.is_final:
            del self._finals[item.owner]
            return
        parts = self._parts[item.owner]
        parts.discard(item.id)
        if not parts:
            del self._parts[item.owner]
            if (final := self._finals.get(item.owner)) is not None:
                self._freshen(final, now)

    def _weigh(self) -> None:
        used = max(len(self._items) / self._items_max, self._bytes / self._bytes_max)
        self._is_tight = used > (EASED if self._is_tight else TIGHT)


def _within(kind: _Kind) -> Iterator[Item]:
    """Return what is to be sent of a kind until there is no room for more; the last one may be larger."""
    room = kind.room
    for item in kind.fresh.values():
        if room <= 0:
            return
        room -= item.size
        yield item
