"""What a project or a task waits for, in words: each reason in a world where it holds."""

import pytest
from tests.support.scheduler_world import FETCHER, World, make_project, wait
from zspider.delivery import Answer
from zspider.scheduler.pause import NEVER, PauseLimits
from zspider.scheduler.why import TaskToExplain, why_finished, why_project, why_task
from zspider.settings import HostRule, PolitenessSettings
from zspider.task import ProjectStatus, Ref, ScriptInfo, Status, task_key

ENDED_BY = ", says a slave on host; `zspiderd hosts resume slow.example` ends it"


def project_waits(world):
    return why_project(world.core, world.core.projects[1], world.now, world.now_ms)


def task_waits(world, name):
    row = world.rows[Ref(1, task_key(name))]
    waiting = TaskToExplain(row.ref, row.url, row.retried, row.due_ms)
    return why_task(world.core, world.core.projects[1], waiting, world.now, world.now_ms)


def words(waits):
    return [one.what for one in waits]


def crawl(*names, window=1, roles=FETCHER, politeness=None, pausing=NEVER, **project):
    """A project with these tasks, and a slave."""
    world = World(pausing=pausing, politeness=politeness)
    world.add_project(make_project(**project))
    world.submit(*names)
    slave = world.slave(window, roles=roles)
    world.settle(slave)
    return world, slave


@pytest.mark.parametrize(
    ("project", "roles", "what", "said"),
    [
        ({"status": ProjectStatus.STOP}, FETCHER, "stopped", "zspiderd project start project1"),
        ({"status": ProjectStatus.TODO}, FETCHER, "stopped", "TODO"),
        ({"status": ProjectStatus.PAUSED}, FETCHER, "paused", "zspiderd project resume project1"),
        ({"info": ScriptInfo(error="NameError: x")}, FETCHER, "script", "NameError: x"),
        ({}, frozenset({"fetcher"}), "no slave", "no slave with the role processor"),
        ({}, frozenset({"processor"}), "no slave", "no slave with the role fetcher"),
    ],
)
def test_what_stops_all_pages_comes_first(project, roles, what, said):
    world, _ = crawl("a", roles=roles, **project)
    first = project_waits(world)[0]
    assert first.what == what
    assert said in first.text
    if roles == FETCHER:
        assert words(task_waits(world, "a")) == [what]


def test_no_slave_is_there_or_none_speaks():
    world = World()
    world.add_project(make_project())
    world.submit("a")
    world.settle()
    assert project_waits(world)[0].text == "no slave is connected"
    slave = world.slave(1)
    world.settle(slave)
    wait(world, 7)
    assert project_waits(world)[0].text == "all 1 slaves are silent"


def test_the_script_is_being_asked_and_no_slave_can_load_it():
    world, slave = crawl("a", info=None)
    assert words(project_waits(world)) == ["script info", "leased"]
    slave.give_back(list(slave.held), bar=True, error="No module named 'x'")
    world.settle(slave)
    (wait,) = project_waits(world)
    assert wait.what == "script"
    assert "No module named 'x'" in wait.text


def test_a_rate_tells_when_the_next_task_may_go():
    world, slave = crawl("a", "b", "c", window=10, rate=0.1, burst=1)
    wait(world, 5, slave)
    assert len(slave.held) == 1
    limited, leased = project_waits(world)
    assert (limited.what, leased.what) == ("rate", "leased")
    assert "0.1/s" in limited.text
    assert world.now_ms < limited.until_ms <= world.now_ms + 10_000
    assert words(task_waits(world, "c")) == ["rate"]


def test_a_rate_that_never_gives_a_task_says_so():
    world, _ = crawl("a", rate=1.0, burst=0.5)
    (limited,) = project_waits(world)
    assert (limited.what, limited.until_ms) == ("rate", None)
    assert "never" in limited.text


