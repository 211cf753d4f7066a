"""The admin client against a hub that a thread answers for."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import zmq
from zspider.broker import messages as m
from zspider.broker.address import Address
from zspider.broker.admin import AdminClient
from zspider.broker.codec import pack, unpack
from zspider.broker.hub import Hub
from zspider.broker.keys import MasterKeys, Token
from zspider.errors import ConfigError, DeniedError, ExitCode, MasterUnavailable, ZspiderError

ROWS = [{"n": number, "url": "http://x/\U0001f577"} for number in range(25)]


def answer(verb: str, args: dict[str, object]) -> object:
    match verb:
        case "echo":
            return args
        case "rows":
            start = int(str(args.get("after") or 0))
            return {"rows": ROWS[start : start + 10], "next": start + 10 if start + 10 < len(ROWS) else None}
        case "large":
            return "x" * 5_000_000
    raise ConfigError(f"unknown verb {verb!r}")


class Answering:
    """Polls a hub in a thread and answers requests. `before` may do something with one first."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.before: Callable[[Hub, bytes, m.AdminRequest], bool] = lambda *_: True
        self.seen: list[m.AdminRequest] = []
        self._is_ending = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def end(self) -> None:
        self._is_ending.set()
        self.hub.wake()
        self._thread.join()

    def _run(self) -> None:
        while not self._is_ending.is_set():
            for peer, message in self.hub.poll(1.0):
                if isinstance(message, m.AdminRequest):
                    self.seen.append(message)
                    if self.before(self.hub, peer.route, message):
                        self.hub.send(peer.route, self._reply(message))

    def _reply(self, request: m.AdminRequest) -> m.AdminReply:
        try:
            return m.AdminReply(request.id, pack(answer(request.verb, unpack(request.args))))
        except ZspiderError as exc:
            return m.AdminReply(request.id, error=str(exc), exit_code=exc.exit_code)


@pytest.fixture
def master(hub: Hub) -> Iterator[Answering]:
    answering = Answering(hub)
    yield answering
    answering.end()


@pytest.fixture
def address(hub: Hub) -> Address:
    return Address("127.0.0.1", hub.ports.control)


@pytest.fixture
def client(master: Answering, address: Address, admin_token: Token) -> Iterator[AdminClient]:
    with AdminClient(address, admin_token, timeout_s=10) as client:
        yield client


def test_a_value_comes_back(client: AdminClient) -> None:
    args = {"text": "ä\U0001f577", "number": 2**63 - 1, "nothing": None, "rows": [1, 2.5, {"a": b"\x00"}]}
    assert client.call("echo", **args) == args
    assert client.call("echo") == {}


def test_one_client_makes_many_calls(client: AdminClient) -> None:
    assert [client.call("echo", n=number)["n"] for number in range(50)] == list(range(50))


def test_a_large_value_comes_back_whole(client: AdminClient) -> None:
    assert len(client.call("large")) == 5_000_000


def test_a_script_of_a_megabyte_arrives(client: AdminClient) -> None:
    assert len(client.call("echo", text="x" * 1024 * 1024)["text"]) == 1024 * 1024


def test_a_request_that_no_master_would_take_is_not_sent(client: AdminClient) -> None:
    with pytest.raises(ConfigError, match="a master takes at most"):
        client.call("echo", text="x" * 5_000_000)
    assert client.call("echo", n=1) == {"n": 1}


def test_pages_come_one_after_the_other(client: AdminClient, master: Answering) -> None:
    pages = list(client.pages("rows", project="p"))
    assert [len(page) for page in pages] == [10, 10, 5]
    assert [row for page in pages for row in page] == ROWS
    assert [unpack(one.args).get("after") for one in master.seen] == [None, 10, 20]
    assert all(unpack(one.args)["project"] == "p" for one in master.seen)


def test_an_error_keeps_its_text_and_exit_code(client: AdminClient) -> None:
    with pytest.raises(ZspiderError, match="unknown verb 'nope'") as raised:
        client.call("nope")
    assert raised.value.exit_code == ExitCode.USAGE


