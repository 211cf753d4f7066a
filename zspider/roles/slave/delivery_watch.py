"""Whether what this slave makes reaches its master, and what is to be done when it does not.

Pure: it is told what the bulk connections look like and what the master says of them; times are arguments.
"""

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from zspider.broker.link import Way, WayName

LOOK_S = 0.5  # how often it wants to be told
LOOK_MAX_S = 2.0  # so much of a longer gap counts: this process slept, or its machine
DOWN_S = 10.0  # a way that has not worked for so long is complained about
DEAD_S = 5.0  # nobody answers TCP for so long: a new connection is tried, as a router may have forgotten the old one
UNHEARD_S = 8.0  # what was pushed has not arrived after so long, though the master reads ...
UNHEARD_BYTES_PER_S = 4 * 1024  # ... and as much longer as its bytes take on a network of 32 kbit/s
UNHEARD_MAX = 2  # so many connections in a row on which nothing arrives: complain
REFUSED_S = 5.0  # between two tries of a way that is refused
STEADY_S = (2.0, 60.0)  # a way must work for so long to be trusted again: first, and at most; doubled each time
CLEAN_S = 300.0  # trusted for so long, it begins with the first again

_LOST: dict[WayName, str] = {
    "outcomes": "cannot deliver its outcomes",
    "pages-in": "cannot pass on its pages",
    "pages-out": "gets no pages",
}


class _Pushed(NamedTuple):
    serial: int
    size: int
    at: float


class _Record:
    """How one connection has been; times are those of `DeliveryWatch`."""

    def __init__(self) -> None:
        self.complaint = ""
        self.bad_since: float | None = None  # it has not worked since, or not for long enough
        self.up_since: float | None = None
        self.fruitless = 0  # connections on which nothing arrived
        self.steady_s = STEADY_S[0]
        self.retry_at = 0.0  # if it is refused
        self._connection = 0
        self._trusted_at: float | None = None

    def note(self, way: Way, at: float) -> None:
        """Take in how the connection is now."""
        if not way.is_up:
            self.broke(at)
        elif self.up_since is None or way.connection != self._connection:
            self.up_since = at
        self._connection = way.connection

    def broke(self, at: float) -> None:
        """Note that there is no connection, or none that is worth keeping."""
        self.up_since = None
        self.bad_since = at if self.bad_since is None else self.bad_since

    def is_bad(self, at: float) -> bool:
        """Return whether it has not worked for too long."""
        if self.fruitless >= UNHEARD_MAX or self.bad_since is None:
            return self.fruitless >= UNHEARD_MAX
        return at - self.bad_since >= DOWN_S + (0.0 if self.up_since is None else self.steady_s)

    def complain(self, text: str, at: float) -> None:
        """Say what is wrong with it."""
        if not self.complaint:
            is_clean = self._trusted_at is None or at - self._trusted_at >= CLEAN_S
            self.steady_s = STEADY_S[0] if is_clean else min(STEADY_S[1], 2 * self.steady_s)
        self.complaint = text

    def settle(self, at: float, *, is_in_doubt: bool) -> None:
        """Trust a connection that has lived for long enough; a complaint is withdrawn only without any doubt."""
        if self.up_since is None or at - self.up_since < self.steady_s:
            return
        if not self.complaint:
            self.bad_since = None
        elif not is_in_doubt:
            self._trusted_at = at
            self.complaint, self.bad_since, self.fruitless = "", None, 0


class DeliveryWatch:
    """Watches whether outcomes and pages get through: it is told what was pushed and what the master says has arrived.

    Its time goes on only while the master is heard on control: a master that is away or hangs takes nothing in, and
    that is no fault of the ways to it.
    """

    def __init__(self) -> None:
        self._at = 0.0
        self._looked: float | None = None
        self._records: dict[WayName, _Record] = {}
        self._serial = 0
        self._unheard: deque[_Pushed] = deque()
        self._moved_at = 0.0  # when something arrived last, or the master did not read
        self._arrived = 0

    @property
    def complaint(self) -> str:
        """What does not get through, as the end of a sentence that begins with the slave; "": all does."""
        return "; ".join(one.complaint for one in self._records.values() if one.complaint)

    @property
    def delivers(self) -> bool:
        """Whether outcomes and pages get through, as far as is known. (A slave that gets no pages has no leases.)"""
        return not any(one.complaint for name, one in self._records.items() if name != "pages-out")

    @property
    def next_serial(self) -> int:
        """The serial number of the next message with outcomes."""
        return self._serial + 1

    def pushed(self, size: int) -> None:
        """Note that the message with `next_serial` has gone, with so many bytes."""
        self._serial += 1
        self._unheard.append(_Pushed(self._serial, size, self._at))

    def starts_over(self) -> None:
        """Expect nothing of what was pushed before: all outcomes are pushed again."""
        self._unheard.clear()

    def heard(self, arrived: int | None, *, reads: bool) -> None:
        """Note what the master says has arrived; None: an older master that does not say, and nothing is concluded."""
        if arrived is None:
            self._unheard.clear()
            return
        if arrived > self._arrived or not reads:
            self._moved_at = self._at
        if arrived > self._arrived and (record := self._records.get("outcomes")) is not None:
            record.fruitless = 0
        self._arrived = arrived
        while self._unheard and self._unheard[0].serial <= arrived:
            self._unheard.popleft()

    def look(self, ways: Sequence[Way], now: float, *, is_heard: bool) -> list[WayName]:
        """Look at the connections; returns those to be opened anew. is_heard: the master speaks on control."""
        gap = 0.0 if self._looked is None else min(LOOK_MAX_S, now - self._looked)
        self._looked = now
        if not is_heard:
            return []
        self._at += gap
        return [way.name for way in ways if self._judge(way)]

    def _judge(self, way: Way) -> bool:
        """Judge one connection; True: it should be opened anew."""
        record, at = self._records.setdefault(way.name, _Record()), self._at
        record.note(way, at)
        is_dead = way.is_up and way.unanswered_s >= DEAD_S
        is_overdue = way.is_up and way.name == "outcomes" and self._is_overdue(record)
        if is_overdue:
            record.fruitless += 1
        if is_dead or is_overdue:
            record.broke(at)
        is_refused = not way.is_up and way.is_refused and at >= record.retry_at
        if is_refused:
            record.retry_at = at + REFUSED_S
        if record.is_bad(at):
            record.complain(_complaint(way, is_fruitless=record.fruitless > 0), at)
        record.settle(at, is_in_doubt=way.name == "outcomes" and self._is_in_doubt(record))
        return is_dead or is_overdue or is_refused

    def _is_overdue(self, record: _Record) -> bool:
        """Return whether what was pushed on this connection should have arrived by now."""
        if not self._unheard or record.up_since is None:
            return False
        first = self._unheard[0]
        limit_s = UNHEARD_S + first.size / UNHEARD_BYTES_PER_S
        return self._at - max(first.at, self._moved_at, record.up_since) >= limit_s

    def _is_in_doubt(self, record: _Record) -> bool:
        """Return whether something was pushed on this connection and nothing of it has arrived yet."""
        return bool(self._unheard) and record.up_since is not None and self._moved_at < record.up_since


def _complaint(way: Way, *, is_fruitless: bool) -> str:
    what = f"port {way.port} of its master ({way.name})"
    if is_fruitless:
        return f"{_LOST[way.name]}: it is connected to {what}, and nothing arrives"
    return f"{_LOST[way.name]}: it has no connection to {what}"
