"""Messages between projects and to oneself, in whole crawls."""

import json
from pathlib import Path

from tests.support.cluster import Cluster, zspiderd
from tests.support.nginx import Nginx
from tests.support.process import eventually

ITEMS = 60

# pyspider's idiom for several results of one page (docs/pyspider-behaviour.md 2.7).
MANY_RESULTS = """\
from pyspider.libs.base_handler import *


class Handler(BaseHandler):
    def on_start(self):
        self.crawl('{site}/article/1.html', callback=self.list_page)

    def list_page(self, response):
        for i in range({items}):
            self.send_message(self.project_name, {{'n': i}}, url='%s#%s' % (response.url, i))

    def on_message(self, project, msg):
        return msg
"""

SENDER = """\
from zspider import BaseHandler


class Handler(BaseHandler):
    def on_start(self):
        self.send_message("hears", [1, "ü"], url="data:,greeting")
        self.send_message("nobody", "lost")
"""

HEARER = """\
from zspider import BaseHandler


class Handler(BaseHandler):
    def on_message(self, project, msg):
        self.crawl("data:,heard", callback=self.page)
        return {"from": project, "msg": msg}

    def page(self, response):
        return response.text
"""


def test_one_page_with_many_results_by_messages_to_oneself_is_not_slowed_by_the_rate(
    site: Nginx, tmp_path: Path
) -> None:
    script = tmp_path / "many.py"
    script.write_text(MANY_RESULTS.format(site=site.url, items=ITEMS))
    ran = zspiderd("run", script, "--rate", "1", "--burst", "1", "--json")
    assert ran.code == 0, str(ran)
    summary = json.loads(ran.out)
    assert (summary["done"], summary["failed"], summary["results"]) == (2, 0, ITEMS)
    assert summary["seconds"] < ITEMS / 3  # at the rate it would be a minute
    exported = zspiderd("results", "many", "--data-dir", f"{script}.zspider")
    rows = [json.loads(line) for line in exported.out.splitlines()]
    page = f"{site.url}/article/1.html"
    assert {row["url"]: row["result"] for row in rows} == {f"{page}#{n}": {"n": n} for n in range(ITEMS)}
    assert [request.uri for request in site.requests()] == ["/article/1.html"]


def test_a_message_reaches_another_project_and_one_to_nobody_is_told(cluster: Cluster) -> None:
    master = cluster.master().start()
    cluster.slave(master).start()
    master.push("hears", HEARER)
    master.begin("sends", SENDER)
    master.wait_done("hears", 2)
    found = {row["url"]: row["result"] for row in master.results("hears")}
    assert found == {"data:,greeting": {"from": "sends", "msg": [1, "ü"]}, "data:,heard": "heard"}
    eventually(lambda: "messages_dropped" in master.log, 20, "the lost message is told")
    line = next(line for line in master.log.splitlines() if "messages_dropped" in line)
    assert "nobody" in line
    assert master.counts("sends")["dropped:no such project"] == 1
