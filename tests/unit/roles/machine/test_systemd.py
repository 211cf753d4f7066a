"""What the service manager is told, also when descriptors are short."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.shortage import without_descriptors
from zspider.roles.machine.systemd import Notifier


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind(str(tmp_path / "notify"))
        bound.settimeout(5)
        yield bound


@pytest.fixture
def notifier(tmp_path: Path, manager: socket.socket) -> Iterator[Notifier]:
    made = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "10000000"})
    yield made
    made.close()


def test_without_descriptors_everything_is_said(notifier: Notifier, manager: socket.socket) -> None:
    with without_descriptors():
        notifier.ready()
        notifier.status("works")
        notifier.watchdog(100.0)
        notifier.stopping()
    assert [manager.recv(100) for _ in range(4)] == [b"READY=1", b"STATUS=works", b"WATCHDOG=1", b"STOPPING=1"]


def test_a_socket_that_could_not_be_had_at_the_start_is_opened_later(tmp_path: Path, manager: socket.socket) -> None:
    with without_descriptors():
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
        notifier.ready()
    notifier.status("works")
    notifier.close()
    assert manager.recv(100) == b"READY=1\nSTATUS=works"


def test_what_a_busy_manager_did_not_take_is_said_with_the_next_word(
    notifier: Notifier, manager: socket.socket
) -> None:
    number = 0
    while not notifier._unsaid:  # until its queue is full
        number += 1
        notifier.status(f"line {number}")
    notifier.ready()
    for expected in range(1, number):
        assert manager.recv(100) == b"STATUS=line %d" % expected
    notifier.watchdog(100.0)
    assert manager.recv(100) == b"STATUS=line %d\nREADY=1\nWATCHDOG=1" % number


def test_the_same_status_again_says_what_is_not_said(notifier: Notifier, manager: socket.socket) -> None:
    number = 0
    while not notifier._unsaid:
        number += 1
        notifier.status(f"line {number}")
    for _ in range(1, number):
        manager.recv(100)
    notifier.status(f"line {number}")
    assert manager.recv(100) == b"STATUS=line %d" % number


def test_no_call_raises_when_there_is_no_manager_any_more(notifier: Notifier, manager: socket.socket) -> None:
    manager.close()
    notifier.ready()
    notifier.status("works")
    notifier.watchdog(100.0)
    notifier.stopping()
    notifier.close()
    notifier.stopping()


class TestNotifier:
    def test_the_manager_is_told_and_the_watchdog_pinged_twice_in_its_time(self, tmp_path):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(str(tmp_path / "notify"))
            manager.settimeout(5)
            notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "10000000"})
            notifier.ready()
            notifier.status("two\nlines")
            notifier.status("two lines")
            for now in (100.0, 104.9, 105.0):
                notifier.watchdog(now)
            notifier.stopping()
            notifier.close()
            said = [manager.recv(100) for _ in range(5)]
        assert said == [b"READY=1", b"STATUS=two lines", b"WATCHDOG=1", b"WATCHDOG=1", b"STOPPING=1"]

    def test_without_a_manager_nothing_happens(self):
        notifier = Notifier({"WATCHDOG_USEC": "1"})
        notifier.ready()
        notifier.watchdog(0.0)

    def test_a_watchdog_for_another_process_is_none_of_ours(self, tmp_path):
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "x"), "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1"})
        notifier.watchdog(0.0)
        notifier.close()
        assert notifier._period_s == 0.0
