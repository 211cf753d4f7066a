"""limits.waiting: new URLs beyond it are refused and counted; nothing that is there already is ever lost."""

import pytest
from tests.support.storage import Crawl, follow, outcome
from zspider.delivery import End, Message
from zspider.scheduler.internal_tasks import entry_follow
from zspider.scheduler.rules import SchedulerRules
from zspider.task import ON_FINISHED, ON_START, Status

FULL = "dropped:queue full"


@pytest.fixture
def crawl(crawl: Crawl) -> Crawl:
    """Three may wait."""
    crawl.close()
    crawl.rules = SchedulerRules(waiting_max=3)
    crawl.open()
    return crawl


def test_new_urls_beyond_the_limit_are_refused_and_counted_and_may_come_again(crawl: Crawl) -> None:
    report = crawl.submit(*(follow(name) for name in "abcde"))
    assert [task.taskid for task in report.entered] == ["a", "b", "c"]
    assert crawl.counts() == {"new": 3, "waiting": 3, FULL: 2}
    assert not crawl.knows("d")
    crawl.commit(outcome(report.entered[0]))
    assert [task.taskid for task in crawl.submit(follow("d"), follow("e")).entered] == ["d"]
    assert crawl.counts()[FULL] == 3


def test_a_page_that_ends_makes_room_for_what_it_leads_to_in_the_same_transaction(crawl: Crawl) -> None:
    first, *_ = crawl.tasks("a", "b", "c")
    report = crawl.commit(outcome(first, follows=[follow("d"), follow("e")]))
    assert [task.taskid for task in report.entered] == ["d"]
    assert crawl.counts()["waiting"] == 3


def test_retries_recrawls_and_restarts_are_never_refused(crawl: Crawl) -> None:
    done = crawl.task("done")
    crawl.commit(outcome(done))
    retry, again, other = crawl.tasks("retry", "again", "other", auto_recrawl=True, age_ms=1000)
    report = crawl.commit(
        outcome(retry, End.FAILURE),
        outcome(again, follows=[follow("done", force_update=True), follow("new")]),
        outcome(other, End.FAILURE),
    )
    assert sorted(task.taskid for task in report.entered) == ["again", "done", "other", "retry"]
    assert crawl.counts()["waiting"] == 4
    assert crawl.counts()[FULL] == 1
    assert crawl.submit(follow("other", force_update=True)).entered


def test_what_zspider_submits_itself_and_messages_are_never_refused(crawl: Crawl) -> None:
    page, *_ = crawl.tasks("a", "b", "c")
    assert [task.taskid for task in crawl.submit(entry_follow(ON_START), entry_follow(ON_FINISHED)).entered] == [
        ON_START,
        ON_FINISHED,
    ]
    report = crawl.commit(outcome(page, messages=[Message("shop", "data:,m", b"\x80")]))
    assert len(report.entered) == 1
    assert crawl.counts()["waiting"] == 5
    assert FULL not in crawl.counts()


def test_each_project_has_a_limit_of_its_own_and_a_cancel_makes_room(crawl: Crawl) -> None:
    other = crawl.storage.push("other", "x", now_ms=1)
    crawl.tasks("a", "b", "c")
    assert len(crawl.storage.submit(other.id, [follow("a"), follow("b")], crawl.now_ms).entered) == 2
    crawl.submit(follow("a", force_update=True, cancel=True))
    assert crawl.row("a").status is Status.BAD
    assert crawl.submit(follow("d")).entered


def test_a_restarted_master_knows_how_many_wait(crawl: Crawl) -> None:
    crawl.tasks("a", "b", "c")
    crawl.close()
    crawl.open()
    assert crawl.submit(follow("d")).entered == []
