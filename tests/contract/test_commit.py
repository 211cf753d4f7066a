"""What outcomes lead to: status, follows and results together, once."""

import pytest
from tests.support.storage import OPTIONS, Crawl, follow, outcome
from zspider.activity import FETCH_MS, FETCHED, PROCESS_MS, PROCESSED, SINCE_FINISHED
from zspider.delivery import End, Outcome
from zspider.errors import StorageError
from zspider.task import CRONJOB, GET_INFO, Status, Task


def test_a_success_stores_status_follows_and_results_together(crawl: Crawl) -> None:
    page = crawl.task("page")
    got = crawl.commit(
        outcome(page, follows=[follow("a"), follow("b", priority=5)], results=[b'{"title": "x"}'], track=b"seen")
    )
    assert [(ended.ref, ended.run, ended.status, ended.late) for ended in got.ended] == [
        (page.ref, 0, Status.SUCCESS, False)
    ]
    assert [task.taskid for task in got.entered] == ["a", "b"]
    row = crawl.row("page")
    assert (row.status, row.run, row.track, row.lastcrawl_ms) == (Status.SUCCESS, 1, b"seen", crawl.now_ms)
    assert crawl.results() == {"page": ['{"title": "x"}']}
    assert crawl.waiting() == ["b", "a"]
    assert crawl.counts() == {"new": 3, "waiting": 2, "done": 1, "success": 1, "results": 1}


def test_the_same_batch_twice_changes_nothing_and_is_reported_as_ended(crawl: Crawl) -> None:
    batch = [
        outcome(task, follows=[follow("next", force_update=True)], results=[b"1"])
        for task in crawl.tasks("a", "b", "c")
    ]
    crawl.commit(*batch)
    before = crawl.counts(), crawl.results(), crawl.row("next")
    again = crawl.commit(*batch)
    assert [ended.late for ended in again.ended] == [True] * 3
    assert again.entered == []
    assert again.gone == []
    counts = crawl.counts()
    assert counts.pop("late") == 3
    assert (counts, crawl.results(), crawl.row("next")) == before


def test_the_first_outcome_of_a_run_wins_and_another_in_the_same_batch_is_late(crawl: Crawl) -> None:
    page = crawl.task("page")
    got = crawl.commit(outcome(page, results=[b'"first"']), outcome(page, End.FAILURE, follows=[follow("late")]))
    assert [ended.late for ended in got.ended] == [False, True]
    assert crawl.results() == {"page": ['"first"']}
    assert not crawl.knows("late")


def test_an_outcome_of_an_older_run_is_late_unless_that_run_was_replaced_before_its_end(crawl: Crawl) -> None:
    old = crawl.task("page")
    (restarted,) = crawl.submit(follow("page", force_update=True)).entered
    assert restarted.run == 1
    assert not crawl.commit(outcome(old, results=[b"1"])).ended[0].late
    assert crawl.results() == {"page": ["1"]}
    assert crawl.commit(outcome(old, results=[b"0"])).ended[0].late
    assert not crawl.commit(outcome(restarted, results=[b"2"])).ended[0].late
    assert crawl.results() == {"page": ["2"]}


def test_an_outcome_of_a_task_that_nobody_has_is_late(crawl: Crawl) -> None:
    ghost = Outcome(crawl.project.id, "ghost", 0, 1, b"", End.SUCCESS, follows=[follow("a")], results=[b"1"])
    stranger = Outcome(999, "ghost", 0, 1, b"", End.SUCCESS, follows=[follow("a")])
    got = crawl.commit(ghost, stranger)
    assert [(ended.late, ended.status) for ended in got.ended] == [(True, Status.BAD)] * 2
    assert not crawl.knows("a")
    assert crawl.counts() == {"late": 1}


