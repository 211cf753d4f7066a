"""What slaves are told of submitted URLs: that they have rows, and when that is not true any more."""

from tests.support.storage import Crawl, follow, outcome
from zspider.delivery import End, Follow, Outcome
from zspider.scheduler.rules import SchedulerRules
from zspider.storage import Change, Cutoffs, Place, Selection
from zspider.storage.counter_names import FIRST_RUN
from zspider.task import CRONJOB, Status

LONG_URL = "http://example.org/" + "é" * 8000  # the database refuses it


def first_run(crawl: Crawl) -> int:
    return crawl.all_counts().get(FIRST_RUN, 0)


def test_outcomes_whose_follows_have_rows_now_are_named(crawl: Crawl) -> None:
    a, b, c, d = crawl.tasks("a", "b", "c", "d")
    report = crawl.commit(
        outcome(a),
        outcome(b, follows=[follow("new"), follow("a")]),
        outcome(c, End.PART, follows=[follow("part")]),
        outcome(c, End.FAILURE, follows=[follow("end")]),
        Outcome(crawl.project.id, CRONJOB, 5, 1, b"", End.SUCCESS, follows=[follow("cron")]),
    )
    assert report.followed == [1, 2, 3, 4]
    assert all(crawl.knows(name) for name in ("new", "part", "end", "cron"))
    late = crawl.commit(outcome(b, follows=[follow("late")]), outcome(d, follows=[follow("x")]))
    assert late.followed == [1]
    assert not crawl.knows("late")


def test_an_outcome_of_a_project_that_is_not_there_is_not_named(crawl: Crawl) -> None:
    nobody = Outcome(99, "t", 0, 1, b"", End.SUCCESS, follows=[follow("x")])
    cron = Outcome(99, CRONJOB, 0, 1, b"", End.SUCCESS, follows=[follow("x")])
    assert crawl.commit(nobody, cron).followed == []


def test_an_outcome_that_the_database_refused_is_not_named_and_the_others_are(crawl: Crawl) -> None:
    tasks = crawl.tasks(*(f"t{number}" for number in range(9)))
    batch = [outcome(task, follows=[follow(f"f-{task.taskid}")]) for task in tasks]
    batch[5] = outcome(tasks[5], follows=[follow("good"), Follow("bad", LONG_URL, b"\x80")])
    report = crawl.commit(*batch)
    assert sorted(report.followed) == [0, 1, 2, 3, 4, 6, 7, 8]
    assert not crawl.knows("good")


def test_nothing_is_named_where_some_were_refused_for_lack_of_room(crawl: Crawl) -> None:
    crawl.close()
    crawl.rules = SchedulerRules(waiting_max=3)
    crawl.open()
    a, b = crawl.tasks("a", "b")
    report = crawl.commit(
        outcome(a, follows=[follow("1"), follow("2")]), outcome(b, follows=[follow("3"), follow("4")])
    )
    assert report.followed == []
    assert [crawl.knows(name) for name in "1234"] == [True, True, True, False]
    one = crawl.storage.ready(crawl.project.id, None, 10)[0]
    assert crawl.commit(outcome(one, follows=[follow("2")])).followed == [0]


def test_follows_that_were_left_out_count_as_known(crawl: Crawl) -> None:
    a, b = crawl.tasks("a", "b")
    report = crawl.commit(outcome(a, follows=[follow("b")], repeats=28), outcome(a, repeats=5))
    assert report.dropped == {"known": 29}
    assert crawl.counts()["dropped:known"] == 29
    assert crawl.commit(outcome(b, repeats=1)).followed == []


def test_every_deletion_of_tasks_begins_another_generation(crawl: Crawl) -> None:
    project, seen = crawl.project.id, [first_run(crawl)]

    def has_grown() -> bool:
        seen.append(first_run(crawl))
        return seen[-1] > seen[-2]

    crawl.commit(*(outcome(task) for task in crawl.tasks("old", "older", "oldest")))
    crawl.tasks("x", "y", "z")
    assert not has_grown()
    for url in ("*/x", "*/y"):  # the second deletes nothing of a higher run than the first
        crawl.storage.change_tasks(
            Change.REMOVE, project, Selection((Status.ACTIVE,), url), None, now_ms=crawl.now_ms, rows=10, most=None
        )
        assert has_grown()
    report = crawl.storage.remove_task(project, "z", crawl.now_ms)
    assert has_grown()
    assert report.counts[project][FIRST_RUN] == seen[-1] - seen[-2]  # the master hears of it
    crawl.storage.retention_step(project, Place(), Cutoffs(0, crawl.now_ms + 1, 0), 2)
    assert has_grown()
    crawl.storage.change_tasks(
        Change.RESTART, project, Selection((Status.SUCCESS,)), None, now_ms=crawl.now_ms, rows=10, most=None
    )
    assert not has_grown()
    while crawl.storage.remove("shop", keep_results=True):
        pass
    assert has_grown()


def test_a_message_that_was_heard_is_no_deletion(crawl: Crawl) -> None:
    task = crawl.task("_on_message:1")
    before = first_run(crawl)
    crawl.commit(outcome(task))
    assert not crawl.knows("_on_message:1")
    assert first_run(crawl) == before
