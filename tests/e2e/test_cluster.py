"""A master, slaves and the site, each on a host of its own: every page once, shared evenly, whatever dies."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.cluster import ARTICLE, Cluster, Master, Slave, expected_article_urls, urls_of
from tests.support.mariadb import MariaDb
from tests.support.netns import Network
from tests.support.nginx import Nginx
from tests.support.process import eventually

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]
ALL = 11_110


@pytest.fixture
def far_site(network: Network, pages: Path, tmp_path: Path) -> Iterator[Nginx]:
    """The demo site on a host of its own."""
    with Nginx(pages, tmp_path / "nginx", host=network.host("site")) as nginx:
        yield nginx


@pytest.fixture
def master(network: Network, cluster: Cluster, mariadb: MariaDb) -> Master:
    """A master on a host of its own, with MariaDB behind a socket file, since no network but ours reaches it."""
    address = mariadb.address(mariadb.new_database(), user="root", password="", host="localhost")
    socket = mariadb.query("SELECT @@socket")[0][0]
    return cluster.master(host=network.host("master"), database=f"{address}?unix_socket={socket}").start()


def start_slave(network: Network, cluster: Cluster, master: Master, name: str) -> Slave:
    return cluster.slave(master, host=network.host(name)).start()


def shares(site: Nginx, since: int = 0) -> Counter[str]:
    """Pages by the slave's address, from request number `since` on."""
    return Counter(request.client for request in site.requests()[since:])


def test_two_slaves_on_other_hosts_share_the_article_job_evenly(
    network: Network, cluster: Cluster, master: Master, far_site: Nginx
) -> None:
    slaves = [start_slave(network, cluster, master, name) for name in ("left", "right")]
    master.wait_slaves(2)
    # The rate is below what the machine can do, so that who gets how much is decided by the master alone.
    master.begin("article", ARTICLE.format(site=far_site.url, pages=ALL), rate=900, burst=100)
    counts = master.wait_done("article", ALL, 100)

    assert counts.get("failed", 0) == 0
    fetched = far_site.counts()
    assert len(fetched) == ALL
    assert set(fetched.values()) == {1}
    assert urls_of(master.results("article")) == expected_article_urls(far_site.url, ALL)
    share = shares(far_site)
    assert set(share) == {slave.host.address for slave in slaves if slave.host}
    assert all(abs(number - ALL / 2) <= 0.1 * ALL / 2 for number in share.values()), share


def test_a_third_slave_gets_its_third_from_when_it_joins(
    network: Network, cluster: Cluster, master: Master, far_site: Nginx
) -> None:
    pages, rate = 6000, 250  # so slow that a slave on a busy machine joins in time
    for name in ("left", "right"):
        start_slave(network, cluster, master, name)
    master.wait_slaves(2)
    master.begin("article", ARTICLE.format(site=far_site.url, pages=pages), rate=rate, burst=20)
    eventually(lambda: far_site.answered() > 700, 40, "the crawl is under way")
    start_slave(network, cluster, master, "third")
    master.wait_slaves(3)
    joined = far_site.answered()
    assert joined < 4500, "it joined too late for its share to be seen"
    master.wait_done("article", pages, 120)

    later = shares(far_site, joined + rate)  # what was granted before it joined is fetched by then
    assert set(far_site.counts().values()) == {1}
    third = sum(later.values()) / 3
    assert len(later) == 3
    assert all(abs(number - third) <= 0.2 * third for number in later.values()), later


def test_only_what_a_killed_slave_held_is_fetched_twice(
    network: Network, cluster: Cluster, master: Master, far_site: Nginx
) -> None:
    pages = 3000
    victim, survivor = (start_slave(network, cluster, master, name) for name in ("victim", "survivor"))
    master.wait_slaves(2)
    master.begin("article", ARTICLE.format(site=far_site.url, pages=pages), rate=400, burst=50)
    eventually(lambda: far_site.answered() > 1000, 40, "the crawl is under way")
    victim.kill()
    assert victim.host
    assert survivor.host
    assert far_site.answered() < pages, "the crawl was over before the slave died"
    master.wait_done("article", pages, 60)

    assert urls_of(master.results("article")) == expected_article_urls(far_site.url, pages)
    fetchers: dict[str, list[str]] = {}
    for request in far_site.requests():
        fetchers.setdefault(request.uri, []).append(request.client)
    assert len(fetchers) == pages
    twice = [clients for clients in fetchers.values() if len(clients) > 1]
    assert len(twice) <= 2 * 50  # its window: twice its concurrency
    assert all(clients == [victim.host.address, survivor.host.address] for clients in twice), twice


def test_slaves_that_start_before_their_master_join_when_it_comes(
    network: Network, cluster: Cluster, far_site: Nginx
) -> None:
    master = cluster.master(host=network.host("master"))
    master.start()  # makes the token that the slaves have
    assert master.stop() == 0
    slave = start_slave(network, cluster, master, "early")
    slave.process.wait_for("master_not_reached", 20)
    master.start()
    master.wait_slaves(1)
    master.begin("article", ARTICLE.format(site=far_site.url, pages=50))
    master.wait_done("article", 50)
