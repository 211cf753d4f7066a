"""When the core asks for on_finished."""

import pytest
from tests.support.scheduler_world import World, make_project
from zspider.activity import SINCE_FINISHED
from zspider.task import ProjectStatus, ScriptInfo

WANTS = ScriptInfo(has_on_finished=True)


def finished(**changes):
    """A project with nothing left to do."""
    return make_project(**{"info": WANTS, "counts": {SINCE_FINISHED: 3, "waiting": 0}} | changes)


def asked(project):
    world = World()
    world.add_project(project)
    world.step()
    return world.finish_asked == [project.id]


def test_a_project_with_nothing_left_asks_for_it_once_without_any_slave():
    world = World()
    world.add_project(finished())
    world.step()
    world.step()
    assert world.finish_asked == [1]
    world.core.finish_answered(1)  # the database had another view
    world.step()
    assert world.finish_asked == [1, 1]


@pytest.mark.parametrize(
    "changes",
    [
        {"counts": {SINCE_FINISHED: 3, "waiting": 1}},
        {"counts": {SINCE_FINISHED: 0, "waiting": 0}},
        {"counts": {}},
        {"info": ScriptInfo()},
        {"info": ScriptInfo(has_on_finished=True, error="SyntaxError")},
        {"info": None},
        {"status": ProjectStatus.STOP},
    ],
)
def test_it_is_not_asked_for_otherwise(changes):
    assert asked(finished())
    assert not asked(finished(**changes))


def test_a_stopped_project_asks_when_it_runs_again():
    world = World()
    world.add_project(finished(status=ProjectStatus.STOP))
    world.step()
    assert world.finish_asked == []
    world.add_project(finished())
    world.step()
    assert world.finish_asked == [1]


def test_nothing_is_asked_while_the_slaves_of_before_a_restart_are_waited_for(world):
    world.add_project(finished())
    slave = world.slave(1)
    world.settle(slave)
    world.finish_asked.clear()
    world.restart_master()
    world.step()
    assert world.finish_asked == []
    world.advance(16)
    world.step()
    assert world.finish_asked == [1]


def test_an_answer_for_a_project_that_is_gone_is_nothing():
    World().core.finish_answered(7)
