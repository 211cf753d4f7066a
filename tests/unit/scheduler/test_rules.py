"""When a URL is accepted and what follows the end of a run: docs/pyspider-behaviour.md 4.6 and 4.7."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zspider.decisions import Accept, Finish
from zspider.delivery import End, Follow
from zspider.scheduler.rules import SchedulerRules
from zspider.task import FAR_FUTURE_MS, Status, Stored

NOW = 1_700_000_000_000
HOUR = 3_600_000
FINISHED = [Status.SUCCESS, Status.FAILED, Status.BAD]


def stored(status=Status.SUCCESS, **changes):
    row = {
        "run": 4,
        "retried": 0,
        "due_ms": 0,
        "retries": 3,
        "age_ms": None,
        "itag": "v1",
        "auto_recrawl": False,
        "lastcrawl_ms": NOW - HOUR,
    }
    return Stored(status=status, **(row | changes))


def follow(**changes):
    return Follow(taskid="t", url="http://example.org/", body=b"", **changes)


ASKS = {
    "plain": {},
    "age 0": {"age_ms": 0},
    "age elapsed": {"age_ms": HOUR - 1},
    "age not elapsed": {"age_ms": HOUR},
    "same itag": {"itag": "v1"},
    "new itag": {"itag": "v2"},
    "force_update": {"force_update": True},
}
READY = stored(Status.ACTIVE)
LATER = stored(Status.ACTIVE, due_ms=NOW + HOUR)  # exetime or auto_recrawl
RETRY = stored(Status.ACTIVE, due_ms=NOW + HOUR, retried=1)
RETRY_DUE = stored(Status.ACTIVE, due_ms=NOW, retried=1)  # somebody may work on it
NEW, RESTART, KNOWN, RUNNING = Accept.NEW, Accept.RESTART, Accept.KNOWN, Accept.RUNNING
TABLE = [
    # stored, then the answers in the order of ASKS
    (None, NEW, NEW, NEW, NEW, NEW, NEW, NEW),
    *((stored(status), KNOWN, RESTART, RESTART, KNOWN, KNOWN, RESTART, RESTART) for status in FINISHED),
    (READY, RUNNING, RUNNING, RUNNING, RUNNING, RUNNING, RUNNING, RESTART),
    (LATER, RUNNING, RUNNING, RUNNING, RUNNING, RUNNING, RUNNING, RESTART),
    (RETRY, KNOWN, RESTART, RESTART, KNOWN, KNOWN, RESTART, RESTART),  # docs/pyspider-behaviour.md 4.6
    (RETRY_DUE, RUNNING, RUNNING, RUNNING, RUNNING, RUNNING, RUNNING, RESTART),
]


@pytest.mark.parametrize(
    ("row", "ask", "answer"),
    [(row, ask, answer) for row, *answers in TABLE for ask, answer in zip(ASKS, answers, strict=True)],
)
def test_a_submitted_url_is_accepted_by_the_table(row, ask, answer):
    assert SchedulerRules().accept(row, follow(**ASKS[ask]), NOW) is answer


@pytest.mark.parametrize("row", [row for row, *_ in TABLE if row is not None])
@pytest.mark.parametrize("ask", ASKS)
def test_a_cancel_takes_effect_where_a_submission_would_restart(row, ask):
    rules = SchedulerRules()
    plain, cancel = (rules.accept(row, follow(cancel=cancel, **ASKS[ask]), NOW) for cancel in (False, True))
    assert cancel is (Accept.CANCEL if plain is RESTART else plain)


@pytest.mark.parametrize("ask", ASKS)
def test_a_cancel_of_an_unknown_url_is_dropped_and_not_run(ask):
    answer = SchedulerRules().accept(None, follow(cancel=True, **ASKS[ask]), NOW)
    assert answer is Accept.NOTHING_TO_CANCEL
    assert answer.is_drop


def test_an_itag_is_new_for_a_task_stored_without_one_but_no_itag_never_is():
    rules = SchedulerRules()
    assert rules.accept(stored(itag=None), follow(itag="v1"), NOW) is RESTART
    assert rules.accept(stored(itag="v1"), follow(itag=None), NOW) is KNOWN


def test_a_task_never_crawled_has_any_age():
    assert SchedulerRules().accept(stored(Status.BAD, lastcrawl_ms=0), follow(age_ms=HOUR), NOW) is RESTART


def retry(delay_ms, n=1):
    return Finish(Status.ACTIVE, NOW + delay_ms, n, "retry")


def failed(n):
    return Finish(Status.FAILED, 0, n, "failed")


@pytest.mark.parametrize(
    ("row", "end", "delays", "answer"),
    [
        # success
        (stored(), End.SUCCESS, {}, Finish(Status.SUCCESS, 0, 0, "success")),
        (stored(age_ms=HOUR), End.SUCCESS, {}, Finish(Status.SUCCESS, 0, 0, "success")),
        (stored(auto_recrawl=True), End.SUCCESS, {}, Finish(Status.SUCCESS, 0, 0, "success")),  # without an age
        (
            stored(auto_recrawl=True, age_ms=HOUR, retried=2),
            End.SUCCESS,
            {},
            Finish(Status.ACTIVE, NOW + HOUR, 2, "success"),
        ),
        # failure: the default table, then no tries left
        (stored(retried=0), End.FAILURE, {}, retry(30_000, 1)),
        (stored(retried=1), End.FAILURE, {}, retry(HOUR, 2)),
        (stored(retried=2), End.FAILURE, {}, retry(6 * HOUR, 3)),
        (stored(retried=3), End.FAILURE, {}, failed(3)),
        (stored(retried=3, retries=9), End.FAILURE, {}, retry(12 * HOUR, 4)),
        (stored(retried=4, retries=9), End.FAILURE, {}, retry(24 * HOUR, 5)),
        (stored(retried=0, retries=0), End.FAILURE, {}, failed(0)),
        # an age shortens the delay; no age (pyspider's -1) does not forbid retries
        (stored(age_ms=10_000), End.FAILURE, {}, retry(10_000)),
        (stored(age_ms=HOUR), End.FAILURE, {}, retry(30_000)),
        (stored(age_ms=None), End.FAILURE, {}, retry(30_000)),
        (stored(age_ms=0), End.FAILURE, {}, retry(1)),  # due_ms 0 would mean "ready", which is not a retry
        # auto_recrawl never fails by count
        (stored(auto_recrawl=True, age_ms=HOUR, retried=8), End.FAILURE, {}, retry(HOUR, 9)),
        (stored(auto_recrawl=True, age_ms=HOUR, retried=0), End.FAILURE, {}, retry(30_000, 1)),
        (stored(auto_recrawl=True, retried=3), End.FAILURE, {}, failed(3)),  # without an age
        # the script's own table
        (stored(retried=0), End.FAILURE, {"0": 5, "": 7}, retry(5000)),
        (stored(retried=1), End.FAILURE, {"0": 5, "": 7}, retry(7000, 2)),
        (stored(retried=1), End.FAILURE, {"0": 5}, retry(24 * HOUR, 2)),
        (stored(retried=0), End.FAILURE, {"0": 0.5}, retry(500)),
        (stored(retried=0), End.FAILURE, {"0": -1}, failed(0)),
        (stored(auto_recrawl=True, age_ms=HOUR), End.FAILURE, {"": -1}, failed(0)),
        (stored(retried=0), End.FAILURE, {"0": float("nan")}, retry(24 * HOUR)),
        (stored(retried=0), End.FAILURE, {"0": float("inf")}, Finish(Status.ACTIVE, FAR_FUTURE_MS, 1, "retry")),
        (stored(retried=0), End.FAILURE, {"0": 1e300}, Finish(Status.ACTIVE, FAR_FUTURE_MS, 1, "retry")),
        # trying again cannot help
        (stored(retried=0), End.FATAL, {}, failed(0)),
        (stored(auto_recrawl=True, age_ms=HOUR), End.FATAL, {}, failed(0)),
    ],
)
def test_an_ended_run_leads_to(row, end, delays, answer):
    rules = SchedulerRules()
    rules.set_retry_delays(7, delays)
    row.status = Status.ACTIVE
    assert rules.finish(7, row, end, NOW) == answer


def test_a_table_of_retry_delays_is_its_projects_own_and_an_empty_one_means_the_defaults():
    rules = SchedulerRules()
    rules.set_retry_delays(1, {"0": 5})
    assert rules.finish(2, stored(), End.FAILURE, NOW) == retry(30_000)
    rules.set_retry_delays(1, {})
    assert rules.finish(1, stored(), End.FAILURE, NOW) == retry(30_000)


def test_without_recrawl_a_success_is_the_end_and_retries_are_counted():
    rules = SchedulerRules(has_recrawl=False)
    row = stored(auto_recrawl=True, age_ms=HOUR, retried=3)
    assert rules.finish(1, row, End.SUCCESS, NOW) == Finish(Status.SUCCESS, 0, 3, "success")
    assert rules.finish(1, row, End.FAILURE, NOW) == failed(3)


@given(
    st.builds(
        stored,
        st.just(Status.ACTIVE),
        retried=st.integers(0, 20),
        retries=st.integers(0, 20),
        age_ms=st.none() | st.integers(0, FAR_FUTURE_MS),
        auto_recrawl=st.booleans(),
    ),
    st.sampled_from([End.SUCCESS, End.FAILURE, End.FATAL]),
    st.dictionaries(st.sampled_from(["", "0", "1", "x"]), st.floats()),
)
def test_whatever_a_script_declares_the_next_run_is_due_within_the_time_a_row_can_hold(row, end, delays):
    rules = SchedulerRules()
    rules.set_retry_delays(1, delays)
    finish = rules.finish(1, row, end, NOW)
    if finish.status is Status.ACTIVE:
        assert NOW <= finish.due_ms <= FAR_FUTURE_MS
    else:
        assert finish.due_ms == 0
