"""Hosts that answer, may answer soon or do not, in a core's turns."""

import pytest
from tests.support.scheduler_world import World, make_project, wait
from zspider.delivery import Answer
from zspider.scheduler.hosts import SILENT_MIN, SILENT_S
from zspider.settings import PolitenessSettings

PAGES = [f"one.example/{number:03}" for number in range(200)]


@pytest.fixture
def begun():
    """A crawl of one host that has not answered yet."""
    world = World(window=1000, politeness=PolitenessSettings())
    world.add_project(make_project())
    world.submit(*PAGES)
    slave = world.slave(50)
    world.settle(slave)
    wait(world, 1, slave)
    assert len(slave.held) == SILENT_MIN
    return world, slave


def has_skipped(world):
    return world.core.projects[1].frontier.deferred.has_skipped


def test_while_a_host_may_answer_soon_its_tasks_stay_in_memory_and_then_all_are_given(begun):
    world, slave = begun
    assert not has_skipped(world)
    while slave.held:
        slave.finish_all()
        world.settle(slave)
        assert not has_skipped(world)
    assert not world.waiting


def test_a_host_that_had_its_time_leaves_its_tasks_to_the_database_and_another_one_goes_on(begun):
    world, slave = begun
    wait(world, int(SILENT_S) + 2, slave)
    assert has_skipped(world)
    assert len(slave.held) == SILENT_MIN
    world.submit("two.example/1")
    world.settle(slave)
    assert "two.example/1" in {held.taskid for held in slave.held.values()}


def test_a_time_out_is_no_answer(begun):
    world, slave = begun
    for number in list(slave.held):
        slave.finish(number, is_success=False, answer=Answer(599))
    world.settle(slave)
    assert len(slave.held) == SILENT_MIN
