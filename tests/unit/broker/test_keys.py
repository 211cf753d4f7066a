"""The master's keys in their directory, and proofs."""

import multiprocessing
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zspider.broker.keys import MasterKeys, Token, check_exposure, is_proof, proof
from zspider.errors import ConfigError, DeniedError, ExitCode

SECRET_FILES = ["master.key", "cluster.secret", "tokens.yaml"]
TASKS = st.tuples(st.integers(1, 2**31 - 1), st.text(max_size=64), st.integers(0, 2**53), st.integers(0, 10))


def stored(data_dir: Path, kind: str) -> Token:
    return Token.parse((data_dir / f"{kind}.token").read_text())


def test_the_first_start_makes_keys_and_tokens_that_only_the_owner_can_read(tmp_path: Path) -> None:
    data_dir = tmp_path / "var" / "zspider"
    keys = MasterKeys(data_dir)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in data_dir.iterdir()}
    assert modes == dict.fromkeys([*SECRET_FILES, "join.token", "admin.token"], 0o600)
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
    assert keys.role_of(stored(data_dir, "join").public) == "slave"
    assert keys.role_of(stored(data_dir, "admin").public) == "admin"
    assert stored(data_dir, "join").server == keys.public
    assert keys.role_of(keys.public) is None
    assert len(keys.secret) == 32


def test_modes_do_not_depend_on_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        MasterKeys(tmp_path / "data")
    finally:
        os.umask(before)
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in (tmp_path / "data").iterdir())


def test_a_later_start_finds_the_same_keys(tmp_path: Path) -> None:
    first, second = MasterKeys(tmp_path / "data"), MasterKeys(tmp_path / "data")
    assert (first.public, first.curve_secret, first.secret) == (second.public, second.curve_secret, second.secret)
    assert first.list_tokens() == second.list_tokens()


def test_two_masters_have_nothing_in_common(tmp_path: Path) -> None:
    one, other = MasterKeys(tmp_path / "one"), MasterKeys(tmp_path / "other")
    assert one.public != other.public
    assert one.secret != other.secret
    assert other.role_of(stored(tmp_path / "one", "join").public) is None


def test_secrets_are_not_in_the_repr(tmp_path: Path) -> None:
    keys = MasterKeys(tmp_path / "data")
    assert keys.curve_secret.decode() not in repr(keys)
    assert repr(keys.secret) not in repr(keys)


@pytest.mark.parametrize("name", SECRET_FILES)
@pytest.mark.parametrize("mode", [0o640, 0o602, 0o644])
def test_a_secret_that_others_can_read_or_write_stops_the_master(tmp_path: Path, name: str, mode: int) -> None:
    MasterKeys(tmp_path / "data")
    (tmp_path / "data" / name).chmod(mode)
    with pytest.raises(DeniedError) as raised:
        MasterKeys(tmp_path / "data")
    assert all(part in str(raised.value) for part in (name, f"{mode:04o}", "0600"))
    assert raised.value.exit_code == ExitCode.DENIED


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o770])
def test_a_directory_that_others_can_read_stops_the_master(tmp_path: Path, mode: int) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data").chmod(mode)
    with pytest.raises(DeniedError, match=rf"mode {mode:04o} .* wanted 0700"):
        MasterKeys(tmp_path / "data")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_directory_of_another_user_stops_the_master(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o700)
    os.chown(tmp_path / "data", 12345, -1)
    with pytest.raises(DeniedError, match="belongs to user 12345"):
        MasterKeys(tmp_path / "data")


def test_a_file_in_place_of_the_directory_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    with pytest.raises(ConfigError, match="is not a directory"):
        MasterKeys(tmp_path / "data")


@pytest.mark.parametrize("name", ["master.key", "cluster.secret"])
def test_a_lost_key_is_said_and_never_replaced_silently(tmp_path: Path, name: str) -> None:
    MasterKeys(tmp_path / "data")
    (tmp_path / "data" / name).unlink()
    with pytest.raises(ConfigError, match=f"{name} is missing although tokens.yaml is there"):
        MasterKeys(tmp_path / "data")


@pytest.mark.parametrize("name", SECRET_FILES)
@pytest.mark.parametrize(
    "content", [b"", b"short", b"\xff\xfe" * 20, b"- {a: 1}", b"{", b"x" * 40 + b"\x00", b"\x01" * 40]
)
def test_a_damaged_file_is_a_config_error(tmp_path: Path, name: str, content: bytes) -> None:
    MasterKeys(tmp_path / "data")
    (tmp_path / "data" / name).write_bytes(content)
    with pytest.raises(ConfigError, match=f"{name} is damaged"):
        MasterKeys(tmp_path / "data")


def test_a_first_start_that_was_cut_short_is_done_again(tmp_path: Path) -> None:
    before = MasterKeys(tmp_path / "data").public
    (tmp_path / "data" / "tokens.yaml").unlink()  # it is written last
    keys = MasterKeys(tmp_path / "data")
    assert keys.public != before
    assert keys.role_of(stored(tmp_path / "data", "join").public) == "slave"


def test_a_crash_while_writing_leaves_the_old_tokens(tmp_path: Path) -> None:
    keys = MasterKeys(tmp_path / "data")
    (tmp_path / "data" / ".tokens.yaml.new").write_text("half a fil")
    assert MasterKeys(tmp_path / "data").list_tokens() == keys.list_tokens()
    added = keys.add_token("join")
    assert MasterKeys(tmp_path / "data").role_of(added.public) == "slave"


