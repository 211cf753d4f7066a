"""`zspiderd run` from start to end: real children, a real site, every way it can end."""

import json
import re
import signal
from pathlib import Path

import pytest
from tests.support.addresses import free_port
from tests.support.cluster import ZSPIDERD
from tests.support.process import ROOT, Process, eventually, run
from zspider.roles.demo_site import is_demo_site

PAGES = 30
SCRIPT = """\
# rate: {rate}
from pyspider.libs.base_handler import *


class Handler(BaseHandler):
    crawl_config = {{}}

    def on_start(self):
        for i in range(1, {pages} + 1):
            self.crawl("{site}/article/%d.html" % i, callback=self.detail_page)

    @config(priority=2)
    def detail_page(self, response):
        return {{"url": response.url, "title": response.doc("title").text()}}
"""


@pytest.fixture(scope="module")
def site():
    with Process([*ZSPIDERD, "demo-site", "--port", "0", "--pages", str(PAGES)]) as server:
        port = server.wait_for(r":(\d+)/")[1]
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def script(tmp_path, site):
    def script(text=SCRIPT, *, pages=PAGES, rate=1000, at=site):
        path = tmp_path / "books.py"
        path.write_text(text.format(site=at, pages=pages, rate=rate) if text is SCRIPT else text)
        return path

    return script


def crawl(*arguments, deadline_s=60.0):
    return run([*ZSPIDERD, "run", *map(str, arguments)], deadline_s=deadline_s)


def summary(*arguments):
    ran = crawl(*arguments, "--json")
    assert ran.code == 0, ran
    return json.loads(ran.out)


def test_a_run_crawls_all_ends_and_says_where_the_results_are(script):
    path = script()
    ran = crawl(path)
    assert ran.code == 0, ran
    lines = ran.out.splitlines()
    assert lines[0].startswith("done in ")
    assert "31 done, 0 failed, 30 results" in lines[0]
    assert lines[1] == f"results: {path}.zspider/zspider.db"
    assert lines[2].startswith(f"export them: zspiderd results books --data-dir {path}.zspider ")
    assert len([line for line in lines if "/article/" in line]) == 5
    assert "pages/s" in ran.err  # how it went is told beside the summary
    exported = run([*ZSPIDERD, "results", "books", "--data-dir", f"{path}.zspider"])  # without a master
    rows = [json.loads(line) for line in exported.out.splitlines()]
    assert {row["result"]["url"] for row in rows} == {row["url"] for row in rows}
    assert len(rows) == PAGES


def test_the_next_run_says_that_all_is_done_and_fresh_starts_anew(script):
    path = script()
    assert summary(path)["ended"] == "done"
    again = summary(path)
    assert (again["ended"], again["resumed"], again["results"], len(again["first"])) == ("nothing_left", True, PAGES, 5)
    path.write_text(path.read_text().replace("range(1, 30 + 1)", "range(1, 8)"))
    fresh = summary(path, "--fresh")
    assert (fresh["ended"], fresh["resumed"], fresh["results"]) == ("done", False, 7)


def test_ctrl_c_stops_cleanly_and_the_next_run_goes_on(script):
    path = script(rate=5)
    with Process([*ZSPIDERD, "run", str(path)]) as process:
        process.wait_for(r"limited by rate 5/s \(change with --rate\)")
        process.signal(signal.SIGINT)
        assert process.wait() == 128 + signal.SIGINT
        assert f"go on with: zspiderd run {path}" in process.output
    ran = crawl(path, "--rate", "1000")
    assert ran.code == 0
    assert "going on where the last run stopped: " in ran.err
    assert "31 done, 0 failed, 30 results" in ran.out


def test_a_run_that_is_killed_leaves_nothing_running_and_the_next_goes_on(script):
    path = script(rate=5)
    with Process([*ZSPIDERD, "run", str(path)]) as process:
        process.wait_for(r"limited by rate")
        family = process.family()
        process.kill()
        assert summary(path, "--rate", "1000")["results"] == PAGES  # it waits for the children of the killed one
        eventually(lambda: not any(member.is_running() for member in family), 10, "the family is gone")


