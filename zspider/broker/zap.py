"""The authenticator: tells ZeroMQ which CURVE clients to let in (ZeroMQ's RFC 27, "ZAP")."""

import errno
import threading
import time
from collections.abc import Callable

import structlog
import zmq
from zmq.utils import z85

from zspider.broker.channel import Channel
from zspider.broker.log_limit import LogLimit
from zspider.broker.sockets import CONTROL, ZAP_DOMAIN, Context, Socket, new_context
from zspider.broker.token import KEY_BYTES, Token
from zspider.errors import ZspiderError, reason_of
from zspider.waker import wait_ms

log = structlog.get_logger(__name__)
ENDPOINT = "inproc://zeromq.zap.01"
VERSION = b"1.0"
PROBE_S = 5.0
_stranger = zmq.curve_keypair()  # public and secret key of this process's probes; nobody was given it


class Zap:
    """A thread that answers ZeroMQ's questions about one context's clients.

    While it is dead no peer gets in, because every server socket enforces the domain. It ends with its
    context.
    """

    def __init__(self, context: Context, admits: Callable[[bytes], bool]) -> None:
        """admits: tells whether the client with this public key (Z85) may connect; called from the thread."""
        self._context = context
        self._admits = admits
        self._log_limit = LogLimit()
        self._thread = self._start()

    @property
    def thread(self) -> threading.Thread:
        """The thread that answers now."""
        return self._thread

    def ensure(self) -> None:
        """Start the thread again if it died.

        Call it now and then: a thread that cannot be started now is at a later call.
        """
        if self._thread.is_alive():
            return
        try:
            self._thread = self._start()
        except (
            zmq.ZMQError,
            RuntimeError,
            MemoryError,
        ) as exc:  # no socket or thread just now: the next call will do it
            if getattr(exc, "errno", None) == errno.EADDRINUSE:
                return  # the dead thread's socket is still closing
            if (held_back := self._log_limit.may_log("down", time.monotonic())) is not None:
                log.error("authenticator_down", reason=reason_of(exc), more=held_back)
        else:
            log.error("authenticator_restarted")

    def _start(self) -> threading.Thread:
        socket = self._context.socket(zmq.REP)
        socket.linger = 0
        try:
            socket.bind(ENDPOINT)
            thread = threading.Thread(target=self._serve, args=(socket,), name="zap", daemon=True)
            thread.start()
        except BaseException:
            socket.close()
            raise
        return thread

    def _serve(self, socket: Socket) -> None:
        try:
            while True:
                socket.send_multipart(self._answer(socket.recv_multipart()))
        except zmq.ContextTerminated:
            pass
        finally:
            socket.close()

    def _answer(self, request: list[bytes]) -> list[bytes]:
        """Return the reply to a request (version, request id, domain, address, routing id, mechanism, credentials)."""
        request_id = request[1] if len(request) > 1 else b""
        match request:
            case [version, _, domain, address, _, b"CURVE", key] if version == VERSION and len(key) == KEY_BYTES:
                user: bytes = z85.encode(key)
                if domain == ZAP_DOMAIN and self._admits(user):
                    return [VERSION, request_id, b"200", b"OK", user, b""]
                if user != _stranger[0]:
                    self._say_refused(address)
        return [VERSION, request_id, b"400", b"not a valid token", b"", b""]

    def _say_refused(self, address: bytes) -> None:
        held_back = self._log_limit.may_log("refused", time.monotonic())
        if held_back is not None:
            log.warning("token_refused", address=address.decode("ascii", "replace"), more=held_back)


def probe(endpoint: str, server: bytes, kind: int = zmq.DEALER) -> None:
    """Try to connect with a random key. Raises ZspiderError unless it is refused.

    server: the master's public key in Z85. kind: the socket type of the client, which fits the server's.
    """
    context = new_context()
    channel = Channel(context, kind, endpoint, Token(server, _stranger[1]), CONTROL, ipv6="[" in endpoint)
    try:
        deadline = time.monotonic() + PROBE_S
        while channel.refusal is None and not channel.connections and (left_s := deadline - time.monotonic()) > 0:
            channel.monitor.poll(wait_ms(left_s))
            channel.read_events()
        if channel.connections:
            raise ZspiderError(f"{endpoint} let a stranger's key in: the authenticator does not work")
        if channel.refusal != "auth":
            raise ZspiderError(f"{endpoint} did not answer a stranger's key: the authenticator does not work")
    finally:
        channel.close()
        context.term()
