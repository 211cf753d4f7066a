"""The verbs on many tasks, against a real master whose slave goes on crawling."""

import itertools
import json
import os
import pty
import subprocess

import pytest
from tests.support.cluster import ZSPIDERD, Cluster, Master
from tests.support.process import environment, eventually, read_until
from zspider.broker.address import Address
from zspider.broker.admin import AdminClient
from zspider.broker.token import find_token
from zspider.task import usual_taskid

NUMBERS = itertools.count()
SCRIPT = """\
# rate: 100000
from zspider import BaseHandler


class Handler(BaseHandler):
    retry_delay = {"": -1}  # a page that fails has failed

    def on_start(self):
        for number in range(PAGES):
            self.crawl(f"data:,{number}", callback=self.page, retries=0)

    def page(self, response):
        if IS_BROKEN and int(response.text) % 2:
            raise ValueError("odd")
        return {"text": response.text, "version": VERSION}
"""


@pytest.fixture(scope="module")
def master(tmp_path_factory):
    with Cluster(tmp_path_factory.mktemp("bulk")) as cluster:
        never_paused = {"scheduler": {"fail_pause_num": 0}}
        yield cluster.master(master={"local_slave": True}, settings=never_paused).start()


@pytest.fixture
def name() -> str:
    return f"bulk_{next(NUMBERS)}"


def script(pages: int, *, is_broken: bool = False, version: int = 1) -> str:
    text = SCRIPT.replace("PAGES", str(pages)).replace("IS_BROKEN", str(is_broken))
    return text.replace("VERSION", str(version))


def crawled(master: Master, name: str, pages: int, **options: object) -> dict[str, int]:
    """Crawl these pages to the end; the counters then."""
    master.begin(name, script(pages, **options))
    return done(master, name, pages + 1)


def done(master: Master, name: str, tasks: int) -> dict[str, int]:
    def counts():
        seen = master.counts(name)
        ended = seen.get("done", 0) + seen.get("failed", 0) == tasks and not seen["waiting"]
        return seen if ended else None

    return eventually(counts, 60, f"{tasks} tasks of {name} have ended")


def told(master: Master, *words: str) -> dict:
    return json.loads(master.ask(*words, "--json"))


def test_failed_tasks_are_retried_once_the_script_is_mended(master, name):
    assert crawled(master, name, 1000, is_broken=True)["failed"] == 500
    assert master.ask("tasks", "retry", name, "--dry-run") == f"{name}: 500 failed tasks would be retried\n"
    assert master.ask("tasks", "retry", name, "--dry-run", "--url", "data:,1?") == (
        f"{name}: 5 failed tasks would be retried\n"
    )
    assert master.counts(name)["failed"] == 500
    master.push(name, script(1000))
    assert master.ask("tasks", "retry", name, "--url", "data:,1?") == f"{name}: 5 failed tasks retried\n"
    assert told(master, "tasks", "retry", name, "--limit", "95")["count"] == 95
    assert master.ask("tasks", "retry", name) == f"{name}: 400 failed tasks retried\n"
    assert done(master, name, 1001)["results"] == 1000
    assert master.ask("tasks", "retry", name) == f"{name}: 0 failed tasks retried\n"


def test_everything_is_crawled_again(master, name):
    crawled(master, name, 400, version=1)
    master.push(name, script(400, version=2))
    assert told(master, "tasks", "recrawl", name, "--status", "failed")["count"] == 0
    assert told(master, "tasks", "recrawl", name) == {
        "project": name,
        "verb": "tasks.recrawl",
        "count": 401,
        "dry_run": False,
    }
    done(master, name, 401)
    assert {row["result"]["version"] for row in master.results(name)} == {2}


def test_waiting_tasks_are_dropped_and_found_again(master, name):
    crawled(master, name, 100)
    master.ask("project", "stop", name)
    assert master.ask("tasks", "recrawl", name) == f"{name}: 101 tasks restarted, waiting while the project is STOP\n"
    assert master.ask("tasks", "drop", name, "--dry-run") == f"{name}: 101 waiting tasks would be dropped\n"
    assert master.ask("tasks", "drop", name) == f"{name}: 101 waiting tasks dropped\n"
    assert master.counts(name)["waiting"] == 0
    assert master.counts(name)["results"] == 100
    master.ask("project", "start", name)
    assert done(master, name, 101)["results"] == 100


def test_a_verb_works_while_the_crawl_goes_on(master, name):
    """Each page is restarted, or dropped in the middle of its run, and nothing is left undone or counted twice."""
    crawled(master, name, 3000)
    master.ask("project", "set", name, "--rate", "200", "--burst", "50")
    assert told(master, "tasks", "recrawl", name, "--url", "data:,[0-9]*")["count"] == 3000
    assert told(master, "tasks", "drop", name, "--limit", "500")["count"] == 500  # among them those that slaves have
    master.ask("project", "set", name, "--rate", "100000", "--burst", "100000")
    assert done(master, name, 2501)["results"] == 3000
    assert len(json.loads(master.ask("tasks", name, "--json", "--limit", "10000"))) == 2501
    assert len(master.results(name)) == 3000
    master.ask("project", "start", name)  # what was dropped is found again
    assert done(master, name, 3001)["results"] == 3000


