"""Who gets in: every kind of wrong client against the four ports, and a right one beside it."""

import ctypes
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq
from tests.support.wire import SESSION, Wire, hello, leave, outcomes
from zmq.utils import z85
from zspider.broker import messages as m
from zspider.broker.channel import Channel, Refusal
from zspider.broker.hub import Hub
from zspider.broker.keys import MasterKeys, Token
from zspider.broker.sockets import BULK, Context
from zspider.broker.zap import Zap, probe
from zspider.errors import ExitCode, ZspiderError

Knock = Callable[[int, int, Token | None], Channel]
KINDS = {"control": zmq.DEALER, "outcomes": zmq.PUSH, "pages_in": zmq.PUSH, "pages_out": zmq.PULL}


def stranger_to(token: Token) -> Token:
    """Knows the master's public key and has a key that the master never made."""
    return Token(token.server, zmq.curve_keypair()[1])


def for_another_master(token: Token) -> Token:
    """A valid client key, and another master's public key."""
    return Token(zmq.curve_keypair()[0], token.secret)


@pytest.fixture
def knock() -> Iterator[Knock]:
    """Connect one socket to one port."""
    context: Context = zmq.Context()
    channels: list[Channel] = []

    def open_channel(kind: int, port: int, token: Token | None) -> Channel:
        channels.append(Channel(context, kind, f"tcp://127.0.0.1:{port}", token, BULK, ipv6=False))
        return channels[-1]

    yield open_channel
    for channel in channels:
        channel.close()
    context.term()


@pytest.mark.parametrize("port", KINDS)
@pytest.mark.parametrize(
    ("wrong", "refusal"),
    [(lambda _: None, "protocol"), (stranger_to, "auth"), (for_another_master, "protocol")],
    ids=["without encryption", "unknown key", "another master's key"],
)
def test_a_wrong_client_is_refused_on_every_port_and_learns_why(
    wire: Wire, join: Token, knock: Knock, port: str, wrong: Callable[[Token], Token | None], refusal: Refusal
) -> None:
    channel = knock(KINDS[port], getattr(wire.hub.ports, port), wrong(join))
    wire.until(lambda: channel.read_events() is None and channel.refusal == refusal, f"refused: {refusal}")
    assert channel.connections == 0
    slave = wire.joined(join)
    slave.link.send(leave(1))
    wire.until_received(leave(1))
    assert len(wire.received) == 1


def test_an_encrypting_slave_learns_that_its_master_does_not(open_wire: Wire, join: Token) -> None:
    slave = open_wire.slave(join)
    open_wire.until(lambda: slave.link.refusal == "protocol", "refused")
    assert not slave.link.send(leave(1))
    assert open_wire.received == []


@pytest.mark.parametrize("port", ["pages_in", "pages_out"])
def test_an_admin_token_does_not_open_the_relay(hub: Hub, admin_token: Token, knock: Knock, port: str) -> None:
    channel = knock(KINDS[port], getattr(hub.ports, port), admin_token)
    assert channel.monitor.poll(5000)
    wait_for(lambda: channel.read_events() is None and channel.refusal == "auth")
    assert channel.connections == 0


def wait_for(is_so: Callable[[], object], deadline_s: float = 15.0) -> None:
    deadline = time.monotonic() + deadline_s
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_slave_token_that_asks_for_an_admin_verb_is_told_no(wire: Wire, join: Token) -> None:
    slave = wire.joined(join)
    slave.link.send(m.AdminRequest(7, m.PROTOCOL, "status", b"\x80"))
    wire.until(lambda: bool(slave.messages), "an answer")
    assert slave.messages == [
        m.AdminReply(7, error="this token cannot administer; use the admin token", exit_code=ExitCode.DENIED)
    ]
    assert wire.received == []


