"""The command line's side of administration: one question, one answer, over the control socket."""

import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, Self

import zmq

from zspider.broker.address import Address
from zspider.broker.channel import Channel
from zspider.broker.codec import CONTROL_BYTES_MAX, FRAMES_MAX, MESSAGE_BYTES_MAX, decode, encode, pack, unpack
from zspider.broker.messages import PROTOCOL, AdminReply, AdminRequest, Refused
from zspider.broker.receive import receive
from zspider.broker.sockets import CONTROL, new_context
from zspider.broker.token import Token, find_token
from zspider.errors import ConfigError, DeniedError, ExitCode, MasterUnavailable, ProtocolError, ZspiderError
from zspider.waker import wait_ms

TIMEOUT_S = 10.0
TOKEN_REFUSED = "the master at {} does not admit this token; on its machine: zspiderd token show --admin"  # noqa: S105
MISMATCH = "the program at {} is not the master this token was made for, or only one of the two encrypts"


class AdminClient:
    """A connection to a master; connects with the first call. One call at a time."""

    def __init__(self, address: Address, token: Token | None, timeout_s: float = TIMEOUT_S) -> None:
        """token None: for a master with security none. timeout_s: for each call."""
        self._address = address
        self._timeout_s = timeout_s
        self._ids = itertools.count(1)
        self._context = new_context()
        self._channel = Channel(self._context, zmq.DEALER, address.endpoint(), token, CONTROL, ipv6=address.is_ipv6())
        self._poller = zmq.Poller()
        self._poller.register(self._channel.monitor, zmq.POLLIN)

    @classmethod
    def local(cls, data_dir: Path, port: int, timeout_s: float = TIMEOUT_S) -> Self:
        """Return a client of the master with this data directory. Raises ConfigError when it has no admin token."""
        found = find_token("admin", None, data_dir, {})
        if found is None:
            raise ConfigError(f"{data_dir} has no admin.token; was a master started there?")
        return cls(Address("127.0.0.1", port), found.token, timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, verb: str, **args: Any) -> Any:
        """Send a verb and return its answer.

        Raises MasterUnavailable when no answer comes in time, DeniedError when the token is refused, and
        ZspiderError with the master's text and exit code when the verb fails. Whether the verb was done
        is not known after MasterUnavailable.
        """
        request = AdminRequest(next(self._ids), PROTOCOL, verb, _packed(args))
        deadline = time.monotonic() + self._timeout_s
        self._send(request, deadline)
        while True:
            reply = self._receive(deadline)
            if isinstance(reply, Refused):
                raise DeniedError(f"{self._address}: {reply.text}")
            if isinstance(reply, AdminReply) and reply.id == request.id:  # else: a late answer to an earlier call
                return _value(reply)

    def pages(self, verb: str, **args: Any) -> Iterator[list[Any]]:
        """Send a verb that answers {"rows": [...], "next": cursor or None}, until there is no more; yields the rows
        of each answer.
        """
        while True:
            page = self.call(verb, **args)
            yield page["rows"]
            if page["next"] is None:
                return
            args["after"] = page["next"]

    def close(self) -> None:
        """Safe to repeat."""
        self._channel.close()
        self._context.term()

    def _send(self, request: AdminRequest, deadline: float) -> None:
        """Wait for the connection, and send."""
        frames = encode(request)
        while True:
            try:
                self._channel.socket.send_multipart(frames, zmq.DONTWAIT)
            except zmq.Again:
                self._wait(zmq.POLLOUT, deadline)
            else:
                return

    def _receive(self, deadline: float) -> object:
        while True:
            incoming = receive(self._channel.socket, frames_max=FRAMES_MAX, bytes_max=MESSAGE_BYTES_MAX)
            if incoming is None:
                self._wait(zmq.POLLIN, deadline)
            elif incoming.problem:
                raise ProtocolError(f"{self._address} answered with a message over a limit: {incoming.problem}")
            else:
                return decode(incoming.frames)

    def _wait(self, event: int, deadline: float) -> None:
        """Wait until the socket may be ready; raises when the deadline is over or the master refused us."""
        self._poller.register(self._channel.socket, event)
        left_s = deadline - time.monotonic()
        if left_s <= 0 or not self._poller.poll(wait_ms(left_s)):
            raise MasterUnavailable(self._silence())
        self._channel.read_events()
        if self._channel.refusal == "auth":
            raise DeniedError(TOKEN_REFUSED.format(self._address))
        if self._channel.refusal == "protocol":
            raise DeniedError(MISMATCH.format(self._address))

    def _silence(self) -> str:
        if self._channel.was_answered:
            return f"the master at {self._address} gave no answer within {self._timeout_s:g} s"
        return f"no master answers at {self._address} (waited {self._timeout_s:g} s)"


class Caller(Protocol):
    """Anything that sends verbs, such as an AdminClient."""

    def call(self, verb: str, **args: Any) -> Any:
        """Send a verb and return its answer."""
        ...


def remove_project(admin: Caller, name: str, *, keep_results: bool) -> None:
    """Remove a project, and wait until it is gone. After the first answer the master finishes it even without us."""
    is_again = False
    while admin.call("project.rm", name=name, keep_results=keep_results, again=is_again)["left"]:
        is_again = True


def _packed(args: dict[str, Any]) -> bytes:
    packed = pack(args)
    if len(packed) > CONTROL_BYTES_MAX - 1024:
        raise ConfigError(f"the request has {len(packed)} bytes, a master takes at most {CONTROL_BYTES_MAX}")
    return packed


def _value(reply: AdminReply) -> Any:
    if not reply.exit_code and not reply.error:
        return unpack(reply.value)
    known = set(ExitCode)
    error: ZspiderError = DeniedError(reply.error) if reply.exit_code == ExitCode.DENIED else ZspiderError(reply.error)
    error.exit_code = ExitCode(reply.exit_code) if reply.exit_code in known else ExitCode.FAILED
    raise error
