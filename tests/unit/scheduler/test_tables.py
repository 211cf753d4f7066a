"""docs/pyspider-behaviour.md 4.2, 4.3, 4.6 to 4.10, row by row; where zspider differs, the row says why."""

import msgspec
import pytest
from msgspec.structs import replace
from tests.support.scheduler_world import World, make_project, names, wait
from zspider.activity import SINCE_FINISHED
from zspider.decisions import Accept, Finish
from zspider.delivery import End, Follow, Outcome
from zspider.scheduler.internal_tasks import entry_follow
from zspider.scheduler.pause import AutoPause, PauseLimits, Phase
from zspider.scheduler.project_states import Verb, is_to_be_deleted, status_after
from zspider.scheduler.rules import SchedulerRules
from zspider.storage.batch import ArrivalNumbers, Batch
from zspider.storage.rows import TaskRow
from zspider.storage.seen import SeenKeys
from zspider.task import (
    CRONJOB,
    GET_INFO,
    MESSAGE_PREFIX,
    MESSAGE_PRIORITY,
    ON_FINISHED,
    ProjectStatus,
    Ref,
    ScriptInfo,
    Status,
    Stored,
    task_key,
)

NOW = 1_700_000_000_000
S, HOUR, DAY = 1000, 3_600_000, 86_400_000
CRON = ScriptInfo(min_tick=10)
MESSAGE = MESSAGE_PREFIX + "m"
SAME = ""  # as pyspider


def table(*rows):
    """Rows of (name, how zspider differs, values...), as parameters named after them."""
    return [
        pytest.param(*values, id=name + (f" [differs, {differs}]" if differs else ""))
        for name, differs, *values in rows
    ]


def stored(status=Status.ACTIVE, **changes):
    row = {"run": 4, "retried": 0, "due_ms": 0, "retries": 3, "age_ms": None, "itag": "v1", "auto_recrawl": False}
    return Stored(status=status, **({"lastcrawl_ms": NOW - HOUR} | row | changes))


def follow(name="t", **changes):
    return Follow(name, f"http://example.org/{name}", b"body", **changes)


# --- 4.3 projects ---------------------------------------------------------------------------------------

PAGE_CRON_MESSAGE = [CRONJOB, MESSAGE, "page"]


@pytest.mark.parametrize(
    ("status", "granted"),
    table(
        ("statuses: TODO is not active", SAME, ProjectStatus.TODO, []),
        ("statuses: STOP is not active", SAME, ProjectStatus.STOP, []),
        ("statuses: CHECKING is not active", SAME, ProjectStatus.CHECKING, []),
        ("statuses: DEBUG is active", SAME, ProjectStatus.DEBUG, PAGE_CRON_MESSAGE),
        ("statuses: RUNNING is active, identical for the scheduler", SAME, ProjectStatus.RUNNING, PAGE_CRON_MESSAGE),
        (
            "statuses: PAUSED, selection stops",
            "it is stored when an operator sets it",
            ProjectStatus.PAUSED,
            [CRONJOB, MESSAGE],
        ),
    ),
)
def test_4_3_what_runs_in_a_status(status, granted):
    world = World()
    world.add_project(make_project(status=status, info=CRON))
    world.submit("page")
    world.submit(MESSAGE, priority=MESSAGE_PRIORITY)
    slave = world.slave(9)
    wait(world, 10, slave)
    assert names(slave) == granted
    assert len(world.waiting) == 2  # new tasks are stored in each


@pytest.mark.parametrize(
    ("verb", "status", "then"),
    table(
        ("transitions: saving the script of a DEBUG project", SAME, Verb.EDIT, "DEBUG", "CHECKING"),
        ("transitions: saving the script of a RUNNING project", SAME, Verb.EDIT, "RUNNING", "CHECKING"),
        ("transitions: saving another script", SAME, Verb.EDIT, "STOP", "STOP"),
        ("transitions: push from the command line", "the operator has tested it", Verb.PUSH, "RUNNING", "RUNNING"),
    ),
)
def test_4_3_transitions_by_an_edit(verb, status, then):
    assert status_after(make_project(status=ProjectStatus(status)), verb) == then


