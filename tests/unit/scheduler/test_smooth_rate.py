"""A speed that can be read although its measures jump."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zspider.scheduler.smooth_rate import MEASURE_S, SmoothRate


def noted(*counts, every_s=2.0):
    rate = SmoothRate()
    for turn, count in enumerate(counts):
        rate.note(count, turn * every_s)
    return rate


def test_one_measure_tells_nothing_and_two_tell_the_speed():
    assert noted(500).per_s == 0.0
    assert noted(500, 700).per_s == 100.0


def test_a_pause_of_one_beat_is_seen_but_does_not_empty_the_rate():
    steady = noted(*range(0, 2000, 100))
    assert steady.per_s == pytest.approx(50)
    steady.note(1900, 40.0)
    assert 35 < steady.per_s < 50


def test_it_comes_to_a_new_speed_whatever_the_pace_of_the_beats():
    for every_s in (0.5, 2.0, 10.0):
        counts = [int(turn * every_s * 20) for turn in range(int(60 / every_s))]
        assert noted(0, 1000, *(1000 + count for count in counts), every_s=every_s).per_s == pytest.approx(20, rel=0.3)


def test_two_beats_at_once_lose_nothing():
    rate = noted(0, 20)
    rate.note(30, 2.0)
    rate.note(40, 4.0)
    assert rate.per_s == pytest.approx(10)


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(0, 10**6)), max_size=50))
def test_it_is_never_below_zero_nor_above_the_fastest_measure(steps):
    rate, now, last, fastest = SmoothRate(), 0.0, None, 0.0
    for gap_s, count in steps:
        now += gap_s
        if last is not None and now >= last[0] + MEASURE_S:
            fastest = max(fastest, (count - last[1]) / (now - last[0]))
        if last is None or now >= last[0] + MEASURE_S:
            last = now, count
        rate.note(count, now)
        assert 0 <= rate.per_s <= fastest * (1 + 1e-9)
