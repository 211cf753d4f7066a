"""Projects that import projects, in a cluster."""

from pathlib import Path

from tests.support.cluster import Cluster, zspiderd
from tests.support.process import eventually

BASE = """\
from zspider import BaseHandler


class Handler(BaseHandler):
    version = {version}

    def on_start(self):
        self.crawl("data:,page", callback=self.page, age=0)

    def page(self, response):
        return {{"version": self.version, "project": self.project_name}}
"""
BUILT_ON_IT = """\
from projects.base import Handler


class Mine(Handler):
    pass
"""


def test_a_script_built_on_another_project_waits_for_it_and_follows_its_edits_when_it_is_pushed(
    cluster: Cluster,
) -> None:
    master = cluster.master().start()
    cluster.slave(master).start()
    master.begin("mine", BUILT_ON_IT)

    def error() -> str:
        return str(next(row for row in master.status()["projects"] if row["name"] == "mine")["script_error"])

    eventually(lambda: "no project named 'base'" in error(), 40, "the script says what it lacks")
    master.push("base", BASE.format(version=1), "--status", "STOP")
    master.wait_done("mine", 1)
    assert error() == ""
    assert master.results("mine")[0]["result"] == {"version": 1, "project": "mine"}

    master.push("base", BASE.format(version=2))
    master.begin("mine", BUILT_ON_IT + "# pushed again\n")
    eventually(lambda: master.results("mine")[0]["result"]["version"] == 2, 40, "the new version is imported")
    assert len(master.results("mine")) == 1


def test_a_run_says_that_it_knows_no_other_project(tmp_path: Path) -> None:
    script = tmp_path / "mine.py"
    script.write_text(BUILT_ON_IT)
    ran = zspiderd("run", script)
    assert ran.code == 1
    assert "no project named 'base'" in ran.err, str(ran)
    assert "Traceback" not in ran.err
