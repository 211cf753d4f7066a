"""Errors that nobody foresaw: a verb is answered, a slave joins again, and files that hold nothing are replaced."""

import stat
import subprocess

import msgpack
import pytest
from tests.support.coordinator import WaitingWriter, opened, slave_messages
from zspider.broker import messages as m
from zspider.broker.codec import unpack
from zspider.broker.hub import Peer, Ports
from zspider.errors import ConfigError, ExitCode, OwnedElsewhere
from zspider.roles.master import takeover
from zspider.roles.master.admin.request import Request
from zspider.roles.master.slave_registry import SlaveStats
from zspider.roles.master.takeover import owner_id, sole_owner
from zspider.scheduler.membership import Greeting

SESSION = bytes(range(16))
PEER = Peer(b"route", b"user", "slave", "127.0.0.1")


class Hub:
    """Keeps what is sent."""

    ports = Ports(1, 2, 3, 4)

    def __init__(self):
        self.sent = []

    def send(self, route, message):
        self.sent.append(message)
        return True


@pytest.fixture
def hub():
    return Hub()


def request(hub):
    return Request(hub, PEER, m.AdminRequest(7, m.PROTOCOL, "project.list", b"\x80"))


@pytest.mark.parametrize(
    ("value", "code"),
    [("\ud800", ExitCode.FAILED), ({"a": b"x"}, ExitCode.OK), (object, ExitCode.OK), (2**70, ExitCode.OK)],
)
def test_an_answer_that_cannot_be_packed_is_an_internal_error_and_one_line(hub, value, code):
    one = request(hub)
    one.attempt(lambda: one.answer(value))
    (reply,) = hub.sent
    assert (reply.id, reply.exit_code) == (7, code)
    assert reply.error.startswith("internal error in 'project.list'" if code else "")
    assert code or unpack(reply.value) == (value if isinstance(value, dict) else str(value))


@pytest.mark.parametrize(
    "error", [RecursionError("x"), MemoryError(), KeyError("a\nb"), OSError(24, "y"), ValueError("z")]
)
def test_whatever_a_verb_raises_is_answered_in_one_line(hub, error):
    one, broken = request(hub), []

    def fail():
        raise error

    one.attempt(fail, broken=lambda: broken.append(1))
    (reply,) = hub.sent
    assert type(error).__name__ in reply.error
    assert reply.error.splitlines() == [reply.error]
    assert broken == [1]


def test_what_the_operator_did_wrong_is_no_internal_error(hub):
    one = request(hub)
    one.args = msgpack.unpackb(msgpack.packb({"limit": True, "hosts": "x" * 10_000}))
    for name in ("limit", "hosts"):
        one.attempt(lambda name=name: one.optional(name, int))
    assert [reply.exit_code for reply in hub.sent] == [ExitCode.USAGE] * 2
    assert all(len(reply.error) < 200 for reply in hub.sent)


@pytest.fixture
def coordinator(hub, tmp_path):
    """A coordinator with a slave; what it asks of the database is not answered."""
    coordinator = opened(tmp_path, writer=WaitingWriter(), hub=hub)
    greeting = Greeting(SESSION, PEER.route, frozenset({"fetcher"}), "host", 10, 0)
    coordinator.perform(coordinator.core.slaves.hello(greeting, [], True, 0.0))
    coordinator.registry.stats[SESSION] = SlaveStats(user=PEER.user)
    assert coordinator.registry.is_known(PEER, SESSION)
    hub.sent.clear()
    return coordinator


def test_a_message_that_leads_to_something_unforeseen_ends_its_session_only(coordinator, hub, monkeypatch):
    def break_down(*_, **__):
        raise KeyError("nobody foresaw this")

    monkeypatch.setattr(coordinator.core.slaves, "beat", break_down)
    messages = slave_messages(coordinator)
    messages.handle(PEER, m.Beat(SESSION, 1, 0, [], [], 10))
    assert SESSION not in coordinator.core.sessions
    assert hub.sent == [m.Unknown(1)]  # it says Hello, and what it holds
    messages.handle(PEER, m.Beat(SESSION, 1, 0, [], [], 10))
    assert hub.sent == [m.Unknown(1)] * 2


def test_a_master_is_the_same_owner_at_each_start(tmp_path):
    first = owner_id(tmp_path)
    assert len(first) == 32
    assert owner_id(tmp_path) == first
    assert stat.S_IMODE((tmp_path / "owner.id").stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["owner.id"]


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff" * 32, b"a" * 31, b"g" * 32, b"0" * 32 + b"\n0", b"\0" * 32])
def test_a_file_that_holds_no_owner_is_replaced_and_never_makes_nobody_the_owner(tmp_path, content):
    (tmp_path / "owner.id").write_bytes(content)
    fresh = owner_id(tmp_path)
    assert len(fresh) == 32
    assert owner_id(tmp_path) == fresh


def test_an_owner_id_of_an_earlier_version_stays(tmp_path):
    (tmp_path / "owner.id").write_text("0123456789abcdef" * 2)
    assert owner_id(tmp_path) == "0123456789abcdef" * 2


def test_an_owner_id_that_cannot_be_read_is_the_operators_to_mend(tmp_path):
    (tmp_path / "owner.id").mkdir()
    with pytest.raises(ConfigError, match=r"owner\.id: cannot be read or written: Is a directory"):
        owner_id(tmp_path)


def named(directory):
    with sole_owner(directory) as name:
        return name


def test_a_master_has_the_same_name_at_each_start_in_one_directory_and_none_has_it_twice(tmp_path):
    with sole_owner(tmp_path) as name:
        assert len(name) <= 255
        with pytest.raises(OwnedElsewhere, match="another master works in"), sole_owner(tmp_path):
            pass
    assert named(tmp_path) == name


@pytest.mark.parametrize("copy", [["cp", "-a"], ["cp", "-r"], ["cp", "-a", "--reflink=auto"]])
def test_a_copy_of_the_directory_has_another_name(tmp_path, copy):
    (tmp_path / "a").mkdir()
    first = named(tmp_path / "a")
    subprocess.run([*copy, tmp_path / "a", tmp_path / "b"], check=True)
    assert owner_id(tmp_path / "b") == owner_id(tmp_path / "a")
    assert named(tmp_path / "b") != first
    (tmp_path / "a").rename(tmp_path / "c")
    assert named(tmp_path / "c") == first


@pytest.mark.parametrize("which", ["BOOT_ID", "MACHINE_ID"])
def test_after_a_reboot_or_on_another_machine_it_has_another_name(tmp_path, monkeypatch, which):
    here = tmp_path / "this"
    here.write_text("1\n")
    monkeypatch.setattr(takeover, which, here)
    first = named(tmp_path)
    assert named(tmp_path) == first
    here.write_text("2\n")
    assert named(tmp_path) != first


def test_where_the_system_does_not_say_when_it_started_no_name_is_used_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(takeover, "BOOT_ID", tmp_path / "missing")
    assert named(tmp_path) != named(tmp_path)