def test_4_3_leaving_active_throws_the_queue_away_and_tasks_stay_active_and_becoming_active_fills_it():
    world = World()
    world.add_project(make_project())
    world.submit("a", "b")
    slave = world.slave(1)
    world.settle(slave)
    world.add_project(make_project(status=ProjectStatus.STOP))
    world.settle(slave)
    assert (names(slave), len(world.waiting)) == ([], 2)
    world.add_project(make_project())
    world.settle(slave)
    assert len(slave.held) == 1


def test_4_3_in_flight_work_of_a_project_that_is_not_active_is_accepted__differs_stop_drops_completions():
    world = World()
    world.add_project(make_project())
    world.submit("a")
    slave = world.slave(1)
    world.settle(slave)
    world.add_project(make_project(status=ProjectStatus.STOP))
    slave.finish(1, follows=((1, "b", 0),))
    world.settle(slave)
    assert [row.taskid for row in world.waiting] == ["b"]
    assert not slave.held


@pytest.mark.parametrize(
    ("before", "after", "asked"),
    table(
        ("info exchange: info is missing", SAME, {"info": None}, {"info": None}, True),
        ("info exchange: the script changes", SAME, {}, {"info": None, "script": b"n" * 32}, True),
        ("info exchange: the script is the same", SAME, {}, {"rate": 5.0}, False),
        ("info exchange: not active", SAME, {}, {"info": None, "status": ProjectStatus.STOP}, False),
        (
            "info exchange: a script that cannot load",
            "its tasks wait for an edit and burn no retries",
            {"info": None},
            {"info": ScriptInfo(error="SyntaxError")},
            False,
        ),
    ),
)
def test_4_3_when_a_script_is_asked_what_it_declares(before, after, asked):
    world = World()
    world.add_project(make_project(**before))
    world.submit("page")
    world.add_project(make_project(**before | after))
    slave = world.slave(9)
    wait(world, 2, slave)
    has_page = not asked and "status" not in after and "error" not in str(after)
    assert names(slave) == [GET_INFO] * asked + ["page"] * has_page  # until the reply no selection


def test_4_3_info_exchange_no_timeout_or_resend__differs_ask_again():
    world = World()
    world.add_project(make_project(info=None))
    victim, other = world.slave(1), world.slave(1)
    world.settle(victim, other)
    victim, other = (victim, other) if victim.held else (other, victim)
    victim.crash()
    wait(world, 32, other)
    assert names(other) == [GET_INFO]


@pytest.mark.parametrize(
    ("changes", "is_deleted"),
    table(
        ("deletion: STOP, delete, older than DELETE_TIME", SAME, {}, True),
        ("deletion: words split on non-word characters, any case", SAME, {"group": "a;DELETE,lock"}, True),
        ("deletion: a longer word", SAME, {"group": "deleted"}, False),
        ("deletion: not STOP", SAME, {"status": ProjectStatus.TODO}, False),
        ("deletion: changed within DELETE_TIME", SAME, {"updated_ms": NOW - DAY}, False),
    ),
)
def test_4_3_deletion(changes, is_deleted):
    project = {"status": ProjectStatus.STOP, "group": "delete", "updated_ms": NOW - DAY - 1} | changes
    assert is_to_be_deleted(make_project(**project), NOW, 86_400) is is_deleted


# --- 4.6 new tasks, restarts, retries -------------------------------------------------------------------

