"""What happened lately is written with what it counts: exact after whatever happened, and forgotten in time."""

from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.storage import START_MS, Crawl, follow, outcome
from zspider.activity import ACTIVITY, WINDOWS, activity_of
from zspider.delivery import End, Message, Outcome
from zspider.scheduler.windows import Windows
from zspider.storage import Committed
from zspider.storage.project_storage import TRIM_ROWS
from zspider.task import CRONJOB, GET_INFO

NAMES = [window.name for window in WINDOWS]
MINUTE_MS, DAY_MS = 60_000, 24 * 3600 * 1000


def everywhere(**activity: int) -> dict[str, dict[str, int]]:
    """The same in each window."""
    return dict.fromkeys(NAMES, activity)


def all_time(crawl: Crawl) -> dict[str, int]:
    """What the counters say of the project's activity since it was made, without zeros."""
    sums = dict(zip(ACTIVITY, activity_of(crawl.all_counts()), strict=True))
    return {word: value for word, value in sums.items() if value}


def rows(crawl: Crawl) -> int:
    with crawl.reader._db.connection() as conn:
        found = conn.exec_driver_sql("SELECT count(*) FROM windows").scalar()
        conn.rollback()
    return int(found)


def test_a_window_has_what_ended_and_what_it_took(crawl: Crawl) -> None:
    good, bad, again = crawl.tasks("a", "b", "c", retries=0)
    retried = crawl.task("d")
    crawl.commit(
        outcome(good, fetch_ms=100, process_ms=20, follows=[follow("next")]),
        outcome(bad, End.FAILURE, fetch_ms=50, process_ms=1),
        outcome(retried, End.FAILURE, fetch_ms=5, process_ms=2),
        outcome(again, End.PART, fetch_ms=1000, process_ms=1000),  # not yet
    )
    took = {"fetched": 3, "fetch_ms": 155, "processed": 3, "process_ms": 23}
    assert crawl.lately() == everywhere(new=5, success=1, failed=1, retry=1, **took)
    assert all_time(crawl) == crawl.lately()["1d"]


def test_what_was_not_fetched_says_nothing_of_the_time_that_pages_take(crawl: Crawl) -> None:
    start = crawl.task("on_start", url="data:,on_start")
    (heard,) = crawl.commit(
        outcome(start, fetch_ms=1, process_ms=7, messages=[Message("shop", "http://example.org/m", b"\x80")])
    ).entered
    got = crawl.commit(outcome(heard, fetch_ms=3, process_ms=5))
    assert crawl.lately()["5m"] == {"new": 2, "success": 1, "processed": 2, "process_ms": 12}
    assert got.hosts == {}


def test_a_run_that_nobody_timed_is_in_no_mean(crawl: Crawl) -> None:
    task = crawl.task("poison")
    crawl.commit(outcome(task, End.FATAL, reason="killed its processor"))
    assert crawl.lately()["5m"] == {"new": 1, "failed": 1}


def test_tasks_without_a_row_are_not_counted_but_what_they_submit_is(crawl: Crawl) -> None:
    for taskid in (CRONJOB, GET_INFO):
        crawl.commit(
            Outcome(
                crawl.project.id, taskid, 0, 1, b"", End.SUCCESS, follows=[follow(f"made by {taskid}")], process_ms=9
            ),
        )
    assert crawl.lately() == everywhere(new=2)


def test_a_host_is_told_with_its_failures(crawl: Crawl) -> None:
    one, other = crawl.task("a", url="http://a.example/1"), crawl.task("b", url="http://b.example/2")
    got = crawl.commit(outcome(one, fetch_ms=7), outcome(other, End.FAILURE))
    assert got.hosts == {"a.example": [1, 0, 7], "b.example": [1, 1, 0]}


def test_a_batch_that_comes_again_counts_once(crawl: Crawl) -> None:
    batch = [outcome(task, fetch_ms=10, process_ms=1, follows=[follow("x")]) for task in crawl.tasks("a", "b", "c")]
    crawl.commit(*batch, *batch)
    once = everywhere(new=4, success=3, fetched=3, fetch_ms=30, processed=3, process_ms=3)
    assert crawl.lately() == once
    again = crawl.commit(*batch)
    assert crawl.lately() == once
    assert not any(activity_of(again.counts[crawl.project.id]))
    assert again.hosts == {}