@pytest.mark.parametrize("message", [hello(), m.Beat(SESSION, 1, 0, [], [], 1), leave(1)])
def test_an_admin_token_that_speaks_as_a_slave_is_refused(wire: Wire, admin_token: Token, message: m.ToMaster) -> None:
    pretender = wire.joined(admin_token)
    pretender.link.send(message)
    wire.until(lambda: bool(pretender.messages), "an answer")
    [refused] = pretender.messages
    assert isinstance(refused, m.Refused)
    assert (refused.reason, "needs a join token" in refused.text) == ("token", True)
    pretender.link.open_bulk(wire.welcome())
    wire.until(lambda: pretender.link.push(outcomes(b"forged")), "pushed")
    wire.until(lambda: wire.hub.dropped["not allowed"] == 2, "the outcomes were dropped, too")
    assert wire.received == []


def test_a_revoked_token_is_out_while_it_is_connected(wire: Wire, keys: MasterKeys, join: Token) -> None:
    other = keys.add_token("join")
    slave, neighbour = wire.with_bulk(join), wire.joined(other)
    slave.link.send(leave(1))
    wire.until_received(leave(1))

    keys.revoke(join.id)
    assert slave.link.send(leave(2))
    assert slave.link.push(outcomes(b"late"))
    wire.until(lambda: wire.hub.dropped["revoked"] == 2, "both messages were dropped")
    wire.until(lambda: bool(slave.messages), "an answer")
    [refused] = slave.messages
    assert isinstance(refused, m.Refused)
    assert refused.reason == "token"
    neighbour.link.send(leave(3))
    wire.until_received(leave(3))
    assert [one.message for one in wire.received] == [leave(1), leave(3)]


def test_a_revoked_token_does_not_come_back_and_a_new_one_gets_in_without_a_restart(
    wire: Wire, keys: MasterKeys, join: Token
) -> None:
    slave = wire.joined(join)
    keys.revoke(join.id)
    slave.link.rebuild(join)
    wire.until(lambda: slave.link.refusal == "auth", "refused")
    slave.link.rebuild(keys.add_token("join"))
    wire.until(lambda: slave.link.is_connected, "connected")
    assert slave.link.refusal is None
    slave.link.send(leave(1))
    wire.until_received(leave(1))


def test_a_token_made_by_another_process_works_after_a_reload(tmp_path: Path, wire: Wire, keys: MasterKeys) -> None:
    late = MasterKeys(tmp_path / "data").add_token("join")
    slave = wire.slave(late)
    wire.until(lambda: slave.link.refusal == "auth", "refused")
    keys.reload()
    slave.link.rebuild(late)
    wire.until(lambda: slave.link.is_connected, "connected")


def test_a_revoked_token_gets_no_more_pages_from_the_relay(wire: Wire, keys: MasterKeys, join: Token) -> None:
    other = keys.add_token("join")
    thief = wire.with_bulk(join, takes_pages=True)
    fetcher = wire.with_bulk(other, sends_pages=True)
    page = m.Page(1, 1, "p", "RUNNING", b"h" * 32, "t", 1, 1, b"p" * 16, {}, {}, b"x")
    wire.until(lambda: fetcher.link.push_page(page), "pushed")
    wire.until(lambda: bool(thief.pages), "while it is valid it gets pages")

    keys.revoke(join.id)
    processor = wire.with_bulk(other, takes_pages=True)  # its time to connect lets the hub notice
    wire.until(lambda: _delivers(wire, fetcher.link.push_page, page, processor.pages, 5), "pages go to the valid slave")
    assert len(thief.pages) == 1


def _delivers(wire: Wire, push: Callable[[m.Page], bool], page: m.Page, pages: list[m.Page], number: int) -> bool:
    push(page)
    wire.step()
    return len(pages) >= number


# --- the authenticator -----------------------------------------------------------------------------


def _kill(thread: threading.Thread) -> None:
    """Make a thread end at its next step, as a bug in it would."""
    assert thread.ident is not None
    assert ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit)) == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # the thread is killed