ASKS = {
    "plain": {},
    "age=0": {"age_ms": 0},
    "age elapsed": {"age_ms": HOUR - 1},
    "new itag": {"itag": "v2"},
    "force_update": {"force_update": True},
}
FORCED_CANCEL = {"cancel": True, "force_update": True}
FINAL, WAITING, PROCESSING = "SUCCESS/FAILED/BAD", "ACTIVE, waiting", "ACTIVE, processing"
DROPPED_BUT_BY_FORCE = ["dropped"] * 4 + ["replaced"]
RESTARTED_BY_ALL_BUT_PLAIN = ["dropped"] + ["restart"] * 4
DECISIONS = [  # stored state, how it is stored, the answers in the order of ASKS, what differs
    ("not known", None, ["new"] * 5, {}),
    *((f"{FINAL}: {status.name}", stored(status), RESTARTED_BY_ALL_BUT_PLAIN, {}) for status in list(Status)[1:]),
    (f"{WAITING} in the priority queue", stored(), DROPPED_BUT_BY_FORCE, {}),
    (f"{WAITING} for exetime or recrawl", stored(due_ms=NOW + HOUR), DROPPED_BUT_BY_FORCE, {}),
    (
        f"{WAITING} to retry",
        stored(due_ms=NOW + HOUR, retried=1),
        RESTARTED_BY_ALL_BUT_PLAIN,
        dict.fromkeys(list(ASKS)[1:4], "it restarts at once"),
    ),
    (PROCESSING, stored(), DROPPED_BUT_BY_FORCE, {}),
    (f"{PROCESSING}, a retry that is due", stored(due_ms=NOW, retried=1), DROPPED_BUT_BY_FORCE, {}),
]
VERDICTS = {
    "new": [Accept.NEW],
    "restart": [Accept.RESTART],
    "replaced": [Accept.RESTART],
    "dropped": [Accept.KNOWN, Accept.RUNNING],
}


@pytest.mark.parametrize(
    ("row", "ask", "answer"),
    table(
        *(
            (f"{state} | {ask}: {answer}", differs.get(ask, SAME), row, ask, answer)
            for state, row, answers, differs in DECISIONS
            for ask, answer in zip(ASKS, answers, strict=True)
        )
    ),
)
def test_4_6_decision_table_for_a_resubmitted_url(row, ask, answer):
    assert SchedulerRules().accept(row, follow(**ASKS[ask]), NOW) in VERDICTS[answer]


def test_4_6_force_update_of_a_task_in_processing_is_postponed_until_it_leaves_processing(world):
    world.submit("a")
    slave = world.slave(2)
    world.settle(slave)
    world.force("a")
    wait(world, 3, slave)
    assert [held.run for held in slave.held.values()] == [0]
    slave.finish(1)
    world.settle(slave)
    assert [held.run for held in slave.held.values()] == [1]
    assert (world.counted, world.late) == ([("a", 0)], 0)


@pytest.mark.parametrize("field", ["taskid", "url"])
def test_4_6_verification_taskid_and_url_are_present_and_not_empty(field):
    packed = msgspec.msgpack.encode(replace(follow(), **{field: ""}))
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(packed, type=Follow)


def batch_of(*rows, waiting_max=0, waited=0):
    """A transaction that finds these tasks of project 1 in the database."""
    batch = Batch(SchedulerRules(waiting_max=waiting_max), SeenKeys(0), ArrivalNumbers(), NOW, {1: 0, 2: 0})
    for name, row in rows:
        ref = Ref(1, task_key(name))
        batch.rows[ref] = TaskRow(ref, name.encode(), b"http://old/", row)
    batch.waited = {1: waited, 2: waited}
    return batch


def accepted(batch, *follows, project=1):
    batch.follow(project, follows)
    batch.accept()
    return batch


def test_4_6_batch_step_duplicates_within_one_batch_are_dropped_unless_force_update():
    batch = accepted(batch_of(), follow(priority=1), follow(priority=2))
    assert [row.priority for row in batch.placed()] == [1]
    batch = accepted(batch_of(), follow(priority=1), follow(priority=2, force_update=True))
    assert [row.priority for row in batch.placed()] == [2]


def test_4_6_batch_step_two_projects_with_the_same_taskid_lose_one__differs_keyed_by_project_and_taskid():
    batch = batch_of()
    for project in (1, 2):
        batch.follow(project, [follow()])
    batch.accept()
    assert {row.ref.project for row in batch.placed()} == {1, 2}


