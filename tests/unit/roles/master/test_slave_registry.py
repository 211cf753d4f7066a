"""Who is listed as a slave, and what is logged of its coming and going."""

from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs
from tests.support.coordinator import opened, slave_messages
from zspider.broker import messages as m
from zspider.broker.hub import Peer
from zspider.roles.master.slave_registry import ARRIVALS_LOGGED

SESSION = b"s" * 16


class Hub:
    """Keeps what is sent."""

    ports = SimpleNamespace(outcomes=1, pages_in=2, pages_out=3)

    def __init__(self):
        self.sent = []

    def send(self, route, message):
        """Say that it went out."""
        self.sent.append((route, message))
        return True


@pytest.fixture
def coordinator(tmp_path):
    storage = SimpleNamespace(add_session=lambda *args: None, drop_session=lambda *args: None)
    return opened(tmp_path, storage, hub=Hub())


def hello(session=SESSION, **changes):
    fields = {"pid": 1, "version": "0", "cluster": None, "epoch": 0, "seen": 0, **changes}
    return m.Hello(m.PROTOCOL, session, ["fetcher"], 10, "host", **fields)


def beat(**changes):
    return m.Beat(SESSION, 1, 0, [], [], 10, **changes)


def peer(route, user=b"user"):
    return Peer(route, user, "slave", "127.0.0.1")


def test_a_clones_hello_leaves_the_figures_of_the_slave_that_lives(coordinator):
    messages, stats = slave_messages(coordinator), coordinator.registry.stats
    messages.handle(peer(b"first"), hello(pid=11))
    messages.handle(peer(b"first"), beat(fetched=500, processed=400))
    messages.handle(peer(b"clone"), hello(pid=22))  # the same session and token: a copied machine
    assert any(isinstance(message, m.MasterBeat) for _, message in coordinator._hub.sent)  # it is being found out
    assert (stats[SESSION].pid, stats[SESSION].fetched, stats[SESSION].processed) == (11, 500, 400)
    messages.handle(peer(b"first"), beat(fetched=501))  # the older one lives: the clone is to draw a new session
    assert (b"clone", m.NewSession(SESSION)) in coordinator._hub.sent
    assert (stats[SESSION].pid, stats[SESSION].fetched) == (11, 501)


def test_a_slave_that_comes_back_by_another_route_has_new_figures(coordinator):
    messages, stats = slave_messages(coordinator), coordinator.registry.stats
    messages.handle(peer(b"first"), hello(pid=11))
    messages.handle(peer(b"second"), hello(pid=22))
    coordinator.perform(coordinator.core.slaves.route_is_gone(SESSION, 1.0))
    assert (b"second", m.Welcome) in [(route, type(message)) for route, message in coordinator._hub.sent]
    assert stats[SESSION].pid == 22


def test_a_claim_with_another_token_changes_nothing(coordinator):
    messages, stats = slave_messages(coordinator), coordinator.registry.stats
    messages.handle(peer(b"first"), hello(pid=11))
    with capture_logs() as logs:
        messages.handle(peer(b"other", b"another user"), hello(pid=22))
    assert [log["event"] for log in logs] == ["session_claimed_with_another_token"]
    assert stats[SESSION].pid == 11


def test_sessions_without_end_do_not_fill_the_log(coordinator):
    messages = slave_messages(coordinator)
    with capture_logs() as logs:
        for number in range(1000):
            session = number.to_bytes(16, "big")
            messages.handle(peer(b"r%d" % number), hello(session))
            messages.handle(peer(b"r%d" % number), m.Leave(session))
    for event in ("slave_joined", "slave_gone"):
        told = [log for log in logs if log["event"] == event]
        assert ARRIVALS_LOGGED <= len(told) <= ARRIVALS_LOGGED + 60  # one for each second that this takes
        assert "more" not in told[0]
    assert not coordinator.core.sessions
