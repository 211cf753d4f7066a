"""How zspider's sockets are set up: limits, time-outs, encryption, addresses to listen on."""

import _thread
import errno
import os
import socket as system_socket
import threading
from collections.abc import Sequence
from typing import NamedTuple, Protocol, TypeAlias

import zmq

from zspider.broker.codec import FRAME_BYTES_MAX
from zspider.broker.token import Token
from zspider.errors import ConfigError, ShortageError, is_shortage, reason_of

Socket: TypeAlias = zmq.Socket[bytes]
Context: TypeAlias = zmq.Context[zmq.Socket[bytes]]

ZAP_DOMAIN = b"zspider"
HANDSHAKE_MS = 3000
CONNECT_MS = 3000  # without it a client stays away for more than 22 s after a partition
RECONNECT_MS = 200
RECONNECT_MAX_MS = 2000
HEARTBEAT_MS = 5000  # only clears dead TCP connections; whether a peer works is said by its own beats
HEARTBEAT_TIMEOUT_MS = 20_000  # 256 KiB at 105 kbit/s; shorter would cut slow links in the middle of a frame
HEARTBEAT_TTL_MS = 30_000
UNACKED_MS = 20_000  # TCP gives up on data that nobody confirms
KEEPALIVE_IDLE_S = 10  # also keeps the mapping in a NAT router
KEEPALIVE_S = 5  # with the above: who only receives notices a dead connection in 25 s
KEEPALIVE_COUNT = 3
BACKLOG = 1024
SPARE = 24  # descriptors that have to be free for a context and its first sockets
THREAD_END_S = 1.0  # a thread that had no memory to begin never tells its end
_ADDRESS_ERRORS = {
    errno.EADDRINUSE: "another program listens there",
    errno.EADDRNOTAVAIL: "this machine has no such address",
    errno.ENODEV: "this machine has no such address",
    errno.EACCES: "this user may not listen there",
}


class Tuning(NamedTuple):
    """How much a socket may hold for one peer."""

    hwm: int  # messages, in each direction
    buffer_bytes: int  # of the kernel, in each direction
    may_stall: bool  # back-pressure holds it up for as long as it takes


CONTROL = Tuning(hwm=256, buffer_bytes=128 * 1024, may_stall=False)
BULK = Tuning(hwm=8, buffer_bytes=256 * 1024, may_stall=True)
ONE_BY_ONE = Tuning(
    hwm=1, buffer_bytes=256 * 1024, may_stall=True
)  # what a processing slave takes is kept from the others


def new_context(io_threads: int = 1) -> Context:
    """Return a ZeroMQ context, whose threads run already.

    libzmq ends the process when a thread or descriptor of a context cannot be had, and makes them with the first
    socket. So it is seen before whether they can be. Raises ShortageError when not.
    """
    spare: list[int] = []
    is_over, ended = threading.Event(), threading.Semaphore(0)

    def stay() -> None:
        is_over.wait()
        ended.release()

    started = 0
    try:
        for _ in range(SPARE):
            spare.append(os.eventfd(0, os.EFD_CLOEXEC))
        for _ in range(io_threads + 2):  # not by Thread.start, which waits for ever for a thread without memory
            _thread.start_new_thread(stay, ())
            started += 1
    except (OSError, RuntimeError, MemoryError) as exc:
        if not is_shortage(exc):
            raise
        raise ShortageError(f"no socket can be opened now: {reason_of(exc)}") from exc
    finally:
        is_over.set()
        for _ in range(started):
            ended.acquire(timeout=THREAD_END_S)
        for fd in spare:
            os.close(fd)
    try:
        context: Context = zmq.Context(io_threads=io_threads)
        context.socket(zmq.PAIR).close()  # now, while there is room
    except zmq.ZMQError as exc:
        if not is_shortage(exc):
            raise
        raise ShortageError(f"no socket can be opened now: {exc}") from exc
    return context


class ServerKeys(Protocol):
    """The keys that a server socket needs to encrypt; MasterKeys has them."""

    @property
    def curve_secret(self) -> bytes:
        """The secret half of the CURVE key, in Z85."""
        ...


