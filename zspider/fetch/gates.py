"""When a request may open a connection: a few at once to each server, more while answers come. Pure, but for the look.

A server's accept queue may be as short as five. What overflows it looks connected here, and is heard after seconds or
never. So a request is sent when a connection is free for it, or when few enough are being opened; else it waits.
This is TCP's slow start: one more for each that is proven, half as many when one was lost. Times are arguments.
"""

from collections import deque
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

from zspider.fetch.handle import Reach

OPEN_AT_FIRST = 4  # connections that are being opened to a server of which nothing is known
OPEN_MIN = 4
LOOK_S = 0.05  # how often connections without an answer are looked at
GIVE_UP_S = 1.0  # one that nobody confirms holds up no others for longer
HEARD_S = 3.0  # a connection is asked for so long whether what it carries arrives
SILENT_S = 5.0  # a new connection without an answer for so long, while others to the server answer
REPEATS_MAX = 2  # how often a request is sent again that a server may have received
UNHEARD_MAX = 20  # and one that no server has
CONNECT_S = 0.15  # that a connection may always take, and ...
CONNECT_FACTOR = 8  # ... so many times what the last one took, until it counts as lost
FORGET_S = 5.0  # a server not asked for so long may have closed its connections
GATES_MAX = 2000  # beyond it those that nobody uses are forgotten


class Passer(Protocol):
    """The questions that a gate asks of a request."""

    @property
    def repeats(self) -> int:
        """How often it was sent again."""
        ...

    @property
    def has_answer(self) -> bool:
        """Whether the first byte of an answer has come."""
        ...

    @property
    def is_safe(self) -> bool:
        """Whether it may be sent again."""
        ...

    @property
    def connect_s(self) -> float:
        """How long its connection took to be made."""
        ...

    def reach(self) -> Reach:
        """Return how far it has come."""
        ...


P = TypeVar("P", bound=Passer)


class Gate(Generic[P]):
    """Counts the connections to one server. Each admitted request leaves once."""

    def __init__(self, now: float) -> None:
        self.waiting: deque[P] = deque()
        self.running = 0
        self.used_at = now
        self._spare = 0  # open connections that nobody uses
        self.opening: dict[P, float] = {}  # since when: not known yet whether anybody hears them
        self._silent: dict[P, float] = {}  # since when: on a new connection, heard or not, and without an answer
        self._open_max: float = OPEN_AT_FIRST
        self._grows_fast = True
        self._answered_at = float("-inf")
        self._connect_s = 0.0  # of the last connection that was answered
        self._is_free = False  # one connection takes all (HTTP/2)

    @property
    def is_opening(self) -> bool:
        """Whether there are new connections without an answer."""
        return bool(self.opening or self._silent)

    @property
    def is_watched(self) -> bool:
        """Whether `look` may find something: there are such connections, and others wait for them or have answered."""
        return self.is_opening and (bool(self.waiting) or self._answered_at > 0)

    def admit(self, passer: P, now: float) -> bool:
        """Return whether this request may be sent now."""
        if self._spare > 0:
            self._spare -= 1
        elif not self._is_free:
            if len(self.opening) >= int(self._open_max):
                return False
            self.opening[passer] = now
        self.running += 1
        self.used_at = now
        return True

    def next(self, now: float) -> Iterator[P]:
        """Yield the requests that waited and may be sent now."""
        while self.waiting and self.admit(self.waiting[0], now):
            yield self.waiting.popleft()

    def leave(self, passer: P, now: float, *, is_answered: bool, is_kept: bool = False, was_new: bool = True) -> None:
        """Note that a request has ended. is_kept: its connection stays open; was_new: it had opened one."""
        self.running -= 1
        self.used_at = now
        if is_answered:
            self._answered_at = now
        if (self.opening or self._silent) and self._was_opening(passer):
            if is_answered:
                self._prove(passer)
        elif was_new:
            self._spare = 0  # those that were believed to be open are not
        if is_kept:
            self._spare += 1

    def _was_opening(self, passer: P) -> bool:
        return self.opening.pop(passer, None) is not None or self._silent.pop(passer, None) is not None

    def open_wide(self) -> None:
        """Note that the server takes all requests on one connection."""
        self._is_free = True

    def look(self, now: float, *, is_up_to_date: bool) -> list[P]:
        """Check the connections that have no answer yet; returns the requests to be sent again.

        is_up_to_date: everything that has arrived here was handled, so a request that still connects waits for its
        server.
        """
        lost = []
        for passer, since in list(self.opening.items()):
            if passer.has_answer:
                del self.opening[passer]
                self._answered_at = now
                self._prove(passer)
                continue
            others_answer = self._answered_at > since
            match passer.reach():
                case Reach.ARRIVED:
                    self._leave_alone(passer, since)
                case Reach.LOST if others_answer:
                    lost.append(passer)
                case Reach.CONNECTING if is_up_to_date and others_answer and now - since > self._connect_limit_s:
                    lost.append(passer)
                case _ if now - since > GIVE_UP_S:
                    self._leave_alone(passer, since)
                    self._open_max += not others_answer  # nobody is harmed by more of them
        for passer in lost:
            self._leave_alone(passer, self.opening[passer])
        if lost:
            self._open_max = max(OPEN_MIN, self._open_max / 2)
            self._grows_fast = False
        return [passer for passer in lost if passer.is_safe and passer.repeats < UNHEARD_MAX] + self._forsaken(now)

    @property
    def _connect_limit_s(self) -> float:
        return max(CONNECT_S, CONNECT_FACTOR * self._connect_s)

    def _leave_alone(self, passer: P, since: float) -> None:
        """Let others wait for this request no longer."""
        del self.opening[passer]
        self._silent[passer] = since

    def _forsaken(self, now: float) -> list[P]:
        """Return requests that were lost later, or have been silent for long, while others are answered.

        Of the silent ones, as many as there are connections that work.
        """
        found: list[P] = []
        spare = self._spare
        for passer, since in list(self._silent.items()):
            if passer.has_answer:
                del self._silent[passer]
                self._answered_at = now
                self._prove(passer)
                continue
            age_s = now - since
            if self._answered_at <= since or not passer.is_safe:
                continue
            if age_s < HEARD_S:
                if passer.repeats < UNHEARD_MAX and passer.reach() is Reach.LOST:
                    found.append(passer)
            elif age_s > SILENT_S and spare > 0 and passer.repeats < REPEATS_MAX:
                spare -= 1
                found.append(passer)
        return found

    def _prove(self, passer: P) -> None:
        self._connect_s = passer.connect_s
        self._open_max += 1.0 if self._grows_fast else 1.0 / self._open_max


class Gates(Generic[P]):
    """The gates by server. A server is named by a text of the caller's choice."""

    def __init__(self) -> None:
        self._gates: dict[str, Gate[P]] = {}
        self._forget_at = GATES_MAX

    def get(self, server: str, now: float) -> Gate[P]:
        """Return the gate to this server; a new one if it was not used lately."""
        gate = self._gates.get(server)
        if gate is None or (not gate.running and not gate.waiting and now - gate.used_at > FORGET_S):
            if gate is None and len(self._gates) >= self._forget_at:
                self._forget()
            gate = self._gates[server] = Gate[P](now)
        return gate

    def _forget(self) -> None:
        unused = [server for server, gate in self._gates.items() if not gate.running and not gate.waiting]
        unused.sort(key=lambda server: self._gates[server].used_at)
        for server in unused[: GATES_MAX // 2]:
            del self._gates[server]
        self._forget_at = max(GATES_MAX, 2 * len(self._gates))
