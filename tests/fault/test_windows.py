"""What a master says of the last minutes is exact although it was killed in the middle of them."""

import json
from typing import Any

import pytest
from tests.support.cluster import ARTICLE, Cluster, Master
from tests.support.nginx import Nginx
from tests.support.process import eventually

PAGES = 1500


def windows(master: Master, *options: str) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """The activity of the only project by window, and the whole answer."""
    answer: dict[str, Any] = json.loads(master.ask("status", "--json", *options))
    (project,) = answer["projects"]
    return project["windows"], answer


@pytest.mark.timeout(300)
def test_a_killed_master_has_counted_everything_once(cluster: Cluster, site: Nginx, database: str) -> None:
    master = cluster.master(database=database).start()
    cluster.slave(master).start()
    master.wait_slaves(1)
    master.begin("article", ARTICLE.format(site=site.url, pages=PAGES), rate=250, burst=25)
    eventually(lambda: site.answered() > PAGES // 4, 40, "the crawl is under way")
    lately, answer = windows(master, "--hosts")
    (host,) = answer["hosts"]
    assert host["host"] == site.url.removeprefix("http://")
    assert 0 < host["pages"] == lately["5m"]["fetched"] < PAGES
    master.kill()
    assert site.answered() < PAGES
    master.start()
    lately, _ = windows(master)
    assert 0 < lately["all"]["success"] < PAGES
    assert lately["5m"] == lately["1h"] == lately["1d"] == lately["all"]  # it was all in the last five minutes
    counts = master.wait_done("article", PAGES)
    ended, _ = windows(master)
    assert ended["5m"] == ended["1h"] == ended["1d"] == ended["all"]
    expected = {"new": PAGES + 1, "success": PAGES + 1, "retry": 0, "failed": 0, "fetched": PAGES}  # 1: on_start
    assert {word: ended["1d"][word] for word in expected} == expected
    assert ended["1d"]["processed"] == PAGES + 1
    assert counts["results"] == PAGES
    assert master.stop() == 0
    master.start()
    assert windows(master)[0] == ended  # what it had in memory is what the database has
