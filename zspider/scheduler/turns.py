"""Whose turn it is: which slave gets the next task."""

from collections.abc import Mapping
from heapq import heapify, heappop, heappush, heapreplace
from itertools import count

from zspider.scheduler.leases import Session

LEVELS = 8  # how finely the loads of slaves are told apart
_STALE_MAX = 64  # entries that count no more and are not worth cleaning up
_Entry = tuple[int, int, bytes, int, Session]


class Turns:
    """The order of slaves with room: the one with the least to do first, and among equals the one that waits longest.

    How much a slave has to do is told apart in eighths of its window: below one eighth all take turns, so
    that a slave whose pages are slow gets its share as long as it has room to fetch beside them.
    """

    def __init__(self, sessions: Mapping[bytes, Session], changed: set[Session]) -> None:
        """sessions: the sessions that have joined.

        changed: the sessions whose room may have changed since it was looked at.
        """
        self._sessions = sessions
        self._changed = changed
        self._heap: list[_Entry] = []  # an entry that is not its session's current one is skipped
        self._served = 0
        self._serial = count()  # a slave that came back may have entries of its former session: no two are equal

    def first(self) -> Session | None:
        """Return the slave whose turn it is; None if none has room."""
        if self._changed:
            self._settle()
        while self._heap:
            if self._counts(self._heap[0]):
                return self._heap[0][-1]
            heappop(self._heap)
        return None

    def first_able(self, script: tuple[int, bytes]) -> Session | None:
        """Return the slave whose turn it is of those that can load this script, or None."""
        able = [entry for entry in self._heap if self._counts(entry) and script not in entry[-1].barred]
        return min(able)[-1] if able else None

    def served(self, session: Session) -> None:
        """Note that a slave was just lent a task: the others come first now."""
        self._served += 1
        session.served = self._served
        if self._heap[0] is session.turn and session.room > 0:  # as nearly always: those before it can load the script
            session.turn = self._entry(session)
            heapreplace(self._heap, session.turn)
            self._changed.discard(session)

    def assert_invariants(self) -> None:
        """Raise AssertionError when a slave with room has no place among the others, and will get none."""
        placed = {id(entry) for entry in self._heap}
        for session in self._sessions.values():
            is_placed = session in self._changed or id(session.turn) in placed
            assert session.room <= 0 or is_placed, f"session {session.id.hex()[:8]} has room and no turn"

    def _counts(self, entry: _Entry) -> bool:
        """Whether this is the current entry of a session that is in and has room."""
        session = entry[-1]
        return session.turn is entry and session.room > 0 and self._sessions.get(session.id) is session

    def _settle(self) -> None:
        """Give those that have changed their places."""
        for session in self._changed:
            session.turn = None
            if session.room > 0:
                session.turn = self._entry(session)
                heappush(self._heap, session.turn)
        self._changed.clear()
        if len(self._heap) > 2 * len(self._sessions) + _STALE_MAX:
            self._heap = [entry for entry in self._heap if self._counts(entry)]
            heapify(self._heap)

    def _entry(self, session: Session) -> _Entry:
        level = LEVELS * (session.window - session.room) // session.window
        return (level, session.served, session.id, next(self._serial), session)
