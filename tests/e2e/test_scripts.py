"""Scripts that cannot be loaded at first, and what slaves are told of scripts by others."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from tests.support.cluster import Cluster, Master, Slave, zspiderd
from tests.support.process import eventually
from tests.support.rogue import Rogue, success
from tests.support.site import Site
from zspider.delivery import Answer, End
from zspider.task import GET_INFO, ScriptInfo

NEEDS_A_FILE = """\
from zspider import BaseHandler

TABLE = open({flag!r}).read()


class Handler(BaseHandler):
    def on_start(self):
        self.crawl("data:,page", callback=self.page, age=0)

    def page(self, response):
        return {{"table": TABLE}}
"""
FAILS_ONCE = """\
from zspider import BaseHandler

try:
    open({flag!r}, "x").close()
except FileExistsError:
    pass
else:
    raise RuntimeError("not on this machine")


class Handler(BaseHandler):
    def on_start(self):
        self.crawl("data:,page", callback=self.page, age=0)

    def page(self, response):
        return {{}}
"""
FIVE_PAGES = """\
from zspider import BaseHandler


class Handler(BaseHandler):
    crawl_config = {{"headers": {{"X-Api-Key": "SECRET"}}}}

    def on_start(self):
        for number in range(5):
            self.crawl("{url}?%d" % number, callback=self.page)

    def page(self, response):
        return {{"url": response.url}}
"""


def error_of(master: Master, project: str) -> str:
    """Why its script cannot be used; "": it can, as far as is known."""
    return str(next(row for row in master.status()["projects"] if row["name"] == project)["script_error"])


def starts(master: Master, slave: Slave, file: Path) -> None:
    master.ask("project", "start", "needy")


def stops_and_resumes(master: Master, slave: Slave, file: Path) -> None:
    master.ask("project", "stop", "needy")
    master.ask("project", "resume", "needy")


def pushes_the_same(master: Master, slave: Slave, file: Path) -> None:
    master.ask("project", "push", file, "--name", "needy")


def restarts_the_master(master: Master, slave: Slave, file: Path) -> None:
    master.stop()
    master.start()


def restarts_the_slave(master: Master, slave: Slave, file: Path) -> None:
    slave.stop()
    slave.start()


@pytest.mark.parametrize(
    "heals",
    [starts, stops_and_resumes, pushes_the_same, restarts_the_master, restarts_the_slave, None],
    ids=lambda heals: heals.__name__ if heals else "time_passes",
)
def test_a_script_that_could_not_be_loaded_is_tried_again(
    cluster: Cluster, tmp_path: Path, heals: Callable[[Master, Slave, Path], None] | None
) -> None:
    master = cluster.master(settings={"scheduler": {"script_retry_s": 3600.0 if heals else 5.0}}).start()
    slave = cluster.slave(master).start()
    flag = tmp_path / "flag"
    file = master.push("needy", NEEDS_A_FILE.format(flag=str(flag)))
    master.ask("project", "start", "needy")
    eventually(lambda: "FileNotFoundError" in error_of(master, "needy"), 40, "the script has failed")
    waits = json.loads(master.ask("why", "needy", "--json"))["waits"]
    assert "FileNotFoundError" in waits[0]["text"]
    assert waits[0]["until_ms"]
    row = json.loads(master.ask("project", "show", "needy", "--json"))
    assert row["script_failure"]["host"] == master.slaves()[0]["host"]
    assert row["script_failure"]["until_ms"]
    flag.write_text("there")
    if heals is not None:
        heals(master, slave, file)
    master.wait_done("needy", 1)
    assert error_of(master, "needy") == ""


def test_a_script_that_one_slave_cannot_load_is_loaded_by_another(cluster: Cluster, tmp_path: Path) -> None:
    master = cluster.master(settings={"scheduler": {"script_retry_s": 3600.0}}).start()
    first, second = cluster.slave(master).start(), cluster.slave(master)
    master.wait_slaves(1)
    master.push("picky", FAILS_ONCE.format(flag=str(tmp_path / "flag")))
    eventually(lambda: "not on this machine" in error_of(master, "picky"), 40, "the only slave cannot")
    second.start()
    eventually(lambda: master.status()["projects"][0]["is_script_known"], 40, "the other one can")
    assert error_of(master, "picky") == ""
    first.check_alive()


class Proxy:
    """Counts who asks it for anything, and answers nobody."""

    def __init__(self) -> None:
        self.asked = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.asked += 1
            connection.close()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    made = Proxy()
    yield made
    made.close()


@pytest.fixture
def web() -> Iterator[Site]:
    with Site() as made:
        yield made


def told_by_a_rogue(master: Master, token: Path, script: str, info: ScriptInfo, end: End = End.SUCCESS) -> None:
    """Have a rogue be asked what a script declares; it answers and leaves."""
    with Rogue(master, token) as rogue:
        rogue.join(window=100)
        master.push("victim", script)
        (grant,) = rogue.until(lambda: rogue.grants("victim"), "the question")
        assert grant.taskid == GET_INFO
        rogue.report(success(grant, info=msgspec.msgpack.encode(info), end=end))


def data_verb(master: Master, *words: str) -> str:
    """What a verb prints that works on the master's data directory."""
    ran = zspiderd(*words, "--data-dir", str(master.data_dir))
    assert ran.code == 0, str(ran)
    return ran.out