def test_parts_bring_follows_and_leave_the_run_open(crawl: Crawl) -> None:
    page = crawl.task("page")
    part = outcome(page, End.PART, follows=[follow("a"), follow("b")])
    got = crawl.commit(part)
    assert got.ended == []
    assert [task.taskid for task in got.entered] == ["a", "b"]
    assert crawl.commit(part).entered == []  # sent again: accepted already
    last = outcome(page, follows=[follow("c")])
    assert not crawl.commit(last).ended[0].late
    assert crawl.commit(part).ended[0].late  # after the end no part counts
    assert crawl.counts()["waiting"] == 3


def test_a_failure_waits_for_its_retry_and_then_fails_for_good(crawl: Crawl) -> None:
    task = crawl.task("page", retries=1)
    (again,) = crawl.commit(outcome(task, End.FAILURE, reason="HTTP 500", track=b"t")).entered
    assert (again.run, again.retried, again.due_ms) == (1, 1, crawl.now_ms + 30_000)
    assert (again.body, again.track, again.url) == (OPTIONS, b"t", task.url)
    assert crawl.storage.delayed(crawl.project.id, None, 10) == [again]
    assert crawl.waiting() == []
    row = crawl.row("page")
    assert row.reason == "HTTP 500"
    got = crawl.commit(outcome(again, End.FAILURE, reason="HTTP 502"))
    assert got.entered == []
    assert got.ended[0].status is Status.FAILED
    assert crawl.counts() == {"new": 1, "failed": 1, "retry": 1, "failed_total": 1}


def test_a_fatal_outcome_is_not_tried_again(crawl: Crawl) -> None:
    got = crawl.commit(outcome(crawl.task("page"), End.FATAL, reason="killed its processor 3 times"))
    assert got.ended[0].status is Status.FAILED
    assert got.entered == []


def test_a_later_success_clears_the_reason_and_keeps_the_track_when_none_is_given(crawl: Crawl) -> None:
    (again,) = crawl.commit(outcome(crawl.task("page"), End.FAILURE, reason="HTTP 500", track=b"old")).entered
    crawl.commit(outcome(again))
    row = crawl.row("page")
    assert (row.reason, row.track) == ("", b"old")


def test_an_auto_recrawl_task_waits_again_after_success(crawl: Crawl) -> None:
    task = crawl.task("page", auto_recrawl=True, age_ms=60_000)
    (again,) = crawl.commit(outcome(task, results=[b"1"])).entered
    assert again.due_ms == crawl.now_ms + 60_000
    assert again.run == 1
    crawl.commit(outcome(again, results=[b"2"]))
    assert crawl.results() == {"page": ["2"]}
    assert crawl.counts()["results"] == 1
    assert crawl.counts()["waiting"] == 1


def test_fewer_results_of_a_later_run_replace_all_of_the_earlier(crawl: Crawl) -> None:
    task = crawl.task("page", auto_recrawl=True, age_ms=1)
    (again,) = crawl.commit(outcome(task, results=[b"1", b"2", b"3"])).entered
    assert crawl.counts()["results"] == 3
    (third,) = crawl.commit(outcome(again, results=[b"4", b"5"])).entered
    assert crawl.results() == {"page": ["4", "5"]}
    assert crawl.counts()["results"] == 2
    crawl.commit(outcome(third))  # no result: what is stored stays
    assert crawl.results() == {"page": ["4", "5"]}
    assert crawl.counts()["results"] == 2


def test_internal_tasks_have_no_row_but_their_follows_count(crawl: Crawl) -> None:
    project = crawl.project.id
    cron = Outcome(project, CRONJOB, 0, 1, b"", End.SUCCESS, follows=[follow("a")], results=[b"1"], track=b"t")
    info = Outcome(project, GET_INFO, 0, 1, b"", End.SUCCESS, info=b"\x80")
    got = crawl.commit(cron, info)
    assert [(ended.status, ended.late) for ended in got.ended] == [(Status.SUCCESS, False)] * 2
    assert [task.taskid for task in got.entered] == ["a"]
    assert not crawl.knows(CRONJOB)
    assert crawl.results() == {}


