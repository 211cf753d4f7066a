"""A master that is killed in the middle and started again, on both databases: complete, and nothing fetched twice."""

import pytest
from tests.support.cluster import ARTICLE, Cluster, expected_article_urls, urls_of
from tests.support.nginx import Nginx
from tests.support.process import eventually


@pytest.mark.timeout(300)
def test_a_killed_master_costs_nothing(cluster: Cluster, site: Nginx, database: str) -> None:
    pages = 2000
    master = cluster.master(database=database).start()
    slaves = [cluster.slave(master).start() for _ in range(2)]
    master.wait_slaves(2)
    master.begin("article", ARTICLE.format(site=site.url, pages=pages), rate=300, burst=30)
    eventually(lambda: site.answered() > 500, 40, "the crawl is under way")
    master.kill()
    before = site.answered()
    assert before < pages
    master.start()
    counts = master.wait_done("article", pages, 60)

    assert counts.get("failed", 0) == 0
    assert urls_of(master.results("article")) == expected_article_urls(site.url, pages)
    fetched = site.counts()
    assert len(fetched) == pages
    assert {uri: number for uri, number in fetched.items() if number != 1} == {}
    assert master.status()["epoch"] == 2
    for slave in slaves:  # the very same processes: they rejoined by themselves
        slave.check_alive()
        assert slave.stop() == 0
    assert master.stop() == 0


@pytest.mark.timeout(300)
def test_a_master_stopped_and_started_goes_on(cluster: Cluster, site: Nginx, database: str) -> None:
    pages = 800
    master = cluster.master(database=database).start()
    cluster.slave(master).start()
    master.wait_slaves(1)
    master.begin("article", ARTICLE.format(site=site.url, pages=pages), rate=200, burst=20)
    eventually(lambda: site.answered() > 200, 40, "the crawl is under way")
    assert master.stop() == 0
    assert site.answered() < pages
    master.start()
    master.wait_done("article", pages, 60)
    assert urls_of(master.results("article")) == expected_article_urls(site.url, pages)
    assert set(site.counts().values()) == {1}
