"""A task that is submitted again or cancelled while a slave has it: that run ends and counts, then the newest goes."""

import pytest
from tests.support.scheduler_world import World, make_project, names, only, wait
from zspider.activity import SINCE_FINISHED
from zspider.task import ProjectStatus, Ref, ScriptInfo, Status, task_key


@pytest.fixture
def pair(world):
    """A slave that has run 0 of "page", and another one with room."""
    world.submit("page")
    a, b = world.slave(1), world.slave(1)
    world.settle(a, b)
    return (a, b) if a.held else (b, a)


def status(world, name="page"):
    return world.rows[Ref(1, task_key(name))].status


def test_any_number_of_submissions_makes_one_further_run_after_the_one_under_way(world, pair):
    holder, other = pair
    for _ in range(3):
        world.force("page")
        world.settle(holder, other)
    assert (holder.told, names(holder), names(other)) == ([], ["page"], [])
    holder.finish(1)
    world.settle(holder, other)
    again = only([*holder.held.values(), *other.held.values()])
    assert (again.run, again.attempt) == (3, 1)
    assert (world.counted, world.late) == ([("page", 0)], 0)
    for slave in pair:
        slave.finish_all()
    world.settle(holder, other)
    assert (world.counted, world.late) == ([("page", 0), ("page", 3)], 0)
    assert len(world.granted) == 2


def test_a_page_that_is_submitted_again_and_again_does_not_starve(world, pair):
    holder, other = pair
    for _ in range(20):
        world.force("page")
        wait(world, 1, holder, other)
        world.force("page")
        for slave in pair:
            slave.finish_all()
        wait(world, 1, holder, other)
    assert len(world.counted) == 20


def crashes(world, holder):
    holder.crash()


def leaves(world, holder):
    holder.leave()


def gives_back(world, holder):
    holder.window = 0  # not to the same one again
    holder.beat()
    holder.give_back([1])


def loses_it(world, holder):
    holder.window = 0
    del holder.held[1]
    holder.beat()


@pytest.mark.parametrize("loses", [crashes, leaves, gives_back, loses_it])
def test_when_the_lease_is_lost_the_newest_run_goes_out_instead(world, pair, loses):
    holder, other = pair
    world.force("page")
    world.settle(holder, other)
    loses(world, holder)
    wait(world, 32, *(slave for slave in pair if slave.is_up))
    assert [(held.run, held.attempt) for held in other.held.values()] == [(1, 1)]
    assert len(world.granted) == 2


@pytest.mark.parametrize("loses", [crashes, leaves, gives_back, loses_it])
def test_when_the_lease_of_a_cancelled_task_is_lost_nothing_goes_out(world, pair, loses):
    holder, other = pair
    world.cancel("page")
    world.settle(holder, other)
    loses(world, holder)
    wait(world, 32, *(slave for slave in pair if slave.is_up))
    assert (names(other), len(world.core.leases), status(world)) == ([], 0, Status.BAD)


def test_a_cancelled_run_ends_and_counts(world, pair):
    holder, other = pair
    world.cancel("page")
    world.settle(holder, other)
    assert (holder.told, len(world.core.leases)) == ([], 1)
    holder.finish(1, follows=((1, "child", 0),))
    world.settle(holder, other)
    assert (world.counted, status(world)) == ([("page", 0)], Status.BAD)
    assert names(holder) + names(other) == ["child"]


def test_cancelled_and_submitted_again_it_runs_once_more(world, pair):
    holder, other = pair
    world.force("page")
    world.cancel("page")
    world.force("page")
    world.settle(holder, other)
    assert len(world.granted) == 1
    holder.finish(1)
    world.settle(holder, other)
    assert only([*holder.held.values(), *other.held.values()]).run == 3


def test_what_comes_after_the_lease_was_lost_counts_until_the_newest_run_has_ended(world, pair):
    holder, other = pair
    world.force("page")
    world.settle(holder, other)
    world.disconnect(holder.route)  # for longer than its lease
    wait(world, 32, other)
    assert only(other.held.values()).run == 1
    holder.reconnect()
    holder.finish(1)
    world.settle(holder, other)
    assert world.counted == [("page", 0)]
    assert (names(other), holder.outbox) == (["page"], {})
    other.finish_all()
    holder.outbox[1] = world.granted[0][2]
    holder.push_again()
    world.settle(holder, other)
    assert (world.counted, world.late) == ([("page", 0), ("page", 1)], 1)


