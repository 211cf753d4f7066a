"""A page that is submitted again, or cancelled, while its callback runs: that run counts, then it runs once more."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
from tests.support.cluster import Cluster, Master, zspiderd
from tests.support.polite_site import PoliteSite
from tests.support.process import eventually

PAGES, SLEEP_S, EVERY_S = 24, 0.75, 0.2
HUB = """\
import time
from pyspider.libs.base_handler import *

B = {site!r}


class Handler(BaseHandler):
    def on_start(self):
        self.crawl(B + '/hub', callback=self.hub, priority=9)
        for i in range({pages}):
            self.crawl(B + '/p%d' % i, callback=self.page, exetime=time.time() + 0.5 + {every_s} * i)

    def page(self, response):
        self.crawl(B + '/hub', callback=self.hub, force_update=True)

    def hub(self, response):
        time.sleep({sleep_s})
        self.save['runs'] = self.save.get('runs', 0) + 1
        self.crawl([B + '/child%d-%d' % (self.save['runs'], i) for i in range(3)], callback=self.leaf)
        return {{'hub': self.save['runs']}}

    def leaf(self, response):
        return {{'leaf': response.url}}
"""
ASKED = """\
import time
from pyspider.libs.base_handler import *

B = {site!r}


class Handler(BaseHandler):
    def on_start(self):
        self.crawl(B + '/slow', callback=self.slow)

    def on_message(self, project, wish):
        self.crawl(B + '/slow', callback=self.slow, force_update=True, cancel=wish == 'cancel')

    def slow(self, response):
        self.save['n'] = self.save.get('n', 0) + 1
        time.sleep(2)
        self.crawl(B + '/led-to-%d' % self.save['n'], callback=self.leaf)
        return {{'run': self.save['n']}}

    def leaf(self, response):
        return {{'leaf': response.url}}

    def on_finished(self, response, task):
        self.crawl(B + '/finished', callback=self.leaf)
"""


def assert_each_run_counted(site: PoliteSite, results: list[dict[str, object]], *, is_killed: bool = False) -> None:
    """As many runs and children as pyspider's rules give: a run follows if somebody asked since the last one began.

    is_killed: the master was, so that what a page asked for may have been written a run later.
    """
    runs = [visit.began for visit in site.visits if visit.path == "/hub"]
    asked = [visit.began for visit in site.visits if visit.path.startswith("/p")]
    found = {str(row["url"]): row["result"] for row in results}
    assert found[f"{site.url}/hub"] == {"hub": len(runs)}
    children = {f"{site.url}/child{run}-{i}" for run in range(1, len(runs) + 1) for i in range(3)}
    assert found.keys() == children | {f"{site.url}/hub"}
    assert len(asked) == PAGES
    for before, begun in pairwise(runs):
        assert begun - before >= SLEEP_S, "two runs at once"
        assert is_killed or any(before < at < begun for at in asked), "a run that nobody asked for"
    assert runs[-1] > asked[-1], "nothing came of the last submission"
    assert 4 <= len(runs) <= 2 + (asked[-1] - runs[0]) / SLEEP_S


def started(cluster: Cluster, slaves: int) -> Master:
    master = cluster.master().start()
    for _ in range(slaves):
        cluster.slave(master, slave={"processors": 2}).start()
    master.wait_slaves(slaves)
    return master


@pytest.mark.timeout(200)
@pytest.mark.parametrize(("slaves", "is_killed"), [(1, False), (2, False), (1, True), (2, True)])
def test_a_hub_that_is_submitted_while_it_runs_runs_as_often_as_in_pyspider(
    cluster: Cluster, slaves: int, is_killed: bool
) -> None:
    with PoliteSite() as site:
        master = started(cluster, slaves)
        script = HUB.format(site=site.url, pages=PAGES, every_s=EVERY_S, sleep_s=SLEEP_S)
        master.begin("hub", script, rate=100, burst=100)
        if is_killed:
            eventually(lambda: sum(visit.path == "/hub" for visit in site.visits) >= 3, 30, "the hub runs again")
            master.kill()
            master.start()
        eventually(lambda: sum(visit.path.startswith("/p") for visit in site.visits) == PAGES, 60, "all have asked")
        counts = master.wait_done("hub", 13, 60)
        assert_each_run_counted(site, master.results("hub"), is_killed=is_killed)
        assert counts.get("late", 0) == 0
        assert counts.get("failed", 0) == 0


@pytest.mark.timeout(120)
def test_a_run_of_one_command_does_the_same(tmp_path: Path) -> None:
    file = tmp_path / "hub.py"
    with PoliteSite() as site:
        file.write_text(HUB.format(site=site.url, pages=PAGES, every_s=EVERY_S, sleep_s=SLEEP_S))
        ran = zspiderd("run", file, "--rate", "100", "--burst", "100", "--wait", "5", "--processors", "2")
        assert ran.code == 0, str(ran)
        exported = zspiderd("results", "hub", "--data-dir", f"{file}.zspider")
        assert_each_run_counted(site, [json.loads(line) for line in exported.out.splitlines()])


@pytest.mark.timeout(120)
@pytest.mark.parametrize("wish", ["again", "cancel"])
def test_what_a_callback_led_to_appears_though_its_page_was_submitted_again_meanwhile(
    cluster: Cluster, wish: str
) -> None:
    with PoliteSite() as site:
        master = started(cluster, 1)
        master.begin("asked", ASKED.format(site=site.url))
        eventually(lambda: any(visit.path == "/slow" for visit in site.visits), 20, "the page is fetched")
        master.ask("send-message", "asked", wish)
        runs = 1 if wish == "cancel" else 2
        counts = master.wait_done("asked", runs + 2)  # of the page, of what its runs led to, of what came after all
        found = {row["url"]: row["result"] for row in master.results("asked")}
        led_to = {f"{site.url}/led-to-{run}" for run in range(1, runs + 1)}
        assert found.keys() == {f"{site.url}/slow", f"{site.url}/finished"} | led_to
        assert found[f"{site.url}/slow"] == {"run": runs}
        assert counts.get("cancelled", 0) == (wish == "cancel")
        paths = [visit.path for visit in site.visits]
        assert paths.count("/slow") == runs
        assert paths.index("/finished") > max(paths.index(url.removeprefix(site.url)) for url in led_to)
