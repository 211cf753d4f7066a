"""A project whose pages all fail rests, is probed, and goes on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.support.scheduler_world import World, make_project, names, only, wait
from zspider.scheduler.hosts import HostLimits
from zspider.scheduler.leases import LeaseTable
from zspider.scheduler.pause import NEVER, AutoPause, PauseLimits, Phase
from zspider.settings import PolitenessSettings
from zspider.task import CRONJOB, MESSAGE_PREFIX, MESSAGE_PRIORITY, ProjectStatus, ScriptInfo

PAUSING = PauseLimits(fail_num=10, pause_s=300.0, probe_num=3)
MESSAGE = MESSAGE_PREFIX + "m"
PAGES = [f"p{number:03}" for number in range(60)]


@pytest.fixture
def sick():
    """A project on whose site everything fails, and a slave that has one page in hand at a time."""
    world = World(pausing=PAUSING)
    world.add_project(make_project())
    world.submit(*PAGES)
    slave = world.slave(1)
    world.settle(slave)
    return world, slave


def end(world, slave, *successes):
    """Pages end one after the other; each is there."""
    for is_success in successes:
        for number in list(slave.held):
            slave.finish(number, is_success=is_success)
        world.settle(slave)


def phase(world, project=1):
    return world.core.projects[project].pause.phase


def paused(sick):
    world, slave = sick
    end(world, slave, *[False] * 10)
    assert phase(world) is Phase.PAUSED
    return world, slave


def test_ten_failures_in_a_row_pause_a_project_for_five_minutes_and_say_why(sick):
    world, slave = sick
    end(world, slave, *[False] * 9, True, *[False] * 9)
    assert phase(world) is Phase.NORMAL
    assert slave.held
    end(world, slave, False)
    assert world.pauses == [(world.now, Phase.PAUSED, "10 failures in a row, the last: HTTP 503")]
    assert world.core.projects[1].pause.until == world.now + 300.0
    assert not slave.held
    wait(world, 299, slave)
    assert not slave.held
    wait(world, 1, slave)
    assert phase(world) is Phase.PROBING
    assert slave.held


def test_what_slaves_have_not_begun_comes_back_when_a_project_is_paused():
    world = World(pausing=PAUSING)
    world.add_project(make_project())
    world.submit(*PAGES)
    worker, other = world.slave(10), world.slave(5)
    world.settle(worker, other)
    for number in list(worker.held):
        worker.finish(number, is_success=False)
    world.settle(worker, other)
    assert phase(world) is Phase.PAUSED
    assert [what for what, _ in other.told] == ["recall"]
    assert not other.held
    world.assert_invariants()


def test_a_probed_project_gets_as_many_pages_as_it_takes_to_know_and_no_more(sick):
    world, _ = paused(sick)
    slave = world.slave(50)
    world.advance(300.0)
    world.settle(slave)
    assert len(slave.held) == 3
    slave.finish(min(slave.held), is_success=False)
    world.settle(slave)
    assert len(slave.held) == 2  # with the one that failed they are three
    slave.give_back([min(slave.held)])
    world.settle(slave)
    assert len(slave.held) == 2  # that one said nothing
    end(world, slave, False)
    assert phase(world) is Phase.PAUSED
    assert not slave.held
    assert world.pauses[-1] == (world.now, Phase.PAUSED, "3 failures in a row, the last: HTTP 503")


def test_one_success_ends_the_probe_and_ten_failures_are_needed_again(sick):
    world, slave = paused(sick)
    wait(world, 300, slave)
    end(world, slave, False, True)
    assert phase(world) is Phase.NORMAL
    end(world, slave, *[False] * 9)
    assert phase(world) is Phase.NORMAL
    end(world, slave, False)
    assert phase(world) is Phase.PAUSED


def test_what_ends_during_the_pause_neither_ends_nor_prolongs_it():
    pause = AutoPause(PAUSING)
    for _ in range(10):
        pause.ended(False, "x")
    assert pause.decide(0.0)
    pause.ended(True, "")
    assert not pause.decide(299.0)
    for _ in range(10):
        pause.ended(False, "x")
    assert pause.decide(300.0)
    assert pause.phase is Phase.PROBING
    assert pause.allows(LeaseTable(HostLimits(PolitenessSettings())))
    assert not pause.decide(1000.0)  # a probe has all the time it needs


def test_cron_runs_and_messages_go_on_and_say_nothing_of_the_pages():
    world = World(pausing=PAUSING)
    world.add_project(make_project(info=ScriptInfo(min_tick=10)))
    world.submit(*PAGES[:9])
    slave = world.slave(1)
    world.settle(slave)
    end(world, slave, *[False] * 9)
    for is_success in (True, False):  # neither is the end of the row nor its tenth
        world.submit(f"{MESSAGE}{is_success}", priority=MESSAGE_PRIORITY)
        world.settle(slave)
        end(world, slave, is_success)
        wait(world, 10, slave)
        assert names(slave) == [CRONJOB]
        end(world, slave, is_success)
        assert phase(world) is Phase.NORMAL
    world.submit(*PAGES)
    world.settle(slave)
    end(world, slave, False)
    assert phase(world) is Phase.PAUSED
    world.submit(f"{MESSAGE}late", priority=MESSAGE_PRIORITY)
    world.settle(slave)
    assert names(slave) == [f"{MESSAGE}late"]
    end(world, slave, True)
    wait(world, 10, slave)
    assert names(slave) == [CRONJOB]
    end(world, slave, True)
    assert phase(world) is Phase.PAUSED


def test_a_cron_run_that_is_always_there_takes_no_probe_away(sick):
    """pyspider's activity ring was full of them, and a project never left its pause.

    Source: docs/pyspider-behaviour.md 4.10.
    """
    world, slave = paused(sick)
    world.add_project(make_project(info=ScriptInfo(min_tick=1)))
    slave = world.slave(10)
    wait(world, 305, slave)
    assert names(slave).count(CRONJOB) == 1
    assert len(slave.held) == 4


def test_new_tasks_are_stored_while_a_project_is_paused(sick):
    world, slave = paused(sick)
    world.submit("new", priority=5)
    world.settle(slave)
    assert not slave.held
    wait(world, 300, slave)
    assert names(slave) == ["new"]


@pytest.mark.parametrize(
    "edit",
    [
        {"script": b"n" * 32},
        {"status": ProjectStatus.DEBUG},
    ],
    ids=["script", "status"],
)
def test_an_edit_of_script_or_status_clears_the_pause_and_another_does_not(sick, edit):
    world, slave = paused(sick)
    world.add_project(make_project(rate=5e5, group="shops"))
    world.settle(slave)
    assert phase(world) is Phase.PAUSED
    world.add_project(make_project(**edit))
    world.settle(slave)
    assert phase(world) is Phase.NORMAL
    assert slave.held


def test_somebody_who_says_resume_clears_it(sick):
    world, slave = paused(sick)
    world.core.unpause(1)
    world.settle(slave)
    assert slave.held
    end(world, slave, *[False] * 9)
    assert phase(world) is Phase.NORMAL


def test_other_projects_go_on(sick):
    world, slave = paused(sick)
    world.add_project(make_project(2))
    world.submit("theirs", project=2)
    world.settle(slave)
    assert names(slave) == ["theirs"]


def test_a_restarted_master_tries_again(sick):
    world, slave = paused(sick)
    world.restart_master()
    slave.reconnect()
    world.settle(slave)
    wait(world, 16, slave)
    assert phase(world) is Phase.NORMAL
    assert slave.held


def test_it_can_be_switched_off():
    pause = AutoPause(NEVER)
    for _ in range(1000):
        pause.ended(False, "x")
        assert not pause.decide(0.0)
    assert pause.allows(LeaseTable(HostLimits(PolitenessSettings())))


def test_a_project_paused_by_hand_keeps_its_pages_and_gives_them_out_again(sick):
    world, _ = sick
    slave = world.slave(5)
    world.add_project(make_project(status=ProjectStatus.PAUSED, info=ScriptInfo(min_tick=1)))
    wait(world, 5, slave)
    assert names(slave) == [CRONJOB]
    world.submit(MESSAGE, priority=MESSAGE_PRIORITY)
    world.settle(slave)
    assert names(slave) == [CRONJOB, MESSAGE]
    wait(world, 1000, slave)
    assert len(slave.held) == 2
    world.add_project(make_project(info=ScriptInfo(min_tick=1)))
    world.settle(slave)
    assert len(slave.held) == 5


def test_pausing_by_hand_recalls_pages_and_leaves_what_goes_on():
    world = World()
    project = make_project(info=ScriptInfo(min_tick=1))
    world.add_project(project)
    slave = world.slave(4)
    wait(world, 2, slave)
    world.submit(*PAGES)
    world.settle(slave)
    assert len(slave.held) == 4
    world.add_project(replace(project, status=ProjectStatus.PAUSED))
    world.settle(slave)
    what, numbers = only(slave.told)
    assert (what, len(numbers)) == ("recall", 3)
    assert names(slave) == [CRONJOB]
    world.core.assert_invariants()


class Ring:
    """The same rules, read off a list of everything that ended, as pyspider read its ring."""

    def __init__(self):
        self.ends, self.phase, self.until = [], Phase.NORMAL, 0.0

    def turn(self, now):
        newest = list(reversed(self.ends))
        failures = next((n for n, is_success in enumerate(newest) if is_success), len(newest))
        was = self.phase
        if was is Phase.PAUSED:
            self.phase = Phase.PROBING if now >= self.until else was
        elif was is Phase.PROBING and True in newest:
            self.phase = Phase.NORMAL
        elif failures >= (PAUSING.probe_num if was is Phase.PROBING else PAUSING.fail_num):
            self.phase, self.until = Phase.PAUSED, now + PAUSING.pause_s
        if self.phase is not was:
            self.ends.clear()


@given(
    st.lists(
        st.one_of(st.sampled_from([True, False, False, False]), st.sampled_from([1.0, 301.0])),
        min_size=20,
        max_size=200,
    )
)
def test_the_phases_are_those_of_a_ring_that_is_read_from_its_newest_end(events):
    now = 0.0
    pause, ring = AutoPause(PAUSING), Ring()
    for event in events:
        if isinstance(event, bool):
            pause.ended(event, "x")
            ring.ends.append(event)
        else:
            now += event
        before = ring.phase
        ring.turn(now)
        assert pause.decide(now) is (ring.phase is not before)
        assert pause.phase is ring.phase
