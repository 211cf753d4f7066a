"""Projects: what they declare, @every, the page relay, edits."""

import msgpack
import pytest
from msgspec.structs import replace
from tests.support.scheduler_world import NO_CRON, World, make_project, names, only, wait
from zspider.delivery import ATTEMPTS_MAX
from zspider.task import CRONJOB, GET_INFO, ProjectStatus, Ref, ScriptInfo, info_run, task_key

PROCESSOR = frozenset({"processor"})


def test_a_script_says_what_it_declares_before_it_gets_tasks(world):
    world.add_project(make_project(2, info=None))
    world.submit("page", project=2)
    slave = world.slave(10)
    world.settle(slave)
    asked = only(slave.held.values())
    assert asked.taskid == GET_INFO
    assert asked.run == info_run(world.projects[2].script)
    slave.finish_all()
    world.add_project(make_project(2, info=NO_CRON))
    world.settle(slave)
    assert names(slave) == ["page"]


def test_a_script_with_an_error_gets_no_grants_until_it_is_edited(world):
    world.add_project(make_project(2, info=ScriptInfo(error="SyntaxError: invalid syntax", min_tick=1)))
    world.submit("page", project=2)
    slave = world.slave(10)
    wait(world, 5, slave)
    assert not slave.held
    world.add_project(make_project(2, info=None, script=b"n" * 32))
    world.settle(slave)
    assert names(slave) == [GET_INFO]


def test_a_script_that_ends_ten_slaves_while_it_is_loaded_is_given_up_and_an_edit_gives_it_ten_more():
    world = World()
    world.add_project(make_project(info=None))
    for script in (b"a" * 32, b"b" * 32):
        world.add_project(make_project(info=None, script=script))
        for attempt in range(1, ATTEMPTS_MAX + 1):
            victim = world.slave(1)
            world.settle(victim)
            assert only(victim.held.values()).attempt == attempt
            victim.crash()
            wait(world, 31)
        assert "gave up" in world.core.scripts.why_unloadable(1)
        assert not len(world.core.leases)


def ticks(slave, world):
    """(since, tick] of the cron tasks in hand."""
    held = [world.core.leases.get(x.ref).task for x in slave.held.values() if x.taskid == CRONJOB]
    saves = [msgpack.unpackb(task.body)["fetch"]["save"] for task in held]
    return [(save["since"], save["tick"]) for save in saves]


@pytest.fixture
def cron():
    """A project with an @every of a minute, started ten seconds past one."""
    world = World()
    world.now_ms = 1_700_000_000_000 // 60_000 * 60_000 + 10_000
    world.add_project(make_project(info=ScriptInfo(min_tick=60)))
    return world


def test_cron_ticks_are_aligned_to_the_epoch_and_nothing_fires_at_the_start(cron):
    start_s = cron.now_ms // 1000
    slave = cron.slave(5)
    wait(cron, 49, slave)
    assert not slave.held
    cron.step()
    assert cron.core.wait_s(cron.now) <= 1.0
    wait(cron, 1, slave)
    assert ticks(slave, cron) == [(start_s, start_s + 50)]


def test_missed_cron_ticks_are_made_up_for_by_one_run(cron):
    start_s = cron.now_ms // 1000
    cron.advance(200.0)  # no slave was there
    slave = cron.slave(5)
    cron.settle(slave)
    assert ticks(slave, cron) == [(start_s, start_s + 170)]
    slave.finish_all()
    wait(cron, 40, slave)
    assert ticks(slave, cron) == [(start_s + 170, start_s + 230)]


def test_a_long_cron_run_does_not_overlap_the_next(cron):
    start_s = cron.now_ms // 1000
    slave = cron.slave(5)
    wait(cron, 200, slave)
    assert ticks(slave, cron) == [(start_s, start_s + 50)]
    slave.finish_all()
    cron.settle(slave)
    assert ticks(slave, cron) == [(start_s + 50, start_s + 170)]


