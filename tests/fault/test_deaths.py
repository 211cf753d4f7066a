"""What dies, stops or is cut off in the middle of a crawl: everything ends complete all the same."""

import os
import resource
import shutil
import signal
import time
from pathlib import Path

import psutil
import pytest
from tests.support.cluster import ARTICLE, FAST, Cluster, Master, expected_article_urls, urls_of
from tests.support.mariadb import private_server
from tests.support.netns import Network
from tests.support.nginx import Nginx
from tests.support.process import eventually

pytestmark = pytest.mark.timeout(300)
PAGES = 1500
RATE, BURST = 250, 25


def begin(master: Master, site: Nginx, deadline_s: float = 40.0) -> None:
    """Start the article job and wait until it is well under way."""
    master.begin("article", ARTICLE.format(site=site.url, pages=PAGES), rate=RATE, burst=BURST)
    eventually(lambda: site.answered() > PAGES // 4, deadline_s, "the crawl is under way")


def finish(master: Master, site: Nginx, deadline_s: float = 60.0) -> list[str]:
    """Wait for the end, check that it is complete, and return the URIs that were fetched more than once."""
    counts = master.wait_done("article", PAGES, deadline_s)
    assert counts.get("failed", 0) == 0, counts
    assert urls_of(master.results("article")) == expected_article_urls(site.url, PAGES)
    fetched = site.counts()
    assert len(fetched) == PAGES
    assert max(fetched.values()) <= 2
    return [uri for uri, number in fetched.items() if number > 1]


def test_a_killed_processor_costs_no_fetch(cluster: Cluster, site: Nginx) -> None:
    master = cluster.master().start()
    slave = cluster.slave(master, slave={"processors": 2}).start()
    master.wait_slaves(1)
    begin(master, site)
    killed = 0
    for _ in range(3):  # never the same page three times: that would be poison
        before = site.answered()
        victim = next(one for one in slave.process.family() if "zspider.roles.processor" in one.cmdline())
        victim.kill()
        killed += 1
        eventually(lambda before=before: site.answered() > before + 20, 20, "it goes on")
    assert killed == 3
    assert finish(master, site) == []
    slave.check_alive()


def test_a_slave_that_hangs_loses_its_leases_and_what_it_says_later_changes_nothing(
    cluster: Cluster, site: Nginx
) -> None:
    master = cluster.master().start()
    hung, steady = (cluster.slave(master).start() for _ in range(2))
    master.wait_slaves(2)
    begin(master, site)
    stopped = hung.process.family()
    for one in stopped:
        one.suspend()
    try:
        began = time.monotonic()
        twice = finish(master, site)
        assert time.monotonic() - began > FAST["lease_s"] - 1, "nothing hung on it: the test shows nothing"
        assert len(twice) <= 100
    finally:
        for one in stopped:
            one.resume()
    results = master.counts("article")["results"]
    master.wait_slaves(2)
    hung.check_alive()
    steady.check_alive()
    assert master.counts("article")["results"] == results == PAGES


def test_a_killed_slave_is_replaced_by_another(cluster: Cluster, site: Nginx) -> None:
    master = cluster.master().start()
    victim = cluster.slave(master).start()
    master.wait_slaves(1)
    begin(master, site)
    family = victim.process.family()
    victim.kill()
    eventually(lambda: not any(_is_alive(one) for one in family), 20, "its processors ended with it")
    cluster.slave(master).start()
    assert len(finish(master, site)) <= 100


def test_a_drained_slave_gives_back_what_it_holds_and_nothing_is_fetched_twice(cluster: Cluster, site: Nginx) -> None:
    master = cluster.master().start()
    leaving = cluster.slave(master).start()
    cluster.slave(master).start()
    master.wait_slaves(2)
    begin(master, site)
    assert leaving.stop() == 0
    assert site.answered() < PAGES
    master.wait_slaves(1)
    assert finish(master, site) == []


def test_a_slave_without_descriptors_waits_until_it_has_some(cluster: Cluster, site: Nginx) -> None:
    master = cluster.master().start()
    slave = cluster.slave(master).start()
    master.wait_slaves(1)
    begin(master, site)
    process = psutil.Process(slave.process.pid)
    limits = process.rlimit(resource.RLIMIT_NOFILE)
    process.rlimit(resource.RLIMIT_NOFILE, (process.num_fds(), limits[1]))  # what is open stays open
    master.process.signal(signal.SIGSTOP)  # so that the slave wants to build its sockets anew
    slave.process.wait_for("no_socket|token_unusable", 20)
    master.process.signal(signal.SIGCONT)
    process.rlimit(resource.RLIMIT_NOFILE, limits)
    master.wait_slaves(1)
    assert finish(master, site) == []
    slave.check_alive()


def test_what_a_slave_without_descriptors_cannot_ask_for_has_not_failed(cluster: Cluster, site: Nginx) -> None:
    master = cluster.master().start()
    slave = cluster.slave(master).start()
    master.wait_slaves(1)
    process = psutil.Process(slave.process.pid)
    limits = process.rlimit(resource.RLIMIT_NOFILE)
    process.rlimit(resource.RLIMIT_NOFILE, (process.num_fds(), limits[1]))
    master.begin("article", ARTICLE.format(site=site.url, pages=PAGES), rate=RATE, burst=BURST)
    slave.process.wait_for("no_descriptors_left", 20)
    process.rlimit(resource.RLIMIT_NOFILE, limits)
    assert finish(master, site) == []
    assert "retry" not in master.counts("article")
    slave.check_alive()


@pytest.mark.root
def test_a_cut_network_heals(network: Network, cluster: Cluster, pages: Path, tmp_path: Path) -> None:
    with Nginx(pages, tmp_path / "nginx", host=network.host("site")) as far:
        master = cluster.master(host=network.host("master")).start()
        lost, near = (cluster.slave(master, host=network.host(name)) for name in ("lost", "near"))
        lost.start()
        near.start()
        master.wait_slaves(2)
        begin(master, far)
        assert lost.host
        lost.host.cut()
        eventually(lambda: len(master.slaves()) == 1 or _silent(master) > FAST["lease_s"], 30, "the master noticed")
        lost.host.heal()
        master.wait_slaves(2)
        assert len(finish(master, far)) <= 100
        lost.check_alive()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "hung"])
