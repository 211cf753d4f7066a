"""The pipe between a slave and one of its processors: whole messages over a pair of connected sockets.

A Unix stream socket and not ZeroMQ: one writer and one reader, both ours, need no thread in between, and what a
dead process had written can still be read to the last byte.
"""

import select
import socket
import struct
import time
from collections import deque
from itertools import islice
from typing import Self

import msgspec

from zspider.broker.codec import MESSAGE_BYTES_MAX, decode, decode_own, encode_whole
from zspider.broker.messages import AnyMessage, Page
from zspider.errors import ProtocolError, is_shortage
from zspider.waker import wait_ms

READ_BYTES = 256 * 1024
BUFFERS = 64  # written with one call
SHORTAGE_S = 0.01  # pause of one who has to wait while the kernel has no memory for what is sent
_HEAD = struct.Struct("=II")  # bytes of the packed message; bytes of a page's content, which follows it as it is


class Pipe:
    """One end. Messages arrive whole and in order. Nothing waits but where a time is given."""

    def __init__(self, end: socket.socket, *, is_trusted: bool = False) -> None:
        """is_trusted: the process at the other end runs no scripts."""
        end.setblocking(False)
        self.is_closed = False  # the other end is gone, and everything it had written was read
        self._socket = end
        self._is_trusted = is_trusted
        self._in = bytearray()
        self._at = 0  # of `_in`: up to here it is used up
        self._out: deque[memoryview] = deque()

    @classmethod
    def pair(cls) -> tuple[Self, socket.socket]:
        """Return our end, and the one for a child to inherit: close it here once the child has it."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)  # OSError: no descriptor, say
        return cls(ours), theirs

    @classmethod
    def inherited(cls, fd: int) -> Self:
        """Return the child's end: it trusts its parent, which does not run scripts."""
        return cls(socket.socket(fileno=fd), is_trusted=True)

    def fileno(self) -> int:
        """Return the descriptor: wait for it to be readable, and writable while `has_unsent`."""
        return self._socket.fileno()

    @property
    def has_unsent(self) -> bool:
        """Whether there is something for `flush`."""
        return bool(self._out)

    @property
    def has_message(self) -> bool:
        """Whether the next message has been read in whole."""
        return self._next_end() is not None

    def queue(self, message: AnyMessage) -> None:
        """Queue a message for the next `flush`. Raises ProtocolError for one that cannot be packed."""
        content = b""
        if isinstance(message, Page):
            content, message = message.content, msgspec.structs.replace(message, content=b"")
        packed = encode_whole(message)
        if len(packed) + len(content) > MESSAGE_BYTES_MAX:
            raise ProtocolError(f"message of {len(packed) + len(content)} bytes, the limit is {MESSAGE_BYTES_MAX}")
        self._out.append(memoryview(_HEAD.pack(len(packed), len(content)) + packed))
        if content:
            self._out.append(memoryview(content))

    def flush(self, *, wait: bool = False) -> bool:
        """Write what can be written; all of it if `wait`. Returns False when the other end is gone."""
        while self._out:
            try:
                sent = self._socket.sendmsg(islice(self._out, BUFFERS), (), socket.MSG_NOSIGNAL)
            except BlockingIOError:
                if not wait:
                    return True
                _wait(self._socket, select.POLLOUT, None)
            except OSError as exc:
                if not is_shortage(exc):
                    self._out.clear()
                    return False
                if not wait:
                    return True
                time.sleep(SHORTAGE_S)
            else:
                self._forget(sent)
        return True

    def receive(self, timeout_s: float = 0.0) -> AnyMessage | None:
        """Return the next message, or None if there is none in time. Raises ProtocolError for a bad one."""
        while (message := self._next()) is None and not self.is_closed:
            if not self._fill() and not (timeout_s and _wait(self._socket, select.POLLIN, timeout_s)):
                return None
        return message

    def close(self) -> None:
        """Safe to repeat."""
        self._socket.close()

    # --- inside -----------------------------------------------------------------------------------

    def _forget(self, sent: int) -> None:
        """Drop so many written bytes from the queue."""
        while sent:
            first = self._out[0]
            if sent < len(first):
                self._out[0] = first[sent:]
                return
            sent -= len(first)
            self._out.popleft()

    def _fill(self) -> bool:
        """Read what is there, up to one buffer. Returns False if nothing is."""
        try:
            data = self._socket.recv(READ_BYTES)
        except BlockingIOError:
            return False
        except OSError as exc:
            if is_shortage(exc):
                return False
            data = b""
        del self._in[: self._at]
        self._at = 0
        self._in += data
        self.is_closed = not data
        return True

    def _next_end(self) -> tuple[int, int] | None:
        """Return where the packed part and the content of the next message end; None if it is not here in whole."""
        start = self._at + _HEAD.size
        if len(self._in) < start:
            return None
        packed, content = _HEAD.unpack_from(self._in, self._at)
        end = start + packed + content
        if end - start > MESSAGE_BYTES_MAX:
            self.is_closed = True  # there is no finding the next message
            raise ProtocolError(f"message of {end - start} bytes, the limit is {MESSAGE_BYTES_MAX}")
        return (start + packed, end) if len(self._in) >= end else None

    def _next(self) -> AnyMessage | None:
        ends = self._next_end()
        if ends is None:
            return None
        start, (middle, end) = self._at + _HEAD.size, ends
        self._at = end
        with memoryview(self._in) as view:
            head = view[start:middle].tobytes()
            message = decode_own(head) if self._is_trusted else decode([head])
            if isinstance(message, Page):
                msgspec.structs.force_setattr(message, "content", view[middle:end].tobytes())
        return message


def _wait(end: socket.socket, event: int, timeout_s: float | None) -> bool:
    poller = select.poll()
    poller.register(end, event)
    return bool(poller.poll(None if timeout_s is None else wait_ms(timeout_s)))
