"""The coordinator's books, without sockets and threads."""

from collections import Counter
from types import SimpleNamespace

import msgspec
import pytest
from tests.support.coordinator import WaitingWriter, Writer, opened, slave_messages
from tests.support.scheduler_world import make_project
from zspider.activity import ACTIVITY, WINDOWS, WindowSlot, activity_of
from zspider.broker.hub import Peer
from zspider.broker.messages import PROTOCOL, Hello
from zspider.roles.master.slave_registry import HELLOS_MAX, SlaveStats
from zspider.scheduler.leases import Session
from zspider.storage import Committed
from zspider.task import ScriptInfo, Teller

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


LACKS = ScriptInfo(error="ImportError: ...", lacks="project2")


def answered(coordinator, info):
    """A slave that has joined answers what the script of project 1 declares."""
    storage = SimpleNamespace(save_info=lambda script, info: None)
    coordinator._writer.storage = storage
    session = joined(coordinator)
    project = coordinator.core.projects[1].project
    if info.error:
        coordinator.script_failed(project, session, info)
    else:
        coordinator.script_told(project, session, info)
    return session


def joined(coordinator):
    """A slave's session, without a connection."""
    session = Session(b"s" * 16, b"route", frozenset({"fetcher", "processor"}), "honest", 10, joined=0.0, heard=0.0)
    coordinator.core.sessions[session.id] = session
    coordinator.registry.stats[session.id] = SlaveStats(user=b"user")
    return session


@pytest.mark.parametrize("is_known", [False, True], ids=["the imported later", "the imported meanwhile"])
def test_a_script_that_lacks_a_project_is_asked_again_once_the_project_is_known(tmp_path, is_known):
    coordinator = opened(tmp_path)
    coordinator.set_project(make_project(1, info=None))
    if is_known:
        coordinator.set_project(make_project(2))
    session = answered(coordinator, LACKS)
    assert bool(session.barred) is not is_known
    if not is_known:
        coordinator.set_project(make_project(3))
        assert session.barred
        coordinator.set_project(make_project(2))
    assert not session.barred
    answered(coordinator, LACKS)  # it says so though the project is there: once is enough
    assert coordinator.core.sessions[session.id].barred or not is_known


def test_a_project_that_is_gone_is_not_asked_when_what_it_lacked_comes(tmp_path):
    coordinator = opened(tmp_path)
    coordinator.set_project(make_project(1, info=None))
    answered(coordinator, LACKS)
    coordinator.remove_project(1)
    coordinator.set_project(make_project(2))
    assert set(coordinator.core.projects) == {2}


def test_the_database_does_not_bring_back_what_was_forgotten(tmp_path):
    coordinator = opened(tmp_path)
    coordinator.set_project(make_project(1, info=None))
    answered(coordinator, ScriptInfo(min_tick=7))
    state = coordinator.core.projects[1]
    stale = msgspec.structs.replace(state.project)
    assert state.project.info.told.host == "honest"
    assert state.project.info.told.token
    coordinator.set_project(stale, asks_anew=True)
    assert state.project.info is None
    coordinator.set_project(stale)  # `project set`, from a transaction before
    assert state.project.info is None


def test_what_is_told_by_nobody_known_or_by_a_token_that_is_not_valid_is_asked_anew(tmp_path):
    coordinator = opened(tmp_path)
    token = coordinator._keys.add_token("join")
    teller = Teller(token.id, "host", 1)
    for told, stays in ((None, False), (msgspec.structs.replace(teller, token="0"), False), (teller, True)):
        coordinator.set_project(make_project(1, info=ScriptInfo(told=told)))
        assert (coordinator.core.projects[1].project.info is not None) is stays
        if not stays:
            coordinator.remove_project(1)
    coordinator._writer = Writer(SimpleNamespace(save_info=lambda script, info: saved.append(info)))
    saved = []
    coordinator._writer.waiting = SimpleNamespace(is_full=True)  # nothing is granted
    coordinator.step(0.0)
    assert coordinator.core.projects[1].project.info is not None
    coordinator._keys.revoke(token.id)
    coordinator.step(0.0)
    assert coordinator.core.projects[1].project.info is None
    assert saved == [None]


def test_nothing_is_kept_of_removed_projects(tmp_path):
    coordinator = opened(tmp_path)
    session = joined(coordinator)
    for id in range(1, 50):
        coordinator.set_project(make_project(id, info=None))
        state = coordinator.core.projects[id]
        for lacks in (f"missing{id}", "other"):  # it was pushed
            coordinator.script_failed(state.project, session, ScriptInfo(error="ImportError: ...", lacks=lacks))
        coordinator._rules.set_retry_delays(id, {"": 1.0})
        report = Committed(NOW_MS)
        report.counts[id] = Counter({"dropped:queue full": 1, "dropped:reserved taskid": 1})
        coordinator.apply(report)
        coordinator.remove_project(id)
    assert coordinator._scripts._lacking == coordinator._rules._delays == {}
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