def test_a_named_token_is_made_once_and_again_when_it_was_revoked(tmp_path: Path) -> None:
    keys = MasterKeys(tmp_path / "data")
    path = keys.named_token("local-slave")
    first = Token.parse(path.read_text())
    assert keys.role_of(first.public) == "slave"
    assert [one.name for one in keys.list_tokens()] == ["", "", "local-slave"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert MasterKeys(tmp_path / "data").named_token("local-slave") == path
    assert Token.parse(path.read_text()) == first
    keys.revoke(first.id)
    second = Token.parse(keys.named_token("local-slave").read_text())
    assert second != first
    assert (keys.role_of(first.public), keys.role_of(second.public)) == (None, "slave")


@pytest.mark.parametrize("content", ["", "ZS1.half", "\x00", "join"])
def test_a_named_token_that_is_damaged_is_made_anew(tmp_path: Path, content: str) -> None:
    keys = MasterKeys(tmp_path / "data")
    keys.named_token("local-slave").write_text(content)
    assert keys.role_of(Token.parse(keys.named_token("local-slave").read_text()).public) == "slave"


def test_tokens_are_added_and_revoked_for_good(tmp_path: Path) -> None:
    keys = MasterKeys(tmp_path / "data")
    join, admin = keys.add_token("join"), keys.add_token("admin")
    assert (keys.role_of(join.public), keys.role_of(admin.public)) == ("slave", "admin")
    before = keys.revocations
    revoked = keys.revoke(join.id)
    assert revoked.revoked_ms is not None
    assert keys.revoke(join.id) == revoked  # safe to repeat
    assert keys.role_of(join.public) is None
    assert keys.revocations == before + 1
    again = MasterKeys(tmp_path / "data")
    assert (again.role_of(join.public), again.role_of(admin.public)) == (None, "admin")
    assert [(one.kind, one.revoked_ms is None) for one in again.list_tokens()] == [
        ("join", True),
        ("admin", True),
        ("join", False),
        ("admin", True),
    ]


def test_what_the_master_keeps_of_a_token_cannot_be_used_to_get_in(tmp_path: Path) -> None:
    token = MasterKeys(tmp_path / "data").add_token("join")
    kept = (tmp_path / "data" / "tokens.yaml").read_text()
    assert token.public.decode() in kept
    assert token.secret.decode() not in kept


def test_unknown_ids_and_kinds_are_config_errors(tmp_path: Path) -> None:
    keys = MasterKeys(tmp_path / "data")
    with pytest.raises(ConfigError, match="no token 'nope'"):
        keys.revoke("nope")
    with pytest.raises(ConfigError, match="no such kind of token: 'slave'; there are join, admin"):
        keys.add_token("slave")  # type: ignore[arg-type]


def test_reload_sees_what_another_process_did(tmp_path: Path) -> None:
    master, command = MasterKeys(tmp_path / "data"), MasterKeys(tmp_path / "data")
    token = command.add_token("join")
    assert master.role_of(token.public) is None
    master.reload()
    assert master.role_of(token.public) == "slave"
    command.revoke(token.id)
    master.reload()
    assert master.role_of(token.public) is None


def _add(data_dir: Path) -> None:
    for _ in range(5):
        MasterKeys(data_dir).add_token("join")


def test_processes_that_add_tokens_at_once_lose_none(tmp_path: Path) -> None:
    starts = multiprocessing.get_context("spawn")
    adders = [starts.Process(target=_add, args=(tmp_path / "data",)) for _ in range(3)]
    for one in adders:
        one.start()
    for one in adders:
        one.join(60)
        assert one.exitcode == 0
    assert len(MasterKeys(tmp_path / "data").list_tokens()) == 2 + 15


@given(st.binary(min_size=32, max_size=32), TASKS)
def test_a_proof_holds_for_what_it_was_made_for(secret: bytes, task: tuple[int, str, int, int]) -> None:
    made = proof(secret, *task)
    assert len(made) == 16
    assert is_proof(secret, *task, made)
    assert not is_proof(secret, *task, made[:-1])
    assert not is_proof(secret, *task, b"")


@given(st.binary(min_size=32, max_size=32), TASKS, TASKS)
def test_a_proof_holds_for_nothing_else(
    secret: bytes, task: tuple[int, str, int, int], other: tuple[int, str, int, int]
) -> None:
    assert is_proof(secret, *other, proof(secret, *task)) == (task == other)
    assert not is_proof(bytes(31) + bytes([secret[0] ^ 1]), *task, proof(secret, *task))


def test_a_proof_is_made_even_for_a_lone_surrogate() -> None:
    assert is_proof(bytes(32), 1, "\ud800", 1, 1, proof(bytes(32), 1, "\ud800", 1, 1))


@pytest.mark.parametrize("bind", ["127.0.0.1", "127.8.0.1", "::1", "[::1]", "localhost"])
def test_without_security_a_master_may_listen_on_loopback(bind: str) -> None:
    check_exposure(bind, "none", False)


@pytest.mark.parametrize("bind", ["0.0.0.0", "::", "192.168.1.3", "example.org", "::ffff:10.0.0.1"])
def test_without_security_a_master_may_not_listen_beyond_loopback_unless_told_so(bind: str) -> None:
    with pytest.raises(ConfigError, match="anybody who reaches the port would own the crawl"):
        check_exposure(bind, "none", False)
    check_exposure(bind, "none", True)
    check_exposure(bind, "curve", False)