def test_a_task_that_ends_and_is_submitted_again_in_one_batch_starts_over(crawl: Crawl) -> None:
    page = crawl.task("page")
    got = crawl.commit(outcome(page, track=b"t", follows=[follow("page", force_update=True, priority=7)]))
    assert got.ended[0].status is Status.SUCCESS
    assert got.gone == []
    (again,) = got.entered
    assert (again.run, again.priority, again.track, again.lastcrawl_ms) == (2, 7, b"t", crawl.now_ms)
    assert crawl.storage.ready(crawl.project.id, None, 10) == [again]
    assert crawl.counts()["waiting"] == 1
    assert "done" not in crawl.counts()


def test_new_tasks_are_told_exactly_as_a_restarted_master_would_read_them(crawl: Crawl) -> None:
    page = crawl.task("page", priority=9)
    got = crawl.commit(
        outcome(page, follows=[follow(f"t{number}", priority=number % 4) for number in range(50)]),
    )
    read = crawl.storage.ready(crawl.project.id, None, 100)
    assert sorted(got.entered, key=lambda task: (-task.priority, task.seq)) == read


def test_an_expired_lease_is_charged_and_the_eleventh_delivery_gives_up(crawl: Crawl) -> None:
    task = crawl.task("page")
    (again,) = crawl.storage.charge([(task.ref, 0, 3)], crawl.now_ms).entered
    assert again.attempt == 3
    assert again.run == 0
    assert crawl.storage.ready(crawl.project.id, None, 10) == [again]
    assert crawl.storage.charge([(task.ref, 7, 4)], crawl.now_ms).entered == []  # another run's
    assert crawl.storage.charge([(task.ref, 0, 9)], crawl.now_ms).entered[0].attempt == 9
    got = crawl.storage.charge([(task.ref, 0, 10)], crawl.now_ms)
    assert got.entered == []
    assert got.ended[0].status is Status.FAILED
    row = crawl.row("page")
    assert row.reason.startswith("gave up")
    assert crawl.counts() == {"new": 1, "failed": 1, "failed_total": 1}


def test_submitting_to_a_project_that_does_not_exist_is_an_error(crawl: Crawl) -> None:
    with pytest.raises(StorageError, match="no project"):
        crawl.storage.submit(4711, [follow("a")], crawl.now_ms)


def test_tasks_of_several_projects_go_into_one_batch(crawl: Crawl) -> None:
    other = crawl.storage.push("other", "x", now_ms=crawl.now_ms)
    (theirs,) = crawl.storage.submit(other.id, [follow("page")], crawl.now_ms).entered
    ours = crawl.task("page")
    got = crawl.commit(*(outcome(task, follows=[follow("same")], results=[b"1"]) for task in (ours, theirs)))
    assert sorted(task.ref.project for task in got.entered) == [crawl.project.id, other.id]
    assert got.counts[other.id] == got.counts[crawl.project.id]
    ended = {"new": 1, "waiting": 0, "done": 1, "success": 1, "results": 1, SINCE_FINISHED: 1}
    took = {FETCHED: 1, FETCH_MS: 0, PROCESSED: 1, PROCESS_MS: 0}
    assert got.counts[other.id] == ended | took


def test_many_rows_go_to_mariadb_in_few_statements(crawl: Crawl, request: pytest.FixtureRequest) -> None:
    if not crawl.address.startswith("mysql"):
        pytest.skip("SQLite has no round trips")
    server = request.getfixturevalue("mariadb")

    def questions() -> int:
        return int(server.query("SHOW GLOBAL STATUS LIKE 'Questions'")[0][1])

    pages: list[Task] = crawl.tasks(*(f"p{number}" for number in range(200)))
    before = questions()
    crawl.commit(*(outcome(page, results=[b"1"], follows=[follow(f"from-{page.taskid}")]) for page in pages))
    assert questions() - before < 20
