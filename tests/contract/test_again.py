"""A task that is submitted again, or cancelled, while a slave may be working on it: that run ends and counts."""

import pytest
from tests.support.storage import OPTIONS, Crawl, follow, outcome
from zspider.activity import FETCHED, SINCE_FINISHED
from zspider.delivery import End, Message, NewSchedule
from zspider.storage import Change, Selection
from zspider.task import Status, Task

AGAIN = {"force_update": True}
CANCEL = {"force_update": True, "cancel": True}


@pytest.fixture(params=[False, True], ids=["", "after a restart"])
def restarts(request: pytest.FixtureRequest) -> bool:
    """Whether the master is another one when the run ends."""
    return bool(request.param)


def again(crawl: Crawl, **fields: object) -> Task:
    """Submit the page once more; returns what waits then."""
    (task,) = crawl.submit(follow("page", **AGAIN | fields)).entered
    return task


def test_what_a_replaced_run_led_to_is_stored_and_the_task_waits_with_the_newest_options(
    crawl: Crawl, restarts: bool
) -> None:
    old = crawl.task("page", retries=1, itag='"a"')
    report = crawl.submit(follow("page", url="http://example.org/new", body=b"\x80", priority=4, itag='"b"', **AGAIN))
    assert (report.gone, report.replaced) == ([], [old.ref])
    if restarts:
        crawl.close()
        crawl.open()
    message = Message("shop", "data:,m", OPTIONS)
    made = {"follows": [follow("child")], "results": [b'"made"'], "track": b"saved", "messages": [message]}
    got = crawl.commit(outcome(old, fetch_ms=7, **made))
    (ended,) = got.ended
    assert (ended.run, ended.status, ended.late, ended.is_success) == (0, Status.ACTIVE, False, True)
    waiting = {task.taskid: task for task in got.entered}
    page = waiting["page"]
    assert (page.run, page.url, page.body, page.priority, page.due_ms) == (1, "http://example.org/new", b"\x80", 4, 0)
    assert (page.track, page.lastcrawl_ms, page.open_runs) == (b"saved", crawl.now_ms, 0)
    assert {"child", "page"} < waiting.keys()
    assert len(waiting) == 3
    assert crawl.results() == {"page": ['"made"']}
    counts = crawl.all_counts()
    assert (counts["success"], counts["waiting"], counts[SINCE_FINISHED]) == (1, 3, 1)
    assert crawl.gauges() == crawl.recounted()
    assert got.counts[crawl.project.id][FETCHED] == 1
    assert crawl.commit(outcome(old, **made)).ended[0].late  # it came twice
    assert not crawl.commit(outcome(page, results=[b'"newer"'])).ended[0].late
    assert crawl.results() == {"page": ['"newer"']}
    assert crawl.row("page").status is Status.SUCCESS


def test_any_number_of_submissions_makes_one_further_run(crawl: Crawl) -> None:
    old = crawl.task("page")
    for number in range(5):
        newest = again(crawl, priority=number)
    assert crawl.commit(outcome(old)).entered == [
        task for task in crawl.storage.ready(crawl.project.id, None, 10) if task.taskid == "page"
    ]
    (waiting,) = crawl.storage.ready(crawl.project.id, None, 10)
    assert (waiting.run, waiting.priority) == (newest.run, 4)
    assert crawl.commit(outcome(waiting)).entered == []
    assert crawl.counts() == {"new": 1, "done": 1, "success": 2}


def test_the_end_of_a_replaced_run_delays_nothing_and_fails_nothing(crawl: Crawl) -> None:
    for end in (End.FAILURE, End.FATAL):
        old = crawl.task("page", retries=0) if end is End.FAILURE else again(crawl)
        newest = again(crawl, retries=0)
        got = crawl.commit(outcome(old, end, reason="HTTP 500", track=b"kept"))
        (task,) = got.entered
        assert (task.run, task.due_ms, task.retried, task.track) == (newest.run, 0, 0, b"kept")
        assert (got.ended[0].is_success, got.ended[0].error) == (False, "HTTP 500")
        assert crawl.row("page").reason == ""
    assert crawl.counts() == {"new": 1, "waiting": 1, "retry": 2}


def test_a_schedule_that_its_callback_left_is_overruled_by_the_newer_submission(crawl: Crawl) -> None:
    old = crawl.task("page")
    again(crawl, priority=3, retries=7)
    left = NewSchedule(b"\x80", 9, 1, 0, 60_000, None, True)
    (task,) = crawl.commit(outcome(old, schedule=left)).entered
    row = crawl.row("page")
    assert (task.priority, row.retries, row.age_ms, row.auto_recrawl) == (3, 7, None, False)


def test_a_later_time_is_kept_until_then(crawl: Crawl) -> None:
    old = crawl.task("page")
    later = crawl.now_ms + 60_000
    again(crawl, exetime_ms=later)
    (task,) = crawl.commit(outcome(old)).entered
    assert task.due_ms == later
    assert crawl.storage.delayed(crawl.project.id, None, 10) == [task]


