"""What the kernel knows of a TCP connection that ZeroMQ owns: whether the other end still answers."""

import socket
import struct
from collections.abc import Sequence

# The beginning of Linux's `struct tcp_info` (tcp(7)): eight bytes, then numbers of 32 bits.
_HEAD = struct.Struct("=8B24I")
_RETRANSMITS, _PROBES, _LAST_ACK_MS = 2, 3, 20
UNANSWERED_MIN = 3  # of these in a row: one or two are lost on any network


def unanswered_s(fd: int, port: int) -> float:
    """Return for how long the other end has not answered retransmissions; 0.0 while it answers.

    A peer whose buffers are full answers all the same. fd: as ZeroMQ named it when it connected to this port; it may be
    closed by now, and its number be another file's: then the answer is 0.0.
    """
    try:
        with _borrowed(fd) as connection:
            if connection.getpeername()[1] != port:
                return 0.0
            packed = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _HEAD.size)
    except (OSError, ValueError, IndexError, TypeError):  # closed, none yet, or not a TCP socket
        return 0.0
    if len(packed) < _HEAD.size:
        return 0.0
    fields = _HEAD.unpack(packed)
    if max(fields[_RETRANSMITS], fields[_PROBES]) < UNANSWERED_MIN:
        return 0.0
    return float(fields[_LAST_ACK_MS]) / 1000


def numeric(address: Sequence[object]) -> str:
    """Return the host of an address as Python's sockets have it, with the scope that IPv6 may need."""
    return f"{address[0]}%{address[3]}" if len(address) == 4 and address[3] else str(address[0])


def peer(fd: int, port: int) -> str:
    """Return the numeric address of the other end; "" when the descriptor is no connection to this port."""
    try:
        with _borrowed(fd) as connection:
            found = connection.getpeername()
        return numeric(found) if found[1] == port else ""
    except (OSError, ValueError, IndexError, TypeError):  # as above
        return ""


class _borrowed:
    """Lend a Python socket on a descriptor of another owner, and leave the descriptor open at the end."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)

    def __enter__(self) -> socket.socket:
        return self._socket

    def __exit__(self, *_: object) -> None:
        self._socket.detach()