def test_results_are_cleared_and_one_task_is_retried_and_removed(master, name):
    crawled(master, name, 50)
    assert master.ask("results", "clear", name, "--dry-run") == f"{name}: 50 results would be deleted\n"
    assert master.ask("results", "clear", name) == f"{name}: 50 results deleted\n"
    assert master.results(name) == []
    assert master.counts(name)["done"] == 51
    taskid = json.loads(master.ask("tasks", "list", name, "--json", "--limit", "1"))[0]["taskid"]
    assert master.ask("task", "retry", name, taskid) == f"{name}: task {taskid} waits\n"
    done(master, name, 51)
    assert told(master, "task", "rm", name, taskid)["now"] == "removed"
    refused = master.run_verb("task", "show", name, taskid)
    assert (refused.code, refused.err) == (1, f"zspiderd: no task '{taskid}' in project '{name}'\n")
    assert told(master, "project", "rm", name, "--dry-run")["tasks"] == 50


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["tasks", "retry", "nobody"], 1, "no project named 'nobody'"),
        (["tasks", "recrawl", "NAME", "--status", "waiting"], 2, "'waiting' is not one of"),
        (["tasks", "retry", "NAME", "--limit", "0"], 2, "0 is not in the range"),
        (["task", "retry", "NAME", "nothing"], 1, "no task 'nothing'"),
        (["task", "rm", "NAME", "nothing"], 1, "no task 'nothing'"),
        (["results", "clear", "nobody"], 1, "no project named 'nobody'"),
    ],
)
def test_what_cannot_be_done_is_one_line(master, name, words, code, text):
    master.push(name, script(1))
    refused = master.run_verb(*(name if word == "NAME" else word for word in words))
    assert refused.code == code
    assert text in refused.err
    assert refused.err.count("\n") == 1


def test_two_verbs_on_one_project_are_one_too_many(master, name):
    crawled(master, name, 1000)
    token = find_token("admin", None, master.data_dir, {})
    with AdminClient(Address(master.address, 5570), token.token) as admin:
        first = admin.call("tasks.recrawl", project=name)
        assert first["next"] is not None
        for words in (["tasks", "retry", name], ["results", "clear", name], ["project", "rm", name]):
            refused = master.run_verb(*words)
            assert refused.code == 1
            assert f"{name}: `tasks recrawl` is at work" in refused.err
        assert master.ask("tasks", "retry", name, "--dry-run")  # looking is free
        job, after = first["job"], first["next"]
        while after is not None:
            after = admin.call("tasks.recrawl", project=name, job=job, after=after)["next"]
        assert told(master, "tasks", "retry", name)["count"] == 0
    assert done(master, name, 1001)["results"] == 1000


def test_somebody_at_a_terminal_is_asked_before_anything_is_deleted(master, name):
    crawled(master, name, 10)
    ours, theirs = pty.openpty()
    argv = [*ZSPIDERD, "results", "clear", name, "--master", f"{master.address}:5570", "--data-dir", master.data_dir]
    for answer, code, left in ((b"n\n", 130, 10), (b"y\n", 0, 0)):
        with subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=theirs, env=environment()) as asked:
            read_until(ours, f"Delete 10 results of {name}?")
            os.write(ours, answer)
            assert asked.wait(20) == code
        assert len(master.results(name)) == left
    os.close(theirs)
    os.close(ours)


def test_retention_deletes_by_itself_and_counts_what_it_deletes(tmp_path):
    settings = {"retention": {"forget_tasks_days": 1e-6, "results_days": 1e-6}}  # a tenth of a second
    with Cluster(tmp_path) as cluster:
        master = cluster.master(master={"local_slave": True})
        master.start()
        crawled(master, "shop", 1000)
        assert master.stop() == 0
        master.add_settings(settings)
        master.start()
        master.process.wait_for("retention_swept", 60)
        counts = master.counts("shop")
        assert (counts["done"], counts["results"], counts["new"]) == (0, 0, 1001)
        assert master.results("shop") == []
        assert json.loads(master.ask("tasks", "shop", "--json")) == []
        master.ask("project", "start", "shop")  # forgotten URLs are new
        eventually(lambda: master.counts("shop")["new"] == 2002, 60, "all are accepted once more")


MESH = """\
# rate: 100000
from zspider import BaseHandler


class Handler(BaseHandler):
    def on_start(self):
        self.page(None)

    def page(self, _):
        for number in range(100):
            self.crawl(f"data:,{number}", callback=self.page)
"""


def test_a_deleted_task_is_crawled_again_when_a_page_that_links_to_it_is(master, name):
    master.begin(name, MESH)  # each page leads to all pages, and both processors know that soon
    assert done(master, name, 101)["dropped:known"] == 100 * 100
    victim, page = (usual_taskid(f"data:,{number}") for number in (7, 0))
    master.ask("task", "rm", name, victim)
    assert master.counts(name)["done"] == 100
    master.ask("task", "retry", name, page)
    counts = done(master, name, 101)
    assert counts["dropped:known"] == 100 * 100 + 99 + 100
    assert (counts["done"], counts["new"]) == (101, 102)
