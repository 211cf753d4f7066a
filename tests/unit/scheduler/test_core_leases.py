"""Leases: given, lost, expired, ended."""

from tests.support.scheduler_world import Slave, names, only, wait
from zspider.delivery import ATTEMPTS_MAX
from zspider.task import Status


def test_a_task_is_granted_in_the_order_of_priority_and_arrival(world):
    world.submit("first", "second")
    world.submit("urgent", priority=1)
    world.settle()
    slave = world.slave(2)
    world.settle(slave)
    assert [held.taskid for held in slave.held.values()] == ["urgent", "first"]


def test_a_lease_expires_after_silence_and_its_task_is_granted_again_as_the_next_attempt(world):
    world.submit("page")
    silent = world.slave(1)
    world.settle(silent)
    first = only(silent.held.values())
    silent.crash()
    steady = world.slave(1)
    wait(world, 29, steady)
    assert not steady.held
    wait(world, 2, steady)
    second = only(steady.held.values())
    assert (second.ref, second.run, second.attempt) == (first.ref, first.run, first.attempt + 1)
    assert only(world.waiting).attempt == first.attempt
    assert world.persisted == {steady.session}


def test_the_outcome_of_an_expired_lease_still_counts_and_its_new_holder_is_told(world):
    world.submit("page")
    slow = world.slave(1)
    world.settle(slow)
    steady = world.slave(1)
    wait(world, 31, steady)
    assert names(steady) == ["page"]
    slow.hello()  # it was only slow
    slow.finish_all()
    world.settle(slow, steady)
    assert not world.waiting
    assert not steady.held
    assert steady.told == [("release", [1])]
    assert not len(world.core.leases)


def test_a_task_that_ends_ten_slaves_fails(world):
    world.submit("killer")
    for attempt in range(1, ATTEMPTS_MAX + 1):
        victim = world.slave(1)
        world.settle(victim)
        assert only(victim.held.values()).attempt == attempt
        victim.crash()
        wait(world, 31)
    assert only(world.rows.values()).status is Status.FAILED
    last = world.slave(1)
    world.settle(last)
    assert not last.held


def test_an_expired_lease_is_not_given_again_before_it_is_written_down(world):
    world.submit("page")
    silent, steady = world.slave(1), Slave(world, 1)
    world.settle(silent)
    silent.crash()
    wait(world, 29)
    steady.hello()
    world.settle(steady)
    world.advance(1.5)
    world.step()
    assert not len(world.core.leases)
    world.settle(steady)
    assert only(steady.held.values()).attempt == 2
    assert only(world.waiting).attempt == 1


def test_a_silent_slave_gets_nothing_new_until_it_is_heard(world):
    slave = world.slave(2)
    world.settle(slave)
    world.advance(6.5)
    world.submit("page")
    world.settle()
    assert not len(world.core.leases)
    slave.beat()
    world.settle(slave)
    assert names(slave) == ["page"]


def test_a_grant_that_was_overtaken_and_is_not_named_is_given_again_as_the_same_attempt(world):
    slave = world.slave(5)
    world.submit("lost")
    world.settle()
    world.routes[slave.route].clear()  # the message never came
    world.submit("next")
    world.settle(slave)
    assert names(slave) == ["next"]
    slave.beat()
    world.settle(slave)
    assert names(slave) == ["lost", "next"]
    assert {held.attempt for held in slave.held.values()} == {1}
    assert world.core.slaves.lost_leases == 1


def test_a_grant_on_its_way_is_not_taken_for_lost(world):
    slave = world.slave(5)
    world.settle(slave)
    world.submit("page")
    world.settle()
    slave.beat()  # sent before the grant came
    slave.hello()  # so was this: a second answer to "say Hello"
    world.settle()
    assert world.core.slaves.lost_leases == 0
    slave.listen()
    assert names(slave) == ["page"]


def test_a_grant_that_a_live_slave_never_confirms_goes_back_after_the_time_of_a_lease(world):
    slave = world.slave(1)
    world.submit("lost")
    world.settle()
    world.routes[slave.route].clear()
    wait(world, 29, slave)
    assert not slave.held
    wait(world, 2, slave)
    assert names(slave) == ["lost"]


def test_a_grant_to_a_connection_that_is_gone_is_put_back_at_once(world):
    gone = world.slave(1)
    world.settle(gone)
    gone.crash()
    world.submit("page")
    world.settle()
    for _ in range(20):
        world.advance(0.2)
        world.step()
    assert len(world.granted) == 1  # nothing is sent into the void again and again
    assert not len(world.core.leases)
    other = world.slave(1)
    world.settle(other)
    assert names(other) == ["page"]


def test_a_finished_task_makes_room_before_it_is_committed(world):
    world.submit("a", "b")
    slave = world.slave(1)
    world.settle(slave)
    slave.finish_all()
    world.hear_outcomes()
    world.step()
    slave.listen()
    assert names(slave) == ["b"]
    assert len(world.core.leases) == 2


def test_a_leaving_slave_gives_back_what_it_holds_and_is_forgotten(world):
    world.submit("a", "b")
    leaving = world.slave(2)
    world.settle(leaving)
    leaving.leave()
    staying = world.slave(2)
    world.settle(staying)
    assert names(staying) == ["a", "b"]
    assert {held.attempt for held in staying.held.values()} == {1}
    assert world.persisted == {staying.session}


def test_a_master_that_did_not_listen_for_long_does_not_blame_its_slaves(world):
    world.submit("page")
    slave = world.slave(1)
    world.settle(slave)
    world.advance(120.0)  # the master was stopped, or its machine was
    world.step()
    assert len(world.core.leases) == 1
    slave.beat()
    wait(world, 3, slave)
    assert world.granted[-1][2].attempt == 1
    assert len(world.granted) == 1


def test_a_removed_task_is_taken_from_its_holder(world):
    world.submit("a")
    slave = world.slave(1)
    world.settle(slave)
    ref = slave.held[1].ref
    del world.rows[ref]
    world.perform(world.core.void([ref]))
    assert not len(world.core.leases)
    world.settle(slave)
    assert not slave.held
