"""The hub and a link: messages both ways, limits, back-pressure, waking, ports."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import msgspec
import pytest
import zmq
from tests.conftest import lacking
from tests.support.wire import SESSION, Wire, hello, leave, outcomes
from zspider.broker import messages as m
from zspider.broker.codec import FRAME_BYTES, FRAMES_MAX, MESSAGE_BYTES_MAX
from zspider.broker.hub import CONTROL_FRAMES_MAX, OUTCOMES_BATCH, Hub
from zspider.broker.keys import MasterKeys, Token
from zspider.broker.link import Link
from zspider.errors import ConfigError

Raw = Callable[[Token | None, int, int], "zmq.Socket[bytes]"]
MIB = 1024 * 1024


@pytest.fixture
def raw() -> Iterator[Raw]:
    """A plain ZeroMQ socket of a kind, connected to a port: for what a Link would never send."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    sockets = []

    def connect(token: Token | None, kind: int, port: int) -> "zmq.Socket[bytes]":
        made = context.socket(kind)
        sockets.append(made)
        made.linger = 0
        if token is not None:
            made.curve_serverkey, made.curve_publickey, made.curve_secretkey = token.server, token.public, token.secret
        made.connect(f"tcp://127.0.0.1:{port}")
        return made

    yield connect
    for made in sockets:
        made.close()
    context.term()


def test_messages_go_both_ways(wire: Wire, join: Token) -> None:
    slave = wire.joined(join)
    assert slave.times_up == 1
    assert slave.link.send(hello())
    peer = wire.until_received(hello()).peer
    assert (peer.user, peer.role, peer.address) == (join.public, "slave", "127.0.0.1")
    assert wire.hub.send(peer.route, wire.welcome())
    wire.until(lambda: slave.messages == [wire.welcome()], "the Welcome came")


def test_without_security_everybody_is_anybody(open_wire: Wire) -> None:
    slave = open_wire.joined(None)
    assert slave.link.send(hello())
    peer = open_wire.until_received(hello()).peer
    assert (peer.user, peer.role, peer.address) == (b"", "any", "127.0.0.1")
    slave.link.open_bulk(open_wire.welcome())
    open_wire.until(lambda: slave.link.push(outcomes(b"x")), "pushed")
    open_wire.until_received(outcomes(b"x"))


def test_a_batch_of_10_mb_arrives_whole(wire: Wire, join: Token) -> None:
    slave = wire.with_bulk(join)
    batch = outcomes(*(bytes([number]) * MIB for number in range(10)))
    assert slave.link.push(batch)
    assert wire.until_received(batch).peer == (b"", join.public, "slave", "127.0.0.1")
    assert wire.hub.bad_frames == 0


def test_a_large_message_reaches_a_slave_whole(wire: Wire, join: Token) -> None:
    slave = wire.joined(join)
    assert slave.link.send(hello())
    script = m.Script(b"h" * 32, "x" * 3 * MIB)
    assert wire.hub.send(wire.until_received(hello()).peer.route, script)
    wire.until(lambda: slave.messages == [script], "the script came")


def test_the_largest_heartbeat_and_the_largest_page_of_leases_pass(wire: Wire, join: Token) -> None:
    slave = wire.joined(join)
    numbers = list(range(2**53 - 20_000, 2**53))
    beat = m.Beat(SESSION, 1, 1, numbers, numbers, 1)
    held = [m.Held(2**53, 2**31 - 1, "\U0001f577" * 64, 2**53, 2**53, b"p" * 16, True)] * 1000
    for message in (beat, hello(held=held)):
        assert slave.link.send(message)
        wire.until_received(message)


def test_a_message_to_a_peer_that_left_is_not_sent(wire: Wire, join: Token) -> None:
    slave = wire.joined(join)
    slave.link.send(hello())
    route = wire.until_received(hello()).peer.route
    assert wire.hub.send(route, m.MasterBeat(1))
    slave.link.close()
    wire.slaves.clear()
    wire.until(lambda: not wire.hub.send(route, m.MasterBeat(2)), "the hub noticed")
    assert not wire.hub.send(b"never seen", m.MasterBeat(1))
    assert not wire.hub.send(b"", m.MasterBeat(1))


