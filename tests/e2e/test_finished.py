"""on_finished in whole crawls: once, after everything else, whoever dies."""

import json
from pathlib import Path

from tests.support.cluster import ZSPIDERD, Cluster, zspiderd
from tests.support.nginx import Nginx
from tests.support.process import Process, eventually

SCRIPT = """\
from pyspider.libs.base_handler import *


class Handler(BaseHandler):
    retry_delay = {{0: 1, '': -1}}

    def on_start(self):
        for i in range(1, {pages} + 1):
            self.crawl('{site}/article/%d.html' % i, callback=self.page)
        self.crawl('{site}/nothing-here', callback=self.page)

    def page(self, response):
        return response.url

    def on_finished(self, response, task):
        self.save['times'] = self.save.get('times', 0) + 1
        if self.save['times'] == 1:
            self.crawl('{site}/article/9000.html', callback=self.page)
        return self.save['times']
"""


def results(data_dir: Path) -> dict[str, object]:
    ran = zspiderd("results", "script", "--data-dir", data_dir)
    assert ran.code == 0, str(ran)
    return {row["url"]: row["result"] for row in map(json.loads, ran.out.splitlines())}


def test_a_run_waits_for_on_finished_and_for_what_it_crawls(site: Nginx, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(site=site.url, pages=30))
    ran = zspiderd("run", script, "--rate", "1000", "--burst", "100")
    assert ran.code == 0, str(ran)
    stored = results(tmp_path / "script.py.zspider")
    assert stored["data:,on_finished"] == 2  # again after the page that it had crawled
    assert f"{site.url}/article/9000.html" in stored
    moments = {request.uri: request.time_s for request in site.requests()}
    assert moments["/article/9000.html"] == max(moments.values())  # the retry of what failed was waited for
    assert site.counts()["/nothing-here"] == 2
    assert zspiderd("run", script).out.count("all is done already") == 1  # and not once more
    assert results(tmp_path / "script.py.zspider") == stored


def test_a_killed_run_goes_on_to_its_on_finished(site: Nginx, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(site=site.url, pages=300))
    with Process([*ZSPIDERD, "run", script, "--rate", "200", "--burst", "10"]) as killed:
        eventually(lambda: site.answered() > 150, 40, "the crawl is under way")
        family = killed.family()
        killed.kill()
        eventually(lambda: not any(one.is_running() for one in family), 60, "all have ended")
    ran = zspiderd("run", script, "--rate", "1000", "--burst", "100")
    assert ran.code == 0, str(ran)
    stored = results(tmp_path / "script.py.zspider")
    assert (stored["data:,on_finished"], len(stored)) == (2, 302)


def test_a_master_that_is_killed_before_on_finished_ran_runs_it_once(cluster: Cluster, site: Nginx) -> None:
    master = cluster.master().start()
    slave = cluster.slave(master).start()
    script = SCRIPT.format(site=site.url, pages=20).replace("['times'] == 1", "['times'] == 0")
    master.begin("script", script)
    eventually(lambda: master.counts("script").get("done", 0) >= 15, 40, "the crawl is under way")
    slave.stop()
    master.kill()
    master.start()
    cluster.slave(master).start()
    master.wait_done("script", 21)
    stored = {row["url"]: row["result"] for row in master.results("script")}
    assert stored["data:,on_finished"] == 1
    master.kill()
    master.start()
    master.wait_slaves(1)
    detail = json.loads(master.ask("task", "script", "on_finished", "--json"))
    assert (detail["status"], detail["track"]["save"]) == ("done", {"times": 1})