@pytest.mark.parametrize("is_revoked", [True, False], ids=["revoked", "not revoked"])
def test_what_a_rogue_says_a_script_declares_changes_no_other_slaves_requests(
    cluster: Cluster, web: Site, proxy: Proxy, tmp_path: Path, is_revoked: bool
) -> None:
    master = cluster.master().start()
    evil = {"proxy": proxy.address, "validate_cert": False}
    told_by_a_rogue(
        master,
        master.join_token,
        FIVE_PAGES.format(url=web.url("/hello")),
        ScriptInfo(crawl_config=msgspec.msgpack.encode(evil)),
    )
    shown = json.loads(master.ask("project", "show", "victim", "--json"))["declared"]
    assert shown["crawl_config"] == evil
    assert shown["told"]["at_ms"]
    assert proxy.address in master.ask("project", "show", "victim")
    good = tmp_path / "good"
    good.touch(mode=0o600)
    good.write_text(data_verb(master, "token", "add"))
    if is_revoked:
        data_verb(master, "token", "revoke", shown["told"]["token"])
        eventually(
            lambda: json.loads(master.ask("project", "show", "victim", "--json"))["declared"] is None, 20, "forgotten"
        )
        master.stop()
        master.start()
    cluster.slave(master, token_file=good).start()
    master.ask("project", "start", "victim")
    master.wait_done("victim", 5)
    assert proxy.asked == 0
    assert [asked.header("X-Api-Key") for asked in web.log] == ["SECRET"] * 5
    shown = json.loads(master.ask("project", "show", "victim", "--json"))["declared"]
    assert shown["crawl_config"] == {"headers": {"X-Api-Key": "SECRET"}}


def test_a_rogue_that_says_a_script_is_broken_does_not_stop_the_project(cluster: Cluster, web: Site) -> None:
    master = cluster.master(settings={"scheduler": {"script_retry_s": 3600.0}}).start()
    broken = ScriptInfo(error="SyntaxError: no")
    told_by_a_rogue(master, master.join_token, FIVE_PAGES.format(url=web.url("/hello")), broken, End.FAILURE)
    cluster.slave(master).start()
    master.ask("project", "resume", "victim")
    eventually(lambda: error_of(master, "victim") == "", 20, "another one is asked")
    master.ask("project", "start", "victim")
    master.wait_done("victim", 5)


def test_a_host_that_a_rogue_has_paused_is_shown_and_can_be_asked_again(
    cluster: Cluster, web: Site, tmp_path: Path
) -> None:
    master = cluster.master().start()
    with Rogue(master) as rogue:
        rogue.join(window=1)
        master.push("victim", FIVE_PAGES.format(url=web.url("/hello")))
        declares = msgspec.msgpack.encode(ScriptInfo())
        rogue.report(success(rogue.until(lambda: rogue.grants("victim"), "the question")[0], info=declares))
        urls = tmp_path / "urls"
        urls.write_text(web.url("/hello") + "\n")
        master.ask("tasks", "add", "victim", "--callback", "page", "--file", urls)
        grant = rogue.until(lambda: rogue.grants("victim")[1:], "a page")[0]
        rogue.report(success(grant, answer=Answer(429, 86_400_000)))
    host = web.url("").removeprefix("http://").strip("/")
    cluster.slave(master).start()
    master.ask("project", "start", "victim")

    def pause() -> list[dict[str, object]]:
        waits = json.loads(master.ask("why", "victim", "--json"))["waits"]
        return [wait for wait in waits if "hosts resume" in wait["text"]]

    (shown,) = eventually(pause, 40, "the pause is shown")
    assert "left alone for 300 s" in str(shown["text"])
    assert web.log == []
    assert "may be asked" in master.ask("hosts", "resume", host)
    master.wait_done("victim", 5)
