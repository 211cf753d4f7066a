"""Tokens: their text, and where they are looked for."""

import os
import secrets
from pathlib import Path

import pytest
import zmq
from hypothesis import example, given
from hypothesis import strategies as st
from zmq.utils import z85
from zspider.broker.token import Kind, Token, find_token
from zspider.errors import ConfigError, DeniedError, ExitCode

KEYS = st.binary(min_size=32, max_size=32)


def new_token() -> Token:
    return Token(z85.encode(secrets.token_bytes(32)), zmq.curve_keypair()[1])


def put(path: Path, content: str, mode: int = 0o600) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    path.chmod(mode)
    return path


@given(KEYS, KEYS)
@example(bytes(32), b"\xff" * 32)
def test_a_token_comes_back_from_its_text(server: bytes, secret: bytes) -> None:
    token = Token(z85.encode(server), z85.encode(secret))
    assert Token.parse(f"  {token.text}\n") == token
    assert len(token.text) == 91


def test_a_token_knows_the_public_key_that_the_master_lists() -> None:
    public, secret = zmq.curve_keypair()
    assert Token(public, secret).public == public


def test_a_tokens_secret_is_not_in_its_repr() -> None:
    token = new_token()
    assert token.secret.decode() not in repr(token)
    assert token.text.rpartition(".")[2] not in f"{token} {token!r}"


@given(st.text(max_size=100) | st.text(st.sampled_from("ZS1.abcXYZ019-_=+/ "), max_size=100).map("ZS1.".__add__))
def test_any_other_text_is_a_config_error_that_does_not_repeat_it(text: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Token.parse(text)
    assert len(text) < 12 or text.strip() not in str(raised.value)
    assert raised.value.exit_code == ExitCode.USAGE


def test_a_damaged_token_is_told_what_is_wrong_and_not_what_it_was() -> None:
    good = new_token().text
    server, secret = good.split(".")[1:]
    for damaged, what in {
        good[:-1]: "secret is damaged (42 characters, wanted 43)",
        good + "A": "secret is damaged (44 characters",
        good.replace("ZS1.", "ZS2."): "does not begin with ZS1.",
        f"ZS1.{server}": "has 2 parts",
        f"ZS1.{server[:-1]}+.{secret}": "master's key is damaged",
        f"ZS1.{server}.{secret[:20]} {secret[21:]}": "secret is damaged",
        good[:-1] + "_": "secret is damaged",  # the last character has two bits to spare: they must be 0
        "": "does not begin with ZS1.",
    }.items():
        with pytest.raises(ConfigError) as raised:
            Token.parse(damaged)
        assert what in str(raised.value)
        assert secret[:8] not in str(raised.value)


def test_a_join_token_is_looked_for_in_the_order_of_the_design(tmp_path: Path) -> None:
    named, by_systemd, by_env, in_etc, of_master = (new_token() for _ in range(5))
    etc, data_dir, credentials = tmp_path / "etc", tmp_path / "data", tmp_path / "credentials"
    file = put(tmp_path / "named", named.text)
    put(credentials / "join-token", by_systemd.text, 0o440)  # as systemd shows it when it uses an ACL
    put(etc / "join.token", in_etc.text + "\n")
    put(data_dir / "join.token", of_master.text)
    env = {"CREDENTIALS_DIRECTORY": str(credentials), "ZSPIDER_TOKEN": by_env.text}

    def find(token_file: Path | None = None) -> tuple[Token, str] | None:
        return find_token("join", token_file, data_dir, env, etc=etc)

    assert find(file) == (named, str(file))
    assert find() == (by_systemd, str(credentials / "join-token"))
    (credentials / "join-token").unlink()
    assert find() == (by_env, "ZSPIDER_TOKEN")
    env["ZSPIDER_TOKEN"] = ""
    assert find() == (in_etc, str(etc / "join.token"))
    (etc / "join.token").unlink()
    assert find() == (of_master, str(data_dir / "join.token"))
    (data_dir / "join.token").unlink()
    assert find() is None


def test_an_admin_token_is_looked_for_in_its_own_places_only(tmp_path: Path) -> None:
    join, by_env, of_master = (new_token() for _ in range(3))
    put(tmp_path / "etc/join.token", join.text)
    put(tmp_path / "credentials/join-token", join.text)
    put(tmp_path / "data/admin.token", of_master.text)
    env = {"CREDENTIALS_DIRECTORY": str(tmp_path / "credentials"), "ZSPIDER_TOKEN": join.text}
    etc, data_dir = tmp_path / "etc", tmp_path / "data"
    assert find_token("admin", None, data_dir, env, etc=etc) == (of_master, str(data_dir / "admin.token"))
    env["ZSPIDER_ADMIN_TOKEN"] = by_env.text
    assert find_token("admin", None, data_dir, env, etc=etc) == (by_env, "ZSPIDER_ADMIN_TOKEN")
    assert find_token("admin", None, tmp_path / "none", {}, etc=etc) is None


@pytest.mark.parametrize("kind", ["join", "admin"])
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666, 0o644])
def test_a_token_that_others_can_read_or_write_is_denied(tmp_path: Path, kind: Kind, mode: int) -> None:
    path = put(tmp_path / f"{kind}.token", new_token().text, mode)
    with pytest.raises(DeniedError) as raised:
        find_token(kind, None, tmp_path, {}, etc=tmp_path / "etc")
    assert str(path) in str(raised.value)
    assert f"{mode:04o}" in str(raised.value)
    assert "0600" in str(raised.value)
    assert raised.value.exit_code == ExitCode.DENIED


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_token_of_another_user_is_denied_but_to_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = new_token()
    path = put(tmp_path / "join.token", token.text)
    os.chown(path, 12345, -1)
    assert find_token("join", None, tmp_path, {}, etc=tmp_path / "etc") == (token, str(path))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(DeniedError, match="belongs to user 12345"):
        find_token("join", None, tmp_path, {}, etc=tmp_path / "etc")


