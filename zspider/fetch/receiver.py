"""The receiving side of one transfer: header lines and body, counted as they come.

Knows no libcurl but three answers to it.

A server decides how its bytes are cut, and each piece costs a call. So pieces are counted too: a body whose pieces are
small beyond reason ends, and so do headers of very many lines. What comes faster than it may waits in libcurl.
"""

from collections.abc import Callable
from enum import Enum
from io import BytesIO

import pycurl

from zspider.fetch.room import PIECE_COST_BYTES, Room, Share
from zspider.settings import FetchSettings

LINES_MAX = 4000  # of headers in one answer, 1xx and trailers included
PIECES_FREE = 16 * 1024  # that any body may come in: some 10 ms of work
PIECE_BYTES_MIN = 8  # that more pieces than those have on average; a server that flushes each line sends more
PIECES_LIGHT = 32  # the first ones of a body wait for nobody: a small page passes those that make much work
_HEADER_GRAIN = 16 * 1024  # of headers: so much is not counted in the room, and limits are looked at each time
_LINES_FREE = 100  # of headers: so many are not looked at one by one; libcurl takes 300 KiB in an answer at most
_CODINGS = frozenset((b"Content-Enc", b"content-enc", b"CONTENT-ENC"))
_UNPACKED = 4096  # a packed body that gives larger pieces goes on: libcurl would unpack the rest, and keep it besides
_LINE_BYTES = 64  # what a line takes besides its text
_PAUSE: int = pycurl.WRITEFUNC_PAUSE
_END = -1  # libcurl ends the transfer


class Stop(Enum):
    """Why a transfer was ended in the middle."""

    BODY = "body"  # larger than allowed
    HEADERS = "headers"  # larger than allowed
    LINES = "lines"
    PIECES = "pieces"
    CODINGS = "codings"  # packed more than once
    NO_ROOM = "no room"  # it is packed, and may be sent again