def test_the_halves_of_a_refused_batch_count_each_outcome_once(crawl: Crawl) -> None:
    batch = [outcome(task, fetch_ms=10, process_ms=1) for task in crawl.tasks(*(f"t{at}" for at in range(11)))]
    offender = crawl.task("offender")
    got = crawl.commit(*batch[:7], outcome(offender, fetch_ms=10, process_ms=1, results=[b"\xff"]), *batch[7:])
    assert [index for index, _ in got.bad] == [7]
    took = {"fetched": 12, "fetch_ms": 120, "processed": 12, "process_ms": 12}
    assert crawl.lately() == everywhere(new=12, success=11, failed=1, **took)
    assert activity_of(got.counts[crawl.project.id]) == [0, 11, 0, 1, 120, 12, 12, 12]
    assert got.hosts == {"example.org": [12, 1, 120]}
    assert got.at_ms == crawl.now_ms


def test_a_task_that_gives_up_is_counted_as_failed(crawl: Crawl) -> None:
    task = crawl.task("page")
    crawl.storage.charge([(task.ref, 0, 10)], crawl.now_ms)
    assert crawl.lately()["5m"] == {"new": 1, "failed": 1}


def test_each_window_forgets_in_its_own_time(crawl: Crawl) -> None:
    crawl.commit(outcome(crawl.task("page")))
    ended = {"new": 1, "success": 1, "fetched": 1, "processed": 1}
    crawl.now_ms = START_MS + 6 * MINUTE_MS
    assert crawl.lately() == {"1h": ended, "1d": ended}
    crawl.now_ms = START_MS + 61 * MINUTE_MS
    assert crawl.lately() == {"1d": ended}
    crawl.task("later")
    assert crawl.lately() == {"5m": {"new": 1}, "1h": {"new": 1}, "1d": {**ended, "new": 2}}
    crawl.now_ms = START_MS + DAY_MS + MINUTE_MS
    assert "success" not in crawl.lately()["1d"]


def test_what_is_in_no_window_is_deleted_a_little_at_a_time(crawl: Crawl) -> None:
    for minute in range(TRIM_ROWS // 5):  # more slots of 10 s than one call deletes
        for second in range(0, 60, 10):
            crawl.now_ms = START_MS + minute * MINUTE_MS + second * 1000
            crawl.storage.submit(crawl.project.id, [follow(f"{minute}:{second}")], crawl.now_ms)
    before, lately = rows(crawl), crawl.lately()
    cuts = []
    while cut := crawl.storage.trim_windows(crawl.now_ms):
        cuts.append(cut)
    assert len(cuts) > 1
    assert max(cuts) <= len(WINDOWS) * TRIM_ROWS
    assert rows(crawl) == before - sum(cuts) < 30 + 60 + 144
    assert crawl.lately() == lately
    crawl.now_ms += 2 * DAY_MS
    while crawl.storage.trim_windows(crawl.now_ms):
        pass
    assert rows(crawl) == 0


@pytest.mark.parametrize("keep_results", [True, False])
def test_a_removed_project_takes_its_windows_along(crawl: Crawl, keep_results: bool) -> None:
    other = crawl.storage.push("other", "x", now_ms=crawl.now_ms)
    crawl.storage.submit(other.id, [follow("theirs")], crawl.now_ms)
    crawl.commit(outcome(crawl.task("page"), results=[b"1"]))
    while crawl.storage.remove("shop", keep_results=keep_results):
        pass
    assert crawl.lately() == {}
    crawl.project = other
    assert crawl.lately() == everywhere(new=1)


STEPS = st.lists(
    st.tuples(
        st.integers(0, 400_000),  # milliseconds that pass before
        st.lists(st.tuples(st.integers(0, 5), st.sampled_from(End), st.booleans(), st.integers(0, 99)), max_size=5),
    ),
    max_size=8,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(steps=STEPS)
def test_what_the_master_was_told_is_what_it_would_read(crawl: Crawl, steps: list) -> None:
    crawl.project = crawl.storage.push(f"p{crawl.now_ms}", "x", now_ms=crawl.now_ms)
    mirror, told = Windows(), Counter()
    held = {}

    def note(report: Committed) -> None:
        held.update((task.taskid, task) for task in report.entered)
        deltas = report.counts.get(crawl.project.id, Counter())
        mirror.add(crawl.project.id, activity_of(deltas), report.at_ms)
        told.update(deltas)

    note(crawl.submit(*(follow(f"t{at}", retries=1) for at in range(6))))
    for passed_ms, endings in steps:
        crawl.now_ms += passed_ms
        note(
            crawl.commit(
                *(
                    outcome(held[f"t{at}"], end, fetch_ms=ms, process_ms=ms, results=[b"\xff"] if is_bad else [])
                    for at, end, is_bad, ms in endings
                )
            )
        )
    read = Windows()
    read.load(crawl.storage.windows(crawl.now_ms))
    assert mirror.totals(crawl.project.id, crawl.now_ms) == read.totals(crawl.project.id, crawl.now_ms)
    assert mirror.totals(crawl.project.id, crawl.now_ms)["1d"] == tuple(activity_of(told))  # less than an hour passed