def test_parts_of_a_replaced_run_count_until_it_has_ended(crawl: Crawl) -> None:
    old = crawl.task("page")
    again(crawl)
    part = outcome(old, End.PART, follows=[follow("a")])
    got = crawl.commit(part)
    assert (got.ended, [task.taskid for task in got.entered]) == ([], ["a"])
    assert not crawl.commit(outcome(old, follows=[follow("b")])).ended[0].late
    assert crawl.knows("b")
    assert crawl.commit(part).ended[0].late


def test_a_cancelled_run_ends_and_counts_and_the_task_stays_cancelled(crawl: Crawl, restarts: bool) -> None:
    old = crawl.task("page")
    got = crawl.submit(follow("page", **CANCEL))
    assert (got.gone, got.replaced, got.entered) == ([], [old.ref], [])
    if restarts:
        crawl.close()
        crawl.open()
    got = crawl.commit(outcome(old, results=[b"1"], track=b"t", follows=[follow("child")]))
    assert [(ended.status, ended.late) for ended in got.ended] == [(Status.BAD, False)]
    assert [task.taskid for task in got.entered] == ["child"]
    row = crawl.row("page")
    assert (row.status, row.track, row.lastcrawl_ms) == (Status.BAD, b"t", crawl.now_ms)
    assert crawl.results() == {"page": ["1"]}
    assert crawl.gauges() == crawl.recounted() == {"cancelled": 1, "waiting": 1, "results": 1}
    assert crawl.commit(outcome(old)).ended[0].late


def test_a_cancelled_run_that_fails_is_not_tried_again(crawl: Crawl) -> None:
    old = crawl.task("page")
    crawl.submit(follow("page", **CANCEL))
    assert crawl.commit(outcome(old, End.FAILURE, reason="no")).entered == []
    assert crawl.counts() == {"new": 1, "cancelled": 1, "failed_total": 1}


def test_a_task_cancelled_and_submitted_again_while_it_runs_runs_once_more(crawl: Crawl) -> None:
    old = crawl.task("page")
    crawl.submit(follow("page", **CANCEL))
    newest = again(crawl)
    assert newest.is_open(old.run)
    (task,) = crawl.commit(outcome(old, results=[b"1"])).entered
    assert task.run == newest.run
    assert not crawl.commit(outcome(task)).ended[0].late
    assert crawl.counts() == {"new": 1, "done": 1, "success": 2, "results": 1}


def test_the_end_of_the_newer_run_is_the_end_of_those_before_it(crawl: Crawl) -> None:
    old = crawl.task("page")
    newest = again(crawl)
    assert newest.is_open(old.run)
    crawl.commit(outcome(newest, results=[b'"new"']))
    assert crawl.commit(outcome(old, results=[b'"old"'])).ended[0].late
    assert crawl.results() == {"page": ['"new"']}


def test_runs_that_end_in_one_group_count_each_once(crawl: Crawl) -> None:
    old = crawl.task("page")
    newest = again(crawl)
    ends = [outcome(old, results=[b"1"]), outcome(newest, results=[b"2"]), outcome(old, results=[b"3"])]
    assert [ended.late for ended in crawl.commit(*ends).ended] == [False, False, True]
    assert crawl.results() == {"page": ["2"]}
    assert crawl.counts() == {"new": 1, "done": 1, "success": 2, "results": 1, "late": 1}


def test_deliveries_of_the_newest_run_stay_counted_and_those_of_a_replaced_one_are_not(crawl: Crawl) -> None:
    old = crawl.task("page")
    newest = again(crawl)
    assert crawl.storage.charge([(old.ref, old.run, 10)], crawl.now_ms).entered == []
    assert crawl.row("page").status is Status.ACTIVE
    crawl.storage.charge([(newest.ref, newest.run, 3)], crawl.now_ms)
    (task,) = crawl.commit(outcome(old)).entered
    assert (task.attempt, crawl.row("page").attempt) == (3, 3)
    got = crawl.storage.charge([(task.ref, task.run, 10)], crawl.now_ms)
    assert got.ended[0].status is Status.FAILED


def test_the_operators_restart_lets_the_run_end_and_count(crawl: Crawl) -> None:
    old = crawl.task("page")
    selection = Selection((Status.ACTIVE,), "")
    step = crawl.storage.change_tasks(Change.RESTART, crawl.project.id, selection, None, now_ms=crawl.now_ms)
    assert (step.report.gone, step.report.replaced) == ([], [old.ref])
    (task,) = crawl.commit(outcome(old, results=[b"1"])).entered
    assert (task.run, task.due_ms) == (1, 0)
    assert crawl.results() == {"page": ["1"]}


def test_what_a_removed_task_did_is_late_though_it_was_submitted_again(crawl: Crawl) -> None:
    for fields in (AGAIN, CANCEL):
        old = crawl.task("page")
        crawl.submit(follow("page", **fields))
        assert crawl.storage.remove_task(crawl.project.id, "page", crawl.now_ms).gone == [old.ref]
        assert crawl.commit(outcome(old, results=[b"1"])).ended[0].late
    assert crawl.results() == {}