def test_a_peer_that_does_not_read_costs_a_bounded_number_of_messages_and_no_time(wire: Wire, join: Token) -> None:
    slave = wire.joined(join)
    slave.link.send(hello())
    route = wire.until_received(hello()).peer.route
    script = m.Script(b"h" * 32, "x" * 100_000)
    began = time.monotonic()
    sent = next(number for number in range(10_000) if not wire.hub.send(route, script))
    assert 256 <= sent < 1000
    assert time.monotonic() - began < 10
    wire.until(lambda: len(slave.messages) == sent, "all that were sent came", deadline_s=30)
    assert wire.hub.send(route, script)


def test_a_peer_that_reads_is_never_taken_for_a_full_one(wire: Wire, join: Token) -> None:
    slave = wire.joined(join)
    slave.link.send(hello())
    route = wire.until_received(hello()).peer.route
    for burst in range(1, 31):  # the hub is not polled meanwhile: only `send` can learn that there is room again
        assert all(wire.hub.send(route, m.MasterBeat(burst)) for _ in range(100))
        time_up = time.monotonic() + 10
        while len(slave.messages) < 100 * burst:
            assert time.monotonic() < time_up
            slave.step(0.1)


def test_control_is_taken_before_outcomes(wire: Wire, join: Token) -> None:
    slave = wire.with_bulk(join)
    assert slave.link.push(outcomes(b"first"))
    assert slave.link.send(leave(1))
    time_up = time.monotonic() + 10
    while len(wire.received) < 2:  # both wait: the hub is not polled while they travel
        assert time.monotonic() < time_up
        assert slave.link.poll(0.3) is not None
        wire.received += wire.hub.poll(0)
    kinds = [type(one.message) for one in wire.received]
    assert kinds == [m.Leave, m.Outcomes]


def test_one_poll_takes_a_bounded_number_of_outcomes(open_wire: Wire) -> None:
    hub = open_wire.hub
    slave = open_wire.with_bulk(None)
    hub.pause_outcomes(True)
    sent = 0
    while _pushes(slave.link, outcomes(bytes(1000))):
        sent += 1
    hub.pause_outcomes(False)
    taken: list[int] = []
    deadline = time.monotonic() + 10
    while sum(taken) < sent:
        assert time.monotonic() < deadline
        taken.append(len(hub.poll(0.1)))
    assert max(taken) <= OUTCOMES_BATCH < sent


def test_paused_outcomes_wait_and_control_goes_on(wire: Wire, join: Token) -> None:
    slave = wire.with_bulk(join)
    wire.hub.pause_outcomes(True)
    wire.hub.pause_outcomes(True)
    assert slave.link.push(outcomes(b"early"))
    assert slave.link.push(outcomes(b"x" * 1000))
    for number in range(20):
        assert slave.link.send(leave(number))
        wire.until_received(leave(number))
    assert all(isinstance(one.message, m.Leave) for one in wire.received)
    wire.hub.pause_outcomes(False)
    wire.until_received(outcomes(b"early"))


def test_a_paused_master_makes_its_slaves_wait_and_tells_them_when_there_is_room(wire: Wire, join: Token) -> None:
    slave = wire.with_bulk(join)
    wire.hub.pause_outcomes(True)
    batch = outcomes(bytes(FRAME_BYTES))
    pushed = next(number for number in range(1000) if not _pushes(slave.link, batch))
    assert pushed < 100  # two high-water marks and the kernel's buffers
    before = slave.times_bulk_up
    wire.hub.pause_outcomes(False)
    wire.until(lambda: slave.times_bulk_up > before, "the slave is told of room")
    assert slave.link.push(batch)
    wire.until(lambda: len(wire.received) == pushed + 1, "all outcomes came")


def _pushes(link: Link, batch: m.Outcomes) -> bool:
    """Whether there is room within a while: the I/O threads are given time to take what was pushed."""
    return any(link.push(batch) or bool(link.poll(0.05).messages) for _ in range(5))


