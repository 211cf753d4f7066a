"""Who is served next, how fast, and when the core wants to be asked again."""

from collections import Counter

import pytest
from tests.support.scheduler_world import (
    World,
    make_project,
    names,
    only,
    wait,
)
from zspider.task import MESSAGE_PRIORITY, ProjectStatus

PROCESSOR = frozenset({"processor"})


def shares(world, since):
    return Counter(session for at, session, _ in world.granted if at >= since)


def crawl(world, seconds, slaves):
    """Slaves that finish each task within a tenth of a second."""
    since = world.now
    for _ in range(int(seconds * 10)):
        for slave in slaves:
            slave.listen()
            slave.finish_all()
            slave.beat()
        world.settle(*slaves)
        world.advance(0.1)
    return shares(world, since)


def test_equal_slaves_get_equal_shares_under_a_rate_limit_and_a_third_gets_its_third(world):
    world.add_project(make_project(rate=10, burst=3))
    world.submit(*(f"t{n}" for n in range(700)))
    pair = [world.slave(10), world.slave(10)]
    world.settle(*pair)
    half = crawl(world, 20, pair)
    assert abs(half[pair[0].session] - half[pair[1].session]) <= 2
    assert sum(half.values()) == pytest.approx(200, abs=3)
    three = [*pair, world.slave(10)]
    world.settle(*three)
    third = crawl(world, 30, three)
    assert all(third[slave.session] == pytest.approx(100, abs=3) for slave in three)


def test_a_rate_holds_cluster_wide_whoever_joins_and_whatever_is_given_back(world):
    world.add_project(make_project(rate=5, burst=2))
    world.submit(*(f"t{n}" for n in range(300)))
    slaves = [world.slave(50) for _ in range(3)]
    crawl(world, 10, slaves)
    starts = sorted(at for at, _, _ in world.granted)
    for i, first in enumerate(starts):
        for j in range(i, len(starts)):
            assert j - i + 1 <= 5 * (starts[j] - first) + 2 + 0.02  # start_ms is in whole milliseconds


def test_the_slave_with_the_least_to_do_for_its_size_is_served_first(world):
    world.submit(*(f"t{n}" for n in range(9)))
    small, large = world.slave(3), world.slave(30)
    world.settle()
    small.listen()
    large.listen()
    assert len(small.held) in (1, 2)
    assert len(small.held) + len(large.held) == 9


def test_projects_take_turns_even_when_there_is_room_for_one_task_only():
    world = World()
    for id in (1, 2, 3, 4):
        world.add_project(make_project(id))
        if id != 2:  # one of them has nothing to do
            world.submit(*(f"t{n}" for n in range(40)), project=id)
    slave = world.slave(1)
    world.settle(slave)
    for _ in range(29):
        slave.finish_all()
        world.settle(slave)
    assert Counter(held.ref.project for _, _, held in world.granted) == {1: 10, 3: 10, 4: 10}


def test_a_slave_that_only_processes_gets_no_leases(world):
    world.submit("page")
    slave = world.slave(10, roles=PROCESSOR)
    world.settle(slave)
    assert not slave.held


def test_a_script_that_one_slave_cannot_load_goes_to_another(world):
    world.submit("page")
    lacking = world.slave(10)
    world.settle(lacking)
    lacking.give_back([1], bar=True)
    world.settle(lacking)
    assert not lacking.held
    able = world.slave(1)
    world.settle(lacking, able)
    assert names(able) == ["page"]
    world.submit("more", "and more")
    world.settle(lacking, able)
    assert not lacking.held
    world.add_project(make_project(script=b"n" * 32))  # an edit may have mended it
    world.settle(lacking, able)
    assert names(lacking) == ["and more", "more"]


def test_more_than_one_turn_of_grants_is_granted_without_waiting():
    world = World(window=10_000, limit=10_000)
    world.add_project(make_project())
    world.submit(*(f"t{n}" for n in range(600)))
    world.slave(1000)
    for _ in range(2):
        world.hear_slaves()
        world.write()
        world.hear_writer()
        world.step()
    assert len(world.core.leases) == 500
    assert world.core.wait_s(world.now) == 0
    world.step()
    assert len(world.core.leases) == 600
    assert world.core.wait_s(world.now) > 0


def test_the_core_sleeps_until_the_next_task_is_due_and_no_longer(world):
    world.submit("page")
    slave = world.slave(1)
    world.settle(slave)
    slave.finish(1, is_success=False)  # to be tried again in 30 s
    world.settle(slave)
    wait(world, 29, slave)
    world.advance(0.5)
    world.step()
    assert world.core.wait_s(world.now) == pytest.approx(0.5, abs=0.01)
    world.advance(0.5)
    world.settle(slave)
    assert names(slave) == ["page"]
    assert only(slave.held.values()).run == 1


def test_a_due_task_that_nobody_can_have_does_not_keep_the_core_awake(world):
    world.submit("page")
    slave = world.slave(2)
    world.settle(slave)
    slave.finish(1, is_success=False)
    world.settle(slave)
    world.add_project(make_project(info=None, script=b"n" * 32))  # what it declares is asked first
    wait(world, 40, slave)
    world.step()
    assert world.core.wait_s(world.now) == 1.0


def test_a_rate_limited_project_is_looked_at_when_its_next_token_comes(world):
    world.add_project(make_project(rate=2, burst=1))
    world.submit("a", "b")
    slave = world.slave(5)
    world.settle(slave)
    assert names(slave) == ["a"]
    assert world.core.wait_s(world.now) == pytest.approx(0.43)
    assert world.core.wait_s(world.now + 0.6) <= 0.03  # the loop was late: no second more


def test_messages_go_past_the_rate_and_take_no_token(world):
    world.add_project(make_project(rate=0.001, burst=1))
    world.submit("a", "b")
    slave = world.slave(10)
    world.settle(slave)
    assert names(slave) == ["a"]  # the only token for long
    world.submit("_on_message:1", "_on_message:2", priority=MESSAGE_PRIORITY)
    world.settle(slave)
    assert names(slave) == ["_on_message:1", "_on_message:2", "a"]
    assert {held.start_ms for held in slave.held.values()} == {0}
    slave.finish_all()
    world.settle(slave)
    assert not slave.held  # b waits for its own


def test_messages_of_a_project_that_may_start_nothing_are_heard(world):
    world.add_project(make_project(rate=0.0, burst=0))
    world.submit("page")
    world.submit("_on_message:1", priority=MESSAGE_PRIORITY)
    slave = world.slave(10)
    world.settle(slave)
    assert names(slave) == ["_on_message:1"]


def test_a_message_waits_while_its_project_is_stopped(world):
    world.add_project(make_project(status=ProjectStatus.STOP))
    world.submit("_on_message:1", priority=MESSAGE_PRIORITY)
    slave = world.slave(10)
    world.settle(slave)
    assert not slave.held
    world.add_project(make_project())
    world.settle(slave)
    assert names(slave) == ["_on_message:1"]