class Receiver(Share):
    """The callbacks of an easy handle. `begin` before each hop.

    `lines` are the header lines; `stop` says why the transfer was ended, `was_held` that it had to wait for memory.
    """

    __slots__ = (
        "_body",
        "_codings",
        "_first",
        "_header_free",
        "_header_left",
        "_may_repeat",
        "_on_pause",
        "_pieces",
        "_pieces_ok",
        "_room",
        "_settings",
        "_size",
        "_size_free",
        "_size_ok",
        "lines",
        "on_header",
        "stop",
        "wanted_bytes",
        "was_held",
    )

    def __init__(self, settings: FetchSettings, room: Room, on_pause: Callable[[], None]) -> None:
        """on_pause: called when libcurl is told to pause; `wanted_bytes` then say how much memory it waits for."""
        super().__init__()
        self._settings = settings
        self._room = room
        self._on_pause = on_pause
        self.lines: list[bytes] = []
        self.on_header: Callable[[bytes], int | None] = self._header_callback()  # one line of headers
        self._header_free = min(_HEADER_GRAIN, settings.header_bytes_max)
        self._size_free = min(room.grain, settings.body_bytes_max)
        self._body = BytesIO()
        self._first = b""  # piece; there is a body when there are more
        self._pieces = 0
        self._size = 0
        self.begin(may_repeat=False)

    def begin(self, *, may_repeat: bool) -> None:
        """Prepare for a new answer. may_repeat: the request may be sent again if that helps."""
        if self.lines or self._pieces:
            self.forget()
        self._may_repeat = may_repeat
        self._header_left = self._header_free
        self._codings = 0
        self._pieces_ok = PIECES_FREE
        self._size_ok = self._size_free
        self.stop: Stop | None = None
        self.was_held = False
        self.wanted_bytes = 0

    def forget(self) -> None:
        """Drop everything received. Safe to repeat."""
        self.lines.clear()
        self._first = b""
        if self._pieces > 1:
            self._body = BytesIO()
        self._pieces = 0
        self._size = 0
        if self.counted:
            self._room.give_back(self)

    @property
    def content(self) -> bytes:
        """The decoded body, without a copy of it."""
        return self._body.getvalue() if self._pieces > 1 else self._first

    @property
    def header_bytes(self) -> int:
        """How many bytes of headers came."""
        return sum(map(len, self.lines))

    def reason(self, stop: Stop) -> str:
        """Return the reason, in words for the user."""
        return {
            Stop.BODY: f"body larger than {self._settings.body_bytes_max} bytes",
            Stop.HEADERS: f"headers larger than {self._settings.header_bytes_max} bytes",
            Stop.LINES: f"more than {LINES_MAX} header lines",
            Stop.PIECES: f"body in too many pieces of less than {PIECE_BYTES_MIN} bytes",
            Stop.CODINGS: "body packed more than once: Content-Encoding names several codings",
            Stop.NO_ROOM: "no memory for the body",
        }[stop]

    # --- called by libcurl

    def _header_callback(self) -> Callable[[bytes], int | None]:
        """Take one header line from libcurl; almost all of the work is done later, for speed."""
        lines = self.lines
        append, look = lines.append, self._look_at_header

        def on_header(line: bytes) -> int | None:
            append(line)
            return look(line) if line[:11] in _CODINGS or len(lines) > _LINES_FREE else None

        return on_header

    def on_body(self, piece: bytes) -> int | None:
        """Take some decoded bytes of the body. If it pauses, libcurl brings them again."""
        room = self._room
        if room.step_bytes <= 0 and self._pieces >= PIECES_LIGHT and not (self._codings and len(piece) > _UNPACKED):
            return self._wait(0)
        room.step_bytes -= PIECE_COST_BYTES + len(piece)
        size = self._size + len(piece)
        self._pieces += 1
        if (size > self._size_ok or self._pieces > self._pieces_ok) and (answer := self._weigh_body(size)) is not None:
            return answer
        self._size = size
        if self._pieces == 1:  # and the only one of a small page
            self._first = piece
            return None
        if self._pieces == 2:
            self._body.write(self._first)
        self._body.write(piece)
        return None

    # --- inside

    def _look_at_header(self, line: bytes) -> int | None:
        if len(self.lines) > LINES_MAX:
            return self._end(Stop.LINES)
        if line[:17].lower() == b"content-encoding:":
            self._codings += _codings(line[17:])
            if self._codings > 1:
                return self._end(Stop.CODINGS)
        self._header_left -= _LINE_BYTES + len(line)
        return self._weigh_headers() if self._header_left < 0 else None

    def _weigh_headers(self) -> int | None:
        allowed = self._settings.header_bytes_max - self.header_bytes
        if allowed < 0:
            return self._end(Stop.HEADERS)
        self._room.grow(self, min(_HEADER_GRAIN, allowed))
        self._header_left = min(_HEADER_GRAIN, allowed)
        return None

    def _weigh_body(self, size: int) -> int | None:
        """Return why a body of this size and so many pieces is refused; None if it is not."""
        if size > self._settings.body_bytes_max:
            return self._end(Stop.BODY)
        self._pieces_ok = PIECES_FREE + size // PIECE_BYTES_MIN
        if self._pieces > self._pieces_ok:
            return self._end(Stop.PIECES)
        if size <= self._size_ok:
            return None
        wanted = size - self._size_ok + self._room.grain
        if not self.counted and not self._codings:
            wanted = max(wanted, self._announced())
        if not self._room.may_grow(self, wanted):
            self.was_held = True
            if self._codings and self._may_repeat:  # libcurl would unpack, and keep, a thousand times its buffer
                return self._end(Stop.NO_ROOM)
            return self._wait(wanted)
        self._room.grow(self, wanted)
        self._size_ok = min(self._size_ok + wanted, self._settings.body_bytes_max)
        return None

    def _announced(self) -> int:
        """Return the Content-Length, up to the limit; 0 if there is none."""
        for line in reversed(self.lines):
            if line[:15].lower() == b"content-length:" and (said := line[15:].strip()).isdigit():
                return min(int(said[:20]), self._settings.body_bytes_max)
        return 0

    def _wait(self, wanted: int) -> int:
        self.wanted_bytes = wanted
        self._on_pause()
        return _PAUSE

    def _end(self, stop: Stop) -> int:
        self.stop = stop
        self._first = b""
        self._body = BytesIO()
        return _END


def _codings(value: bytes) -> int:
    """Return how many codings of a Content-Encoding libcurl would decode."""
    return sum(one.strip().lower() not in (b"", b"identity") for one in value.split(b","))