def test_back_pressure_longer_than_all_time_outs_loses_nothing(
    keys: MasterKeys, join: Token, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HEARTBEAT_MS", "HEARTBEAT_TIMEOUT_MS", "HEARTBEAT_TTL_MS", "UNACKED_MS"):
        monkeypatch.setattr(f"zspider.broker.sockets.{name}", 300)
    with Hub("127.0.0.1", 0, keys) as hub:
        wire = Wire(hub)
        slave = wire.with_bulk(join)
        hub.pause_outcomes(True)
        batch = outcomes(bytes(FRAME_BYTES))
        pushed = next(number for number in range(1000) if not _pushes(slave.link, batch))
        stalled_until = time.monotonic() + 2.5
        while time.monotonic() < stalled_until:
            wire.step(0.05)
        assert slave.times_bulk_up == 1
        hub.pause_outcomes(False)
        wire.until(lambda: len(wire.received) == pushed, "all came")
        wire.close()


def test_wake_ends_a_poll_from_another_thread(hub: Hub) -> None:
    threading.Timer(0.1, hub.wake).start()
    began = time.monotonic()
    assert hub.poll(0.9) == []
    assert time.monotonic() - began < 0.8


def test_a_wake_before_the_poll_is_not_lost_and_counts_once(hub: Hub) -> None:
    hub.wake()
    hub.wake()
    began = time.monotonic()
    assert hub.poll(0.9) == []
    assert time.monotonic() - began < 0.5
    assert hub.poll(0.2) == []
    assert time.monotonic() - began >= 0.2


def test_wait_wake_leaves_messages_where_they_are(wire: Wire, join: Token) -> None:
    slave = wire.joined(join)
    slave.link.send(leave(1))
    began = time.monotonic()
    wire.hub.wait_wake(0.2)
    assert time.monotonic() - began >= 0.2
    wire.hub.wake()
    wire.hub.wait_wake(10)
    assert time.monotonic() - began < 5
    wire.until_received(leave(1))


def test_a_closed_hub_can_be_woken_and_closed_again(keys: MasterKeys) -> None:
    hub = Hub("127.0.0.1", 0, keys)
    hub.close()
    hub.wake()
    hub.close()


# --- limits ---------------------------------------------------------------------------------------


def test_a_frame_over_the_limit_cuts_the_connection_and_the_hub_goes_on(wire: Wire, join: Token, raw: Raw) -> None:
    for kind, port in ((zmq.DEALER, wire.hub.ports.control), (zmq.PUSH, wire.hub.ports.outcomes)):
        raw(join, kind, port).send(bytes(321 * 1024))
    slave = wire.joined(join)
    slave.link.send(leave(1))
    wire.until_received(leave(1))
    assert len(wire.received) == 1


def test_messages_of_too_many_frames_or_bytes_are_dropped_and_counted(wire: Wire, join: Token, raw: Raw) -> None:
    control = raw(join, zmq.DEALER, wire.hub.ports.control)
    control.send_multipart([b"x"] * CONTROL_FRAMES_MAX)  # and the routing id
    control.send_multipart([bytes(FRAME_BYTES)] * (CONTROL_FRAMES_MAX - 1))
    bulk = raw(join, zmq.PUSH, wire.hub.ports.outcomes)
    bulk.send_multipart([b"x"] * (FRAMES_MAX + 1))
    bulk.send_multipart([bytes(300 * 1024)] * (MESSAGE_BYTES_MAX // (300 * 1024) + 1))
    wire.until(lambda: wire.hub.dropped["oversized"] == 4, "all were dropped", deadline_s=30)
    bulk.send_multipart([msgspec.msgpack.encode(outcomes(b"good"))])
    wire.until_received(outcomes(b"good"))
    assert wire.hub.bad_frames == 4


def test_a_peer_that_sends_much_garbage_is_ignored_and_its_neighbour_with_the_same_token_is_not(
    wire: Wire, join: Token, raw: Raw
) -> None:
    neighbour = wire.joined(join)
    rogue = raw(join, zmq.DEALER, wire.hub.ports.control)
    for _ in range(101):
        rogue.send(b"\xc1garbage")
    rogue.send(msgspec.msgpack.encode(leave(66)))
    wire.until(lambda: wire.hub.dropped["ignored"] == 1, "the good message after the garbage was ignored")
    assert wire.hub.dropped["malformed"] == 101
    neighbour.link.send(leave(1))
    wire.until_received(leave(1))
    assert len(wire.received) == 1


def test_garbage_outcomes_are_ignored_after_a_while(wire: Wire, join: Token, raw: Raw) -> None:
    rogue = raw(join, zmq.PUSH, wire.hub.ports.outcomes)
    for _ in range(150):
        rogue.send(b"\x91\xa8outcomes")
    wire.until(lambda: wire.hub.dropped["ignored"] == 49, "the last ones were not even read")
    assert wire.received == []


def test_empty_and_strange_frames_deliver_nothing(wire: Wire, join: Token, raw: Raw) -> None:
    rogue = raw(join, zmq.DEALER, wire.hub.ports.control)
    strange = [[b""], [b"", b""], [b"\x90"], [b"\xc0"], [msgspec.msgpack.encode(wire.welcome())], [b"\x91\xa5hello"]]
    for frames in strange:
        rogue.send_multipart(frames)
    wire.until(lambda: wire.hub.bad_frames == len(strange), "each was counted")
    assert wire.received == []


# --- ports ----------------------------------------------------------------------------------------


def _four_free_ports() -> int:
    """The first of four ports in a row that were free a moment ago."""
    for port in range(20_000, 60_000, 7):
        try:
            for at in range(port, port + 4):
                with closing(socket.socket()) as one:
                    one.bind(("127.0.0.1", at))
        except OSError:
            continue
        return port
    raise AssertionError("no free ports")


def test_the_other_ports_follow_the_control_port(keys: MasterKeys) -> None:
    port = _four_free_ports()
    with Hub("127.0.0.1", port, keys) as hub:
        assert hub.ports == (port, port + 1, port + 2, port + 3)


def test_port_0_picks_four_different_ports(hub: Hub) -> None:
    assert len(set(hub.ports)) == 4
    assert all(hub.ports)


@pytest.mark.parametrize("step", range(4))
def test_a_port_in_use_is_said_in_one_line(keys: MasterKeys, step: int) -> None:
    port = _four_free_ports()
    with closing(socket.socket()) as other:
        other.bind(("127.0.0.1", port + step))
        other.listen()
        with pytest.raises(ConfigError) as raised:
            Hub("127.0.0.1", port, keys)
    assert str(raised.value) == f"cannot listen on 127.0.0.1:{port + step}: another program listens there"
    Hub("127.0.0.1", port, keys).close()  # nothing was left listening


@pytest.mark.parametrize(
    ("bind", "why"),
    [("192.0.2.1", "this machine has no such address"), ("no such host", "it is not an address"), ("::zz", "not an")],
)
def test_an_address_of_another_machine_is_said_in_one_line(keys: MasterKeys, bind: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why) as raised:
        Hub(bind, 0, keys)
    assert "\n" not in str(raised.value)


def test_a_master_can_listen_again_where_it_listened_before(keys: MasterKeys, join: Token) -> None:
    port = _four_free_ports()
    for number in range(3):
        with Hub("127.0.0.1", port, keys) as hub:
            wire = Wire(hub)
            wire.joined(join).link.send(leave(number))
            wire.until_received(leave(number))
            wire.close()


def test_a_slave_finds_its_restarted_master_by_itself(keys: MasterKeys, join: Token) -> None:
    port = _four_free_ports()
    first = Hub("127.0.0.1", port, keys)
    wire = Wire(first)
    slave = wire.with_bulk(join)
    first.close()
    deadline = time.monotonic() + 10
    while slave.link.is_connected:
        assert time.monotonic() < deadline
        slave.step(0.01)
    with Hub("127.0.0.1", port, keys) as second:
        wire.hub = second
        wire.until(lambda: slave.times_up == 2 and slave.times_bulk_up == 2, "both connections are back")
        assert slave.link.send(leave(2))
        assert slave.link.push(outcomes(b"kept"))
        wire.until_received(leave(2))
        wire.until_received(outcomes(b"kept"))
    wire.close()


@pytest.mark.parametrize("bind", ["::1", "[::1]", "::"])
def test_ipv6_works(keys: MasterKeys, join: Token, bind: str) -> None:
    try:
        with closing(socket.socket(socket.AF_INET6)) as one:
            one.bind(("::1", 0))
    except OSError:
        lacking("IPv6")
    with Hub(bind, 0, keys) as hub:
        wire = Wire(hub)
        slave = wire.joined(join, host="::1")
        slave.link.open_bulk(wire.welcome())
        wire.until(lambda: slave.link.push(outcomes(b"six")), "pushed")
        assert wire.until_received(outcomes(b"six")).peer.address == "::1"
        wire.close()


def test_a_host_name_works(wire: Wire, join: Token) -> None:
    slave = wire.joined(join, host="localhost")
    slave.link.send(leave(1))
    wire.until_received(leave(1))
