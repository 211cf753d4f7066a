"""What the core remembers of a task's steps."""

from tests.support.scheduler_world import Slave, World, make_project, only, wait
from zspider.scheduler.story import DETAIL_CHARS_MAX, STEPS_MAX, Story
from zspider.task import Ref, task_key


def told(world: World, name: str) -> list[tuple[str, bytes, int]]:
    """A task's story without times."""
    return [step[:3] for step in world.core.story.of(Ref(1, task_key(name)), world.now_ms)]


def events(world: World, name: str) -> list[str]:
    return [event for event, _, _ in told(world, name)]


def test_a_task_that_went_well_waited_was_granted_and_succeeded(world):
    world.submit("page")
    slave = world.slave(1)
    world.settle(slave)
    began_ms = world.now_ms
    wait(world, 3, slave)
    slave.finish_all()
    world.settle(slave)
    assert told(world, "page") == [("waits", b"", 0), ("granted", slave.session, 1), ("succeeded", slave.session, 0)]
    times = [step.at_ms for step in world.core.story.of(Ref(1, task_key("page")), world.now_ms)]
    assert times == [began_ms, began_ms, began_ms + 3000]
    assert told(world, "another") == []


def test_a_task_whose_slave_falls_silent_expires_and_is_granted_again(world):
    world.submit("page")
    silent = world.slave(1)
    world.settle(silent)
    silent.crash()
    steady = world.slave(1)
    wait(world, 31, steady)
    assert told(world, "page") == [
        ("waits", b"", 0),
        ("granted", silent.session, 1),
        ("expired", silent.session, 1),
        ("waits", b"", 0),  # it was charged
        ("granted", steady.session, 2),
    ]


def test_what_a_slave_cannot_load_is_given_back_with_the_reason(world):
    world.submit("page")
    slave = world.slave(1)
    world.settle(slave)
    slave.give_back(list(slave.held), bar=True, error="SyntaxError: no")
    world.settle(slave)
    step = world.core.story.of(Ref(1, task_key("page")), world.now_ms)[-1]
    assert (step.event, step.session, step.attempt, step.detail) == ("given back", slave.session, 1, "SyntaxError: no")


def test_grants_that_were_lost_or_left_behind_are_told_apart(world):
    world.submit("page")
    slave = world.slave(1)
    world.step()
    world.write()
    world.hear_writer()
    world.settle(slave)
    slave.held.clear()  # it never saw it
    slave.beat()
    world.settle(slave)
    assert events(world, "page") == ["waits", "granted", "missed", "granted"]
    slave.held.clear()  # it ends without a word about what it holds
    slave.leave()
    world.settle(slave)
    assert events(world, "page")[-1] == "left"


def test_a_relayed_page_that_another_slave_has_was_taken(world):
    world.submit("page")
    fetcher = world.slave(1)
    world.settle(fetcher)
    processor = Slave(world, 0, frozenset({"processor"}))
    processor.hello()
    world.settle(fetcher, processor)
    processor.take(only(fetcher.held.values()))
    world.settle(fetcher, processor)
    assert told(world, "page")[-1] == ("taken", processor.session, 1)


def test_a_task_that_is_cancelled_or_restarted_while_it_is_leased_is_replaced_and_its_run_ends(world):
    world.submit("page")
    slave = world.slave(1)
    world.settle(slave)
    held = only(slave.held.values())
    world.force("page")
    world.settle(slave)
    slave.finish_all()
    world.settle(slave)
    assert events(world, "page") == ["waits", "granted", "replaced", "succeeded", "waits", "granted"]
    world.cancel("page")
    world.settle(slave)
    slave.finish_all()
    world.outcomes.append((slave.session, held))  # once more
    world.settle(slave)
    assert events(world, "page")[6:] == ["replaced", "succeeded", "late"]


def test_a_task_that_is_cancelled_while_it_waits_is_void(world):
    world.submit("page")
    world.settle()
    world.cancel("page")
    world.settle()
    assert events(world, "page") == ["waits", "void"]


def test_a_restarted_master_remembers_what_it_adopted(world):
    world.submit("page")
    slave = world.slave(1)
    world.settle(slave)
    world.restart_master()
    world.add_project(make_project())
    slave.reconnect()
    world.settle(slave)
    assert told(world, "page") == [("adopted", slave.session, 1)]


def test_a_story_is_short_and_its_steps_have_the_time_of_their_turn():
    story, ref, other = Story(), Ref(1, b"a" * 16), Ref(1, b"b" * 16)
    story.note("granted", ref, b"slave", 1, "x" * 3000)
    story.stamp_time(1000)
    story.note("failed", ref)
    assert [(step.event, step.at_ms) for step in story.of(ref, 2000)] == [("granted", 1000), ("failed", 2000)]
    assert len(story.of(ref, 2000)[0].detail) == DETAIL_CHARS_MAX
    for _ in range(STEPS_MAX - 1):
        story.note("waits", other)
    assert [step.event for step in story.of(ref, 2000)] == ["failed"]
    assert len(story.of(other, 2000)) == STEPS_MAX - 1
