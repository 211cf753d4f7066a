"""Which submitted URLs become tasks, by the scheduler's real rules."""

import pytest
from tests.support.storage import Crawl, follow, outcome
from zspider.delivery import End, Follow
from zspider.task import Status

ASKS = {
    "plain": {},
    "age 0": {"age_ms": 0},
    "age elapsed": {"age_ms": 1000},
    "new itag": {"itag": '"v2"'},
    "force_update": {"force_update": True},
}


ENDS = {"done": End.SUCCESS, "failed": End.FATAL, "retrying": End.FAILURE}


@pytest.mark.parametrize("known", [0, 1000], ids=["no cache", "cache"])
@pytest.mark.parametrize("state", ["unknown", "waiting", *ENDS])
def test_a_submitted_url_is_accepted_as_the_decision_table_says(crawl: Crawl, state: str, known: int) -> None:
    crawl.close()
    crawl.open(known=known)
    for ask, fields in ASKS.items():
        before = None if state == "unknown" else crawl.task(ask, itag='"v1"')
        if before and state != "waiting":
            crawl.commit(outcome(before, ENDS[state]))
        crawl.now_ms += 5000
        got = crawl.submit(follow(ask, **fields))
        if before is None:
            assert [task.run for task in got.entered] == [0]
        elif ask == "force_update" or (ask != "plain" and state != "waiting"):
            assert [(task.run, task.retried) for task in got.entered] == [(1 if state == "waiting" else 2, 0)]
            assert crawl.row(ask).status is Status.ACTIVE
            assert crawl.row(ask).run == got.entered[0].run
            assert got.replaced == ([before.ref] if state in ("waiting", "retrying") else [])
        else:
            assert got.entered == []
            assert sum(got.dropped.values()) == 1


def test_of_the_same_url_twice_in_a_batch_the_first_wins(crawl: Crawl) -> None:
    got = crawl.submit(follow("a", priority=1), follow("a", priority=2))
    assert [(task.priority, task.run) for task in got.entered] == [(1, 0)]
    assert got.dropped == {"running": 1}


def test_force_update_replaces_one_submitted_before_it_in_the_batch(crawl: Crawl) -> None:
    got = crawl.submit(follow("a", priority=1), follow("a", priority=2, force_update=True))
    assert [(task.priority, task.run) for task in got.entered] == [(2, 1)]
    assert crawl.storage.ready(crawl.project.id, None, 10) == got.entered
    assert crawl.counts() == {"new": 1, "waiting": 1}


def test_a_restart_brings_new_options_and_keeps_what_was_learnt(crawl: Crawl) -> None:
    crawl.commit(outcome(crawl.task("page"), track=b"etag"))
    crawled_ms = crawl.now_ms
    again = follow("page", url="http://example.org/other", body=b"\x80", priority=3, retries=9, itag='"n"')
    (task,) = crawl.submit(again).entered
    assert (task.url, task.body, task.priority, task.run) == ("http://example.org/other", b"\x80", 3, 2)
    assert (task.track, task.lastcrawl_ms) == (b"etag", crawled_ms)
    row = crawl.row("page")
    assert (row.retries, row.itag, row.retried) == (9, '"n"', 0)
    assert crawl.storage.ready(crawl.project.id, None, 10) == [task]


def test_a_cancelled_task_is_bad_and_waits_no_more(crawl: Crawl) -> None:
    task = crawl.task("page")
    got = crawl.submit(follow("page", cancel=True, force_update=True))
    assert (got.gone, got.replaced) == ([], [task.ref])
    assert got.entered == []
    row = crawl.row("page")
    assert (row.status, row.run) == (Status.BAD, 1)
    assert crawl.counts() == {"new": 1, "cancelled": 1}


def test_a_task_that_is_restarted_and_cancelled_in_one_batch_is_cancelled(crawl: Crawl) -> None:
    crawl.task("page")
    got = crawl.submit(follow("page", force_update=True), follow("page", force_update=True, cancel=True))
    assert got.entered == []
    assert crawl.waiting() == []
    row = crawl.row("page")
    assert (row.status, row.run) == (Status.BAD, 2)


def test_cancelling_what_is_not_known_does_nothing(crawl: Crawl) -> None:
    assert crawl.submit(follow("page", cancel=True)).dropped == {"nothing to cancel": 1}
    assert not crawl.knows("page")


def test_a_url_for_later_waits_among_the_delayed(crawl: Crawl) -> None:
    later, past = crawl.now_ms + 60_000, crawl.now_ms - 60_000
    crawl.submit(follow("later", exetime_ms=later), follow("past", exetime_ms=past))
    assert crawl.waiting() == ["past"]
    assert [(task.taskid, task.due_ms) for task in crawl.storage.delayed(crawl.project.id, None, 10)] == [
        ("later", later)
    ]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("http://a/X", "http://a/x"),
        ("http://a/é", "http://a/e"),
        ("http://a/x", "http://a/x "),
        ("http://a/straße", "http://a/strasse"),
        ("http://a/🕷", "http://a/🕸"),
        ("a\x00", "a"),
    ],
)
def test_urls_that_look_alike_are_different_tasks(crawl: Crawl, one: str, other: str) -> None:
    got = crawl.submit(*(Follow(name, name, b"\x80", itag=name) for name in (one, other)))
    assert [(task.taskid, task.url) for task in got.entered] == [(one, one), (other, other)]
    details = {row.taskid: (row.url, row.itag) for row in crawl.reader.tasks(crawl.project.id)}
    assert details == {one: (one, one), other: (other, other)}


def test_repeated_links_are_dropped_without_a_query_and_counted(crawl: Crawl) -> None:
    page = crawl.task("page")
    links = [follow(f"l{number}") for number in range(20)]
    got = crawl.commit(outcome(page, follows=links + links))
    assert len(got.entered) == 20
    assert got.dropped == {"running": 20}
    (other,) = crawl.tasks("other")
    assert crawl.commit(outcome(other, follows=links)).dropped == {"known": 20}
    assert crawl.counts()["dropped:known"] == 20