def test_a_cron_run_that_a_slave_gives_back_or_dies_with_is_not_missed(cron):
    start_s = cron.now_ms // 1000
    lacking = cron.slave(5)
    wait(cron, 50, lacking)
    lacking.give_back(list(lacking.held), bar=True)
    victim = cron.slave(5)
    cron.settle(lacking, victim)
    assert ticks(victim, cron) == [(start_s, start_s + 50)]
    victim.crash()
    wait(cron, 31)
    other = cron.slave(5)
    cron.settle(other)
    assert ticks(other, cron) == [(start_s, start_s + 50)]
    assert only(other.held.values()).attempt == 2


def test_cron_does_not_make_up_for_the_time_a_project_was_stopped_or_ran_another_script(cron):
    slave = cron.slave(5)
    cron.add_project(make_project(info=ScriptInfo(min_tick=60), status=ProjectStatus.STOP))
    wait(cron, 100, slave)
    cron.add_project(make_project(info=ScriptInfo(min_tick=60)))
    cron.settle(slave)
    assert not slave.held
    cron.add_project(make_project(info=NO_CRON, script=b"a" * 32))
    wait(cron, 100, slave)
    cron.add_project(make_project(info=ScriptInfo(min_tick=60), script=b"b" * 32))
    cron.settle(slave)
    assert not slave.held


def test_taken_pages_are_sent_again_when_the_slave_that_processed_them_dies(world):
    world.submit("a", "b")
    fetcher = world.slave(2, roles=frozenset({"fetcher"}))
    processor = world.slave(2, roles=PROCESSOR)
    world.settle(fetcher, processor)
    for held in list(fetcher.held.values()):
        world.perform(world.core.slaves.took(processor.session, held.ref, held.run))
    world.settle(fetcher, processor)
    assert fetcher.told == [("taken", [1]), ("taken", [2])]
    processor.crash()
    wait(world, 31, fetcher)
    assert fetcher.told[2:] == [("resend", [1, 2])]


def test_an_outcome_of_the_processing_slave_releases_the_fetching_one(world):
    world.submit("a")
    fetcher = world.slave(2, roles=frozenset({"fetcher"}))
    processor = world.slave(2, roles=PROCESSOR)
    world.settle(fetcher, processor)
    world.outcomes.append((processor.session, fetcher.held[1]))
    world.settle(fetcher, processor)
    assert not world.waiting
    assert fetcher.told == [("release", [1])]


def test_a_page_of_a_run_that_is_over_is_taken_by_nobody(world):
    slave = world.slave(1)
    world.settle(slave)
    assert world.core.slaves.took(slave.session, Ref(1, task_key("unknown")), 0) == []


def test_stop_recalls_and_what_was_started_is_accepted(world):
    world.submit("a", "b", "c")
    slave = world.slave(2)
    world.settle(slave)
    slave.finish(1, follows=((1, "d", 0),))
    world.add_project(make_project(status=ProjectStatus.STOP))
    world.settle(slave)
    assert slave.told == [("recall", [1, 2])] or slave.told == [("recall", [2])]
    assert not slave.held
    assert sorted(row.taskid for row in world.waiting) == ["b", "c", "d"]
    world.add_project(make_project())
    world.settle(slave)
    assert names(slave) == ["b", "c"]


def test_a_removed_project_takes_its_leases_with_it(world):
    world.submit("a")
    slave = world.slave(2)
    world.settle(slave)
    world.perform(world.core.remove_project(1))
    world.settle(slave)
    assert slave.told == [("release", [1])]
    assert not len(world.core.leases)
    slave.held[1] = world.granted[0][2]  # it had not heard of that
    slave.hello()
    world.settle(slave)
    assert slave.told == [("release", [1])] * 2


def test_a_token_is_spent_whatever_becomes_of_its_task(world):
    """What came back long after, when the bucket was full again, would let more start than rate and burst allow."""
    world.add_project(make_project(rate=1, burst=3))
    world.submit(*"abcdefghij")
    leaving = world.slave(3)
    wait(world, 10, leaving)
    assert len(leaving.held) == 3  # all it wants; meanwhile three tokens have gathered
    other = world.slave(10)
    world.settle(leaving, other)
    assert len(other.held) == 3
    leaving.give_back(list(leaving.held))
    leaving.leave()
    world.settle(leaving, other)
    assert len(other.held) == 3
    world.assert_rates()