def test_two_runs_of_one_script_do_not_meet(script):
    path = script(rate=5)
    with Process([*ZSPIDERD, "run", str(path)]) as process:
        process.wait_for(r"limited by rate")
        ran = crawl(path)
        assert (ran.code, ran.err) == (75, f"zspiderd: {path}.zspider: another `zspiderd run` works here\n")
        assert process.returncode is None


BROKEN = {
    "no handler": ("x = 1\n", "BaseHandler"),
    "a missing module": ("import nosuchmodule\n", "No module named 'nosuchmodule'"),
    "on_start raises": (
        "from zspider import BaseHandler\n\n\nclass Handler(BaseHandler):\n"
        "    def on_start(self):\n        raise ValueError('no seeds')\n",
        "on_start: ValueError: no seeds",
    ),
}


@pytest.mark.parametrize(("text", "reason"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_script_is_one_clear_line_and_mending_it_is_enough(script, text, reason):
    path = script(text)
    ran = crawl(path)
    (line,) = [line for line in ran.err.splitlines() if line.startswith("zspiderd: ")]
    assert (ran.code, ran.out) == (1, "")
    assert line.startswith(f"zspiderd: {path}: ")
    assert reason in line
    script(pages=3)
    assert summary(path)["results"] == 3


FAILING = """\
# rate: 100
from zspider import BaseHandler


class Handler(BaseHandler):
    retry_delay = {{"": 3600}}

    def on_start(self):
        self.crawl("{site}/article/1.html", callback=self.ok)
        self.crawl("{site}/article/none.html", callback=self.ok, retries=0)
        self.crawl("{site}/article/gone.html", callback=self.ok, retries=3)

    def ok(self, response):
        return response.doc("title").text()
"""


def test_failed_tasks_and_tasks_due_later_are_told_and_strict_makes_them_count(script, site):
    path = script(FAILING.format(site=site))
    for arguments, code in (([], 0), (["--strict"], 1)):
        ran = crawl(path, *arguments)
        assert ran.code == code, ran
        assert "2 done, 1 failed, 1 results" in ran.out
        assert "1 tasks are due later, the next at " in ran.out
    listed = run([*ZSPIDERD, "tasks", "books", "--status", "failed", "--data-dir", f"{path}.zspider", "--json"])
    (task,) = json.loads(listed.out)
    assert task["url"].endswith("/none.html")
    assert "404" in task["reason"]


def test_a_run_brings_its_demo_site_and_takes_it_away(script, tmp_path):
    port = free_port()
    path = script(at=f"http://127.0.0.1:{port}")
    ran = crawl(path, "--demo-site", "--demo-port", str(port))
    assert ran.code == 0, ran
    assert f"demo site: http://127.0.0.1:{port}/" in ran.err
    assert "30 results" in ran.out
    assert not is_demo_site(port)


def test_a_demo_site_that_serves_already_is_used(script, site):
    port = site.rpartition(":")[2]
    ran = crawl(script(), "--demo-site", "--demo-port", port)
    assert ran.code == 0, ran
    assert f"using the demo site at {site}/" in ran.err


def test_the_scripts_of_the_documentation_run(script, site):
    guide = (ROOT / "docs/getting-started.md").read_text()
    (text,) = re.findall(r"(?s)```python\n(.*?)```", guide)
    assert summary(script(text.replace("http://127.0.0.1:8000", site)))["results"] == PAGES
    (text,) = re.findall(r"(?s)```python\n(.*?)```", (ROOT / "README.md").read_text())
    found = summary(
        script(text.replace("http://quotes.example/", f"{site}/article/1.html")), "--fresh", "--rate", "100"
    )
    assert found["results"] > 10


def test_a_script_runs_beside_its_directory_only(script, tmp_path):
    path = script(pages=1)
    crawl(path)
    assert {entry.name for entry in tmp_path.iterdir()} == {"books.py", "books.py.zspider"}
    assert Path(f"{path}.zspider").stat().st_mode & 0o777 == 0o700