def test_an_outcome_that_is_made_is_not_dropped_while_it_would_count(world, pair):
    holder, other = pair
    world.force("page")
    world.settle(holder, other)
    world.disconnect(holder.route)
    holder.finish(1)
    world.outcomes.clear()  # pushed, and lost with the connection
    wait(world, 32, other)
    assert only(other.held.values()).run == 1
    holder.reconnect()
    world.settle(holder, other)
    assert (holder.told, world.counted) == ([], [("page", 0)])
    other.finish_all()
    world.settle(holder, other)
    assert (world.counted, world.late) == ([("page", 0), ("page", 1)], 0)


@pytest.mark.parametrize("is_cancelled", [False, True])
@pytest.mark.parametrize("late_s", [0, 20])
def test_a_restarted_master_lets_the_run_that_a_slave_holds_end_first(world, pair, late_s, is_cancelled):
    holder, other = pair
    world.force("page")
    if is_cancelled:
        world.cancel("page")
    world.settle(holder, other)
    world.restart_master()
    other.crash()
    world.advance(late_s)  # 20: all that waits has been read meanwhile
    world.settle()
    holder.reconnect()
    third = world.slave(1)
    wait(world, 20, holder, third)
    assert (holder.told, names(holder), names(third)) == ([], ["page"], [])
    holder.finish(1)
    world.settle(holder, third)
    assert world.counted == [("page", 0)]
    assert [held.run for held in (*holder.held.values(), *third.held.values())] == [] if is_cancelled else [1]


def test_a_run_that_is_over_is_not_taken_up_again(world, pair):
    holder, other = pair
    old = holder.held[1]
    holder.finish(1, is_success=False)
    world.settle(holder, other)
    world.force("page")
    holder.crash()
    wait(world, 32)
    holder = world.slave(1)
    holder.held[1] = old
    holder.reconnect()
    world.settle(holder)
    assert holder.told == [("release", [1])]


def test_memory_that_is_read_again_still_waits_for_the_run_under_way():
    world = World(window=4, limit=2)
    world.add_project(make_project())
    world.submit("page", priority=5)
    holder = world.slave(1)
    world.settle(holder)
    world.force("page")
    world.submit(*(f"t{n}" for n in range(9)), priority=7)  # "page" is behind what memory holds
    world.core.reload()
    world.settle(holder)
    world.core.assert_invariants()
    other = world.slave(20)
    wait(world, 3, holder, other)
    assert names(other) == [f"t{n}" for n in range(9)]
    world.core.reload()
    wait(world, 3, holder, other)
    assert len(other.held) == 9
    holder.leave()
    wait(world, 3, other)
    assert names(other) == ["page", *(f"t{n}" for n in range(9))]


def test_a_later_time_counts_from_the_submission(world, pair):
    holder, other = pair
    world.force("page")
    world.settle(holder, other)
    row = world.rows[Ref(1, task_key("page"))]
    row.due_ms = world.now_ms + 5000
    world.writer.append(lambda: world._committed([], ([row], [])))
    world.settle(holder, other)
    holder.finish(1)
    wait(world, 4, holder, other)
    assert len(world.granted) == 1
    wait(world, 2, holder, other)
    assert len(world.granted) == 2


def test_a_project_that_is_stopped_gets_its_newest_run_back(world):
    world.add_project(make_project(rate=0.5, burst=1))
    world.submit("first", "page")
    slave = world.slave(2)
    wait(world, 3, slave)
    world.force("page")
    world.settle(slave)
    world.add_project(make_project(status=ProjectStatus.STOP))
    world.settle(slave)
    assert names(slave) == []
    world.add_project(make_project())
    wait(world, 3, slave)
    assert sorted((held.taskid, held.run) for held in slave.held.values()) == [("first", 0), ("page", 1)]


def test_on_finished_waits_for_the_run_of_a_cancelled_task(world, pair):
    holder, other = pair
    world.cancel("page")
    world.settle(holder, other)
    done = {SINCE_FINISHED: 1, "waiting": 0}
    world.add_project(make_project(info=ScriptInfo(has_on_finished=True), counts=done))
    wait(world, 3, holder, other)
    assert world.finish_asked == []
    holder.finish(1)
    wait(world, 2, holder, other)
    assert world.finish_asked == [1]