def tune(socket: Socket, tuning: Tuning, *, ipv6: bool) -> None:
    """Set what all TCP sockets share. Before bind or connect."""
    socket.linger = 0  # durability is the outbox's job; a close never waits
    socket.maxmsgsize = FRAME_BYTES_MAX
    socket.sndhwm = socket.rcvhwm = tuning.hwm
    socket.sndbuf = socket.rcvbuf = tuning.buffer_bytes
    socket.ipv6 = ipv6
    socket.handshake_ivl = HANDSHAKE_MS
    if tuning.may_stall:
        # A socket that is not read answers no heartbeat, and TCP_MAXRT counts a full receiver as dead: with
        # either, 20 s of back-pressure cut the connection and lost what was under way. The kernel's
        # keep-alive is answered even then. A slave rebuilds all its sockets when control falls silent.
        socket.tcp_keepalive = 1
        socket.tcp_keepalive_idle = KEEPALIVE_IDLE_S
        socket.tcp_keepalive_intvl = KEEPALIVE_S
        socket.tcp_keepalive_cnt = KEEPALIVE_COUNT
    else:
        socket.heartbeat_ivl = HEARTBEAT_MS
        socket.heartbeat_timeout = HEARTBEAT_TIMEOUT_MS
        socket.heartbeat_ttl = HEARTBEAT_TTL_MS
        socket.tcp_maxrt = UNACKED_MS


def listen(socket: Socket, bind: str, port: int, keys: ServerKeys | None) -> int:
    """Bind to an address of this machine; port 0 picks a free one. Returns the port.

    keys None: no encryption, and peers are not authenticated. Raises ConfigError when it cannot listen there, and
    ShortageError when it cannot now.
    """
    socket.backlog = BACKLOG
    if keys is not None:
        socket.curve_server = True
        socket.curve_secretkey = keys.curve_secret
        socket.zap_domain = ZAP_DOMAIN
        socket.zap_enforce_domain = True  # without it a dead authenticator would let everybody in
    address = _own_address(bind)
    try:
        socket.bind(f"tcp://{bracketed(address)}:{port or '*'}")
    except zmq.ZMQError as exc:
        if is_shortage(exc):
            raise ShortageError(f"cannot listen on {bracketed(bind)}:{port} now: {exc}") from exc
        why = _ADDRESS_ERRORS.get(exc.errno or 0, str(exc))
        raise ConfigError(f"cannot listen on {bracketed(bind)}:{port}: {why}") from exc
    return int(socket.getsockopt_string(zmq.LAST_ENDPOINT).rpartition(":")[2])


def dial(socket: Socket, endpoint: str, token: Token | None) -> None:
    """Connect to a master, in the background and for as long as the socket is open; None: not encrypted."""
    socket.immediate = True  # nothing is kept for a master that is not there
    socket.connect_timeout = CONNECT_MS
    socket.reconnect_ivl = RECONNECT_MS
    socket.reconnect_ivl_max = RECONNECT_MAX_MS
    if token is not None:
        socket.curve_serverkey = token.server
        socket.curve_publickey = token.public
        socket.curve_secretkey = token.secret
    socket.connect(endpoint)


def send_now(socket: Socket, frames: Sequence[bytes]) -> bool:
    """Send without waiting. False: there is no room. Other errors are zmq.ZMQError."""
    try:
        socket.send_multipart(frames, zmq.DONTWAIT)
    except zmq.Again:
        # The peer may have read long ago: ZeroMQ does not always look at such notices when it sends without
        # waiting, and always does when it is asked for events.
        socket.get(zmq.EVENTS)
    else:
        return True
    try:
        socket.send_multipart(frames, zmq.DONTWAIT)
    except zmq.Again:
        return False
    return True


def bracketed(host: str) -> str:
    """Return the host as it is written before a colon and a port."""
    return f"[{host}]" if ":" in host else host


def endpoint(host: str, port: int) -> str:
    """Return the address of a port for ZeroMQ."""
    return f"tcp://{bracketed(host)}:{port}"


def is_ipv6(bind: str) -> bool:
    """Return whether listening on `bind` needs an IPv6 socket."""
    return ":" in _own_address(bind)


def _own_address(bind: str) -> str:
    """Look a name up: ZeroMQ binds to numeric addresses only."""
    try:
        found = system_socket.getaddrinfo(bind.strip("[]"), None, type=system_socket.SOCK_STREAM)
    except OSError as exc:
        if is_shortage(exc) or getattr(exc, "errno", None) == system_socket.EAI_MEMORY:
            raise ShortageError(f"cannot listen on {bind} now: {reason_of(exc)}") from exc
        raise ConfigError(f"cannot listen on {bind}: it is not an address") from exc
    return str(found[0][4][0])
