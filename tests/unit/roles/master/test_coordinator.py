"""The coordinator's books, without sockets and threads."""

from collections import Counter
from types import SimpleNamespace

import msgspec
import pytest
from tests.support.coordinator import WaitingWriter, opened, slave_messages
from tests.support.scheduler_world import make_project
from zspider.activity import ACTIVITY, WINDOWS, WindowSlot, activity_of
from zspider.broker.hub import Peer
from zspider.broker.messages import PROTOCOL, Hello
from zspider.roles.master.slave_registry import HELLOS_MAX
from zspider.storage import Committed
from zspider.task import ScriptInfo

NOW_MS = 1_700_000_000_000


def lately(coordinator, project=1):
    """What happened in the last five minutes, by word."""
    return dict(zip(ACTIVITY, coordinator.windows.totals(project, NOW_MS)["5m"], strict=True))


def test_counters_are_read_again_after_a_write_that_was_repeated(tmp_path):
    stored = make_project(counts={"waiting": 0, "done": 2})
    slots = [WindowSlot(window.step_s, window.slot(NOW_MS), 1, activity_of({"success": 2})) for window in WINDOWS]
    storage = SimpleNamespace(projects=lambda: [stored, make_project(2)], windows=lambda now_ms: slots)
    coordinator = opened(tmp_path, storage)
    coordinator.set_project(make_project(counts={"waiting": 1, "done": 1}))
    coordinator.windows.add(1, activity_of({"success": 1}), NOW_MS)
    coordinator.reload_frontier()  # the first COMMIT was done, but its report is lost
    assert coordinator.core.projects[1].project.counts == {"waiting": 0, "done": 2}
    assert lately(coordinator)["success"] == 2
    report = Committed(NOW_MS)
    report.counts[1] = Counter(waiting=1, new=1)
    coordinator.apply(report)
    assert coordinator.core.projects[1].project.counts["waiting"] == 1
    assert (lately(coordinator)["success"], lately(coordinator)["new"]) == (2, 1)


def test_a_removed_project_leaves_no_activity_behind(tmp_path):
    coordinator = opened(tmp_path)
    coordinator.set_project(make_project())
    report = Committed(NOW_MS)
    report.counts[1] = report.counts[2] = Counter(new=1)
    coordinator.apply(report)
    assert lately(coordinator)["new"] == 1
    coordinator.remove_project(1)
    assert lately(coordinator)["new"] == 0
    assert lately(coordinator, 2)["new"] == 0  # nobody knows it: its removal was on the way


def test_a_trim_goes_on_until_nothing_is_left(tmp_path):
    left = [2, 1, 0]
    coordinator = opened(tmp_path, SimpleNamespace(trim_windows=lambda now_ms: left.pop(0)))
    coordinator.trim_windows()
    assert left == []


@pytest.mark.parametrize("order", [(1, 2), (2, 1)], ids=["the importing first", "the imported first"])
def test_a_script_that_lacks_a_project_is_asked_again_once_the_project_is_known(tmp_path, order):
    coordinator = opened(tmp_path)
    lacking = make_project(1, info=ScriptInfo(error="ImportError: ...", lacks="project2"))
    for id in order:
        coordinator.set_project(lacking if id == 1 else make_project(2))
    assert coordinator.core.projects[1].project.info is None
    assert coordinator.core.projects[2].project.info is not None


def test_a_script_that_lacks_a_project_keeps_its_error_until_then(tmp_path):
    coordinator = opened(tmp_path)
    coordinator.set_project(make_project(1, info=ScriptInfo(error="ImportError: ...", lacks="project2")))
    coordinator.set_project(make_project(3))
    assert coordinator.core.projects[1].project.info.lacks == "project2"
    coordinator.remove_project(1)
    coordinator.set_project(make_project(2))
    assert set(coordinator.core.projects) == {2, 3}


def test_nothing_is_kept_of_removed_projects(tmp_path):
    coordinator = opened(tmp_path)
    for id in range(1, 50):
        lacking = ScriptInfo(error="ImportError: ...", lacks=f"missing{id}", retry_delay={"": 1.0})
        coordinator.set_project(make_project(id, info=lacking))
        coordinator.set_project(make_project(id, info=msgspec.structs.replace(lacking, lacks="other")))  # it was pushed
        report = Committed(NOW_MS)
        report.counts[id] = Counter({"dropped:queue full": 1, "dropped:reserved taskid": 1})
        coordinator.apply(report)
        coordinator.remove_project(id)
    assert coordinator._lacking == coordinator._rules._delays == {}
    assert coordinator._project_log._refused == coordinator._project_log._logged == {}


def test_while_the_database_is_away_nothing_piles_up_that_comes_again(tmp_path):
    writer = WaitingWriter()
    coordinator = opened(tmp_path, writer=writer)
    peer = Peer(b"route", b"user", "slave", "127.0.0.1")
    hello = Hello(PROTOCOL, b"s" * 16, ["fetcher"], 10, "host", 1, "0", None, 0, 0)
    messages = slave_messages(coordinator)
    for _ in range(100):  # minutes of it
        messages.handle(peer, hello)
        coordinator.trim_windows()
    assert len(writer.calls) == HELLOS_MAX
