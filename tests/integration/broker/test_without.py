"""What some options of our sockets are for: each check is made with the option, and again without it."""

import time
from collections.abc import Callable
from contextlib import closing

import pytest
import zmq
from tests.support.addresses import loopback_address
from tests.support.wire import Slave, Wire, hello, leave, outcomes
from zspider.broker import messages as m
from zspider.broker.hub import Hub
from zspider.broker.keys import MasterKeys, Token
from zspider.roles.slave.outbox import Outbox
from zspider.settings import CONTROL_PORT

DEADLINE_S = 15.0
ITEMS = 6  # fewer than the high-water mark


def _route(wire: Wire, slave: Slave) -> bytes:
    assert slave.link.send(hello())
    return wire.until_received(hello()).peer.route


@pytest.mark.parametrize("handover", [False, True])
def test_nobody_takes_over_a_slaves_routing_id(wire: Wire, join: Token, handover: bool) -> None:
    wire.hub._control.router_handover = handover
    slave = wire.joined(join)
    route = _route(wire, slave)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with context, closing(context.socket(zmq.DEALER)) as thief:
        thief.linger = 0
        thief.curve_serverkey, thief.curve_publickey, thief.curve_secretkey = join.server, join.public, join.secret
        thief.setsockopt(zmq.ROUTING_ID, route)
        with closing(thief.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)) as monitor:
            thief.connect(f"tcp://127.0.0.1:{wire.hub.ports.control}")
            wire.until(lambda: bool(monitor.poll(0)), "the thief's handshake")
            thief.disable_monitor()
        thief.send(b"anything")
        if handover:
            wire.until(lambda: wire.hub.bad_frames > 0, "the thief is heard under this id")
        else:
            assert slave.link.send(leave(1))
            wire.until_received(leave(1))
        assert wire.hub.send(route, m.MasterBeat(1))
        wire.until(lambda: bool(thief.poll(0)) or bool(slave.messages), "somebody is told")
        assert bool(thief.poll(0)) is handover


@pytest.mark.parametrize("mandatory", [True, False])
def test_a_master_learns_that_a_slave_is_not_there(wire: Wire, join: Token, mandatory: bool) -> None:
    wire.hub._control.router_mandatory = mandatory
    route = _route(wire, wire.joined(join))
    assert wire.hub.send(b"never seen", m.MasterBeat(1)) is not mandatory
    assert wire.hub.send(route, m.MasterBeat(1))


@pytest.mark.parametrize("has_outbox", [True, False])
def test_what_was_pushed_to_a_master_that_dies_is_pushed_again(keys: MasterKeys, join: Token, has_outbox: bool) -> None:
    """IMMEDIATE drops with the connection what was not received; an outbox sends it again, and nothing else does."""
    host = loopback_address()
    outbox = Outbox(1000, 1 << 30)
    with closing(Hub(host, CONTROL_PORT, keys)) as first, closing(Wire(first)) as wire:
        slave = wire.joined(join, host=host)
        slave.link.open_bulk(wire.welcome())
        wire.until(lambda: slave.times_bulk_up == 1, "its outcomes connection is up")
        first.pause_outcomes(True)
        for number in range(ITEMS):
            outbox.add(number, number, b"%d" % number, float(number), is_final=True)
            _push(outbox, slave, number + 0.5)
        first.close()
        _until(lambda: not slave.link.is_connected, slave.step)
        with Hub(host, CONTROL_PORT, keys) as second:
            wire.hub = second
            wire.until(lambda: slave.times_bulk_up == 2, "the outcomes connection is back")
            if has_outbox:
                outbox.resend_all(100.0)
                _push(outbox, slave, 100.0)
            assert slave.link.push(outcomes(b"last"))
            wire.until_received(outcomes(b"last"))
            arrived = {item.outcome for one in wire.received for item in one.message.items}
    assert len(arrived - {b"last"}) == (ITEMS if has_outbox else 0)


def _push(outbox: Outbox, slave: Slave, now: float) -> None:
    batch = outbox.batch(now)
    assert slave.link.push(outcomes(*(item.outcome for item in batch)))
    outbox.sent(batch, now)


def _until(is_so: Callable[[], bool], step: Callable[[float], object]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not is_so():
        assert time.monotonic() < deadline
        step(0.01)
