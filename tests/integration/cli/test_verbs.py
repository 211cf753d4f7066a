"""The admin verbs against a real master."""

import csv
import io
import itertools
import json
import signal

import pytest
from tests.support.addresses import free_port
from tests.support.cluster import ZSPIDERD
from tests.support.process import Process, eventually, run

NUMBERS = itertools.count()
SCRIPT = """\
# rate: 100
from zspider import BaseHandler


class Handler(BaseHandler):
    def on_start(self):
        self.crawl("data:,one", callback=self.page)
        self.crawl("data:,two", callback=self.page)

    def page(self, response):
        return {"text": response.text, "formula": "=1+1"}

    def on_message(self, project, msg):
        return {"from": project, "msg": msg}
"""


@pytest.fixture
def project(ask, tmp_path):
    """A project of its own for each test."""
    path = tmp_path / f"books_{next(NUMBERS)}.py"
    path.write_text(SCRIPT)
    ask("project", "push", path)
    return path.stem


def rows(ran):
    return json.loads(ran.out)


def test_a_pushed_script_is_a_running_project_with_the_rate_of_its_comments(ask, project):
    (row,) = [row for row in rows(ask("project", "list", "--json")) if row["name"] == project]
    assert (row["status"], row["rate"], row["burst"]) == ("RUNNING", 100, 100)
    assert project in ask("project", "list").out
    assert rows(ask("project", "show", project, "--json"))["script"] == SCRIPT
    assert "# rate: 100" in ask("project", "show", project).out


def test_pushing_again_keeps_what_nobody_names(ask, project, tmp_path):
    path = tmp_path / f"{project}.py"
    ask("project", "set", project, "--status", "STOP", "--rate", "7", "--group", "g")
    path.write_text(SCRIPT.replace("# rate: 100\n", ""))
    assert ask("project", "push", path).out == f"{project}: new version, STOP, rate 7/s, burst 100\n"
    out = ask("project", "push", path, "--status", "RUNNING", "--rate", "50").out
    assert out == f"{project}: new version, RUNNING, rate 50/s, burst 50\n"


def test_start_runs_on_start_and_results_come_in_three_formats(ask, project, tmp_path):
    ask("project", "start", project)
    found = eventually(
        lambda: len(lines := ask("results", project).out.splitlines()) == 2 and lines, 60, "both results are stored"
    )
    assert {json.loads(line)["result"]["text"] for line in found} == {"one", "two"}
    assert all('"formula": "=1+1"' in line for line in found)  # JSONL is as the script made it
    table = list(csv.DictReader(io.StringIO(ask("results", project, "--format", "csv").out)))
    assert {row["formula"] for row in table} == {"'=1+1"}
    ask("results", project, "-o", tmp_path / "out.json")
    assert len(json.loads((tmp_path / "out.json").read_text())) == 2
    tasks = rows(ask("tasks", project, "--json"))
    assert {task["status"] for task in tasks} == {"done"}
    assert len(tasks) == 3
    assert len(rows(ask("tasks", project, "--json", "--limit", "1"))) == 1
    assert rows(ask("task", project, "on_start", "--json"))["process"]["callback"] == "on_start"
    assert "on_start" in ask("task", project, "on_start").out


def test_a_task_has_a_story_of_what_happened_to_it(ask, project):
    ask("project", "start", project)
    eventually(lambda: len(ask("results", project).out.splitlines()) == 2, 60, "both results are stored")
    story = rows(ask("task", project, "on_start", "--json"))["story"]
    assert [step["event"] for step in story] == ["waits", "granted", "succeeded"]
    assert [step["attempt"] for step in story] == [0, 1, 0]
    (slave,) = {step["session"] for step in story if step["session"]}
    assert slave in {one["session"] for one in rows(ask("status", "--json"))["slaves"]}
    assert sorted(story, key=lambda step: step["at_ms"]) == story
    heading, *lines = ask("task", project, "on_start").out.partition("AT  ")[2].splitlines()
    assert heading.split() == ["EVENT", "SLAVE", "ATTEMPT", "DETAIL"]
    assert [line.split()[2] for line in lines] == ["waits", "granted", "succeeded"]


@pytest.mark.parametrize(
    ("arguments", "msg"),
    [
        (["go on"], "go on"),
        (['[1, {"a": null}]'], '[1, {"a": null}]'),
        (["--json", '[1, {"a": null}]'], [1, {"a": None}]),
    ],
)
def test_a_message_from_the_command_line_is_heard(ask, project, arguments, msg):
    assert ask("send-message", project, *arguments).out == f"{project}: message sent\n"
    (line,) = eventually(lambda: ask("results", project).out.splitlines(), 60, "its result is stored")
    assert json.loads(line)["result"] == {"from": "__command__", "msg": msg}
    assert json.loads(line)["url"] == "data:,on_message"
    counts = rows(ask("project", "show", project, "--json"))["counts"]
    assert (counts["messages"], counts["waiting"], counts.get("done", 0)) == (1, 0, 0)


def test_a_message_to_a_stopped_project_waits_and_says_so(ask, project):
    ask("project", "stop", project)
    assert ask("send-message", project, "hello").out == f"{project}: message sent, waits while the project is STOP\n"
    (task,) = rows(ask("tasks", project, "--json"))
    assert (task["status"], task["url"]) == ("waiting", "data:,on_message")


