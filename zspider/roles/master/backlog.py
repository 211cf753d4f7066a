"""How much waits for the writer, in all and of each session: the master's memory for undone outcomes is bounded."""

from collections.abc import Iterable, Iterator, Mapping

from zspider.roles.master.received import ReceivedOutcome

OUTCOMES_MAX = 2000  # above one of these three no more is read and nothing is granted
ROWS_MAX = 40_000
BYTES_MAX = 24 * 1024 * 1024
SESSION_ROWS_MAX = 20_000  # above one of these two a session's outcomes are not taken in; it sends them again
SESSION_BYTES_MAX = 8 * 1024 * 1024
PUT_OFF_MAX = 5000  # items of a session that are remembered to be asked for; the slave sends others by itself, later


class Room:
    """What one slave's session may still add while a message of it is taken in."""

    def __init__(self, items: Mapping[int, int], rows: int, size: int) -> None:
        self.items = items  # that wait already: id -> bytes
        self._rows = rows
        self._bytes = size

    @property
    def is_full(self) -> bool:
        """Whether the slave has to wait with more."""
        return self._rows > SESSION_ROWS_MAX or self._bytes > SESSION_BYTES_MAX

    @property
    def is_wide(self) -> bool:
        """Whether the slave may send what it had to wait with."""
        return self._rows <= SESSION_ROWS_MAX // 2 and self._bytes <= SESSION_BYTES_MAX // 2

    def take(self, one: ReceivedOutcome) -> None:
        """Count one more."""
        self._rows += one.rows
        self._bytes += one.size


class _Session:
    """The outcomes of one session that wait."""

    def __init__(self) -> None:
        self.rows = 0
        self.bytes = 0
        self.items: dict[int, int] = {}


class Backlog:
    """Counts the outcomes that were taken in and are not written yet. It belongs to the master's loop."""

    def __init__(self) -> None:
        self.outcomes = 0
        self.rows = 0
        self.bytes = 0
        self._sessions: dict[bytes, _Session] = {}
        self._put_off: dict[bytes, dict[int, None]] = {}  # session -> items that were not taken in

    @property
    def is_full(self) -> bool:
        """Whether the database is behind: no more outcomes should be read."""
        return self.outcomes > OUTCOMES_MAX or self.rows > ROWS_MAX or self.bytes > BYTES_MAX

    def room(self, session: bytes) -> Room:
        """Return what a session may add."""
        waiting = self._sessions.get(session)
        return Room({}, 0, 0) if waiting is None else Room(waiting.items, waiting.rows, waiting.bytes)

    def add(self, received: Iterable[ReceivedOutcome]) -> None:
        """Count outcomes that wait from now on."""
        for one in received:
            share = self._sessions.get(one.session)
            if share is None:
                share = self._sessions[one.session] = _Session()
            share.items[one.id] = one.size
            share.rows += one.rows
            share.bytes += one.size
            self.outcomes += 1
            self.rows += one.rows
            self.bytes += one.size

    def put_off(self, session: bytes, ids: Iterable[int]) -> None:
        """Remember items of a full session: they are asked for when there is room."""
        items = self._put_off.setdefault(session, {})
        for id_ in ids:
            if len(items) < PUT_OFF_MAX:
                items[id_] = None

    def wanted_again(self) -> Iterator[tuple[bytes, list[int]]]:
        """Return, and forget, what was put off of sessions that have room now."""
        for session in [one for one in self._put_off if self.room(one).is_wide]:
            yield session, [*self._put_off.pop(session)]

    def remove(self, received: Iterable[ReceivedOutcome]) -> None:
        """Count outcomes, or pieces of them, that are written or dropped."""
        for one in received:
            share = self._sessions[one.session]
            share.rows -= one.rows
            share.bytes -= one.size
            self.rows -= one.rows
            self.bytes -= one.size
            if one.is_last:
                self.outcomes -= 1
                share.items.pop(one.id, None)
                if not share.items:
                    del self._sessions[one.session]
