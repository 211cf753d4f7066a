"""A core that contradicts itself says so."""

import pytest
from tests.support.scheduler_world import World, make_project, only
from zspider.settings import PolitenessSettings


@pytest.fixture
def busy() -> World:
    """A slave has one of two tasks, with its host's limit; the other waits for that host."""
    world = World(politeness=PolitenessSettings(concurrency=1))
    world.add_project(make_project())
    world.submit("a.example/1", "a.example/2")
    world.settle(world.slave(5))
    world.core.assert_invariants()
    assert len(world.core.leases) == 1
    assert len(world.core.projects[1].frontier) == 1
    return world


def a_lease_that_its_session_forgot(world: World) -> None:
    only(world.core.sessions.values()).leases.clear()


def an_outcome_that_was_not_counted(world: World) -> None:
    only(world.core.leases).has_arrived = True


def a_session_that_is_gone_with_its_lease(world: World) -> None:
    world.core.sessions.clear()


def a_host_that_is_counted_twice(world: World) -> None:
    world.core.hosts.begin("a.example", world.now)


def a_slave_with_room_that_nobody_sees(world: World) -> None:
    world.core._granting.turns._heap.clear()


def a_task_that_waits_and_is_leased(world: World) -> None:
    frontier = world.core.projects[1].frontier
    frontier.offer(only(world.core.leases).task)


def a_task_behind_the_edge(world: World) -> None:
    window = world.core.projects[1].frontier.ready
    window.tasks.push(only(world.core.leases).task)
    window.edge = (-1, 0)


def a_host_that_nobody_opens(world: World) -> None:
    world.core.hosts._waited.clear()


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (a_lease_that_its_session_forgot, "its session does not have it"),
        (an_outcome_that_was_not_counted, "0 outcomes counted, there are 1"),
        (a_session_that_is_gone_with_its_lease, "its session is gone"),
        (a_host_that_is_counted_twice, "2 counted, 1 run"),
        (a_slave_with_room_that_nobody_sees, "has room and no turn"),
        (a_task_that_waits_and_is_leased, "waits in memory and is leased"),
        (a_task_behind_the_edge, "lies behind the edge"),
        (a_host_that_nobody_opens, "nobody will open it"),
    ],
)
def test_a_contradiction_is_found(busy, harm, told):
    harm(busy)
    with pytest.raises(AssertionError, match=told):
        busy.core.assert_invariants()
