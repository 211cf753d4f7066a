"""The master's sockets: what arrives, from which peer, and whether that peer may send it."""

import errno
import time
from collections import Counter
from typing import Literal, NamedTuple, Self

import structlog
import zmq

from zspider.broker.codec import (
    CONTROL_BYTES_MAX,
    FRAME_BYTES,
    FRAMES_MAX,
    MESSAGE_BYTES_MAX,
    decode_outcomes,
    decode_to_master,
    encode,
)
from zspider.broker.keys import MasterKeys
from zspider.broker.log_limit import LogLimit
from zspider.broker.messages import AdminReply, AdminRequest, AnyMessage, Outcomes, Refused, ToMaster
from zspider.broker.offenders import Offenders
from zspider.broker.receive import Incoming, receive
from zspider.broker.relay import Relay, RelayPorts
from zspider.broker.sockets import (
    BULK,
    CONTROL,
    Socket,
    Tuning,
    bracketed,
    is_ipv6,
    listen,
    new_context,
    send_now,
    tune,
)
from zspider.broker.zap import Zap, probe
from zspider.errors import ExitCode, ProtocolError
from zspider.waker import Waker, wait_ms

log = structlog.get_logger(__name__)
GUARD_S = 1.0  # the authenticator and the relay are looked at this often even when nothing comes
CONTROL_BATCH = 500  # messages taken in one poll
CONTROL_BATCH_BYTES = CONTROL_BYTES_MAX
OUTCOMES_BATCH = 200
OUTCOMES_BATCH_BYTES = 4 * 1024 * 1024
CONTROL_FRAMES_MAX = CONTROL_BYTES_MAX // FRAME_BYTES + 2  # and the routing id
CONTROL_THREAD, BULK_THREAD = 1, 2  # ZMQ_AFFINITY masks: decrypting bulk never delays a heartbeat
ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where a listener on all addresses is reached from here

NOT_VALID = "this token is not valid on this master (any more); put a valid one in place: zspiderd token show"
NOT_A_SLAVE = "this is an admin token; a slave needs a join token: zspiderd token show"
NOT_AN_ADMIN = "this token cannot administer; use the admin token"

Role = Literal["slave", "admin", "any"]


class Ports(NamedTuple):
    """Where the hub listens."""

    control: int
    outcomes: int
    pages_in: int
    pages_out: int


class Peer(NamedTuple):
    """The sender of a message."""

    route: bytes  # for Hub.send; lives as long as the connection; b"" on the outcomes socket
    user: bytes  # public key of the token, in Z85; b"" without encryption
    role: Role  # "any" without encryption
    address: str  # IP address


class Received(NamedTuple):
    """A message that its sender was allowed to send."""

    peer: Peer
    message: ToMaster | Outcomes


