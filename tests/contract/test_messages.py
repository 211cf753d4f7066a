"""Messages between projects: committed with their sender's outcome, tasks of their receiver, gone when heard."""

import pytest
from tests.support.storage import Crawl, follow, outcome
from zspider.delivery import End, Message, Outcome
from zspider.task import (
    CRONJOB,
    GET_INFO,
    MESSAGE_PRIORITY,
    URL_BYTES_MAX,
    Project,
    ProjectStatus,
    Status,
    Task,
    usual_taskid,
)

URL = "http://example.org/page#1"


def message(receiver: str = "shop", url: str = URL, body: bytes = b"body") -> Message:
    return Message(receiver, url, body)


@pytest.fixture
def other(crawl: Crawl) -> Project:
    """A second project."""
    return crawl.storage.push("other", "x", now_ms=crawl.now_ms)


def sent(crawl: Crawl, *messages: Message, **fields: object) -> list[Task]:
    """The tasks that the messages of a page became."""
    page = crawl.task(f"page {crawl.now_ms}")
    return crawl.commit(outcome(page, messages=list(messages), **fields)).entered


def test_a_message_is_a_task_of_its_receiver_before_all_pages(crawl: Crawl, other: Project) -> None:
    crawl.storage.submit(other.id, [follow("urgent", priority=MESSAGE_PRIORITY - 1)], crawl.now_ms)
    (task,) = sent(crawl, message("other"))
    assert (task.ref.project, task.url, task.body, task.run) == (other.id, URL, b"body", 0)
    assert task.taskid.startswith("_on_message:")
    assert [one.taskid for one in crawl.storage.ready(other.id, None, 10)] == [task.taskid, "urgent"]


def test_messages_of_one_run_are_different_tasks_in_their_order(crawl: Crawl) -> None:
    tasks = sent(crawl, message(body=b"a"), message(body=b"a"), message(body=b"b"))
    assert [task.body for task in crawl.storage.ready(crawl.project.id, None, 10)] == [b"a", b"a", b"b"]
    assert len({task.taskid for task in tasks}) == 3


def test_a_second_outcome_of_the_sender_makes_no_second_message(crawl: Crawl) -> None:
    page = crawl.task("page")
    whole = outcome(page, messages=[message()])
    (task,) = crawl.commit(whole, whole).entered
    assert crawl.commit(whole).entered == []
    crawl.commit(outcome(task))
    crawl.close()
    crawl.open()  # another master: nothing is remembered
    assert crawl.commit(whole).entered == []
    assert crawl.waiting() == []


def test_a_failed_run_s_messages_count_and_those_of_its_next_run_are_others(crawl: Crawl) -> None:
    page = crawl.task("page")
    got = crawl.commit(outcome(page, End.FAILURE, messages=[message()]))
    again = next(task for task in got.entered if task.taskid == "page")
    crawl.commit(outcome(again, messages=[message()]))
    assert len(crawl.waiting()) == 2


def test_parts_and_late_outcomes_bring_no_messages(crawl: Crawl) -> None:
    page = crawl.task("page")
    crawl.commit(outcome(page, End.PART, messages=[message()]))
    crawl.commit(outcome(page))
    crawl.commit(outcome(page, messages=[message()]))
    assert crawl.waiting() == []


def test_a_message_that_was_heard_leaves_nothing_but_its_result(crawl: Crawl) -> None:
    (task,) = sent(crawl, message())
    got = crawl.commit(outcome(task, results=[b'"heard"'], track=b"t", follows=[follow("next")]))
    assert [(end.ref, end.status, end.late) for end in got.ended] == [(task.ref, Status.SUCCESS, False)]
    assert not crawl.knows(task.taskid)
    assert crawl.results() == {usual_taskid(URL): ['"heard"']}
    assert crawl.counts() == {"new": 3, "waiting": 1, "done": 1, "success": 1, "messages": 1, "results": 1}
    assert crawl.commit(outcome(task, results=[b'"again"'])).ended[0].late
    assert crawl.results() == {usual_taskid(URL): ['"heard"']}


def test_of_results_under_one_url_the_newest_wins_also_within_one_batch(crawl: Crawl) -> None:
    first, second, third = sent(crawl, message(), message(), message())
    crawl.commit(outcome(first, results=[b"1", b"2"]), outcome(second, results=[b"3"]))
    assert crawl.results() == {usual_taskid(URL): ["3"]}
    crawl.commit(outcome(third))  # no result: what is stored stays
    assert crawl.results() == {usual_taskid(URL): ["3"]}
    assert crawl.counts()["results"] == 1