def test_nobody_gets_in_while_the_authenticator_is_dead_and_it_is_revived(wire: Wire, join: Token) -> None:
    zap = wire.hub._zap
    assert zap is not None
    victim = zap.thread
    stranger = wire.slave(stranger_to(join))
    _kill(victim)
    # The first question wakes the thread, and kills it; nobody polls the hub, so nobody revives it yet.
    victim.join(15)
    assert not victim.is_alive()
    slave = wire.slave(join)
    closed_until = time.monotonic() + 1.0
    while time.monotonic() < closed_until:
        for one in (stranger, slave):
            one.step(0.05)
            assert not one.link.is_connected

    wire.until(lambda: slave.link.is_connected, "revived, it lets the right one in")
    assert zap.thread is not victim
    slave.link.send(leave(1))
    wire.until_received(leave(1))
    assert not stranger.link.is_connected


def test_a_dead_relay_is_revived(wire: Wire, join: Token) -> None:
    relay = wire.hub._relay
    assert relay is not None
    relay.close()
    fetcher, processor = wire.with_bulk(join, sends_pages=True), wire.with_bulk(join, takes_pages=True)
    page = m.Page(1, 1, "p", "RUNNING", b"h" * 32, "t", 1, 1, b"p" * 16, {}, {}, b"x")
    wire.until(lambda: fetcher.link.push_page(page), "pushed")
    wire.until(lambda: processor.pages == [page], "relayed")


def test_the_probe_finds_an_authenticator_that_lets_everybody_in() -> None:
    assert _probe(lambda _: False) is None
    assert "let a stranger's key in" in str(_probe(lambda _: True))


def test_the_probe_finds_that_there_is_no_authenticator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zspider.broker.zap.PROBE_S", 1.0)
    assert "did not answer" in str(_probe(None))


def _probe(admits: Callable[[bytes], bool] | None) -> ZspiderError | None:
    """Probe a socket with this authenticator; the error."""
    public, secret = zmq.curve_keypair()
    context: Context = zmq.Context()
    if admits is not None:
        Zap(context, admits)
    server = context.socket(zmq.ROUTER)
    server.linger, server.curve_server, server.curve_secretkey = 0, True, secret
    server.zap_domain, server.zap_enforce_domain = b"zspider", True
    port = server.bind_to_random_port("tcp://127.0.0.1")
    try:
        probe(f"tcp://127.0.0.1:{port}", public)
    except ZspiderError as exc:
        return exc
    finally:
        server.close()
        context.term()
    return None


@pytest.mark.parametrize(
    "request_",
    [
        [],
        [b"1.0"],
        [b"1.0", b"1", b"zspider", b"::1", b"", b"CURVE"],
        [b"1.0", b"1", b"zspider", b"::1", b"", b"CURVE", b"short"],
        [b"1.0", b"1", b"zspider", b"::1", b"", b"NULL"],
        [b"1.0", b"1", b"zspider", b"::1", b"", b"PLAIN", b"user", b"password"],
        [b"2.0", b"1", b"zspider", b"::1", b"", b"CURVE", bytes(32)],
        [b"1.0", b"1", b"other", b"::1", b"", b"CURVE", bytes(32)],
        [b"1.0", b"1", b"", b"::1", b"", b"CURVE", bytes(32)],
    ],
)
def test_the_authenticator_refuses_every_other_question_and_lives(request_: list[bytes]) -> None:
    context: Context = zmq.Context()
    asked = Zap(context, lambda _: True)
    with context.socket(zmq.REQ) as client:
        client.linger = 0
        client.connect("inproc://zeromq.zap.01")
        for question, answer in (
            (request_, b"400"),
            ([b"1.0", b"2", b"zspider", b"", b"", b"CURVE", bytes(32)], b"200"),
        ):
            client.send_multipart(question or [b""])
            assert client.poll(5000)
            reply = client.recv_multipart()
            assert reply[2] == answer
        assert reply[4] == z85.encode(bytes(32))
    context.term()
    asked.thread.join(5)
    assert not asked.thread.is_alive()