@pytest.mark.parametrize(
    ("waited", "row", "asked", "verdict"),
    table(
        ("accept: in-queue limit reached", "it is counted and told", 3, None, {}, Accept.FULL),
        ("accept: below the limit", SAME, 2, None, {}, Accept.NEW),
        ("accept: a restart at the limit", "nothing that is there is lost", 3, FINAL, {"age_ms": 0}, Accept.RESTART),
        ("accept: not in taskdb", SAME, 0, None, {}, Accept.NEW),
        (
            "accept: a brand-new task with cancel",
            "ignored",
            0,
            None,
            {"cancel": True},
            Accept.NOTHING_TO_CANCEL,
        ),
        ("accept: itag differs", SAME, 0, FINAL, {"itag": "v2"}, Accept.RESTART),
        ("accept: the same itag", SAME, 0, FINAL, {"itag": "v1"}, Accept.KNOWN),
        ("accept: age + lastcrawltime < now", SAME, 0, FINAL, {"age_ms": HOUR - 1}, Accept.RESTART),
        ("accept: age + lastcrawltime = now", SAME, 0, FINAL, {"age_ms": HOUR}, Accept.KNOWN),
        ("accept: force_update", SAME, 0, FINAL, {"force_update": True}, Accept.RESTART),
        ("accept: else", SAME, 0, FINAL, {}, Accept.KNOWN),
        ("accept: cancel with a reason to restart", SAME, 0, FINAL, {"cancel": True, "age_ms": 0}, Accept.CANCEL),
        ("accept: cancel of an active task by force", SAME, 0, WAITING, FORCED_CANCEL, Accept.CANCEL),
        ("accept: cancel without one", SAME, 0, FINAL, {"cancel": True}, Accept.KNOWN),
    ),
)
def test_4_6_accept(waited, row, asked, verdict):
    known = {FINAL: stored(Status.SUCCESS), WAITING: stored()}
    rows = [("t", known[row])] if row else []
    batch = accepted(batch_of(*rows, waiting_max=3, waited=waited), follow(**asked))
    if verdict.is_drop:
        assert batch.report.dropped == {verdict.value: 1}
        assert not batch.placed()
        assert not batch.settled()
        return
    (task,) = batch.rows.values()
    assert task.stored.status is (Status.BAD if verdict is Accept.CANCEL else Status.ACTIVE)
    assert bool(batch.placed()) is (verdict is not Accept.CANCEL)
    assert bool(batch.report.replaced) is (row == WAITING)


def test_4_6_accept_the_row_is_overwritten_retried_resets_track_and_lastcrawltime_stay():
    row = stored(Status.FAILED, retried=3)
    batch = accepted(batch_of(("t", row)), follow(age_ms=0, priority=4, retries=1, itag="v9"))
    (task,) = batch.placed()
    assert (task.priority, task.body, task.stored.retried, task.stored.retries) == (4, b"body", 0, 1)
    assert (task.stored.itag, task.stored.lastcrawl_ms) == ("v9", NOW - HOUR)
    assert task.track is None  # None: what is there stays


def retry(delay_ms, n=1):
    return Finish(Status.ACTIVE, NOW + delay_ms, n, "retry")


FAILED = Finish(Status.FAILED, 0, 0, "failed")
RECRAWL = {"auto_recrawl": True, "age_ms": HOUR}


