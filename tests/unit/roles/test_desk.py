"""The desk's books, without sockets and threads."""

from types import SimpleNamespace

from tests.support.scheduler_world import make_project
from zspider.roles.desk import Desk
from zspider.scheduler.core import Core, Timing
from zspider.scheduler.rules import SchedulerRules
from zspider.settings import MasterFile
from zspider.storage import Committed


class Writer:
    """Does at once what the writer's thread would do later."""

    def __init__(self, storage):
        self.storage = storage

    def call(self, work, then=lambda _: None, failed=None):
        then(work(self.storage))


def test_counters_are_read_again_after_a_write_that_was_repeated(tmp_path):
    stored = make_project(counts={"waiting": 0, "done": 2})
    desk = Desk(None, None, SchedulerRules())
    core = Core(Timing(), window=10, expected=(), now=0.0)
    writer = Writer(SimpleNamespace(projects=lambda: [stored, make_project(2)]))
    desk.open(core, writer, MasterFile(data_dir=tmp_path), b"c" * 16, 1)
    desk.set_project(make_project(counts={"waiting": 1, "done": 1}))
    desk.reload_frontier()  # the first COMMIT was done, but its report is lost
    assert core.projects[1].project.counts == {"waiting": 0, "done": 2}
    report = Committed()
    report.counts[1]["waiting"] += 1
    desk.apply(report)
    assert core.projects[1].project.counts["waiting"] == 1
