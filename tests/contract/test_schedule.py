"""What a callback makes of `task["schedule"]`: it decides at once, and is kept unless the task is done."""

from typing import Any

import msgspec
import pytest
from tests.support.storage import Crawl, follow, outcome
from zspider.delivery import End, NewSchedule
from zspider.task import Status

HOUR_MS = 3_600_000
BODY = msgspec.msgpack.encode({"schedule": {"age": 9}, "fetch": {"save": [1]}, "process": {"callback": "page"}})
PACKED = msgspec.msgpack.encode({"age": 3600, "priority": 7})


def left(**changes: Any) -> NewSchedule:
    fields: dict[str, Any] = {"priority": 7, "retries": 3, "retried": 0, "age_ms": None, "itag": None}
    return NewSchedule(**{"packed": PACKED, "auto_recrawl": False, **fields, **changes})


def options(body: bytes) -> Any:
    return msgspec.msgpack.decode(body)


def test_a_failed_task_waits_for_its_retry_with_the_schedule_that_its_callback_left(crawl: Crawl) -> None:
    task = crawl.task("page", body=BODY)
    new = left(retries=9, retried=1, age_ms=10_000, itag='"v2"')
    (waiting,) = crawl.commit(outcome(task, End.FAILURE, schedule=new)).entered
    row = crawl.row("page")
    assert (row.priority, row.retries, row.retried, row.age_ms, row.itag) == (7, 9, 2, 10_000, '"v2"')
    assert row.due_ms == crawl.now_ms + 10_000  # an hour is the second delay, the age is shorter
    assert waiting.priority == 7
    assert options(waiting.body) == options(row.body)
    assert options(row.body) == {
        "schedule": {"age": 3600, "priority": 7},
        "fetch": {"save": [1]},
        "process": {"callback": "page"},
    }


def test_a_callback_may_give_up_its_retries(crawl: Crawl) -> None:
    crawl.commit(outcome(crawl.task("page"), End.FAILURE, schedule=left(retries=0)))
    row = crawl.row("page")
    assert (row.status, row.retries, row.priority) == (Status.FAILED, 0, 7)


def test_a_callback_may_ask_for_recrawls_or_end_them(crawl: Crawl) -> None:
    (again,) = crawl.commit(outcome(crawl.task("page"), schedule=left(auto_recrawl=True, age_ms=HOUR_MS))).entered
    assert again.due_ms == crawl.now_ms + HOUR_MS
    assert crawl.row("page").auto_recrawl
    crawl.commit(outcome(again, schedule=left(age_ms=1)))
    row = crawl.row("page")
    assert row.status is Status.SUCCESS
    assert (row.auto_recrawl, row.age_ms) == (True, HOUR_MS)  # a task that is done keeps its schedule


def test_the_schedule_of_a_task_that_is_done_stays_as_it_was(crawl: Crawl) -> None:
    crawl.commit(outcome(crawl.task("page", body=BODY, itag="1"), schedule=left(itag="2")))
    row = crawl.row("page")
    assert (row.status, row.itag, row.priority, row.body) == (Status.SUCCESS, "1", 0, BODY)


@pytest.mark.parametrize("end", [End.FAILURE, End.SUCCESS])
def test_who_submits_the_task_in_the_same_transaction_comes_after_its_callback(crawl: Crawl, end: End) -> None:
    new = follow("page", force_update=True, priority=3, retries=5)
    (task,) = crawl.commit(outcome(crawl.task("page"), end, schedule=left(retries=8), follows=[new])).entered
    row = crawl.row("page")
    assert (row.priority, row.retries, row.retried, row.body) == (3, 5, 0, new.body)
    assert (task.priority, task.body) == (3, new.body)


def test_a_late_outcome_changes_no_schedule(crawl: Crawl) -> None:
    task = crawl.task("page", body=BODY)
    crawl.commit(outcome(task, End.FAILURE))
    crawl.commit(outcome(task, End.FAILURE, schedule=left()))
    assert (crawl.row("page").priority, crawl.row("page").body) == (0, BODY)


def test_options_that_nobody_can_read_stay_as_they_are(crawl: Crawl) -> None:
    crawl.commit(outcome(crawl.task("page", body=b"\xc1"), End.FAILURE, schedule=left()))
    assert (crawl.row("page").priority, crawl.row("page").body) == (7, b"\xc1")


def test_a_schedule_that_the_database_refuses_fails_its_own_task_alone(crawl: Crawl) -> None:
    good, bad = crawl.tasks("good", "bad")
    report = crawl.commit(
        outcome(good, End.FAILURE, schedule=left()), outcome(bad, End.FAILURE, schedule=left(itag="\ud800"))
    )
    assert [position for position, _ in report.bad] == [1]
    assert crawl.row("bad").status is Status.FAILED
    assert crawl.row("good").priority == 7