def test_edits_reach_the_bucket(world):
    project = make_project(rate=0.0, burst=1)
    world.add_project(project)
    world.submit(*"abcdef")
    slave = world.slave(10)
    wait(world, 3, slave)
    assert len(slave.held) == 1
    world.add_project(replace(project, rate=1e6, burst=1e6))
    wait(world, 1, slave)
    assert len(slave.held) == 6


def lacking(world, *slaves):
    """These cannot load the script that they have in hand."""
    for slave in slaves:
        slave.give_back(list(slave.held), bar=True, error="ModuleNotFoundError: No module named 'x'")
        world.settle(*slaves)


def test_a_question_that_is_lost_with_its_slave_is_asked_again():
    world = World()
    world.add_project(make_project(info=None))
    victim = world.slave(1)
    world.settle(victim)
    assert names(victim) == [GET_INFO]
    victim.crash()
    other = world.slave(1)
    wait(world, 29, other)
    assert not other.held
    wait(world, 3, other)
    assert names(other) == [GET_INFO]


def test_a_question_whose_outcome_is_lost_with_the_master_is_asked_again():
    world = World()
    world.add_project(make_project(info=None))
    slave = world.slave(1)
    world.settle(slave)
    slave.finish_all()
    world.outcomes.clear()
    world.restart_master()
    slave.outbox.clear()
    slave.reconnect()
    wait(world, 16, slave)
    assert names(slave) == [GET_INFO]


def test_a_script_that_one_slave_cannot_load_is_asked_of_another():
    world = World()
    world.add_project(make_project(info=None))
    poor = world.slave(1)
    world.settle(poor)
    lacking(world, poor)
    assert not poor.held
    assert world.core.scripts.why_unloadable(1) == "ModuleNotFoundError: No module named 'x'"
    rich = world.slave(1)
    world.settle(poor, rich)
    assert names(rich) == [GET_INFO]
    assert world.core.scripts.why_unloadable(1) == ""


def test_a_script_that_no_slave_can_load_says_so_until_it_is_edited():
    world = World()
    world.add_project(make_project(info=None))
    assert world.core.scripts.why_unloadable(1) == ""  # nobody is there
    slaves = [world.slave(1), world.slave(1), world.slave(1, roles=PROCESSOR)]
    world.settle(*slaves)
    first, second, _ = sorted(slaves, key=lambda slave: not slave.held)
    lacking(world, first)
    assert world.core.scripts.why_unloadable(1) == ""
    world.settle(second)
    lacking(world, second)
    assert world.core.scripts.why_unloadable(1) == "ModuleNotFoundError: No module named 'x'"
    world.add_project(make_project(info=None, script=b"n" * 32))
    assert world.core.scripts.why_unloadable(1) == ""
    world.settle(*slaves)
    assert sorted(names(slaves[0]) + names(slaves[1])) == [GET_INFO]


def test_how_the_every_methods_ended_is_kept(cron):
    slave = cron.slave(5)
    wait(cron, 50, slave)
    tick_s = only(slave.held.values()).run
    assert cron.core.projects[1].last_cron is None
    cron.core.cron_ended(1, tick_s, "KeyError: 'x'", cron.now_ms)
    assert cron.core.projects[1].last_cron == (tick_s, cron.now_ms, "KeyError: 'x'")
    cron.core.cron_ended(7, tick_s, "", cron.now_ms)  # of a project that is gone


def test_slaves_that_cannot_load_a_script_try_again_later_and_later():
    world = World()
    world.add_project(make_project(info=None))
    slave = world.slave(1)
    waits = []
    for _ in range(9):
        world.settle(slave)
        lacking(world, slave)
        failed = world.now
        while not slave.held:
            wait(world, 1, slave)
        waits.append(round((world.now - failed) / 60))
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    lacking(world, slave)
    world.core.scripts.ask_anew(1)
    world.settle(slave)
    assert names(slave) == [GET_INFO]
