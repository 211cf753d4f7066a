"""A slave that says that what it makes does not get through: its leases are not renewed, and nothing is lost."""

from tests.support.scheduler_world import make_project, names, wait
from zspider.scheduler.membership import Condition
from zspider.scheduler.why import why_project
from zspider.task import Status

STUCK = Condition("cannot deliver its outcomes: it has no connection to port 5571 of its master (outcomes)", False)


def complain(slave, condition=STUCK):
    """Each of its heartbeats says so from now on."""
    slave.condition = condition


def test_it_gets_nothing_more_and_what_it_has_goes_to_others_when_its_leases_are_over(world):
    lame = world.slave(3)
    world.submit("a", "b", "c", "d")
    world.settle(lame)
    assert names(lame) == ["a", "b", "c"]
    complain(lame)
    lame.beat()
    lame.give_back([3])
    world.settle(lame)
    sound = world.slave(10)
    wait(world, 29, lame, sound)
    assert names(sound) == ["c", "d"]
    wait(world, 3, lame, sound)
    assert names(sound) == ["a", "b", "c", "d"]
    assert world.core.sessions[lame.session].leases == {}
    assert names(lame) == []  # it was told to forget them
    assert {row.attempt for row in world.rows.values()} == {0, 1}
    sound.finish_all()
    wait(world, 2, lame, sound)
    assert {row.status for row in world.rows.values()} == {Status.SUCCESS}


def test_what_it_had_made_counts_if_it_comes_first(world):
    lame = world.slave(1)
    world.submit("a")
    world.settle(lame)
    complain(lame)
    lame.finish(1)
    kept = world.outcomes.pop()  # it does not get through
    wait(world, 31, lame)
    assert world.core.sessions[lame.session].leases == {}
    sound = world.slave(1)
    world.settle(sound)
    assert names(sound) == ["a"]
    complain(lame, Condition())
    world.outcomes.append(kept)
    wait(world, 2, lame, sound)
    assert (world.rows[kept[1].ref].status, lame.outbox) == (Status.SUCCESS, {})
    assert names(sound) == []


def test_when_it_delivers_again_in_time_nothing_is_taken_from_it(world):
    lame = world.slave(3)
    world.submit("a", "b", "c")
    world.settle(lame)
    for _ in range(4):
        complain(lame)
        wait(world, 20, lame)
        complain(lame, Condition())
        wait(world, 2, lame)
    assert names(lame) == ["a", "b", "c"]
    assert len(world.core.leases) == 3


def test_other_complaints_take_nothing_from_it(world):
    slave = world.slave(1)
    world.submit("a")
    world.settle(slave)
    complain(slave, Condition("has no file descriptors left"))
    wait(world, 60, slave)
    assert names(slave) == ["a"]


def test_its_hello_brings_no_lease_back_that_is_over(world):
    lame = world.slave(1)
    world.submit("a")
    world.settle(lame)
    complain(lame)
    wait(world, 29, lame)
    lame.held = dict(lame.held)
    world.settle(lame)
    wait(world, 3, lame)
    lame.reconnect()
    wait(world, 2, lame)
    assert len(world.core.leases) == 0


def test_pages_that_a_stuck_processing_slave_has_are_relayed_to_others(world):
    fetcher = world.slave(1, roles=frozenset({"fetcher"}))
    lame = world.slave(0, roles=frozenset({"processor"}))
    world.submit("a")
    world.settle(fetcher, lame)
    lame.take(fetcher.held[1])
    world.settle(fetcher, lame)
    complain(lame)
    wait(world, 32, fetcher, lame)
    assert ("resend", [1]) in fetcher.told
    assert names(fetcher) == ["a"]


def whys(world):
    return [(one.what, one.text) for one in why_project(world.core, world.core.projects[1], world.now, world.now_ms)]


def test_why_names_the_only_slave_that_cannot_deliver(world):
    lame = world.slave(2)
    world.submit("a", "b", "c")
    world.settle(lame)
    complain(lame)
    wait(world, 1, lame)
    (what, text), *others = whys(world)
    assert what == "slave"
    assert text == f"slave {lame.session.hex()[:8]} on host {STUCK.complaint}"
    assert [one for one, _ in others] == ["leased"]


def test_why_names_it_as_long_as_it_has_tasks_though_others_have_room(world):
    lame = world.slave(2)
    world.submit("a", "b")
    world.settle(lame)
    complain(lame)
    sound = world.slave(5)
    wait(world, 1, lame, sound)
    assert [what for what, _ in whys(world)] == ["slave", "leased"]
    wait(world, 32, lame, sound)
    assert [what for what, _ in whys(world)] == ["leased"]


def test_slaves_are_not_called_busy_whose_processors_do_not_start(world):
    slave = world.slave(0)
    world.submit("a")
    complain(slave, Condition("cannot start its processors: PermissionError: [Errno 1]"))
    wait(world, 3, slave)
    ((what, text),) = whys(world)
    assert what == "slave"
    assert "cannot start its processors: PermissionError: [Errno 1]" in text


def test_busy_slaves_are_called_busy_beside_one_that_complains(world):
    world.add_project(make_project(2))
    lame, busy = world.slave(0), world.slave(1)
    world.submit("a", "b")
    complain(lame, Condition("has no file descriptors left"))
    wait(world, 3, lame, busy)
    assert [what for what, _ in whys(world)] == ["slave", "slaves busy", "leased"]
    assert dict(whys(world))["slaves busy"].endswith(": 1")
