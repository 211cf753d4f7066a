"""Whatever comes through the admin's door, the master answers in one line and goes on."""

import json
import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.support.admin_fuzz import VERBS, fuzz
from tests.support.cluster import PORT, Cluster, Master
from tests.support.process import eventually
from zspider.broker.address import Address
from zspider.broker.admin import AdminClient
from zspider.broker.token import find_token
from zspider.cli.app import main
from zspider.errors import ZspiderError

CALLS = 25  # of each verb; `make fuzz-admin` says 2,000
SCRIPT = "from zspider import BaseHandler\n\n\nclass Handler(BaseHandler):\n    def on_start(self):\n        pass\n"


@pytest.fixture
def master(tmp_path: Path) -> Iterator[Master]:
    """Without a slave, so that nothing but requests happens."""
    with Cluster(tmp_path) as cluster:
        yield cluster.master().start()


def client(master: Master, timeout_s: float = 60.0) -> AdminClient:
    found = find_token("admin", None, master.data_dir, {})
    assert found is not None
    return AdminClient(Address(master.address, PORT), found.token, timeout_s)


def refusal(admin: AdminClient, verb: str, **args: object) -> str:
    with pytest.raises(ZspiderError) as caught:
        admin.call(verb, **args)
    return str(caught.value)


def test_every_verb_answers_every_malformed_call_in_one_line(master: Master) -> None:
    with client(master) as admin:
        with pytest.raises(ZspiderError) as caught:
            admin.call("no such verb")
        assert set(str(caught.value).rpartition("known: ")[2].split(", ")) == set(VERBS)  # none is left out here
    answers, unforeseen, _ = fuzz(master.address, PORT, master.data_dir, seed=12, calls=CALLS)
    master.check_alive()
    assert unforeseen == []
    assert answers.total() >= CALLS * len(VERBS)
    assert answers["well"] > 100  # some are right: they go all the way
    assert master.status()["projects"] is not None
    assert master.stop() == 0
    with closing(sqlite3.connect(master.data_dir / "zspider.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert database.execute("PRAGMA foreign_key_check").fetchall() == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = " + "not " * 100_000 + "1\n", "nested too deep"),
        ("x = " + "lambda:" * 30_000 + "1\n", "nested too deep"),
        ("x = " + "(" * 3000, "too many nested parentheses"),
        ("x = " + "f'{" * 200 + "1" + "}'" * 200, "f-string"),
        ("x = " + "1+" * 20_000 + "1", "nested too deep"),
        ("x = 1\0", "null bytes"),
        ("x = " + "9" * 5000, "4300 digits"),
        ("def f(:\n", "invalid syntax"),
        ("return 1\n", "'return' outside function"),
    ],
    ids=["not", "lambda", "parentheses", "f-strings", "sum", "null", "digits", "syntax", "return"],
)
def test_a_script_that_is_too_odd_to_compile_is_refused_in_one_line(master: Master, text: str, said: str) -> None:
    with client(master) as admin:
        text = refusal(admin, "project.push", name="odd", script=text)
        assert text.startswith("odd:1: SyntaxError: ")
        assert said in text
        assert admin.call("project.list")["rows"] == []


def test_a_push_that_takes_long_holds_nobody_up(master: Master) -> None:
    hard = "x = [" + "1," * 1_900_000 + "]"  # seconds of a compiler's time
    with client(master) as pusher, client(master) as admin:
        pusher._send(_request(pusher, "project.push", name="slow", script=hard), time.monotonic() + 60)
        slowest = 0.0
        for _ in range(20):
            began = time.monotonic()
            admin.call("project.list")
            slowest = max(slowest, time.monotonic() - began)
        assert admin.call("project.push", name="quick", script=SCRIPT)["created"]
        pusher._receive(time.monotonic() + 60)  # whatever it is
    assert slowest < 2.0


def _request(admin: AdminClient, verb: str, **args: object):  # type: ignore[no-untyped-def]
    from zspider.broker.admin import _packed
    from zspider.broker.messages import PROTOCOL, AdminRequest

    return AdminRequest(1, PROTOCOL, verb, _packed(dict(args)))


def test_a_cursor_that_nobody_gave_is_refused(master: Master) -> None:
    with client(master) as admin:
        admin.call("project.push", name="shop", script=SCRIPT)
        deep = b"\x96\x00\x00\x00\xc4\x00\x00" + b"\x91" * 200_000 + b"\xc0"
        for verb in ("tasks.retry", "tasks.recrawl", "tasks.drop"):
            assert refusal(admin, verb, project="shop", after=deep).startswith("after: this is not what an answer said")
        for after in (b"\xff" * 5000, bytes(16), b""):
            assert admin.call("tasks", project="shop", after=after)["rows"] == []
            assert admin.call("results", project="shop", after=after)["rows"] == []


# --- SIGHUP ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["mode", "yaml", "empty", "directory", "missing", "huge", "deep", "key", "fifo"])
def test_tokens_that_cannot_be_read_again_stay_as_they_were(master: Master, damage: str) -> None:
    file = master.data_dir / "tokens.yaml"
    whole = file.read_bytes()
    match damage:
        case "mode":
            file.chmod(0o644)
        case "yaml":
            file.write_bytes(b"- {id: [")
        case "empty":
            file.write_bytes(b"")
        case "huge":
            file.write_bytes(b"# " + b"x" * 5_000_000)
        case "deep":
            file.write_bytes(b"[" * 50_000)
        case "key":
            file.write_bytes(whole.replace(b"public: ", b"public: x"))
        case _:
            file.unlink()
            if damage == "directory":
                file.mkdir()
            if damage == "fifo":
                os.mkfifo(file, 0o600)
    os.kill(master.process.pid, signal.SIGHUP)
    line = master.process.wait_for(r"error reload_refused .*")[0]
    assert "tokens.yaml" in line
    assert master.status()["slaves"] == []  # the admin's token is still admitted
    master.check_alive()


