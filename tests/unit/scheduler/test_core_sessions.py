"""Sessions: reconnects, clones, and restarts of the master."""

from tests.support.scheduler_world import Delivery, Slave, names, only, wait
from zspider.task import Ref, task_key


def test_a_reconnected_slave_keeps_its_leases_and_gets_again_what_did_not_reach_it(world):
    world.submit("a")
    slave = world.slave(5)
    world.settle(slave)
    world.submit("b")
    world.settle()  # granted, on its way
    slave.reconnect()
    world.settle(slave)
    assert names(slave) == ["a", "b"]
    assert len(world.core.leases) == 2
    assert {held.attempt for held in slave.held.values()} == {1}


def test_a_connection_that_broke_unnoticed_costs_no_lease(world):
    world.submit("a")
    slave = world.slave(5)
    world.settle(slave)
    session = slave.session
    slave.reconnect(says_hello=False)
    slave.beat()
    world.settle(slave)
    assert (slave.session, names(slave)) == (session, ["a"])
    slave.finish_all()
    world.settle(slave)
    assert not world.waiting


def test_a_clone_is_refused_while_the_older_one_answers(world):
    world.submit("a", "b")
    original = world.slave(1)
    world.settle(original)
    clone = original.clone()
    session = original.session
    clone.hello()
    world.settle(original, clone)
    assert original.session == session
    assert names(original) == ["a"]
    assert clone.session != session  # it drew a new one, and works as a slave of its own
    assert names(clone) == ["b"]
    assert len(world.core.sessions) == 2


def test_a_clone_that_only_beats_is_found_out_as_well(world):
    original = world.slave(1)
    world.settle(original)
    clone = original.clone()
    clone.beat()
    world.settle(original, clone)
    assert clone.session != original.session
    assert len(world.core.sessions) == 2


def test_a_clone_takes_over_when_the_older_one_does_not_answer(world):
    world.submit("a")
    original = world.slave(2)
    world.settle(original)
    clone = original.clone()
    clone.hello()
    world.settle(clone)  # the older one is not stepped: it hangs
    assert not clone.welcomed
    clone.beat()  # of somebody whose claim is looked into: not an answer, and no reason to refuse it
    world.settle(clone)
    world.advance(4.1)
    world.settle(clone)
    assert clone.welcomed == 1
    assert world.core.sessions[original.session].route == clone.route
    assert names(clone) == ["a"]
    assert len(world.core.leases) == 1


def test_a_slave_that_is_let_in_at_its_second_hello_is_not_taken_for_a_clone_of_itself(world):
    world.submit("a")
    slave = world.slave(2)
    world.settle(slave)
    session, old = slave.session, slave.route
    slave.route = world.connect()  # its connection broke, which the master does not know
    world.advance(3.0)
    slave.hello()
    world.settle(slave)
    assert world.core.sessions[session].route != slave.route  # the old route is asked
    world.advance(3.5)  # shorter than it has to answer, but it has been silent for too long by now
    slave.hello()
    world.settle(slave)
    slave.beat()
    world.settle(slave)
    assert slave.session == session
    assert names(slave) == ["a"]
    assert len(world.core.sessions) == 1
    assert old in world.routes


def test_a_slave_that_connected_twice_stays_on_its_newest_connection(world):
    world.submit("a")
    slave = world.slave(2)
    world.settle(slave)
    slave.route = world.connect()  # its connection broke, which the master does not know
    world.advance(3.0)
    slave.hello()
    world.settle(slave)  # the old route is asked
    slave.route = world.connect()  # this one broke as well
    world.advance(3.5)  # it has been silent for too long by now
    slave.hello()
    world.settle(slave)
    assert world.core.sessions[slave.session].route == slave.route
    world.advance(1.0)  # the claim from the connection before is due
    world.submit("b")
    world.settle(slave)
    assert world.core.sessions[slave.session].route == slave.route
    assert names(slave) == ["a", "b"]
    assert {held.attempt for held in slave.held.values()} == {1}


def test_two_clones_of_a_slave_that_vanished_cannot_keep_each_other_waiting(world):
    world.submit("a")
    original = world.slave(5)
    world.settle(original)
    original.finish_all()  # its connection stays open, and it says nothing more
    pair = [original.clone(), original.clone()]
    for _ in range(10):  # seconds
        for clone in pair:
            clone.hello()
            clone.push_again()  # a word of the same session
        world.settle(*pair)
        world.advance(1.0)
    assert [clone.welcomed > 0 for clone in pair] == [True, True]
    assert pair[0].session != pair[1].session
    assert not pair[0].outbox
    assert not pair[1].outbox


def test_a_hello_from_before_a_clone_drew_a_new_session_claims_nothing_any_more(world):
    original = world.slave(2)
    world.settle(original)
    session = original.session
    clone = original.clone()
    clone.hello()
    world.settle(original)  # it answers, and the clone is told, but has not heard it yet
    clone.hello()
    world.settle(clone)
    assert clone.session != session
    world.advance(4.5)  # the original hangs for a moment
    world.settle(clone)
    assert world.core.sessions[session].route == original.route
    assert clone.welcomed == 1