@pytest.mark.parametrize(
    ("changes", "end", "delays", "finish"),
    table(
        ("success: status SUCCESS", SAME, {}, End.SUCCESS, {}, Finish(Status.SUCCESS, 0, 0, "success")),
        (
            "success: auto_recrawl with an age, retried is kept",
            SAME,
            RECRAWL | {"retried": 2},
            End.SUCCESS,
            {},
            Finish(Status.ACTIVE, NOW + HOUR, 2, "success"),
        ),
        (
            "success: auto_recrawl without an age",
            SAME,
            {"auto_recrawl": True},
            End.SUCCESS,
            {},
            Finish(Status.SUCCESS, 0, 0, "success"),
        ),
        ("failure: default table[0]", SAME, {}, End.FAILURE, {}, retry(30 * S)),
        ("failure: default table[1]", SAME, {"retried": 1}, End.FAILURE, {}, retry(HOUR, 2)),
        ("failure: default table[2]", SAME, {"retried": 2}, End.FAILURE, {}, retry(6 * HOUR, 3)),
        ("failure: n >= retries", SAME, {"retried": 3}, End.FAILURE, {}, FAILED._replace(retried=3)),
        ("failure: default table[3]", SAME, {"retried": 3, "retries": 9}, End.FAILURE, {}, retry(12 * HOUR, 4)),
        ("failure: default table['']", SAME, {"retried": 4, "retries": 9}, End.FAILURE, {}, retry(DAY, 5)),
        ("failure: the handler's table", SAME, {}, End.FAILURE, {"0": 5}, retry(5 * S)),
        ("failure: the handler's table['']", SAME, {"retried": 1}, End.FAILURE, {"0": 5, "": 7}, retry(7 * S, 2)),
        ("failure: a partial user table", SAME, {"retried": 1}, End.FAILURE, {"0": 5}, retry(DAY, 2)),
        ("failure: auto_recrawl, min(delay, age)", SAME, RECRAWL | {"retried": 3}, End.FAILURE, {}, retry(HOUR, 4)),
        ("failure: auto_recrawl, a shorter delay", SAME, RECRAWL, End.FAILURE, {}, retry(30 * S)),
        ("failure: delay > age", SAME, {"age_ms": 9 * S}, End.FAILURE, {}, retry(9 * S)),
        ("failure: delay <= age", SAME, {"age_ms": 31 * S}, End.FAILURE, {}, retry(30 * S)),
        ("failure: delay < 0", SAME, {}, End.FAILURE, {"0": -1}, FAILED),
        ("failure: explicit age=-1", "as absent", {"age_ms": None}, End.FAILURE, {}, retry(30 * S)),
        ("failure: over a limit, or a poisoned page", "another try cannot help", {}, End.FATAL, {}, FAILED),
    ),
)
def test_4_7_success_and_failure(changes, end, delays, finish):
    rules = SchedulerRules()
    rules.set_retry_delays(7, delays)
    assert rules.finish(7, stored(**changes), end, NOW) == finish


@pytest.mark.parametrize(
    ("row", "run", "is_honoured"),
    table(
        ("status packs: the task is in processing", SAME, stored(), 4, True),
        ("status packs: a run that is over", SAME, stored(), 3, False),
        ("status packs: the task is done", SAME, stored(Status.SUCCESS), 4, False),
        ("status packs: the task is not known", SAME, None, 4, False),
        ("status packs: after a restart, or the deadline", "accepted by run", stored(), 4, True),
    ),
)
def test_4_2_status_packs(row, run, is_honoured):
    batch = batch_of(*([("t", row)] if row else []))
    batch.end(Outcome(1, "t", run, 9, b"", End.SUCCESS, follows=[follow("new")]), True)
    batch.accept()
    (end,) = batch.report.ended
    assert end.late is not is_honoured
    assert bool(batch.placed()) is is_honoured
    assert bool(batch.settled()) is is_honoured
    if is_honoured:
        assert row.lastcrawl_ms == NOW


def test_4_2_restart_of_the_scheduler_reloads_all_active_tasks__differs_what_is_held_is_not_given_twice(world):
    world.submit("a", "b")
    slave = world.slave(1)
    world.settle(slave)
    world.restart_master()
    slave.reconnect()
    other = world.slave(5)
    wait(world, 16, slave, other)
    assert sorted(names(slave) + names(other)) == ["a", "b"]
    assert len([delivery for _, _, delivery in world.granted if delivery.taskid == "a"]) == 1


# --- 4.8 on_finished ------------------------------------------------------------------------------------

WANTS = ScriptInfo(has_on_finished=True)


