"""A real hub and real links on loopback, stepped by the test in one thread."""

import time
from collections.abc import Callable
from contextlib import ExitStack

from zspider.broker import messages as m
from zspider.broker.address import Address
from zspider.broker.hub import Hub, Received
from zspider.broker.link import Link, Polled
from zspider.broker.master_addresses import LookUp, look_up
from zspider.broker.token import Token

DEADLINE_S = 15.0
SESSION = b"s" * 16


def hello(session: bytes = SESSION, **changes: object) -> m.Hello:
    """A valid Hello."""
    fields = {
        "protocol": m.PROTOCOL,
        "session": session,
        "roles": ["fetcher", "processor"],
        "window": 10,
        "host": "test",
        "pid": 1,
        "version": "0",
        "cluster": None,
        "epoch": 0,
        "seen": 0,
    }
    return m.Hello(**(fields | changes))  # type: ignore[arg-type]


def leave(number: int) -> m.Leave:
    """A small message that can be told from others."""
    return m.Leave(number.to_bytes(16))


def outcomes(*packed: bytes, session: bytes = SESSION) -> m.Outcomes:
    """A batch with these bytes as its items."""
    return m.Outcomes(session, 1, [m.OutcomeItem(at, at, one) for at, one in enumerate(packed, 1)])


class Slave:
    """A link and all that it heard."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.messages: list[m.AnyMessage] = []
        self.pages: list[m.Page] = []
        self.times_up = 0
        self.times_bulk_up = 0
        self.times_page_room = 0

    def step(self, wait_s: float = 0.0) -> Polled:
        polled = self.link.poll(wait_s)
        self.messages += polled.messages
        self.pages += polled.pages
        self.times_up += polled.is_control_up
        self.times_bulk_up += polled.is_bulk_up
        self.times_page_room += polled.can_push_page
        return polled


class Wire:
    """A hub, its slaves, and what the hub received."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.received: list[Received] = []
        self.slaves: list[Slave] = []
        self._stack = ExitStack()

    def slave(self, token: Token | None, *, host: str = "127.0.0.1", look_up: LookUp = look_up) -> Slave:
        """A new slave that begins to connect."""
        slave = Slave(Link(Address(host, self.hub.ports.control), token, look_up))
        self._stack.callback(slave.link.close)
        self.slaves.append(slave)
        return slave

    def joined(self, token: Token | None, *, host: str = "127.0.0.1") -> Slave:
        """A new slave whose control connection is up."""
        slave = self.slave(token, host=host)
        self.until(lambda: slave.link.is_connected, "the slave is connected")
        return slave

    def with_bulk(self, token: Token | None, *, sends_pages: bool = False, takes_pages: bool = False) -> Slave:
        """A new slave that may push outcomes, and pages if asked for."""
        slave = self.joined(token)
        slave.link.open_bulk(self.welcome(), sends_pages=sends_pages, takes_pages=takes_pages)
        self.until(lambda: slave.times_bulk_up == 1, "its outcomes connection is up")
        return slave

    def welcome(self) -> m.Welcome:
        """What a master would say of this hub's ports."""
        _, outcomes_port, pages_in, pages_out = self.hub.ports
        return m.Welcome(m.PROTOCOL, b"c" * 16, 1, outcomes_port, pages_in, pages_out, 2.0, 20.0, 10.0)

    def step(self, wait_s: float = 0.01) -> None:
        self.received += self.hub.poll(wait_s)
        for slave in self.slaves:
            slave.step()

    def until(self, is_so: Callable[[], bool], what: str, *, deadline_s: float = DEADLINE_S) -> None:
        """Step until it is so; fails loudly when it never is."""
        deadline = time.monotonic() + deadline_s
        while not is_so():
            assert time.monotonic() < deadline, f"not within {deadline_s:g} s: {what}"
            self.step()

    def until_received(self, message: object) -> Received:
        """Step until the hub received exactly this message."""
        self.until(lambda: any(one.message == message for one in self.received), f"the hub received {message!r:.200}")
        return next(one for one in self.received if one.message == message)

    def close(self) -> None:
        self._stack.close()
