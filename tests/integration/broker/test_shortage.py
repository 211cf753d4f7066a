"""Master's and slave's sockets in a process that gets no more descriptors or threads for a while."""

import _thread
import socket
import threading
from collections.abc import Callable

import pytest
from tests.integration.broker.test_auth import _kill
from tests.support.shortage import without_descriptors
from tests.support.wire import Wire
from zspider.broker.address import Address
from zspider.broker.keys import MasterKeys, Token
from zspider.broker.link import Link
from zspider.broker.messages import Stop, Up
from zspider.broker.pipe import Pipe
from zspider.broker.sockets import new_context
from zspider.errors import ShortageError


def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """No thread can be started any more."""

    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    monkeypatch.setattr(_thread, "start_new_thread", refuse)


def test_a_revoked_token_without_descriptors_ends_no_master_and_the_relay_comes_back(
    wire: Wire, keys: MasterKeys, join: Token
) -> None:
    other = keys.add_token("join")
    relay = wire.hub._relay
    assert relay is not None
    keys.revoke(join.id)
    with without_descriptors():
        for _ in range(20):
            wire.step()
        assert relay._thread is None  # it is down, for those who were connected are cut off in any case
    wire.until(lambda: relay._thread is not None and relay._thread.is_alive(), "the relay is back")
    wire.with_bulk(other, sends_pages=True)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # the thread is killed
def test_an_authenticator_that_cannot_be_started_again_is_started_later(
    wire: Wire, join: Token, monkeypatch: pytest.MonkeyPatch
) -> None:
    zap = wire.hub._zap
    assert zap is not None
    victim = zap.thread
    _kill(victim)
    slave = wire.slave(join)  # its question wakes the thread, and kills it
    victim.join(15)
    assert not victim.is_alive()
    with monkeypatch.context() as patch:
        no_threads(patch)
        for _ in range(20):
            wire.step()
        assert zap.thread is victim
    wire.until(lambda: slave.link.is_connected, "revived, it lets the slave in")


@pytest.mark.parametrize("make", [new_context, lambda: Link(Address("127.0.0.1", 9), None)], ids=["context", "link"])
def test_no_socket_is_told_before_libzmq_ends_the_process(make: Callable[[], object]) -> None:
    with without_descriptors(), pytest.raises(ShortageError, match="Too many open files"):
        make()


def test_no_thread_is_told_before_libzmq_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    no_threads(monkeypatch)
    with pytest.raises(ShortageError, match="can't start new thread"):
        new_context()


class _Short:
    """A socket of which some calls fail as they do while the kernel has no memory."""

    def __init__(self, real: socket.socket, failures: int) -> None:
        self._real = real
        self.failures = failures

    def __getattr__(self, name: str) -> object:
        return getattr(self._real, name)

    def _fail(self) -> None:
        if self.failures:
            self.failures -= 1
            raise OSError(105, "No buffer space available")

    def sendmsg(self, *arguments: object) -> int:
        self._fail()
        return self._real.sendmsg(*arguments)  # type: ignore[arg-type]

    def recv(self, size: int) -> bytes:
        self._fail()
        return self._real.recv(size)


@pytest.mark.parametrize("wait", [False, True])
def test_a_pipe_keeps_what_the_kernel_has_no_memory_for(wait: bool) -> None:
    ours, theirs = Pipe.pair()
    other = Pipe(theirs)
    short = ours._socket = _Short(ours._socket, 3)  # type: ignore[assignment]
    for message in (Up(), Stop()):
        ours.queue(message)
    while ours.has_unsent:
        assert ours.flush(wait=wait)
    assert (other.receive(1.0), other.receive(1.0)) == (Up(), Stop())
    short.failures = 2
    other.queue(Up())
    other.flush()
    assert ours.receive() is None
    assert ours.receive() is None
    assert not ours.is_closed
    assert ours.receive() == Up()
    ours.close()
    other.close()