def test_an_admin_token_in_etc_may_be_for_a_group_and_is_nobodys_who_has_a_master_of_his_own(tmp_path: Path) -> None:
    own, shared = new_token(), new_token()
    etc, data_dir = tmp_path / "etc", tmp_path / "data"
    put(etc / "admin.token", shared.text, 0o640)
    assert find_token("admin", None, data_dir, {}, etc=etc) == (shared, str(etc / "admin.token"))
    put(data_dir / "admin.token", own.text)
    assert find_token("admin", None, data_dir, {}, etc=etc) == (own, str(data_dir / "admin.token"))
    assert find_token("join", None, tmp_path / "none", {}, etc=etc) is None


@pytest.mark.parametrize("mode", [0o660, 0o644, 0o620, 0o602, 0o646])
def test_more_than_reading_by_a_group_is_denied_in_etc_too(tmp_path: Path, mode: int) -> None:
    put(tmp_path / "etc/admin.token", new_token().text, mode)
    with pytest.raises(DeniedError, match=f"mode {mode:04o}"):
        find_token("admin", None, tmp_path / "data", {}, etc=tmp_path / "etc")


def test_a_join_token_in_etc_is_for_no_group(tmp_path: Path) -> None:
    put(tmp_path / "etc/join.token", new_token().text, 0o640)
    with pytest.raises(DeniedError, match="mode 0640"):
        find_token("join", None, tmp_path / "data", {}, etc=tmp_path / "etc")


def test_a_token_file_that_is_named_and_not_there_is_an_error(tmp_path: Path) -> None:
    put(tmp_path / "join.token", new_token().text)
    with pytest.raises(ConfigError, match="there is no token file"):
        find_token("join", tmp_path / "typo", tmp_path, {}, etc=tmp_path / "etc")


def test_a_token_file_that_is_a_directory_is_denied(tmp_path: Path) -> None:
    with pytest.raises(DeniedError, match="cannot read"):
        find_token("join", tmp_path, tmp_path, {}, etc=tmp_path / "etc")


def test_a_malformed_token_says_where_it_is_and_the_search_ends(tmp_path: Path) -> None:
    put(tmp_path / "join.token", new_token().text)
    put(tmp_path / "etc/join.token", "ZS1.half")
    with pytest.raises(ConfigError) as raised:
        find_token("join", None, tmp_path, {}, etc=tmp_path / "etc")
    assert str(raised.value).startswith(f"{tmp_path}/etc/join.token: ")