def test_the_pages_of_a_hello_count_together_and_those_of_another_connection_do_not(world):
    world.submit("a", "b")
    slave = world.slave(2)
    world.settle(slave)
    world.restart_master()
    slave.route = world.connect()
    slave.hello()
    _, greeting, held = world.to_master[slave.route].pop()
    assert world.core.slaves.hello(greeting._replace(route=b"old"), held, False, world.now) == []
    assert world.core.slaves.hello(greeting, held[:1], False, world.now) == []
    world.perform(world.core.slaves.hello(greeting, held[1:], True, world.now))
    assert sorted(x.number for x in world.core.leases) == [1, 2]


def test_a_hello_that_never_ends_is_forgotten(world):
    stranger = Slave(world, 5)
    stranger.hello()
    _, greeting, held = world.to_master[stranger.route].pop()
    world.core.slaves.hello(greeting, held, False, world.now)
    world.advance(15.0)
    world.step()
    world.advance(16.0)
    world.step()
    assert not world.core.slaves._members._pages


def test_a_restarted_master_waits_for_its_slaves_and_gives_no_adopted_lease_twice(world):
    world.submit("a", "b", "c")
    one, two = world.slave(1), world.slave(1)
    world.settle(one, two)
    world.restart_master()
    new = Slave(world, 5)
    new.hello()
    one.reconnect()
    world.settle(new, one)
    assert not new.held  # "two" may hold anything
    two.reconnect()
    world.settle(new, one, two)
    assert names(one) + names(two) + names(new) == ["a", "b", "c"]
    for slave in (one, two, new):
        slave.finish_all()
    world.settle(one, two, new)
    assert not world.waiting
    assert world.late == 0
    assert [held.attempt for _, _, held in world.granted] == [1, 1, 1]


def test_adoption_ends_at_adopt_s_and_who_did_not_come_is_forgotten(world):
    world.submit("a")
    lost = world.slave(1)
    world.settle(lost)
    lost.crash()
    world.restart_master()
    new = world.slave(1)
    world.advance(14.9)
    world.settle(new)
    assert not new.held
    world.advance(0.2)
    new.beat()
    world.settle(new)
    assert names(new) == ["a"]
    assert world.persisted == {new.session}  # the next restart does not wait for it again


def test_a_slave_that_comes_back_after_its_leases_were_given_again_does_no_harm(world):
    world.submit("a")
    lost = world.slave(1)
    world.settle(lost)
    world.disconnect(lost.route)
    other = world.slave(1)
    wait(world, 31, other)
    assert names(other) == ["a"]
    lost.reconnect()
    world.settle(lost, other)
    assert len(world.core.leases) == 1
    lost.finish_all()
    other.finish_all()
    world.settle(lost, other)
    assert not world.waiting
    assert world.late == 1


def test_a_lease_of_a_run_that_is_over_does_not_stand_in_the_way_of_the_next(world):
    world.submit("a")
    away = world.slave(1)
    world.settle(away)
    ref = Ref(1, task_key("a"))
    world.rows[ref].run, world.rows[ref].attempt = 1, 0  # replaced just before the master was killed
    world.restart_master()
    away.reconnect()
    world.settle(away)
    assert [held.run for held in away.held.values()] == [0]  # nobody knows yet that it is over
    other = world.slave(1)
    world.settle(away, other)
    assert [x.run for x in [*away.held.values(), *other.held.values()]] == [1]


def test_of_two_slaves_that_come_back_with_runs_of_one_task_the_newer_run_counts(world):
    world.submit("a")
    old = world.slave(1)
    world.settle(old)
    new = old.clone()
    new.session = world.new_session()
    new.held[1] = Delivery(1, old.held[1].ref, "a", run=1, attempt=1)
    for first, second in ((old, new), (new, old)):
        world.restart_master()
        for slave in (first, second):
            slave.reconnect()
            slave.seen = 1
            world.hear_slaves()
            world.write()
            world.hear_writer()
        assert only(world.core.leases).session.id == new.session
        world.core.assert_invariants()


def test_a_slave_that_comes_back_with_a_run_that_is_over_is_told_to_forget_it(world):
    world.submit("a")
    away = world.slave(1)
    world.settle(away)
    world.disconnect(away.route)
    other = world.slave(1)
    wait(world, 31, other)
    other.finish(1, is_success=False)  # it waits for its retry
    other.crash()
    world.settle()
    away.reconnect()
    world.settle(away)
    assert away.told == [("release", [1])]
    assert not away.held


def test_a_slave_that_comes_back_with_a_run_that_was_replaced_meanwhile_goes_on_with_it(world):
    world.submit("a")
    away = world.slave(1)
    world.settle(away)
    world.disconnect(away.route)
    wait(world, 31)
    world.force("a")
    world.settle()
    away.reconnect()
    world.settle(away)
    assert away.told == []
    assert [held.run for held in away.held.values()] == [0]


def test_an_adopted_lease_that_is_given_back_is_read_from_the_database_again(world):
    world.submit("a", "b")
    slave = world.slave(2)
    world.settle(slave)
    world.restart_master()
    slave.reconnect()
    world.settle(slave)
    assert world.core.projects[1].frontier.is_loaded
    slave.give_back([1, 2])
    world.settle(slave)
    assert names(slave) == ["a", "b"]
    assert all(lease.task.url for lease in world.core.leases)


def test_a_leave_before_hello_ends_the_waiting_for_that_slave(world):
    slave = world.slave(1)
    world.settle(slave)
    world.restart_master()
    assert world.core.is_adopting(world.now)
    world.core.slaves.leave(slave.session)
    assert not world.core.is_adopting(world.now)
