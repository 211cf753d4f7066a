"""A client's connection to a master's port: the socket, and what became of its handshakes."""

import errno
import itertools
import struct
from typing import Literal

import zmq

from zspider.broker import tcp
from zspider.broker.sockets import Context, Socket, Tuning, dial, tune
from zspider.broker.token import Token

Refusal = Literal["auth", "protocol", "foreign"]

_numbers = itertools.count(1)
_connections = itertools.count(1)
_EVENT = struct.Struct("=HI")
_EVENTS = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_CONNECTED
)
# A master that dies in the middle of a handshake looks the same once, and a wrong key every time.
_HANG_UPS_MAX = 2
_HANG_UPS = (errno.EPIPE, errno.ECONNRESET, errno.ECONNABORTED)  # other failures are silence: it hangs, or is away


class Channel:
    """A connecting socket with its monitor. ZeroMQ reconnects by itself, but not after `refusal` "auth"."""

    def __init__(
        self,
        context: Context,
        kind: int,
        endpoint: str,
        token: Token | None,
        tuning: Tuning,
        *,
        ipv6: bool,
        sees_failures: bool = False,
    ) -> None:
        """Begin to connect. sees_failures: look for `has_failed`; each try that fails is an event then.

        Raises zmq.ZMQError when no socket can be had; nothing of it is left then.
        """
        self.connections = 0  # handshakes that succeeded, ever
        self.connection = 0  # names the present one, or the last; no two channels have the same
        self.is_connected = False
        self.was_answered = False  # something accepted the TCP connection, ever
        self.has_failed = False  # a try came to nothing, and no handshake ever succeeded
        # "protocol": another server key, or only one side encrypts; "foreign": it does not speak as a master
        self.refusal: Refusal | None = None
        self.hangs_up = False  # the refusal is that each connection was closed in the middle of its handshake
        self._hang_ups = 0
        self._is_shaking = False
        self._fd = -1  # of the TCP connection, which belongs to ZeroMQ
        self.socket: Socket = context.socket(kind)
        try:
            tune(self.socket, tuning, ipv6=ipv6)
            events = _EVENTS | zmq.EVENT_CONNECT_RETRIED if sees_failures else _EVENTS
            self.monitor: Socket = self.socket.get_monitor_socket(events, f"inproc://monitor-{next(_numbers)}")
            self.monitor.linger = 0
            dial(self.socket, endpoint, token)
        except BaseException:
            self.socket.close()
            raise

    def read_events(self) -> None:
        """Take in what happened to the connection. Never blocks."""
        while True:
            try:
                frames = self.monitor.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return
            self._on_event(*_EVENT.unpack(frames[0]))

    def unanswered_s(self, port: int) -> float:
        """Return for how long the other end's kernel has not answered.

        0.0 while it does, or if nothing is connected.
        """
        return tcp.unanswered_s(self._fd, port) if self.is_connected else 0.0

    def peer(self, port: int) -> str:
        """Return the numeric address of the other end, "" when nothing is connected."""
        return tcp.peer(self._fd, port) if self.is_connected else ""

    def _on_event(self, event: int, value: int) -> None:
        match event:
            case zmq.EVENT_CONNECTED:
                self.was_answered = self._is_shaking = True
                self._fd = value
                return
            case zmq.EVENT_CONNECT_RETRIED:
                self.has_failed = not self.connections
                return
            case zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self.connections += 1
                self.connection = next(_connections)
                self.is_connected = True
                self.has_failed = False
                self.refusal, self.hangs_up, self._hang_ups = None, False, 0
            case zmq.EVENT_HANDSHAKE_FAILED_AUTH:
                self.refusal = "auth"
            case zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
                self.refusal, self.hangs_up = "protocol", False
            case zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL if value in _HANG_UPS:
                self._hang_ups += 1
                if self._hang_ups >= _HANG_UPS_MAX and self.refusal is None:
                    self.refusal, self.hangs_up = "protocol", True
            case zmq.EVENT_DISCONNECTED:
                self.is_connected = False
                if self._is_shaking:  # what came was no handshake: ZeroMQ gives up without a word
                    self.refusal = "foreign"
        self._is_shaking = False

    def close(self) -> None:
        """Close the socket and its monitor, without waiting. Safe to repeat."""
        if not self.socket.closed:
            self.socket.disable_monitor()
            self.socket.close()
        self.monitor.close()
