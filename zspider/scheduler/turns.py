"""Whose turn it is: which slave gets the next task."""

from collections.abc import Collection
from heapq import heapify, heappop, heapreplace

from zspider.scheduler.leases import Session

_Entry = tuple[float, int, bytes, Session]


class Turns:
    """Slaves with room: the one with the least to do first, and among equals the one that waits longest."""

    def __init__(self, sessions: Collection[Session]) -> None:
        self._served = max((session.served for session in sessions), default=0)
        self._heap = [_entry(session) for session in sessions if session.room > 0]
        heapify(self._heap)

    def __bool__(self) -> bool:
        """Whether anybody has room."""
        return bool(self._heap)

    def next(self, script: tuple[int, bytes]) -> Session | None:
        """The slave whose turn it is, of those that can load this script."""
        if self._heap and script in self._heap[0][-1].barred:
            able = [entry for entry in self._heap if script not in entry[-1].barred]
            return min(able)[-1] if able else None
        return self._heap[0][-1] if self._heap else None

    def served(self, session: Session) -> None:
        """It was just lent a task: the others come first now."""
        self._served += 1
        session.served = self._served
        if self._heap[0][-1] is not session:  # those before it cannot load the script
            self._heap = [_entry(other) for *_, other in self._heap if other.room > 0]
            heapify(self._heap)
        elif session.room > 0:
            heapreplace(self._heap, _entry(session))
        else:
            heappop(self._heap)


def _entry(session: Session) -> _Entry:
    return ((session.window - session.room) / session.window, session.served, session.id, session)