class Hub:
    """All four ports of a master. One thread uses it; `wake` may be called from any."""

    def __init__(
        self,
        bind: str,
        port: int,
        keys: MasterKeys | None,
        *,
        control_hwm: int = CONTROL.hwm,
        outcomes_hwm: int = BULK.hwm,
        waker: Waker | None = None,
    ) -> None:
        """Listen on `port` (control) and the three after it; 0 picks four free ports.

        keys None: no encryption, every peer is admitted (`check_exposure` says when that is allowed).
        waker: wakes `poll`, too, and is closed with the hub; None: the hub makes one.
        Raises ConfigError when it cannot listen there, and ZspiderError when the authenticator fails its
        test: a stranger's key must be refused on each port.
        """
        self.dropped: Counter[str] = Counter()  # messages, by reason
        self._keys = keys
        self._revocations = keys.revocations if keys is not None else 0
        self._offenders = Offenders()
        self._log_limit = LogLimit()
        self._waker = waker if waker is not None else Waker()
        self._sockets: list[Socket] = []
        self._relay: Relay | None = None
        self._context = new_context(io_threads=2)
        self._zap = Zap(self._context, lambda user: keys.role_of(user) is not None) if keys is not None else None
        try:
            self.ports = self._listen(bind, port, CONTROL._replace(hwm=control_hwm), BULK._replace(hwm=outcomes_hwm))
            self._probe(bind)
        except BaseException:
            self.close()
            raise
        self._poller = zmq.Poller()
        for waited in (self._control, self._outcomes, self._waker.fd):
            self._poller.register(waited, zmq.POLLIN)
        self._is_paused = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def bad_frames(self) -> int:
        """Messages that could not be read."""
        return self.dropped["malformed"] + self.dropped["oversized"]

    def poll(self, wait_s: float) -> list[Received]:
        """Return what arrived, control first; waits if nothing is there, and may return early with nothing.

        Takes a bounded number of messages: call it again. A peer that may not send its message is answered
        here, and the caller does not see it.
        """
        self._guard()
        ready = dict(self._poller.poll(wait_ms(min(wait_s, GUARD_S))))
        if self._waker.fd in ready:
            self._waker.clear()
        received: list[Received] = []
        if self._control in ready:
            self._take_control(received)
        if self._outcomes in ready:
            self._take_outcomes(received)
        return received

    def send(self, route: bytes, message: AnyMessage) -> bool:
        """Send on control without waiting. False: the peer is gone, or does not read what it was sent before."""
        try:
            return send_now(self._control, [route, *encode(message)])
        except zmq.ZMQError as exc:
            if exc.errno == errno.EHOSTUNREACH:
                return False
            raise

    def wake(self) -> None:
        """Make the current or next `poll` or `wait_wake` return. From any thread or signal handler, at any time."""
        self._waker.ring()

    def wait_wake(self, wait_s: float) -> None:
        """Wait for `wake` alone; messages stay where they are."""
        self._waker.wait(wait_s)

    def pause_outcomes(self, is_paused: bool) -> None:
        """Leave outcomes unread for now: slaves fill up, and ask for less. Safe to repeat."""
        if is_paused != self._is_paused:
            self._is_paused = is_paused
            self._poller.modify(self._outcomes, 0 if is_paused else zmq.POLLIN)

    def close(self) -> None:
        """Stop listening. Nothing is waited for: what was not received is sent again by its slave. Safe to repeat."""
        for socket in self._sockets:
            socket.close()
        self._context.term()  # ends the authenticator
        if self._relay is not None:
            self._relay.close()
        self._waker.close()

    # --- set up -----------------------------------------------------------------------------------

    def _listen(self, bind: str, port: int, control: Tuning, outcomes: Tuning) -> Ports:
        self._control = self._socket(zmq.ROUTER, CONTROL_THREAD, bind, control)
        self._control.router_mandatory = True  # else it drops silently
        self._control.router_handover = False
        self._outcomes = self._socket(zmq.PULL, BULK_THREAD, bind, outcomes)
        at = [port + step if port else 0 for step in range(4)]
        control_port = listen(self._control, bind, at[0], self._keys)
        outcomes_port = listen(self._outcomes, bind, at[1], self._keys)
        self._relay = Relay(bind, RelayPorts(at[2], at[3]), self._keys)
        return Ports(control_port, outcomes_port, *self._relay.ports)

    def _socket(self, kind: int, thread: int, bind: str, tuning: Tuning) -> Socket:
        socket = self._context.socket(kind)
        self._sockets.append(socket)
        socket.affinity = thread
        tune(socket, tuning, ipv6=is_ipv6(bind))
        return socket

    def _probe(self, bind: str) -> None:
        if self._keys is not None:
            host = bracketed(ANYWHERE.get(bind.strip("[]"), bind.strip("[]")))
            for port, kind in zip(self.ports, (zmq.DEALER, zmq.PUSH, zmq.PUSH, zmq.PULL), strict=True):
                probe(f"tcp://{host}:{port}", self._keys.public, kind)

    def _guard(self) -> None:
        """Restart dead threads; cut the relay's connections when a token was revoked, as nothing checks them later."""
        if self._zap is not None:
            self._zap.ensure()
        if self._relay is None:
            return
        if self._keys is not None and self._revocations != self._keys.revocations:
            self._revocations = self._keys.revocations
            self._relay.close()
        self._relay.ensure()

    # --- receiving --------------------------------------------------------------------------------

    def _take_control(self, received: list[Received]) -> None:
        size = 0
        for _ in range(CONTROL_BATCH):
            incoming = receive(self._control, frames_max=CONTROL_FRAMES_MAX, bytes_max=CONTROL_BYTES_MAX)
            if incoming is None:
                return
            route = incoming.first.bytes
            message = self._control_message(route, incoming)
            if message is not None:
                received.append(message)
            size += sum(map(len, incoming.frames))
            if size > CONTROL_BATCH_BYTES:
                return

    def _control_message(self, route: bytes, incoming: Incoming) -> Received | None:
        """Take a message from control. If it is garbage, only its connection is ignored: others share the token."""
        if self._is_ignored(route):
            return None
        peer = self._peer(route, incoming)
        if peer is None:
            self._drop("revoked", incoming, "the token is not valid")
            self.send(route, Refused("token", NOT_VALID))
            return None
        try:
            self._check_size(incoming)
            message = decode_to_master(incoming.frames[1:])
        except ProtocolError as exc:
            self._on_bad(route, incoming, exc)
            return None
        return Received(peer, message) if self._may_say(peer, message, incoming) else None

    def _may_say(self, peer: Peer, message: ToMaster, incoming: Incoming) -> bool:
        """Return whether the sender may send this: join tokens work, admin tokens administer. It is told if not."""
        is_request = isinstance(message, AdminRequest)
        if peer.role == "any" or is_request == (peer.role == "admin"):
            return True
        self._drop("not allowed", incoming, f"{peer.role} token said {type(message).__name__}")
        if isinstance(message, AdminRequest):
            self.send(peer.route, AdminReply(message.id, error=NOT_AN_ADMIN, exit_code=ExitCode.DENIED))
        else:
            self.send(peer.route, Refused("token", NOT_A_SLAVE))
        return False

    def _take_outcomes(self, received: list[Received]) -> None:
        size = 0
        for _ in range(OUTCOMES_BATCH):
            incoming = receive(self._outcomes, frames_max=FRAMES_MAX, bytes_max=MESSAGE_BYTES_MAX)
            if incoming is None:
                return
            message = self._outcomes_message(incoming)
            if message is not None:
                received.append(message)
            size += sum(map(len, incoming.frames))
            if size > OUTCOMES_BATCH_BYTES:
                return

    def _outcomes_message(self, incoming: Incoming) -> Received | None:
        """Take outcomes. PULL does not tell connections apart, so a token at an address is what is ignored."""
        source = incoming.user + incoming.address.encode()
        if self._is_ignored(source):
            return None
        peer = self._peer(b"", incoming)
        if peer is None or peer.role == "admin":
            self._drop("revoked" if peer is None else "not allowed", incoming, "no valid join token")
            return None
        try:
            self._check_size(incoming)
            return Received(peer, decode_outcomes(incoming.frames))
        except ProtocolError as exc:
            self._on_bad(source, incoming, exc)
            return None

    def _peer(self, route: bytes, incoming: Incoming) -> Peer | None:
        """Return the sender; None if its token is not valid any longer."""
        if self._keys is None:
            return Peer(route, b"", "any", incoming.address)
        user = incoming.user
        role = self._keys.role_of(user)
        return None if role is None else Peer(route, user, role, incoming.address)

    # --- what is wrong ----------------------------------------------------------------------------

    def _check_size(self, incoming: Incoming) -> None:
        if incoming.problem:
            raise _TooBig(incoming.problem)

    def _is_ignored(self, source: bytes) -> bool:
        is_ignored = self._offenders.is_ignored(source, time.monotonic())
        self.dropped["ignored"] += is_ignored
        return is_ignored

    def _on_bad(self, source: bytes, incoming: Incoming, error: ProtocolError) -> None:
        self._drop("oversized" if isinstance(error, _TooBig) else "malformed", incoming, str(error))
        if self._offenders.note(source, time.monotonic()):
            log.warning("peer_ignored", address=incoming.address, reason="too many bad messages")

    def _drop(self, kind: str, incoming: Incoming, reason: str) -> None:
        self.dropped[kind] += 1
        held_back = self._log_limit.may_log(kind, time.monotonic())
        if held_back is not None:
            log.warning("message_dropped", kind=kind, reason=reason, address=incoming.address, more=held_back)


class _TooBig(ProtocolError):
    """A message over a limit of frames or bytes."""
