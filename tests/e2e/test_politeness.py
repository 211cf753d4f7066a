"""Limits per host, kept by all slaves together: what the sites themselves saw."""

import signal
import socket

import pytest
from tests.support.cluster import Cluster, Master
from tests.support.polite_site import PoliteSite
from tests.support.process import eventually

SCRIPT = """\
from pyspider.libs.base_handler import *


class Handler(BaseHandler):
    retry_delay = {{'': 1}}

    def on_start(self):
        for url, pages in {sites!r}:
            for n in range(pages):
                self.crawl('%s/%d' % (url, n), callback=self.page, robots_txt={robots!r})

    def page(self, response):
        return {{'url': response.url}}
"""
EARLY_S = (
    0.25  # how much sooner than it was to be sent a request may seem to come, after one that a busy machine held up
)


def crawl(
    cluster: Cluster, politeness: dict, sites: list[tuple[PoliteSite, int]], *, robots=False, rate=1000
) -> Master:
    """Two slaves crawl these sites; every page has its result in the end."""
    master = cluster.master(settings={"politeness": politeness}).start()
    for _ in range(2):
        cluster.slave(master).start()
    master.wait_slaves(2)
    script = SCRIPT.format(sites=[(site.url, pages) for site, pages in sites], robots=robots)
    master.begin("polite", script, rate=rate, burst=rate)
    return master


def is_spaced(times: list[float], delay_s: float) -> bool:
    """No stretch of requests is shorter than its gaps should make it."""
    gaps = len(times) - 1
    return all(times[j] - times[i] >= (j - i) * delay_s - EARLY_S for i in range(gaps) for j in range(i + 1, gaps + 1))


def test_a_host_with_a_rule_is_asked_at_its_pace_and_the_others_at_theirs(cluster: Cluster) -> None:
    with PoliteSite() as slow, PoliteSite() as narrow, PoliteSite() as free:
        rules = [{"match": slow.host, "delay_s": 0.25}, {"match": narrow.host, "concurrency": 2}]
        master = crawl(cluster, {"rules": rules}, [(slow, 24), (narrow, 60), (free, 300)])
        master.wait_done("polite", 384)
        assert [len(site.visits) for site in (slow, narrow, free)] == [24, 60, 300]
        assert is_spaced(slow.times, 0.25)
        assert max(visit.at_once for visit in narrow.visits) <= 2
        assert max(visit.at_once for visit in free.visits) > 2
        for quick in (narrow, free):
            assert quick.times[-1] < slow.times[16]  # nobody waited for the slow one, which came first


def test_a_dead_host_holds_up_no_other_project(cluster: Cluster) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as dead, PoliteSite() as free:
        master = cluster.master().start()
        cluster.slave(master).start()
        master.wait_slaves(1)
        silent = f"http://127.0.0.1:{dead.getsockname()[1]}"
        master.begin("dead", SCRIPT.format(sites=[(silent, 500)], robots=False), rate=1e6, burst=1e6)
        share = master.slaves()[0]["window"] // 8
        eventually(lambda: master.counts("dead")["leased"] == share, 30, "it has its share")
        master.begin("free", SCRIPT.format(sites=[(free.url, 500)], robots=False), rate=1e6, burst=1e6)
        master.wait_done("free", 500, 60)  # the requests to the other end after 120 s
        assert master.counts("dead")["leased"] == share


@pytest.mark.parametrize("status", [429, 503])
def test_a_host_that_asks_for_a_pause_gets_it_and_the_other_goes_on(cluster: Cluster, status: int) -> None:
    with PoliteSite(refusals={5: (status, {"Retry-After": "3"})}) as tired, PoliteSite() as free:
        rules = [{"match": tired.host, "concurrency": 2}]
        master = crawl(cluster, {"rules": rules}, [(tired, 40), (free, 200)], rate=60)
        master.wait_done("polite", 240)
        refused = next(visit for visit in tired.visits if visit.status == status)
        pause = (refused.began + 0.5, refused.began + 3.0 - EARLY_S)  # half a second for those on their way
        assert [at for at in tired.times if pause[0] < at < pause[1]] == []
        assert len(tired.visits) == 41  # each page once, and the refused one again
        in_pause = [at for at in free.times if pause[0] < at < pause[1]]
        assert len(in_pause) >= 0.3 * 60 * (pause[1] - pause[0])  # of the project's rate, on a busy machine


def test_the_crawl_delay_of_robots_txt_is_kept_when_the_script_asks_for_robots(cluster: Cluster) -> None:
    with PoliteSite(robots="User-agent: *\nCrawl-delay: 0.5\n") as site:
        master = crawl(cluster, {"concurrency": 1}, [(site, 8)], robots=True)
        master.wait_done("polite", 8)
        assert is_spaced(site.times[1:], 0.5)  # the first answer brought it


def test_a_limit_holds_across_a_restart_of_the_master(cluster: Cluster) -> None:
    with PoliteSite(answer_s=2.0) as site:
        master = crawl(cluster, {"concurrency": 2}, [(site, 12)])
        eventually(lambda: len(site.visits) >= 4, 30, "the crawl is under way")
        master.kill()
        master.start()
        master.wait_done("polite", 12)
        assert max(visit.at_once for visit in site.visits) == 2
        assert len(site.visits) == 12


def test_sighup_reads_the_limits_again_and_a_mistake_leaves_them_as_they_are(cluster: Cluster) -> None:
    with PoliteSite() as site:
        master = crawl(cluster, {"concurrency": 1, "delay_s": 60}, [(site, 10)])
        eventually(lambda: len(site.visits) == 1, 30, "the first page is fetched")
        good = master.config.read_text()
        master.config.write_text(good.replace("delay_s: 60", "delay_s: soon"))
        master.process.signal(signal.SIGHUP)
        master.process.wait_for("reload_refused.*politeness.delay_s")
        master.config.write_text(good.replace("delay_s: 60", "delay_s: 0.2"))
        master.process.signal(signal.SIGHUP)
        master.wait_done("polite", 10, 20)
        assert is_spaced(site.times, 0.2)
