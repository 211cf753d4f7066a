"""What the internet throws at open ports: the hub delivers nothing of it and works on."""

import random
import socket
import struct
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.support.wire import Wire, leave, outcomes
from zspider.broker import messages as m
from zspider.broker.keys import Token

DICE = random.Random(5570)
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"NULL".ljust(20, b"\0") + bytes(32)
CURVE_GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"CURVE".ljust(20, b"\0") + bytes(32)
GARBAGE = {
    "http": b"GET / HTTP/1.1\r\nHost: master\r\nContent-Length: 5\r\n\r\nhello",
    "tls": bytes.fromhex("16030100c8010000c40303") + DICE.randbytes(190),
    "random": DICE.randbytes(4096),
    "zeros": bytes(4096),
    "ones": b"\xff" * 4096,
    "zmtp1": b"\x01\x00\x06\x00hello",
    "zmtp1 long": b"\xff" + struct.pack(">Q", 8 << 30) + b"\x00" + DICE.randbytes(100),
    "null greeting and a message": GREETING + b"\x04\x19\x05READY" + bytes(18) + b"\x00\x05hello",
    "curve greeting and rubbish": CURVE_GREETING + b"\x04\xc8\x05HELLO" + DICE.randbytes(194),
    "curve greeting and 8 GiB": CURVE_GREETING + b"\x06" + struct.pack(">Q", 8 << 30) + bytes(1000),
    "half a greeting": GREETING[:11],
    "redis": b"*1\r\n$4\r\nINFO\r\n",
    "nothing": b"",
}


def _throw(stack: ExitStack, port: int, garbage: bytes) -> socket.socket:
    """Send it and keep the connection open."""
    made = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
    try:
        made.sendall(garbage)
    except OSError:
        pass  # it hung up in the middle: as it should
    return made


def _works(wire: Wire, token: Token | None) -> None:
    slave = wire.with_bulk(token)
    slave.link.send(leave(1))
    slave.link.push(outcomes(b"good"))
    wire.until_received(leave(1))
    wire.until_received(outcomes(b"good"))


def test_garbage_on_all_ports_delivers_nothing(wire: Wire, join: Token) -> None:
    with ExitStack() as stack:
        thrown = [_throw(stack, port, one) for port in wire.hub.ports for one in GARBAGE.values()]
        _works(wire, join)
        assert len(wire.received) == 2
        assert wire.hub.bad_frames == 0  # nothing came through the encryption
        for made in thrown:  # each was hung up on, if only when the time for a handshake was over
            wire.until(lambda made=made: _is_closed(made), "hung up")


def _is_closed(made: socket.socket) -> bool:
    made.settimeout(0.001)
    try:
        return made.recv(4096) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def test_garbage_on_unencrypted_ports_is_at_most_counted(open_wire: Wire) -> None:
    with ExitStack() as stack:
        for port in open_wire.hub.ports:
            for one in GARBAGE.values():
                _throw(stack, port, one)
        _works(open_wire, None)
        assert len(open_wire.received) == 2


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_silent_connections_are_closed_and_cost_no_descriptors(wire: Wire, join: Token) -> None:
    before = _descriptors()
    with ExitStack() as stack:
        idle = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
            for port in wire.hub.ports
            for _ in range(50)
        ]
        _works(wire, join)
        for made in idle:
            wire.until(lambda made=made: _is_closed(made), "closed at the end of the time for a handshake")
    for slave in wire.slaves:
        slave.link.close()
    wire.slaves.clear()
    wire.until(lambda: _descriptors() <= before, "the descriptors are back")


@pytest.mark.parametrize("flood", [lambda: DICE.randbytes(DICE.randrange(300)), lambda: b"\x01\x00\x06\x00hello"])
def test_a_flood_of_garbage_delays_nobody_for_long(wire: Wire, join: Token, flood: Callable[[], bytes]) -> None:
    slave = wire.joined(join)
    worst = 0.0
    with ExitStack() as stack:
        for number in range(200):
            _throw(stack, wire.hub.ports.control, flood())
            if number % 10 == 0:
                began = time.monotonic()
                slave.link.send(leave(number))
                wire.until_received(leave(number))
                worst = max(worst, time.monotonic() - began)
    assert worst < 2.0
    assert all(isinstance(one.message, m.Leave) for one in wire.received)
