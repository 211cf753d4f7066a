"""A slave's one place to wait: messages, descriptors, pipes; and starting over."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import zmq
from tests.support.wire import SESSION, Wire, hello, leave, outcomes
from zspider.broker import messages as m
from zspider.broker.address import Address
from zspider.broker.keys import Token
from zspider.broker.link import Link
from zspider.broker.pipe import Pipe
from zspider.broker.reconnect import Reconnector


@pytest.fixture
def lonely() -> Iterator[Link]:
    """A link to a port where nobody listens."""
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody else can take it meanwhile
        link = Link(Address("127.0.0.1", taken.getsockname()[1]), None)
        yield link
        link.close()


def test_without_a_master_nothing_is_sent_and_nothing_is_kept(lonely: Link) -> None:
    assert not lonely.send(hello())
    assert not lonely.push(outcomes(b"x"))
    polled = lonely.poll(0.05)
    assert polled == ([], [], set(), [], False, False, False)
    assert (lonely.is_connected, lonely.refusal, lonely.was_answered) == (False, None, False)


def test_poll_waits_as_long_as_asked_and_not_longer(lonely: Link) -> None:
    began = time.monotonic()
    lonely.poll(0.25)
    assert 0.25 <= time.monotonic() - began < 2
    began = time.monotonic()
    lonely.poll(0)
    assert time.monotonic() - began < 0.2


def test_descriptors_are_waited_for_and_forgotten_when_no_longer_named(lonely: Link) -> None:
    reader, writer = os.pipe()
    other_reader, other_writer = os.pipe()
    try:
        os.write(writer, b"x")
        assert lonely.poll(5, [reader, other_reader]).ready_fds == {reader}
        assert lonely.poll(5, {reader}).ready_fds == {reader}
        assert lonely.poll(0.01, {other_reader}).ready_fds == set()
        threading.Timer(0.05, os.write, (other_writer, b"y")).start()
        assert lonely.poll(5, {other_reader}).ready_fds == {other_reader}
        assert lonely.poll(0.01).ready_fds == set()
    finally:
        for one in (reader, writer, other_reader, other_writer):
            os.close(one)


def test_the_end_of_a_child_is_seen_through_its_pidfd(lonely: Link) -> None:
    child = os.posix_spawn("/bin/sleep", ["sleep", "0.1"], os.environ)
    pidfd = os.pidfd_open(child)
    try:
        assert lonely.poll(10, [pidfd]).ready_fds == {pidfd}
    finally:
        os.close(pidfd)
        os.waitpid(child, 0)


def test_pipes_are_waited_for_and_a_closed_one_does_no_harm(lonely: Link) -> None:
    pairs = [Pipe.pair() for _ in range(3)]
    pipes, ends = [ours for ours, _ in pairs], [Pipe(theirs) for _, theirs in pairs]
    try:
        ends[1].queue(m.Processed(1, False, b""))
        assert ends[1].flush()
        assert lonely.poll(10, (), pipes).ready_pipes == [pipes[1]]
        assert pipes[1].receive() == m.Processed(1, False, b"")
        assert lonely.poll(0.01, (), pipes).ready_pipes == []
        pipes[0].close()
        ends[2].queue(m.Processed(2, False, b""))
        assert ends[2].flush()
        assert lonely.poll(10, (), pipes[1:]).ready_pipes == [pipes[2]]
    finally:
        for one in (*pipes, *ends):
            one.close()


def test_a_pipe_with_something_unsent_is_ready_once_there_is_room(lonely: Link) -> None:
    ours, theirs = Pipe.pair()
    other = Pipe(theirs)
    try:
        while not ours.has_unsent:
            ours.queue(m.Script(b"h" * 32, "x" * 50_000))
            assert ours.flush()
        assert lonely.poll(0.01, (), [ours]).ready_pipes == []
        while other.receive() is not None:
            pass
        assert lonely.poll(10, (), [ours]).ready_pipes == [ours]
    finally:
        ours.close()
        other.close()


def test_a_message_that_waits_makes_poll_return_at_once(wire: Wire, join: Token) -> None:
    slave = wire.joined(join)
    slave.link.send(hello())
    route = wire.until_received(hello()).peer.route
    for number in range(500):
        wire.until(lambda: wire.hub.send(route, m.Unknown(number)), "sent")  # noqa: B023 - called before the next turn
    began = time.monotonic()
    while len(slave.messages) < 500:
        slave.step(5)
    assert time.monotonic() - began < 4
    assert slave.messages == [m.Unknown(number) for number in range(500)]


def test_open_bulk_keeps_what_is_up_and_follows_new_ports(wire: Wire, open_wire: Wire, join: Token) -> None:
    slave = wire.with_bulk(join)
    slave.link.open_bulk(wire.welcome())
    for _ in range(10):
        wire.step()
    assert slave.times_bulk_up == 1
    assert slave.link.push(outcomes(b"same connection"))
    wire.until_received(outcomes(b"same connection"))
    slave.link.open_bulk(wire.welcome(), sends_pages=True)
    wire.until(lambda: slave.times_bulk_up == 2, "built anew")


def test_rebuild_starts_over_with_another_token(wire: Wire, join: Token) -> None:
    wrong = Token(join.server, zmq.curve_keypair()[1])  # any other bytes may be no key at all
    slave = wire.slave(wrong)
    wire.until(lambda: slave.link.refusal == "auth", "refused")
    slave.link.rebuild(join)
    assert slave.link.refusal is None
    wire.until(lambda: slave.link.is_connected, "connected")
    slave.link.open_bulk(wire.welcome())
    wire.until(lambda: slave.link.push(outcomes(b"x")), "bulk is up")
    slave.link.rebuild(join)
    assert not slave.link.push(outcomes(b"not before the next Welcome"))
    wire.until(lambda: slave.times_up == 2, "connected again")
    slave.link.send(leave(1))
    wire.until_received(leave(1))


def test_a_host_name_is_tried_with_the_other_protocol_after_a_rebuild(wire: Wire, join: Token) -> None:
    slave = wire.slave(join, host="localhost")
    slave.link.rebuild(join)
    slave.link.rebuild(join)
    wire.until(lambda: slave.link.is_connected, "IPv4 again")


@contextmanager
def nobody_at(address: str, port: int, *, answers: bool) -> Iterator[None]:
    """A place where connections are refused, or (its queue is full) where nothing is answered."""
    if answers:
        yield
        return
    with socket.socket() as deaf, socket.socket() as filler, socket.socket() as second:
        deaf.bind((address, port))
        deaf.listen(0)
        for one in (filler, second):
            one.setblocking(False)
            one.connect_ex((address, port))
        yield


@pytest.mark.parametrize(("answers", "within_s"), [(True, 2.5), (False, 6.5)], ids=["refused", "silent"])
def test_a_dead_first_address_of_a_name_costs_seconds(wire: Wire, join: Token, answers: bool, within_s: float) -> None:
    """As in a slave, which opens its sockets anew when they give up."""
    port = wire.hub.ports.control
    dead = ["127.0.0.3", "127.0.0.2", "127.0.0.1"]
    with nobody_at("127.0.0.2", port, answers=answers):
        slave = wire.slave(join, host="master.example", look_up=lambda host, port: dead)  # ZeroMQ knows none
        reconnector = Reconnector(10.0, time.monotonic())
        began = time.monotonic()

        def look() -> bool:
            now = time.monotonic()
            if now >= reconnector.rebuild_at(is_refused=slave.link.gives_up):
                slave.link.rebuild(join)
                reconnector.rebuilt(now)
            return slave.link.is_connected

        wire.until(look, "connected", deadline_s=within_s + 5)
        assert time.monotonic() - began < within_s
        slave.link.open_bulk(wire.welcome())
        wire.until(lambda: slave.times_bulk_up == 1, "its outcomes connection goes there, too")
        assert not slave.link.gives_up


def test_hundreds_of_rebuilds_leave_no_descriptors_behind(wire: Wire, join: Token) -> None:
    slave = wire.joined(join)

    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = descriptors()
    for number in range(200):
        slave.link.rebuild(join)
        if number % 20 == 0:
            wire.until(lambda: slave.link.is_connected, "connected")
            slave.link.open_bulk(wire.welcome(), sends_pages=True, takes_pages=True)
    wire.until(lambda: slave.link.is_connected, "connected")
    wire.until(lambda: descriptors() <= before + 5, "given back")


def test_a_bad_frame_from_the_master_is_counted_and_the_rest_arrives(open_wire: Wire) -> None:
    slave = open_wire.joined(None)
    slave.link.send(hello())
    route = open_wire.until_received(hello()).peer.route
    open_wire.hub._control.send_multipart([route, b"\xc1"])
    open_wire.hub.send(route, m.MasterBeat(1))
    open_wire.until(lambda: slave.messages == [m.MasterBeat(1)], "the good one came")
    assert slave.link.bad_frames == 1


def test_twenty_clones_with_one_token_are_twenty_peers(wire: Wire, join: Token) -> None:
    slaves = [wire.slave(join) for _ in range(20)]
    for slave in slaves:
        wire.until(lambda slave=slave: slave.link.is_connected, "connected")
        slave.link.send(hello(SESSION))
    wire.until(lambda: len(wire.received) == 20, "all were heard")
    assert len({one.peer.route for one in wire.received}) == 20
    for number, one in enumerate(wire.received):
        assert wire.hub.send(one.peer.route, m.Unknown(number))
    wire.until(lambda: all(slave.messages for slave in slaves), "all were answered")
    assert sorted(slave.messages[0].epoch for slave in slaves) == list(range(20))


def test_who_wants_no_pages_for_now_keeps_none_from_others(wire: Wire, join: Token) -> None:
    idle, busy = (wire.with_bulk(join, takes_pages=True) for _ in range(2))
    fetcher = wire.with_bulk(join, sends_pages=True)
    wire.until(lambda: all(way.is_up for one in (idle, busy) for way in one.link.ways), "both are connected")
    idle.link.take_pages(False)
    assert [way.name for way in idle.link.ways] == ["outcomes"]
    idle.link.open_bulk(wire.welcome(), takes_pages=True)
    page = m.Page(1, 1, "p", "RUNNING", b"h" * 32, "t" * 32, 0, 1, b"p" * 16, {}, {}, b"")
    wire.until(lambda: fetcher.link.push_page(page) and len(busy.pages) >= 5, "the relay has seen it go")
    for _ in range(20):
        wire.step()
    before, sent = len(busy.pages), 0

    def send() -> bool:
        nonlocal sent
        sent += fetcher.link.push_page(page)
        return sent >= 40

    wire.until(send, "forty pages went")
    wire.until(lambda: len(busy.pages) >= before + 40, "all of them came")
    idle.link.take_pages(True)
    wire.until(lambda: any(way.name == "pages-out" and way.is_up for way in idle.link.ways), "connected again")
    wire.until(lambda: fetcher.link.push_page(page) and bool(idle.pages), "it gets its share again")
