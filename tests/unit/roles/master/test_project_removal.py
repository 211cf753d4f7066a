"""Projects that delete themselves, with a real database and a clock moved by hand."""

import pytest
from tests.support.coordinator import Writer, opened
from tests.support.storage import START_MS, Crawl, outcome
from zspider.roles.master import project_removal as module
from zspider.roles.master.project_removal import ProjectRemovals
from zspider.task import ProjectStatus

DAY_S = 86_400.0
DAY_MS = 86_400_000


@pytest.fixture
def crawl(tmp_path):
    with Crawl(f"sqlite:///{tmp_path}/zspider.db") as crawl:
        yield crawl


@pytest.fixture
def coordinator(crawl, tmp_path):
    """A coordinator that knows the project "shop", with tasks and results."""
    coordinator = opened(tmp_path, crawl.storage)
    crawl.commit(*(outcome(task, results=[b"1"]) for task in crawl.tasks(*"abcdefgh")))
    coordinator.set_project(crawl.project)
    return coordinator


def edit(crawl, coordinator, **changes):
    coordinator.set_project(crawl.storage.set_project(crawl.project.id, now_ms=START_MS, **changes))


def names(crawl):
    return [project.name for project in crawl.storage.projects()]


def test_a_stopped_project_of_the_group_delete_goes_after_a_day_in_bounded_batches(crawl, coordinator, monkeypatch):
    monkeypatch.setattr(module, "REMOVE_ROWS", 3)
    now_ms = [START_MS + DAY_MS]
    removals = ProjectRemovals(coordinator, writer := Writer(crawl.storage), DAY_S, lambda: now_ms[0])
    keeper = crawl.storage.push("keeper", "x", now_ms=START_MS, status=ProjectStatus.STOP)
    coordinator.set_project(keeper)
    edit(crawl, coordinator, status=ProjectStatus.STOP, group="old, Delete")
    removals.look()
    assert names(crawl) == ["keeper", "shop"]  # a day, and not less
    now_ms[0] += 1
    calls = []
    at_once = writer.call
    monkeypatch.setattr(writer, "call", lambda work, then, failed: calls.append(lambda: at_once(work, then)))
    removals.look()
    batches = 0
    while calls:
        removals.look()  # one at a time
        assert len(calls) == 1
        calls.pop()()
        batches += 1
    assert batches == 7  # three of tasks, three of results, the project
    assert names(crawl) == ["keeper"]
    assert set(coordinator.core.projects) == {keeper.id}
    assert crawl.reader.tasks(crawl.project.id) == []
    assert crawl.reader.results(crawl.project.id) == []


@pytest.mark.parametrize("changes", [{"group": "delete"}, {"status": ProjectStatus.STOP}])
def test_a_project_that_runs_or_does_not_say_so_stays(crawl, coordinator, changes):
    removals = ProjectRemovals(coordinator, Writer(crawl.storage), DAY_S, lambda: START_MS + 100 * DAY_MS)
    edit(crawl, coordinator, **changes)
    removals.look()
    assert names(crawl) == ["shop"]
    edit(crawl, coordinator, status=ProjectStatus.STOP, group="delete")
    removals.look()
    assert names(crawl) == []