def test_status_shows_the_master_its_slaves_and_its_projects(ask, project):
    answer = eventually(
        lambda: (answer := rows(ask("status", "--json"))) and answer["slaves"] and answer, 60, "the local slave is in"
    )
    assert answer["slaves"][0]["roles"] == ["fetcher", "processor"]
    assert project in {row["name"] for row in answer["projects"]}
    text = ask("status").out
    assert text.startswith("master up ")
    assert "1 slave, " in text.splitlines()[0]
    assert project in text


def test_activity_is_shown_by_window_and_in_all(ask, project):
    ask("project", "start", project)

    def ended():
        (row,) = [row for row in rows(ask("project", "list", "--json")) if row["name"] == project]
        return row["windows"]["1d"]["success"] == 3 and row["windows"]

    windows = eventually(ended, 60, "on_start and both pages ended")
    assert list(windows) == ["5m", "1h", "1d", "all"]
    for activity in windows.values():
        assert (activity["new"], activity["retry"], activity["failed"]) == (3, 0, 0)
        assert (activity["fetched"], activity["fetch_ms"], activity["processed"]) == (0, None, 3)
        assert activity["process_ms"] >= 0
    for verb in (["status", "--hosts"], ["project", "list"], ["project", "show", project]):
        lines = [line.split() for line in ask(*verb).out.splitlines()]
        assert ["PROJECT", "LAST", "NEW", "SUCCESS", "RETRY", "FAILED", "FETCH", "MS", "PROCESS", "MS"] in lines
        for name in windows:
            assert [project, name, "3", "3", "0", "0"] in [line[:6] for line in lines]


def test_status_watch_goes_on_until_it_is_interrupted(data_dir):
    with Process([*ZSPIDERD, "status", "--watch", "--data-dir", str(data_dir)]) as watch:
        watch.wait_for("master up ")
        watch.signal(signal.SIGINT)
        assert watch.wait() == 130


def test_why_says_what_a_project_and_a_task_wait_for(ask, project):
    def why(what):
        return [wait["what"] for wait in rows(ask("why", what, "--json"))["waits"]]

    ask("project", "stop", project)
    assert why(project) == ["stopped"]
    assert f"zspiderd project start {project}" in ask("why", project).out
    ask("project", "start", project)
    eventually(lambda: why(project) == ["nothing"], 30, "all is done")
    (done,) = rows(ask("why", f"{project}:on_start", "--json"))["waits"]
    assert done == {"what": "nothing", "text": "already done", "until_ms": None}
    ask("project", "start", project)
    eventually(lambda: why(project) == ["nothing"], 30, "all is done again")
    assert rows(ask("why", project, "--json"))["dropped"] == {"known": 2}
    assert "no task 'nobody'" in ask("why", f"{project}:nobody", code=1).err


def test_stop_and_rm(ask, project):
    assert ": STOP, " in ask("project", "stop", project).out
    assert ask("project", "rm", project).out == f"{project}: removed\n"
    assert ask("project", "show", project, code=1).err.startswith("zspiderd: ")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["project", "start", "no_such_project"], 1),
        (["results", "no_such_project"], 1),
        (["task", "PROJECT", "no-such-task"], 1),
        (["send-message", "no_such_project", "hello"], 1),
        (["send-message", "PROJECT", "--json", "{"], 2),
        (["send-message", "PROJECT", "--json", "[" * 300 + "]" * 300], 2),
    ],
)
def test_what_the_master_refuses_is_one_line(ask, project, arguments, code):
    refused = ask(*(project if word == "PROJECT" else word for word in arguments), code=code)
    assert refused.err.startswith("zspiderd: ")
    assert refused.err.count("\n") == 1


def test_a_token_can_be_made_listed_and_revoked_while_the_master_runs(ask, data_dir, tmp_path):
    made = ask("token", "add", "--admin").out
    file = tmp_path / "admin.token"
    file.write_text(made)
    file.chmod(0o600)
    argv = [*ZSPIDERD, "status", "--token-file", str(file), "--data-dir", str(data_dir)]
    eventually(lambda: run(argv).out.startswith("master up "), 20, "the master has read the new token")
    newest = rows(ask("token", "list", "--json"))[-1]
    assert (newest["kind"], newest["revoked_ms"]) == ("admin", None)
    assert newest["id"] in ask("token", "list").out
    assert ask("token", "revoke", newest["id"]).out == f"admin token {newest['id']} is revoked\n"
    refused = eventually(lambda: (ran := run(argv)).code == 77 and ran, 20, "the master has read the revocation")
    assert refused.err.count("\n") == 1


def test_a_join_token_cannot_administer(ask, data_dir):
    shown = ask("token", "show").out.strip()
    assert shown == (data_dir / "join.token").read_text().strip()
    refused = ask("status", "--token-file", data_dir / "join.token", code=77)
    assert refused.err.startswith("zspiderd: ")
    assert refused.err.count("\n") == 1


def test_an_address_without_a_master_is_69(ask):
    assert ask("status", "--master", f"127.0.0.1:{free_port()}", code=69).err.startswith("zspiderd: no master answers")


def test_the_schema_is_checked_and_made(tmp_path):
    url = f"sqlite:///{tmp_path}/z.db"
    checked = run([*ZSPIDERD, "db", "check", "--database", url])
    assert checked.code != 0
    assert run([*ZSPIDERD, "db", "upgrade", "--database", url]).out == f"{url}: up to date\n"
    checked = run([*ZSPIDERD, "db", "check", "--database", url])
    assert (checked.code, checked.out) == (0, f"{url}: up to date\n")