def test_an_exit_code_nobody_knows_is_a_failure(client: AdminClient, master: Answering) -> None:
    master.before = lambda hub, route, request: not hub.send(route, m.AdminReply(request.id, error="x", exit_code=99))
    with pytest.raises(ZspiderError) as raised:
        client.call("echo")
    assert raised.value.exit_code == ExitCode.FAILED


def test_an_answer_to_an_earlier_call_is_not_taken_for_this_one(client: AdminClient, master: Answering) -> None:
    def late(hub: Hub, route: bytes, request: m.AdminRequest) -> bool:
        return hub.send(route, m.AdminReply(request.id - 1, pack("old"))) and hub.send(route, m.MasterBeat(1))

    master.before = late
    assert client.call("echo", n=2) == {"n": 2}


def test_a_master_that_does_not_answer_is_unavailable_and_the_next_call_may_succeed(
    master: Answering, address: Address, admin_token: Token
) -> None:
    master.before = lambda *_: False
    with AdminClient(address, admin_token, timeout_s=0.5) as client:
        began = time.monotonic()
        with pytest.raises(MasterUnavailable, match=rf"the master at {address} gave no answer within 0.5 s") as raised:
            client.call("echo")
        assert 0.5 <= time.monotonic() - began < 5
        assert raised.value.exit_code == ExitCode.UNAVAILABLE
        master.before = lambda *_: True
        assert client.call("echo", n=1) == {"n": 1}


def test_no_master_at_all_is_unavailable(admin_token: Token) -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        address = Address("127.0.0.1", taken.getsockname()[1])
        with (
            AdminClient(address, admin_token, timeout_s=0.3) as client,
            pytest.raises(MasterUnavailable, match=f"no master answers at {address}"),
        ):
            client.call("echo")


def test_a_name_that_nobody_knows_is_unavailable(admin_token: Token) -> None:
    with (
        AdminClient(Address("no-such-host.invalid"), admin_token, timeout_s=0.3) as client,
        pytest.raises(MasterUnavailable, match=r"no master answers at no-such-host.invalid:5570"),
    ):
        client.call("echo")


def test_a_slave_token_is_denied(master: Answering, address: Address, join: Token) -> None:
    with (
        AdminClient(address, join) as client,
        pytest.raises(DeniedError, match="this token cannot administer; use the admin token"),
    ):
        client.call("echo")
    assert master.seen == []


def test_an_unknown_token_is_denied_at_once(master: Answering, address: Address, admin_token: Token) -> None:
    stranger = Token(admin_token.server, zmq.curve_keypair()[1])
    began = time.monotonic()
    with (
        AdminClient(address, stranger) as client,
        pytest.raises(DeniedError, match=f"the master at {address} does not admit this token") as raised,
    ):
        client.call("echo")
    assert time.monotonic() - began < 5
    assert raised.value.exit_code == ExitCode.DENIED
    assert master.seen == []


def test_a_token_revoked_between_two_calls_is_denied(client: AdminClient, keys: MasterKeys, admin_token: Token) -> None:
    assert client.call("echo") == {}
    keys.revoke(admin_token.id)
    with pytest.raises(DeniedError, match="this token is not valid on this master"):
        client.call("echo")


def test_a_token_of_another_master_is_denied(address: Address, admin_token: Token, master: Answering) -> None:
    other = Token(zmq.curve_keypair()[0], admin_token.secret)
    with (
        AdminClient(address, other) as client,
        pytest.raises(DeniedError, match="is not the master this token was made for"),
    ):
        client.call("echo")


def test_the_local_master_is_reached_with_the_token_in_its_directory(
    tmp_path: Path, master: Answering, hub: Hub
) -> None:
    with AdminClient.local(tmp_path / "data", hub.ports.control) as client:
        assert client.call("echo", n=1) == {"n": 1}
    with pytest.raises(ConfigError, match=r"has no admin\.token"):
        AdminClient.local(tmp_path, hub.ports.control)


def test_without_security_no_token_is_needed() -> None:
    with Hub("127.0.0.1", 0, None) as hub:
        answering = Answering(hub)
        try:
            with AdminClient(Address("localhost", hub.ports.control), None) as client:
                assert client.call("echo", n=1) == {"n": 1}
        finally:
            answering.end()
