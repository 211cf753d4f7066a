"""The log's stream, which never fails and never waits for its reader."""

import os
import select
from typing import TextIO

from zspider.errors import is_shortage

CHUNK_BYTES = 4096  # PIPE_BUF: so much fits into a pipe that poll(2) calls writable
WAIT_MS = 100  # for a reader that is behind; while it stays so, nothing is waited for


class LogStream:
    """Writes lines to a stream's descriptor. A line that cannot be written is left out and counted.

    A full disk, a full pipe, a closed terminal end no daemon and hold up none; when lines can be written again, the
    first one says how many are missing.
    """

    def __init__(self, out: TextIO | None) -> None:
        """out: the stream; None when there is none (`2>&-`), and every line is left out."""
        self._out = out
        self._fd = _descriptor(out)
        self._left_out = 0
        self._is_cut = False  # a line was written in part

    @property
    def encoding(self) -> str:
        """The encoding of what is written."""
        return "utf-8"

    def fileno(self) -> int:
        """Return the descriptor. Raises OSError when there is none."""
        if self._fd is None:
            raise OSError("not a file of the system")
        return self._fd

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""
        try:
            return self._out is not None and self._out.isatty()
        except ValueError:  # it is closed
            return False

    def write(self, text: str) -> None:
        """Write one line or more, with the line end."""
        if self._left_out:
            said = f"{self._left_out} lines of the log could not be written\n"
            if not self._put("\n" + said if self._is_cut else said):
                self._left_out += 1
                return
            self._left_out = 0
        if not self._put(text):
            self._left_out += 1

    def flush(self) -> None:
        """Do nothing: everything was written already."""

    def _put(self, text: str) -> bool:
        if self._out is None:
            return False
        try:
            if self._fd is None:
                self._out.write(text)
                self._out.flush()
                return True
            return self._put_bytes(self._fd, text.encode("utf-8", "backslashreplace"))
        except (OSError, ValueError):  # ValueError: the stream is closed
            return False

    def _put_bytes(self, fd: int, data: bytes) -> bool:
        at = 0
        while at < len(data):
            poller = select.poll()
            poller.register(fd, select.POLLOUT)
            try:
                if not poller.poll(0 if self._left_out else WAIT_MS):
                    break
                at += os.write(fd, data[at : at + CHUNK_BYTES])
            except OSError as exc:
                if not is_shortage(exc):
                    self._is_cut = at > 0
                    raise
                break
        self._is_cut = at < len(data) and (at > 0 or self._is_cut)
        return at == len(data)


def _descriptor(out: TextIO | None) -> int | None:
    """Return a stream's descriptor, or None if it has none."""
    try:
        return None if out is None else out.fileno()
    except (OSError, ValueError):
        return None
