"""What people get wrong: one clear line, the right exit code, and nobody else is harmed."""

import re
import secrets
from base64 import urlsafe_b64encode
from pathlib import Path

import pytest
from tests.support.addresses import loopback_address
from tests.support.cluster import ARTICLE, PORT, ZSPIDERD, Cluster, Master, zspiderd
from tests.support.mariadb import MariaDb
from tests.support.nginx import Nginx
from tests.support.process import Process, Ran, eventually

FAILED, USAGE, DENIED = 1, 2, 77
PREFIX = "zspiderd: "


def the_one_line(ran: Ran, code: int) -> str:
    """The line in which a command said why it failed. It must be the only one, and no traceback."""
    assert ran.code == code, str(ran)
    assert "Traceback" not in ran.text, str(ran)
    said = [line for line in ran.err.splitlines() if line.startswith(PREFIX)]
    assert len(said) == 1, str(ran)
    return said[0]


def master_config(directory: Path, text: str) -> Path:
    file = directory / "master.yaml"
    file.write_text(f"data_dir: {directory / 'data'}\n{text}")
    return file


@pytest.fixture
def master(cluster: Cluster) -> Master:
    return cluster.master().start()


# --- tokens -----------------------------------------------------------------------------------------


def test_a_slave_without_a_token_says_what_to_do_and_joins_when_the_file_is_there(
    cluster: Cluster, master: Master, tmp_path: Path
) -> None:
    slave = cluster.slave(master)
    lost = slave.data_dir / "join.token"  # the last place where a slave looks
    slave.configure({"data_dir": str(slave.data_dir), "slave": {"master": f"{master.address}:{PORT}"}})
    slave.start()
    slave.process.wait_for("(?i)token.*(join.token|token-file)", 20)
    assert master.slaves() == []
    lost.parent.mkdir(mode=0o700)
    lost.touch(mode=0o600)
    lost.write_text(master.join_token.read_text())
    master.wait_slaves(1)
    slave.check_alive()


def test_a_refused_slave_keeps_trying_and_joins_when_the_file_is_right(
    cluster: Cluster, master: Master, tmp_path: Path
) -> None:
    good = master.join_token.read_text()
    stranger = urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()
    file = tmp_path / "token"
    file.touch(mode=0o600)
    file.write_text(".".join([*good.split(".")[:2], stranger]))
    slave = cluster.slave(master, token_file=file).start()
    slave.process.wait_for("(?i)refuse", 30)
    assert master.slaves() == []
    file.write_text(good)
    master.wait_slaves(1)
    slave.check_alive()
    assert stranger not in slave.log
    assert good.split(".")[2].strip() not in slave.log


@pytest.mark.parametrize("text", ["nonsense", "ZS1.abc", "ZS1.abc.def", "ZS2.{rest}", "{whole}x"])
def test_a_malformed_token_ends_the_slave(master: Master, tmp_path: Path, text: str) -> None:
    whole = master.join_token.read_text().strip()
    file = tmp_path / "token"
    file.touch(mode=0o600)
    file.write_text(text.format(rest=whole.split(".", 1)[1], whole=whole))
    line = the_one_line(zspiderd("slave", "--master", f"{master.address}:{PORT}", "--token-file", file), USAGE)
    assert str(file) in line
    assert whole.split(".")[2] not in line


def test_a_join_token_administers_nothing(master: Master) -> None:
    where = ("--master", f"{master.address}:{PORT}", "--token-file", master.join_token)
    for verb in (["status"], ["project", "list"], ["project", "stop", "x"], ["results", "x"]):
        line = the_one_line(zspiderd(*verb, *where), DENIED)
        assert "token" in line
    assert master.status()["projects"] == []  # the admin's own token does