@pytest.mark.parametrize(
    ("counts", "changes", "asked"),
    table(
        ("an ordinary task ended and the queues are empty", SAME, {SINCE_FINISHED: 1}, {}, True),
        ("nothing ran", SAME, {}, {}, False),
        ("a task is queued or in processing", SAME, {SINCE_FINISHED: 1, "waiting": 1}, {}, False),
        ("a task waits for its retry or its recrawl", SAME, {SINCE_FINISHED: 1, "waiting": 1}, {}, False),
        ("it is not active", SAME, {SINCE_FINISHED: 1}, {"status": ProjectStatus.STOP}, False),
        (
            "postponed or new tasks are invisible",
            "they are counted in the transaction that accepts them",
            {SINCE_FINISHED: 1, "waiting": 1},
            {},
            False,
        ),
        ("the handler has none", "nothing is made", {SINCE_FINISHED: 1}, {"info": ScriptInfo()}, False),
    ),
)
def test_4_8_when_on_finished_is_made(counts, changes, asked):
    world = World()
    world.add_project(make_project(**{"info": WANTS, "counts": counts} | changes))
    world.step()
    world.step()
    assert world.finish_asked == [1] * asked  # once, and at once: exact counters need no ten calm loops


@pytest.mark.parametrize(
    ("ended", "since"),
    table(
        ("an ordinary task counts as activity", SAME, "page", 1),
        ("on_finished itself does not", SAME, ON_FINISHED, 0),
        ("a message does not", "in pyspider it is no task", MESSAGE, 0),
    ),
)
def test_4_8_what_arms_it(ended, since):
    batch = batch_of((ended, stored()))
    batch.end(Outcome(1, ended, 4, 1, b"", End.SUCCESS), True)
    assert batch.report.counts[1][SINCE_FINISHED] == since


def test_4_8_tasks_that_it_crawls_rearm_it():
    batch = batch_of((ON_FINISHED, stored()))
    batch.end(Outcome(1, ON_FINISHED, 4, 1, b"", End.SUCCESS, follows=[follow("more")]), True)
    batch.accept()
    assert batch.report.counts[1]["waiting"] == 0  # one less, one more: it waits for that one
    batch = batch_of(("more", stored()))
    batch.end(Outcome(1, "more", 4, 1, b"", End.SUCCESS), True)
    batch.finish(1, entry_follow(ON_FINISHED), {SINCE_FINISHED: 1, "waiting": 0})
    batch.accept()
    assert [row.taskid for row in batch.placed()] == [ON_FINISHED.encode()]


# --- 4.9 cron -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("info", "status", "seconds", "ticks"),
    table(
        ("every second where tick % min_tick == 0", SAME, CRON, "RUNNING", 35, [10, 20, 30]),
        ("aligned to the epoch, not to the start", SAME, ScriptInfo(min_tick=7), "RUNNING", 15, [3, 10]),
        ("nothing fires at start-up", SAME, CRON, "RUNNING", 5, []),
        ("min_tick 0", SAME, ScriptInfo(), "RUNNING", 35, []),
        ("project not active", SAME, CRON, "STOP", 35, []),
        ("info not received", SAME, None, "RUNNING", 35, []),
        ("paused projects included", SAME, CRON, "PAUSED", 35, [10, 20, 30]),
    ),
)
def test_4_9_ticks(info, status, seconds, ticks):
    world = World()
    world.now_ms = 1_700_000_000_000 // 70_000 * 70_000 + 70_000  # a multiple of ten seconds and of seven
    start_s = world.now_ms // 1000
    if info is not None and info.min_tick == 7:
        start_s = world.now_ms // 1000 + 4
        world.now_ms = start_s * 1000
    world.add_project(make_project(info=info, status=ProjectStatus(status)))
    slave = world.slave(9)
    found = []
    for _ in range(seconds):
        wait(world, 1, slave)
        found += [held.run - start_s for held in slave.held.values() if held.taskid == CRONJOB]
        slave.finish_all()
    assert found == ticks


@pytest.mark.parametrize(
    ("downtime_s", "runs"),
    table(
        ("missed seconds are all sent in a burst", "one run makes up for them", 65, [60]),
        ("one tick is missed", SAME, 15, [10]),
    ),
)
def test_4_9_missed_ticks(downtime_s, runs):
    world = World()
    world.now_ms = 1_700_000_000_000 // 10_000 * 10_000
    start_s = world.now_ms // 1000
    world.add_project(make_project(info=CRON))
    world.advance(downtime_s)
    slave = world.slave(9)
    world.settle(slave)
    assert [held.run - start_s for held in slave.held.values()] == runs


