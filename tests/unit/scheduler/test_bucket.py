"""The token bucket: what may start when."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zspider.scheduler.bucket import TokenBucket

EPSILON = 1e-6  # of a task: floats are summed in another order here than there
STEPS = st.lists(
    st.tuples(st.floats(0, 3), st.sampled_from(["take", "take", "take", "ask"]), st.sampled_from([0.0, 0.1, 2.0])),
    max_size=80,
)


@given(st.floats(0.1, 50), st.integers(1, 20), STEPS)
def test_a_bucket_never_lets_more_start_than_rate_and_burst_allow(rate, burst, steps):
    now = 100.0
    bucket = TokenBucket(rate, burst, now)
    starts = []
    for gap, verb, ahead_s in steps:
        now += gap
        if verb == "take":
            wait_s = bucket.reserve(now, ahead_s)
            if wait_s is not None:
                assert 0 <= wait_s <= ahead_s
                starts.append(now + wait_s)
        else:
            bucket.wait_s(now)
    assert starts == sorted(starts)
    for i, first in enumerate(starts):
        for j in range(i, len(starts)):
            assert j - i + 1 <= rate * (starts[j] - first) + burst + EPSILON


@given(st.floats(0.1, 50), st.integers(1, 20), st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=40))
def test_asking_and_being_refused_take_nothing(rate, burst, steps):
    now = 0.0
    asked, unasked = TokenBucket(rate, burst, now), TokenBucket(rate, burst, now)
    for gap, take in steps:
        now += gap
        wait_s = asked.wait_s(now)
        if wait_s is not None and wait_s > 0:
            assert asked.reserve(now, wait_s / 2) is None
        if take:
            assert asked.reserve(now, 0.5) == pytest.approx(unasked.reserve(now, 0.5), abs=1e-6)


def test_a_new_bucket_lets_one_task_start_at_once_and_the_next_at_its_time():
    bucket = TokenBucket(2.0, 3, 10.0)
    assert [bucket.reserve(10.0, 5.0) for _ in range(3)] == pytest.approx([0.0, 0.5, 1.0])


def test_an_idle_bucket_collects_no_more_than_its_burst():
    bucket = TokenBucket(2.0, 3, 0.0)
    assert [bucket.reserve(1000.0, 0.0) for _ in range(4)] == [0.0, 0.0, 0.0, None]


def test_a_smaller_burst_takes_away_what_was_collected():
    bucket = TokenBucket(1.0, 10, 0.0)
    bucket.wait_s(100.0)
    bucket.change(1.0, 2, 100.0)
    assert [bucket.reserve(100.0, 0.0) for _ in range(3)] == [0.0, 0.0, None]


@pytest.mark.parametrize(("rate", "burst", "given_at_once"), [(0.0, 3.0, 1), (5.0, 0.5, 0), (0.0, 0.0, 0)])
def test_no_rate_or_less_than_one_of_burst_means_never(rate, burst, given_at_once):
    bucket = TokenBucket(rate, burst, 0.0)
    assert [bucket.reserve(0.0, 0.0) for _ in range(given_at_once)] == [0.0] * given_at_once
    assert bucket.wait_s(1e9) is None
    assert bucket.reserve(1e9, 1e9) is None