def test_a_message_is_tried_again_and_stays_visible_when_its_tries_are_over(crawl: Crawl) -> None:
    (task,) = sent(crawl, message())
    for _ in range(3):
        (task,) = crawl.commit(outcome(task, End.FAILURE, reason="KeyError")).entered
        assert task.due_ms > crawl.now_ms
        assert (task.body, task.priority) == (b"body", MESSAGE_PRIORITY)
    crawl.commit(outcome(task, End.FAILURE, reason="KeyError"))
    row = crawl.row(task.taskid)
    assert (row.status, row.reason) == (Status.FAILED, "KeyError")
    assert crawl.counts() == {"new": 2, "done": 1, "success": 1, "retry": 3, "failed": 1, "failed_total": 1}


def test_a_message_to_nobody_is_dropped_and_counted_and_the_rest_is_kept(crawl: Crawl, other: Project) -> None:
    crawl.storage.submit(other.id, [follow("one"), follow("two")], crawl.now_ms)
    crawl.storage.remove("other", 1)  # it is going
    page = crawl.task("page")
    got = crawl.commit(
        outcome(page, messages=[message("nobody"), message("other"), message("nöbody"), message("shop")])
    )
    assert got.undelivered == {"nobody": 1, "other": 1, "nöbody": 1}
    assert [task.ref.project for task in got.entered] == [crawl.project.id]
    assert crawl.counts()["dropped:no such project"] == 3


def test_a_message_waits_for_a_stopped_project(crawl: Crawl, other: Project) -> None:
    crawl.storage.set_project(other.id, now_ms=crawl.now_ms, status=ProjectStatus.STOP)
    (task,) = sent(crawl, message("other"))
    assert [one.taskid for one in crawl.storage.ready(other.id, None, 10)] == [task.taskid]


def test_messages_survive_a_restart(crawl: Crawl) -> None:
    tasks = sent(crawl, message(body=b"1"), message(body=b"2"))
    crawl.close()
    crawl.open()
    assert crawl.storage.ready(crawl.project.id, None, 10) == tasks


def test_a_cron_run_s_messages_are_accepted_once(crawl: Crawl) -> None:
    def cron(tick_s: int) -> Outcome:
        return Outcome(crawl.project.id, CRONJOB, tick_s, 1, b"", End.SUCCESS, messages=[message()])

    (first,) = crawl.commit(cron(100)).entered
    crawl.commit(outcome(first))
    assert crawl.commit(cron(100)).entered == []
    assert len(crawl.commit(cron(160), cron(160)).entered) == 1
    assert crawl.commit(cron(100)).entered == []
    crawl.close()
    crawl.open()
    assert crawl.commit(cron(160)).entered == []


def test_runs_of_every_methods_are_counted_once_each_with_those_that_failed(crawl: Crawl) -> None:
    def cron(tick_s: int, end: End = End.SUCCESS) -> Outcome:
        return Outcome(crawl.project.id, CRONJOB, tick_s, 1, b"", end)

    crawl.commit(cron(100), cron(100), cron(160, End.PART), cron(160, End.FAILURE))
    crawl.commit(cron(160, End.FAILURE), cron(100))
    assert crawl.counts() == {"cron": 2, "cron_failed": 1}
    crawl.close()
    crawl.open()
    crawl.commit(cron(160, End.FAILURE), cron(220, End.FATAL))
    assert (crawl.counts()["cron"], crawl.counts()["cron_failed"]) == (3, 2)


def test_a_message_that_the_database_refuses_fails_its_sender_alone(crawl: Crawl) -> None:
    good, bad = crawl.tasks("good", "bad")
    got = crawl.commit(
        outcome(good, messages=[message()]), outcome(bad, messages=[message(url="x" * (URL_BYTES_MAX + 1))])
    )
    assert [position for position, _ in got.bad] == [1]
    assert crawl.row("bad").status is Status.FAILED
    assert len(crawl.waiting()) == 1


def test_a_removed_project_takes_its_messages_with_it(crawl: Crawl, other: Project) -> None:
    sent(crawl, message("other"), message("other"))
    while crawl.storage.remove("other", 1):
        pass
    assert [project.name for project in crawl.storage.projects()] == ["shop"]
    assert crawl.storage.ready(other.id, None, 10) == []


def test_a_follow_that_names_itself_a_message_is_dropped_and_counted(crawl: Crawl) -> None:
    page = crawl.task("page")
    names = ["_on_message:0123456789abcdef", CRONJOB, GET_INFO]
    report = crawl.commit(outcome(page, follows=[*map(follow, names), follow("good")]))
    assert [task.taskid for task in report.entered] == ["good"]
    assert not any(map(crawl.knows, names))
    assert crawl.counts()["dropped:reserved taskid"] == 3
    assert report.followed == [0]  # the slave learns that the others have rows: they are none of its script's