@pytest.mark.parametrize(
    ("rule", "answer", "said", "is_timed"),
    [
        ({"concurrency": 1}, None, "slow.example has as many requests as it may have at once: 1", False),
        ({"delay_s": 60.0}, None, "slow.example is asked every 60 s", True),
        (
            {},
            Answer(503, 30_000),
            f"slow.example has asked to be left alone for 30 s{ENDED_BY}",
            True,
        ),
    ],
    ids=["concurrency", "delay", "back-off"],
)
def test_a_host_that_may_not_be_asked_is_named(rule, answer, said, is_timed):
    politeness = PolitenessSettings(rules=(HostRule(match="slow.example", **rule),))
    world, slave = crawl("slow.example/1", "slow.example/2", window=1 if answer else 9, politeness=politeness)
    assert len(slave.held) == 1
    if answer is not None:
        slave.finish(next(iter(slave.held)), answer=answer)
        world.settle(slave)
    waits = project_waits(world)
    (host,) = [one for one in waits if one.what == "host"]
    assert host.text == said
    assert (host.until_ms is not None) == is_timed
    assert host.text in [one.text for one in task_waits(world, "slow.example/2")]


def test_a_host_that_does_not_answer_is_named():
    pages = [f"dead.example/{n}" for n in range(20)]
    world, slave = crawl(*pages, window=20, politeness=PolitenessSettings())
    wait(world, 1, slave)
    assert len(slave.held) == 8
    (host,) = [one for one in project_waits(world) if one.what == "host"]
    assert host.text == "dead.example does not answer: 8 requests to it are out, which is its share"


def test_slaves_that_have_all_they_take():
    world, _ = crawl("a", "b")
    assert words(project_waits(world)) == ["slaves busy", "leased"]
    assert words(task_waits(world, "b")) == ["slaves busy"]
    (leased,) = task_waits(world, "a")
    assert leased.text.startswith("a slave on host has it")


def test_a_failed_page_waits_for_its_next_try():
    world, slave = crawl("a")
    slave.finish(next(iter(slave.held)), is_success=False)
    world.settle(slave)
    (later,) = project_waits(world)
    (retry,) = task_waits(world, "a")
    assert (later.what, retry.what) == ("later", "retry")
    assert later.until_ms == retry.until_ms == world.rows[Ref(1, task_key("a"))].due_ms


def test_a_project_that_pauses_itself_says_until_when():
    world, slave = crawl("a", "b", "c", window=1, pausing=PauseLimits(2, 300.0, 1))
    for _ in range(2):
        slave.finish(next(iter(slave.held)), is_success=False)
        world.settle(slave)
    (paused,) = project_waits(world)
    assert (paused.what, paused.until_ms) == ("auto-pause", world.now_ms + 300_000)
    assert "2 failures in a row" in paused.text
    wait(world, 300, slave)
    probing = project_waits(world)[0]
    assert (probing.what, probing.until_ms) == ("auto-pause", None)


def test_nothing_to_do():
    world, slave = crawl("a")
    slave.finish_all()
    world.settle(slave)
    assert words(project_waits(world)) == ["nothing"]
    (done,) = why_finished(Status.FAILED, "HTTP 404")
    assert done.text == "already failed: HTTP 404"


def test_a_task_that_was_submitted_again_or_cancelled_waits_for_the_run_under_way():
    world, slave = crawl("a")
    world.force("a")
    world.settle(slave)
    leased, again = task_waits(world, "a")
    assert (leased.what, again.what) == ("leased", "again")
    assert "once more when that run has ended" in again.text
    world.cancel("a")
    world.settle(slave)
    (lease,) = world.core.leases
    assert words(why_finished(Status.BAD, "", lease)) == ["nothing", "leased"]


def test_a_task_behind_others_waits_its_turn():
    world, _ = crawl(*(f"t{n:03}" for n in range(400)), window=5)
    assert words(task_waits(world, "t399")) == ["slaves busy", "turn"]


def test_asking_changes_nothing():
    world, slave = crawl("a", "b", "c", window=2)
    before = (list(slave.held), len(world.core.leases), len(world.core.projects[1].frontier))
    project_waits(world)
    task_waits(world, "c")
    assert (list(slave.held), len(world.core.leases), len(world.core.projects[1].frontier)) == before
    world.assert_invariants()