@pytest.mark.parametrize(
    "text", [None, "", "politeness: [", "master: {port: x}\n", "a: " + "[" * 5000, "x" * 300_000, "no: 1\n"]
)
def test_settings_that_cannot_be_read_again_stay_as_they_were(master: Master, text: str | None) -> None:
    if text is None:
        master.config.unlink()
    else:
        master.config.write_text(text)
    os.kill(master.process.pid, signal.SIGHUP)
    master.process.wait_for(r"error reload_refused .*master\.yaml")
    assert master.status()["slaves"] == []


# --- removal ---------------------------------------------------------------------------------------


def test_a_removal_once_begun_is_finished_by_the_next_master_and_nothing_else_is_changed(master: Master) -> None:
    urls = [f"http://127.0.0.1:1/{number}" for number in range(1000)]
    with client(master) as admin:
        admin.call("project.push", name="shop", script=SCRIPT)
        like = ["t", "http://x/", b"\x83\xa8schedule\x80\xa5fetch\x80\xa7process\x80"]
        for number in range(40):
            admin.call("tasks.add", project="shop", urls=[f"{url}-{number}" for url in urls], like=like)
        assert admin.call("project.rm", name="shop")["left"] > 0
        for verb in ("start", "stop", "pause", "resume"):
            assert "shop is being removed" in refusal(admin, f"project.{verb}", name="shop")
        assert "shop is being removed" in refusal(admin, "project.set", name="shop", rate=5)
        assert "shop is being removed" in refusal(admin, "project.push", name="shop", script=SCRIPT)
        for verb in ("tasks.retry", "tasks.recrawl", "tasks.drop", "results.clear"):
            assert "shop is being removed" in refusal(admin, verb, project="shop")
        assert "shop is being removed" in refusal(admin, "message.send", project="shop", message=1)
        (row,) = admin.call("project.list")["rows"]
        assert (row["status"], row["removing"]["keep_results"]) == ("STOP", False)
        assert row["removing"]["left"] > 0
        assert admin.call("why", project="shop")["waits"][0]["what"] == "removing"
    master.kill()
    eventually(lambda: master.process.returncode is not None, 20, "it is dead")
    master.start()
    master.process.wait_for("project_removal_goes_on .*project=shop")
    master.process.wait_for("project_removed project=shop", 60)
    with client(master) as admin:
        assert admin.call("project.list")["rows"] == []
        assert admin.call("project.push", name="shop", script=SCRIPT)["id"] == 2  # an id is never used again
        assert admin.call("tasks", project="shop")["rows"] == []


def test_whoever_stops_asking_does_not_stop_the_removal(master: Master) -> None:
    with client(master) as admin:
        admin.call("project.push", name="shop", script=SCRIPT)
        like = ["t", "http://x/", b"\x83\xa8schedule\x80\xa5fetch\x80\xa7process\x80"]
        for number in range(10):
            urls = [f"http://127.0.0.1:1/{number}-{one}" for one in range(1000)]
            admin.call("tasks.add", project="shop", urls=urls, like=like)
        assert admin.call("project.rm", name="shop")["left"] > 0  # and never again
        master.process.wait_for("project_removed project=shop", 60)
        assert admin.call("project.rm", name="shop", again=True)["left"] == 0
        assert "no project named 'shop'" in refusal(admin, "project.rm", name="shop")


# --- one shape -------------------------------------------------------------------------------------


def test_the_same_command_prints_the_same_shape_with_and_without_a_master(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = SCRIPT.replace("        pass", "        self.crawl('data:,1', callback=self.page)")
    script += "\n    def page(self, response):\n        return {'a': 1}\n"

    def printed(command: tuple[str, ...], *where: str | Path) -> object:
        capsys.readouterr()
        assert main([*command, "--data-dir", str(master.data_dir), *map(str, where)]) == 0
        return shape(json.loads(capsys.readouterr().out))

    with Cluster(tmp_path, prints_logs=False) as cluster:
        master = cluster.master(master={"local_slave": True}).start()
        with client(master) as admin:
            admin.call("project.push", name="shop", script=script, rate=100)
            admin.call("project.start", name="shop")
            eventually(lambda: admin.call("results", project="shop")["rows"], 60, "there is a result")
            taskid = admin.call("tasks", project="shop")["rows"][0]["taskid"]
        commands = [
            ("tasks", "shop", "--json"),
            ("task", "shop", taskid, "--json"),
            ("results", "shop", "--json"),
            ("project", "list", "--json"),
            ("project", "show", "shop", "--json"),
        ]
        online = [printed(command, "--master", f"{master.address}:{PORT}") for command in commands]
        assert master.stop() == 0
        offline = [printed(command) for command in commands]
    assert offline == online
    assert "key" not in offline[0][0]  # type: ignore[index]


def shape(value: object) -> object:
    """Its keys in order, without its values; as one: counters, which appear one by one, and a master's memory."""
    if isinstance(value, dict):
        return {key: "one" if key in ("counts", "track", "story") else shape(inner) for key, inner in value.items()}
    return [shape(inner) for inner in value[:1]] if isinstance(value, list) else None
