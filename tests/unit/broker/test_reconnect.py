"""When a slave rebuilds its sockets."""

import random

from hypothesis import given
from hypothesis import strategies as st
from zspider.broker.reconnect import BACKOFF_MAX_S, Reconnector

SEEDS = st.integers(0, 2**32)


@given(SEEDS, st.floats(0.5, 60), st.floats(0, 1e6))
def test_a_silent_master_gets_its_time_before_anything_is_rebuilt(seed: int, rebuild_s: float, now: float) -> None:
    one = Reconnector(rebuild_s, now, random.Random(seed))
    one.heard(now + 100)
    at = one.rebuild_at(is_refused=False)
    assert now + 100 + rebuild_s <= at <= now + 100 + rebuild_s + 0.2


@given(SEEDS, st.integers(0, 40))
def test_a_refusal_is_tried_again_within_two_seconds_and_later_each_time(seed: int, tries: int) -> None:
    one = Reconnector(10.0, 0.0, random.Random(seed))
    for _ in range(tries):
        one.rebuilt(5.0)
    assert 0 <= one.rebuild_at(is_refused=True) - (5.0 if tries else 0.0) <= min(BACKOFF_MAX_S, 0.2 * 2**tries)


@given(SEEDS)
def test_a_word_of_the_master_ends_the_back_off(seed: int) -> None:
    one = Reconnector(10.0, 0.0, random.Random(seed))
    for _ in range(10):
        one.rebuilt(1.0)
    one.heard(2.0)
    assert one.rebuild_at(is_refused=True) <= 2.2


def test_asking_twice_gives_the_same_moment() -> None:
    one = Reconnector(10.0, 0.0)
    assert one.rebuild_at(is_refused=False) == one.rebuild_at(is_refused=False)


def test_a_thousand_slaves_do_not_knock_at_once() -> None:
    slaves = [Reconnector(10.0, 0.0, random.Random(seed)) for seed in range(1000)]
    for one in slaves:
        for _ in range(4):
            one.rebuilt(0.0)
    tenths = [int(one.rebuild_at(is_refused=True) * 10) for one in slaves]
    assert max(tenths.count(tenth) for tenth in set(tenths)) < 100  # of 1,000, spread over 2 s