def test_a_token_that_others_can_read_is_refused(master: Master, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(master.join_token.read_text())
    file.chmod(0o644)
    line = the_one_line(zspiderd("slave", "--master", f"{master.address}:{PORT}", "--token-file", file), DENIED)
    assert str(file) in line


# --- settings ---------------------------------------------------------------------------------------


def test_an_open_master_beyond_loopback_does_not_start(tmp_path: Path) -> None:
    config = master_config(tmp_path, "master: {bind: 0.0.0.0, port: 0, security: none}\n")
    line = the_one_line(zspiderd("master", "-c", config), USAGE)
    assert "i_know_this_is_open" in line


def test_an_unknown_setting_is_refused_with_those_that_are_known(tmp_path: Path) -> None:
    config = master_config(tmp_path, "master: {prot: 5570}\n")
    line = the_one_line(zspiderd("master", "-c", config), USAGE)
    assert "master.prot" in line
    assert "did you mean port?" in line
    assert "heartbeat_s" in line
    assert the_one_line(zspiderd("check-config", config), USAGE) == line


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("postgresql://localhost/crawl", "postgresql"),
        ("mysql+pymysql://", "database"),
        ("nonsense", "database"),
    ],
)
def test_a_wrong_database_address_is_refused(tmp_path: Path, url: str, word: str) -> None:
    config = master_config(tmp_path, f"database: {url}\nmaster: {{bind: {loopback_address()}}}\n")
    assert word in the_one_line(zspiderd("master", "-c", config), USAGE)


def test_a_wrong_database_password_is_refused_and_not_shown(tmp_path: Path, mariadb: MariaDb) -> None:
    address = mariadb.address(mariadb.new_database(), password="hunter2hunter2")
    config = master_config(tmp_path, f"database: {address}\nmaster: {{bind: {loopback_address()}}}\n")
    ran = zspiderd("master", "-c", config)
    the_one_line(ran, USAGE)
    assert "hunter2" not in ran.text


def test_a_port_in_use_is_named(master: Master, tmp_path: Path) -> None:
    config = master_config(tmp_path, f"master: {{bind: {master.address}, port: {PORT}, local_slave: false}}\n")
    line = the_one_line(zspiderd("master", "-c", config), USAGE)
    assert str(PORT) in line
    assert "another program listens there" in line
    assert master.status()["epoch"] == 1  # the first one does not mind


# --- scripts ----------------------------------------------------------------------------------------

SYNTAX = "def on_start(:\n    pass\n"
NO_HANDLER = "answer = 42\n"
RAISES = """\
from pyspider.libs.base_handler import *


class Handler(BaseHandler):
    def on_start(self):
        raise RuntimeError('no start today')
"""
BROKEN = {"syntax": SYNTAX, "nohandler": NO_HANDLER, "raises": RAISES}
SAYS = {"syntax": "SyntaxError", "nohandler": "(?i)handler", "raises": "RuntimeError: no start today"}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_script_ends_a_run_with_one_line(tmp_path: Path, kind: str) -> None:
    script = tmp_path / f"{kind}.py"
    script.write_text(BROKEN[kind])
    line = the_one_line(zspiderd("run", script), FAILED)
    assert re.search(SAYS[kind], line), line
    assert script.name in line


def test_broken_scripts_on_a_master_harm_nobody_else(cluster: Cluster, master: Master, site: Nginx) -> None:
    pages = 600
    cluster.slave(master).start()
    master.wait_slaves(1)
    master.begin("good", ARTICLE.format(site=site.url, pages=pages), rate=40, burst=10)
    files = {}
    for kind, text in BROKEN.items():
        files[kind] = master.directory / f"{kind}.py"
        files[kind].write_text(text)
    assert re.search(SAYS["syntax"], the_one_line(master.run_verb("project", "push", files["syntax"]), FAILED))
    for kind in ("nohandler", "raises"):
        master.ask("project", "push", files[kind])
        master.ask("project", "start", kind)
    assert site.answered() < pages, "the good project was over before the others began"
    # What is wrong with them is to be seen in their own rows.
    eventually(lambda: "andler" in str(master.ask("project", "show", "nohandler")), 30, "the missing handler is told")
    eventually(lambda: "no start today" in master.ask("task", "raises", "on_start"), 30, "the exception is told")

    counts = master.wait_done("good", pages, 60)
    assert counts.get("failed", 0) == 0
    assert set(site.counts().values()) == {1}


def test_a_slave_waits_for_a_master_that_is_not_there_and_says_so(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.touch(mode=0o600)
    key = urlsafe_b64encode(b"\1" * 32).rstrip(b"=").decode()
    token.write_text(f"ZS1.{key}.{key}")
    argv = [*ZSPIDERD, "slave", "--master", f"{loopback_address()}:{PORT}", "--token-file", token]
    with Process([*argv, "--data-dir", tmp_path / "data"]) as slave:
        slave.wait_for("master_not_reached", 20)
        assert slave.stop() == 0
        assert "Traceback" not in slave.output
