"""The slave that a master starts: its token, its environment, and what a start lacks."""

import json
import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from tests.support.cluster import ZSPIDERD
from tests.support.process import Process, eventually, run
from zspider.broker.keys import MasterKeys
from zspider.broker.token import Token
from zspider.roles.master.local_slave import RESTART_S, LocalSlave
from zspider.settings import MasterFile


@contextmanager
def local_slave(data_dir: Path) -> Iterator[tuple[LocalSlave, MasterKeys]]:
    """One whose master is never there."""
    keys = MasterKeys(data_dir)
    slave = LocalSlave(MasterFile(data_dir=data_dir), 1, keys)
    try:
        yield slave, keys
    finally:
        slave.kill()


def pid_of(data_dir: Path) -> int:
    return int((data_dir / "local-slave.lock").read_text() or 0)


@contextmanager
def descriptors_left(spare: int) -> Iterator[None]:
    """No more than so many can be opened in the block."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = [os.open("/dev/null", os.O_RDONLY)]
    while taken[-1] < 200:  # fill the gaps between those in use
        taken.append(os.open("/dev/null", os.O_RDONLY))
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken[-1] + 1, hard))
    for _ in range(spare):
        os.close(taken.pop())
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for one in taken:
            os.close(one)


@pytest.mark.parametrize("spare", range(8))
def test_a_start_without_descriptors_is_tried_again_and_no_error_of_the_master(tmp_path: Path, spare: int) -> None:
    with local_slave(tmp_path / "data") as (slave, _):
        with descriptors_left(spare):
            slave.step(100.0)
            was_started = slave.is_running  # with enough of them
        slave.step(100.1)
        assert slave.is_running is was_started, "it waits before it tries again"
        slave.step(100.0 + RESTART_S[0] + 0.1)
        assert slave.is_running


def test_the_pause_between_tries_grows_to_its_limit(tmp_path: Path) -> None:
    with local_slave(tmp_path / "data") as (slave, _):
        now, tries = 0.0, []
        with descriptors_left(0):
            while now < 200:
                before = slave._start_at
                slave.step(now)
                if slave._start_at != before:
                    tries.append(slave._start_at - now)
                now += 0.5
        assert tries[:6] == [1, 2, 4, 8, 16, 30]
        assert set(tries[6:]) == {30}


@pytest.mark.parametrize("name", ["local-slave.yaml", "local-slave.token", "tokens.yaml"])
def test_files_that_cannot_be_used_are_no_error_of_the_master_either(tmp_path: Path, name: str) -> None:
    data_dir = tmp_path / "data"
    with local_slave(data_dir) as (slave, _):
        saved = (data_dir / name).read_bytes() if name == "tokens.yaml" else None
        (data_dir / name).unlink(missing_ok=True)
        (data_dir / name).mkdir()
        slave.step(0.0)
        assert not slave.is_running
        (data_dir / name).rmdir()
        if saved is not None:
            (data_dir / name).write_bytes(saved)
            (data_dir / name).chmod(0o600)
        slave.step(RESTART_S[0] + 0.1)
        assert slave.is_running


def test_it_gets_nothing_of_what_systemd_and_the_operator_told_its_master(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {
        "NOTIFY_SOCKET": "/run/systemd/notify",
        "WATCHDOG_USEC": "30000000",
        "WATCHDOG_PID": "1",
        "LISTEN_FDS": "1",
        "CREDENTIALS_DIRECTORY": "/run/credentials",
        "ZSPIDER_TOKEN": "ZS1.of.another",
        "ZSPIDER_SLAVE__MASTER": "192.168.1.3",
    }
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    data_dir = tmp_path / "data"
    with local_slave(data_dir) as (slave, keys):
        slave.step(0.0)
        environ = eventually(Path(f"/proc/{pid_of(data_dir)}/environ").read_bytes, 10, "its environment")
        names = {line.partition(b"=")[0].decode() for line in environ.split(b"\0") if line}
        config = yaml.safe_load((data_dir / "local-slave.yaml").read_text())
        assert "PATH" in names
        assert not names & told.keys()
        assert config["slave"]["master"] == "127.0.0.1:1"
        token = Token.parse(Path(config["token_file"]).read_text())
        assert keys.role_of(token.public) == "slave"


def slaves(data_dir: Path) -> int:
    """How many have joined; 0 also while the master does not answer."""
    ran = run([*ZSPIDERD, "status", "--json", "--data-dir", data_dir])
    return len(json.loads(ran.out)["slaves"]) if ran.code == 0 else 0


def tokens(data_dir: Path) -> dict[str, str]:
    """The valid join tokens: name -> id."""
    ran = run([*ZSPIDERD, "token", "list", "--json", "--data-dir", data_dir])
    assert ran.code == 0, str(ran)
    return {one["name"]: one["id"] for one in json.loads(ran.out) if one["kind"] == "join" and not one["revoked_ms"]}


def test_it_joins_with_a_token_of_its_own_that_outlives_the_others_and_is_made_anew(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    with Process([*ZSPIDERD, "master", "--data-dir", data_dir, "--port", "0"]) as master:
        master.wait_for("slave_joined", 30)
        first = tokens(data_dir)
        assert first.keys() == {"", "local-slave"}
        assert "local-slave" in run([*ZSPIDERD, "token", "list", "--data-dir", data_dir]).out
        assert run([*ZSPIDERD, "token", "revoke", first[""], "--data-dir", data_dir]).code == 0
        assert run([*ZSPIDERD, "token", "revoke", first["local-slave"], "--data-dir", data_dir]).code == 0
        second = eventually(lambda: tokens(data_dir), 20, "a new token")
        assert second.keys() == {"local-slave"}
        assert second["local-slave"] != first["local-slave"]
        eventually(lambda: slaves(data_dir) == 1, 40, "it is in again, with the new one")
        assert master.stop() == 0


def test_the_end_of_the_first_join_token_does_not_touch_it(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    with Process([*ZSPIDERD, "master", "--data-dir", data_dir, "--port", "0"]) as master:
        master.wait_for("slave_joined", 30)
        assert run([*ZSPIDERD, "token", "revoke", tokens(data_dir)[""], "--data-dir", data_dir]).code == 0
        eventually(lambda: tokens(data_dir).keys() == {"local-slave"}, 10, "the master has heard")
        end = time.monotonic() + 5  # two heartbeats: a slave whose token is revoked is out within one
        while time.monotonic() < end:
            assert slaves(data_dir) == 1
        assert "slave_gone" not in master.output
        assert master.stop() == 0
