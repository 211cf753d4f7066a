"""States of projects on a real master: pause and resume, auto-pause, @every runs, refusals, missing modules."""

import itertools
import json
import re
import time

import pytest
from tests.support.cluster import ZSPIDERD
from tests.support.process import Process, eventually
from zspider.broker.admin import AdminClient

NUMBERS = itertools.count()
SCRIPT = """\
# rate: 1000
from zspider import BaseHandler, every


class Handler(BaseHandler):
    def on_start(self):
        self.crawl(["data:,%d" % n for n in range(12)], callback=self.page)

    def page(self, response):
        raise RuntimeError("nothing works")
"""
CRON = """

    @every(seconds=1)
    def often(self):
        raise KeyError("x")
"""


@pytest.fixture(scope="module")
def master(tmp_path_factory):
    """With a limit for waiting tasks, and a slave."""
    directory = tmp_path_factory.mktemp("master") / "data"
    argv = [*ZSPIDERD, "master", "--data-dir", str(directory), "--port", "0"]
    with Process(argv, env={"ZSPIDER_LIMITS__WAITING": "5"}) as master:
        master.wait_for("slave_joined")
        yield master, directory
        assert master.stop() == 0


@pytest.fixture(scope="module")
def data_dir(master):
    return master[1]


@pytest.fixture
def push(ask, tmp_path):
    """Push a script as a project of its own; gives its name."""

    def push(text, *options):
        path = tmp_path / f"states_{next(NUMBERS)}.py"
        path.write_text(text)
        ask("project", "push", path, *options)
        return path.stem

    return push


def show(ask, name):
    return json.loads(ask("project", "show", name, "--json").out)


def test_pause_and_resume_lead_from_running_to_running_and_a_stopped_project_is_not_paused(ask, push):
    name = push(SCRIPT)
    assert ask("project", "pause", name).out == f"{name}: PAUSED, rate 1000/s, burst 1000\n"
    assert show(ask, name)["status"] == "PAUSED"
    assert ": RUNNING, " in ask("project", "resume", name).out
    ask("project", "stop", name)
    refused = ask("project", "pause", name, code=2).err
    assert refused == f"zspiderd: {name} is STOP: `pause` is for projects that are DEBUG, RUNNING, PAUSED\n"
    assert ": RUNNING, " in ask("project", "resume", name).out
    assert show(ask, name)["counts"].get("new", 0) == 0  # without its on_start


def test_an_edit_of_a_running_project_waits_for_somebody_to_start_it(ask, push, master):
    name = push(SCRIPT)
    with AdminClient.local(master[1], int(json.loads((master[1] / "master.ports").read_text())["control"])) as admin:
        assert admin.call("project.push", name=name, script=SCRIPT + "\n", edit=True)["status"] == "CHECKING"
        assert admin.call("project.push", name=name, script=SCRIPT + "\n\n")["status"] == "CHECKING"
        assert admin.call("project.push", name=f"{name}_new", script=SCRIPT, edit=True)["status"] == "TODO"


def test_a_project_whose_pages_all_fail_is_paused_says_so_and_goes_on_when_told(ask, push):
    name = push(SCRIPT.replace("range(12)", "range(4)") + "    retry_delay = {'': 0}\n")
    ask("project", "start", name)
    row = eventually(lambda: (row := show(ask, name))["paused"] and row, 60, "it is paused")
    assert row["status"] == "RUNNING"
    assert row["paused"]["phase"] == "paused"
    assert re.fullmatch(
        r"1\d failures in a row, the last: RuntimeError: nothing works", row["paused"]["reason"]
    )  # a transaction may bring more than ten
    assert 290_000 < row["paused"]["until_ms"] - time.time_ns() // 1_000_000 <= 300_000
    assert "paused, until " in ask("project", "show", name).out
    assert " failures in a row" in ask("project", "list").out
    ended = row["counts"]["retry"] + row["counts"].get("failed_total", 0)
    assert ended >= 10
    ask("project", "resume", name)
    row = eventually(lambda: (row := show(ask, name))["counts"]["waiting"] == 0 and row, 60, "the rest has failed, too")
    assert row["counts"]["failed_total"] == 4


def test_what_every_methods_come_to_is_shown(ask, push):
    name = push(SCRIPT + CRON)
    row = eventually(lambda: (row := show(ask, name))["cron"] and row, 60, "the method has run")
    assert row["cron"]["error"] == "KeyError: 'x'"
    assert row["counts"]["cron"] == row["counts"]["cron_failed"] >= 1
    assert "KeyError: 'x'" in next(
        line for line in ask("project", "show", name).out.splitlines() if line.startswith("last @every")
    )


def test_new_urls_beyond_the_limit_are_refused_and_told(ask, push, master):
    name = push(SCRIPT)
    ask("project", "start", name)
    row = eventually(lambda: (row := show(ask, name))["full"] and row, 60, "five wait")
    assert row["counts"]["dropped:queue full"] == 7
    assert row["counts"]["waiting"] == 5
    assert "queue full: new URLs are refused (limits.waiting)" in ask("project", "show", name).out
    master[0].wait_for(rf"queue_full .*project={name}\b")


def test_a_script_that_no_slave_can_load_says_which_module_is_missing(ask, push):
    name = push("import no_such_module_at_all\n" + SCRIPT)
    row = eventually(lambda: (row := show(ask, name))["script_error"] and row, 60, "the slave has tried")
    assert row["script_error"] == "ModuleNotFoundError: No module named 'no_such_module_at_all'"
    assert not row["is_script_known"]  # another slave may have it