def test_4_9_no_catch_up_after_downtime():
    world = World()
    world.add_project(make_project(info=CRON))
    world.advance(100.0)
    world.restart_master()
    slave = world.slave(9)
    world.settle(slave)
    assert not slave.held


def test_4_9_no_overlap_protection__differs_a_run_that_takes_long_is_not_there_twice():
    world = World()
    world.add_project(make_project(info=CRON))
    slave = world.slave(9)
    wait(world, 40, slave)
    assert names(slave) == [CRONJOB]


def test_4_9_failures_are_invisible__differs_runs_are_recorded():
    batch = batch_of()
    batch.cron_ticks = {1: 0}
    batch.end(Outcome(1, CRONJOB, 50, 1, b"", End.FAILURE, reason="KeyError: 'x'"), True)
    assert (batch.report.counts[1]["cron"], batch.report.counts[1]["cron_failed"]) == (1, 1)


# --- 4.10 auto-pause ------------------------------------------------------------------------------------

FAILURES = "f" * 10
PAUSED, PROBING, NORMAL = Phase.PAUSED, Phase.PROBING, Phase.NORMAL


@pytest.mark.parametrize(
    ("events", "phase"),
    table(
        ("10 consecutive failures", SAME, FAILURES, PAUSED),
        ("9 failures", SAME, "f" * 9, NORMAL),
        ("a success among them", SAME, "f" * 9 + "s" + "f" * 9, NORMAL),
        ("10 failures after a success", SAME, "s" + FAILURES, PAUSED),
        ("PAUSED until 300 s", SAME, FAILURES + "299 ", PAUSED),
        ("after 300 s checking", SAME, FAILURES + "300 ", PROBING),
        ("what ends while PAUSED says nothing", SAME, FAILURES + "sfs299 ", PAUSED),
        ("only what is newer than the start of checking", SAME, FAILURES + "sfff300 ", PROBING),
        ("checking: 2 results without success", SAME, FAILURES + "300 ff", PROBING),
        ("checking: 3 results without success", SAME, FAILURES + "300 fff", PAUSED),
        ("checking: another 300 s", SAME, FAILURES + "300 fff299 ", PAUSED),
        ("checking again", SAME, FAILURES + "300 fff300 ", PROBING),
        ("checking: any success", SAME, FAILURES + "300 fs", NORMAL),
        ("checking: a first success", SAME, FAILURES + "300 s", NORMAL),
        ("normal again needs 10 again", SAME, FAILURES + "300 sffffffffff", PAUSED),
        ("editing or toggling status does not clear it", "it does", FAILURES + "e", NORMAL),
    ),
)
def test_4_10_auto_pause(events, phase):
    pause, now = AutoPause(PauseLimits(10, 300.0, 3)), 0.0
    seconds = ""
    for event in events:
        match event:
            case "f" | "s":
                pause.ended(event == "s", "")
            case "e":
                pause.clear()
            case " ":
                now += float(seconds)
                seconds = ""
            case digit:
                seconds += digit
        pause.decide(now)
    assert pause.phase is phase


def test_4_10_fail_pause_num_0_disables():
    pause = AutoPause(PauseLimits(0, 300.0, 3))
    for _ in range(100):
        pause.ended(False, "")
        assert not pause.decide(0.0)


@pytest.mark.parametrize(
    ("taskid", "is_success"),
    table(
        ("an ordinary task enters the ring", SAME, "page", False),
        ("a message", SAME, MESSAGE, None),
        ("a cron run", "a ring of outcomes (#872)", CRONJOB, None),
        ("the info exchange", SAME, GET_INFO, None),
    ),
)
def test_4_10_what_enters_the_ring(taskid, is_success):
    batch = batch_of((taskid, stored()))
    batch.cron_ticks = {1: 0}
    batch.end(Outcome(1, taskid, 4, 1, b"", End.FAILURE), True)
    assert batch.report.ended[0].is_success is is_success
