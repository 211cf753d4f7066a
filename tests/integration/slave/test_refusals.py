"""What a slave says of a port where no master lets it in: each cause in its own words, in the log and to systemd."""

import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import structlog
import zmq
from tests.support.addresses import loopback_address
from tests.support.scripted_master import step_until
from zspider.broker.hub import Hub
from zspider.broker.keys import MasterKeys, find_token
from zspider.broker.token import Token
from zspider.roles.slave.daemon import Slave
from zspider.settings import CONTROL_PORT, SlaveFile

QUIET_S = 9.0  # in which a wrong verdict would have been given: two handshakes that come to nothing take 6.5 s

Serve = Callable[[socket.socket], None]


def close(connection: socket.socket) -> None:
    connection.close()


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def http(connection: socket.socket) -> None:
    connection.recv(1000)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    connection.close()


def ssh(connection: socket.socket) -> None:
    connection.sendall(b"SSH-2.0-OpenSSH_9.2p1\r\n")


def noise(connection: socket.socket) -> None:
    connection.sendall(bytes(range(1, 255)) * 20)


def nothing(connection: socket.socket) -> None:
    """As a master that is stopped: its kernel accepts."""


class Service:
    """Somebody else at a master's port."""

    def __init__(self, serve: Serve) -> None:
        self.host = loopback_address()
        self.address = f"{self.host}:{CONTROL_PORT}"
        self._serve = serve
        self._kept: list[socket.socket] = []
        self._listener = socket.create_server((self.host, CONTROL_PORT), backlog=100)
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._kept.append(connection)
            try:
                self._serve(connection)
            except OSError:
                pass

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._kept:
            connection.close()


@pytest.fixture
def events() -> Iterator[list[dict[str, object]]]:
    with structlog.testing.capture_logs() as entries:
        yield entries  # type: ignore[misc]


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], str]]:
    """The last status line that was sent."""
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        last = ""

        def status() -> str:
            nonlocal last
            while True:
                try:
                    said = manager.recv(4096).decode()
                except BlockingIOError:
                    return last
                last = said if said.startswith("STATUS=") else last

        yield status


def slave_of(directory: Path, address: str, token: Token | None) -> Slave:
    settings = SlaveFile.model_validate(
        {"data_dir": directory / "nowhere", "slave": {"master": address, "processors": 1}}
    )
    if token is None:
        return Slave(settings, security="none")
    file = directory / "mine.token"
    file.touch(mode=0o600)
    file.write_text(token.text)
    return Slave(settings, lambda: find_token("join", file, directory, {}))


def some_token() -> Token:
    return Token(zmq.curve_keypair()[0], zmq.curve_keypair()[1])


def refusals(events: list[dict[str, object]]) -> list[str]:
    return [str(entry["advice"]) for entry in events if entry["event"] == "refused"]


@pytest.mark.parametrize(
    ("serve", "said"),
    [
        (close, "closes each connection at once"),
        (reset, "closes each connection at once"),
        (http, "something else than a zspider master listens there"),
        (ssh, "something else than a zspider master listens there"),
        (noise, "something else than a zspider master listens there"),
    ],
)
def test_another_service_at_the_masters_port(
    tmp_path: Path, events: list[dict[str, object]], systemd: Callable[[], str], serve: Serve, said: str
) -> None:
    with closing(Service(serve)) as service, closing(slave_of(tmp_path, service.address, some_token())) as slave:
        slave.start()
        step_until(lambda: refusals(events), [lambda: slave.step(0.05)], "refused")
        step_until(lambda: said in systemd(), [lambda: slave.step(0.05)], "systemd is told")
        assert said in refusals(events)[0]
        assert "token" not in refusals(events)[0]


@pytest.mark.parametrize("kind", ["revoked", "another key", "no encryption here", "no encryption there"])
def test_a_master_that_does_not_let_us_in(
    tmp_path: Path, events: list[dict[str, object]], systemd: Callable[[], str], kind: str
) -> None:
    keys = MasterKeys(tmp_path / "data")
    token: Token | None = Token.parse((tmp_path / "data" / "join.token").read_text())
    assert token is not None
    said = "only one side encrypts"
    if kind == "revoked":
        keys.revoke(token.id)
        said = "mine.token is not valid on this master"
    elif kind == "another key":
        token, said = Token(zmq.curve_keypair()[0], token.secret), "mine.token is for another master"
    elif kind == "no encryption here":
        token = None
    host = loopback_address()
    with (
        Hub(host, CONTROL_PORT, None if kind == "no encryption there" else keys) as hub,
        closing(slave_of(tmp_path, f"{host}:{CONTROL_PORT}", token)) as slave,
    ):
        turns = [lambda: slave.step(0.05), lambda: hub.poll(0)]
        slave.start()
        step_until(lambda: refusals(events), turns, "refused")
        step_until(lambda: said in systemd(), turns, "systemd is told")
        assert said in refusals(events)[0]


def test_silence_is_no_refusal(tmp_path: Path, events: list[dict[str, object]]) -> None:
    with closing(Service(nothing)) as service, closing(slave_of(tmp_path, service.address, some_token())) as slave:
        slave.start()
        end = time.monotonic() + QUIET_S
        step_until(lambda: time.monotonic() > end, [lambda: slave.step(0.05)], "the time is over")
        assert slave._link is not None
        assert slave._link.was_answered
        step_until(lambda: "master_not_reached" in str(events), [lambda: slave.step(0.05)], "it says so")
        assert refusals(events) == []
        (told,) = [entry for entry in events if entry["event"] == "master_not_reached"]
        assert "accepts connections there and says nothing" in str(told["advice"])


def test_a_master_that_is_stopped_and_one_that_is_killed_are_silent(
    tmp_path: Path, events: list[dict[str, object]]
) -> None:
    """A real one, in the middle of handshakes."""
    host = loopback_address()
    program = (
        "import sys; from pathlib import Path; from zspider.broker.hub import Hub; from zspider.broker.keys import "
        f"MasterKeys\nhub = Hub({host!r}, {CONTROL_PORT}, MasterKeys(Path(sys.argv[1])))\n"
        "print('listening', flush=True)\nwhile True: hub.poll(1)"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "data")], stdout=subprocess.PIPE) as master:
        assert master.stdout is not None
        assert master.stdout.readline() == b"listening\n"
        os.kill(master.pid, signal.SIGSTOP)
        token = Token.parse((tmp_path / "data" / "join.token").read_text())
        with closing(slave_of(tmp_path, f"{host}:{CONTROL_PORT}", token)) as slave:
            slave.start()
            end = time.monotonic() + QUIET_S
            step_until(lambda: time.monotonic() > end, [lambda: slave.step(0.05)], "the time is over")
            master.kill()
            end = time.monotonic() + 3
            step_until(lambda: time.monotonic() > end, [lambda: slave.step(0.05)], "the time is over")
        assert refusals(events) == []
