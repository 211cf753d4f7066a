"""The page relay: pages from slaves that only fetch to slaves that only process, untouched and bounded."""

import threading
import time
from typing import NamedTuple

import structlog
import zmq

from zspider.broker.keys import MasterKeys
from zspider.broker.sockets import BULK, Context, Socket, is_ipv6, listen, new_context, tune
from zspider.broker.zap import Zap
from zspider.errors import ConfigError, ShortageError, is_shortage, reason_of

log = structlog.get_logger(__name__)
AGAIN_S = 1.0  # pause before a relay that could not be opened is opened again


class RelayPorts(NamedTuple):
    """The ports at which pages come in and go out."""

    pages_in: int
    pages_out: int


class Relay:
    """PULL -> PUSH in a thread of its own, with its own ZeroMQ context, so that pages delay nothing else.

    Messages pass whole; one goes to one puller; when no puller takes any, the pushers have to wait.
    """

    def __init__(self, bind: str, wanted: RelayPorts, keys: MasterKeys | None) -> None:
        """Listen and begin. A port of 0 picks a free one.

        Raises ConfigError when a port cannot be had, ShortageError when there is no descriptor or thread for it.
        """
        self._bind = bind
        self._keys = keys
        self.ports = wanted
        self._context: Context | None = None
        self._zap: Zap | None = None
        self._thread: threading.Thread | None = None
        self._again_at = float("-inf")
        self._open()

    def ensure(self) -> None:
        """Start again if the thread died, or a port or descriptors could not be had at the last `restart`."""
        if self._thread is not None and self._thread.is_alive():
            if self._zap is not None:
                self._zap.ensure()
            return
        now = time.monotonic()
        if now < self._again_at:
            return
        self._again_at = now + AGAIN_S
        try:
            self.restart()
        except (ConfigError, ShortageError, zmq.ZMQError, RuntimeError) as exc:  # no port, socket or thread just now
            log.error("relay_down", reason=str(exc), again_in_s=AGAIN_S)
        else:
            log.warning("relay_restarted")

    def restart(self) -> None:
        """Cut all connections and listen again on the same ports: a revoked token's holder does not come back."""
        self.close()
        self._open()

    def close(self) -> None:
        """Stop the relay; pages under way are lost, but their fetching slaves keep them. Safe to repeat."""
        if self._context is not None:
            self._context.term()  # ends the proxy and the authenticator, which close their sockets
        if self._thread is not None:
            self._thread.join()

    def _open(self) -> None:
        self._context = self._thread = None
        context = new_context()
        keys = self._keys
        sockets: list[Socket] = []
        try:
            zap = Zap(context, lambda user: keys.role_of(user) == "slave") if keys is not None else None
            sockets.append(context.socket(zmq.PULL))
            pages_in = self._listen(sockets[0], self.ports.pages_in)
            sockets.append(context.socket(zmq.PUSH))
            pages_out = self._listen(sockets[1], self.ports.pages_out)
            thread = threading.Thread(target=_pump, args=sockets, name="relay", daemon=True)
            thread.start()
        except BaseException as exc:
            for socket in sockets:
                socket.close()
            context.term()
            if isinstance(exc, zmq.ZMQError | RuntimeError | MemoryError) and is_shortage(exc):
                raise ShortageError(f"no relay can be opened now: {reason_of(exc)}") from exc
            raise
        self.ports = RelayPorts(pages_in, pages_out)
        self._context, self._zap, self._thread = context, zap, thread

    def _listen(self, socket: Socket, port: int) -> int:
        tune(socket, BULK, ipv6=is_ipv6(self._bind))
        return listen(socket, self._bind, port, self._keys)


def _pump(pages_in: Socket, pages_out: Socket) -> None:
    """Pass messages on until the context ends."""
    try:
        while True:
            try:
                zmq.proxy(pages_in, pages_out)
            except zmq.Again:
                # libzmq 4.3.5: a client that was just let in makes the socket readable although there is no
                # message yet, and zmq_proxy takes that for an error. Nothing was read: begin again.
                continue
    except zmq.ContextTerminated:
        pass
    finally:
        pages_in.close()
        pages_out.close()