def test_the_master_outlives_its_database(cluster: Cluster, site: Nginx, number: signal.Signals) -> None:
    with private_server() as server:
        master = cluster.master(database=server.address(server.new_database())).start()
        slave = cluster.slave(master).start()
        master.wait_slaves(1)
        begin(master, site)
        if number is signal.SIGKILL:
            server.kill()
            eventually(lambda: master.status()["database_away"], 30, "the master noticed")
            assert site.answered() < PAGES
            server.start()
        else:
            server.send_signal(signal.SIGSTOP)
            time.sleep(3)  # the fault itself: a database that says nothing for three seconds
            server.send_signal(signal.SIGCONT)
        assert finish(master, site) == []
        master.check_alive()
        slave.check_alive()
        assert slave.stop() == 0
        assert master.stop() == 0


def test_everybody_dies_at_once(cluster: Cluster, site: Nginx, database: str) -> None:
    master = cluster.master(database=database).start()
    slaves = [cluster.slave(master).start() for _ in range(2)]
    master.wait_slaves(2)
    begin(master, site)
    for one in (master, *slaves):
        os.kill(one.process.pid, signal.SIGKILL)
    for one in (master, *slaves):
        one.process.wait(10)
    before = site.answered()
    assert before < PAGES
    master.start()
    for slave in slaves:
        slave.start()
    assert len(finish(master, site)) <= 200  # what two windows held
    assert master.status()["epoch"] == 2


def test_a_second_master_on_the_same_database_stays_out(cluster: Cluster, site: Nginx, database: str) -> None:
    master = cluster.master(database=database).start()
    if database:
        other = Master(cluster.directory / "other", database=database)
    else:
        other = Master(cluster.directory / "other", database=f"sqlite:///{master.data_dir / 'zspider.db'}")
    try:
        process = other.spawn()
        assert process.wait(40) == 75
        assert "Traceback" not in process.output
    finally:
        other.close()
    assert master.status()["epoch"] == 1
    assert master.stop() == 0


def test_a_copy_of_the_data_directory_never_takes_the_database_of_a_master_that_lives(cluster: Cluster) -> None:
    """A cloned machine, or a backup that somebody starts, with a supervisor that starts it again and again."""
    with private_server() as server:
        database = server.address(server.new_database())
        master = cluster.master(database=database).start()
        copy = Master(cluster.directory / "copy", database=database)
        shutil.copytree(master.data_dir, copy.data_dir, dirs_exist_ok=True)
        try:
            for _ in range(2):
                assert copy.spawn().wait(40) == 75
            assert master.status()["epoch"] == 1
            master.kill()
            began = time.monotonic()
            master.start()  # the same directory: it need not watch anybody
            assert time.monotonic() - began < 8
            assert master.status()["epoch"] == 2
            assert master.stop() == 0
            copy.start()
            assert copy.stop() == 0
        finally:
            copy.close()


def _silent(master: Master) -> float:
    return max(float(slave["silent_s"]) for slave in master.slaves())


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
