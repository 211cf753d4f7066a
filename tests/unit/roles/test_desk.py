"""The desk's books, without sockets and threads."""

from types import SimpleNamespace

import pytest
from tests.support.scheduler_world import make_project
from zspider.broker.keys import MasterKeys
from zspider.roles.desk import Desk
from zspider.scheduler.core import Core, Timing
from zspider.scheduler.rules import SchedulerRules
from zspider.settings import MasterFile
from zspider.storage import Committed
from zspider.task import ScriptInfo


class Writer:
    """Does at once what the writer's thread would do later."""

    def __init__(self, storage):
        self.storage = storage

    def call(self, work, then=lambda _: None, failed=None):
        then(work(self.storage))


def opened(tmp_path, storage=None):
    """A desk at work."""
    desk = Desk(None, MasterKeys(tmp_path / "keys"), SchedulerRules())
    core = Core(Timing(), window=10, expected=(), now=0.0)
    desk.open(core, Writer(storage), MasterFile(data_dir=tmp_path), b"c" * 16, 1)
    return desk


def test_counters_are_read_again_after_a_write_that_was_repeated(tmp_path):
    stored = make_project(counts={"waiting": 0, "done": 2})
    desk = opened(tmp_path, SimpleNamespace(projects=lambda: [stored, make_project(2)]))
    desk.set_project(make_project(counts={"waiting": 1, "done": 1}))
    desk.reload_frontier()  # the first COMMIT was done, but its report is lost
    assert desk.core.projects[1].project.counts == {"waiting": 0, "done": 2}
    report = Committed()
    report.counts[1]["waiting"] += 1
    desk.apply(report)
    assert desk.core.projects[1].project.counts["waiting"] == 1


@pytest.mark.parametrize("order", [(1, 2), (2, 1)], ids=["the importing first", "the imported first"])
def test_a_script_that_lacks_a_project_is_asked_again_once_the_project_is_known(tmp_path, order):
    desk = opened(tmp_path)
    lacking = make_project(1, info=ScriptInfo(error="ImportError: ...", lacks="project2"))
    for id in order:
        desk.set_project(lacking if id == 1 else make_project(2))
    assert desk.core.projects[1].project.info is None
    assert desk.core.projects[2].project.info is not None


def test_a_script_that_lacks_a_project_keeps_its_error_until_then(tmp_path):
    desk = opened(tmp_path)
    desk.set_project(make_project(1, info=ScriptInfo(error="ImportError: ...", lacks="project2")))
    desk.set_project(make_project(3))
    assert desk.core.projects[1].project.info.lacks == "project2"
    desk.remove_project(1)
    desk.set_project(make_project(2))
    assert set(desk.core.projects) == {2, 3}
