"""Sums over the last minutes, hour and day, against a list of all events."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zspider.activity import ACTIVITY, WINDOWS, WindowSlot, activity_of
from zspider.scheduler.windows import SlidingSum, Windows

START_MS = 1_700_000_000_000
NOTHING = (0,) * len(ACTIVITY)
ACTIVITIES = st.lists(st.integers(0, 5), min_size=len(ACTIVITY), max_size=len(ACTIVITY))
# milliseconds that pass between two events: often within a slot, sometimes more than a whole window
GAPS = st.one_of(st.integers(0, 20_000), st.integers(0, 90_000_000))
EVENTS = st.lists(st.tuples(GAPS, ACTIVITIES), max_size=60)


def dumb_sum(window, events, now_ms):
    """Add up whatever is in the slots of the window."""
    oldest = now_ms // 1000 // window.step_s - window.slots
    inside = [activity for ms, activity in events if ms // 1000 // window.step_s > oldest]
    return tuple(map(sum, zip(*inside, strict=True))) if inside else NOTHING


@pytest.mark.parametrize("window", WINDOWS, ids=lambda window: window.name)
@given(events=EVENTS, rest_ms=GAPS)
def test_a_sliding_sum_is_what_adding_up_all_events_gives(window, events, rest_ms):
    sliding, seen, now_ms = SlidingSum(window), [], START_MS
    for gap_ms, activity in events:
        now_ms += gap_ms
        sliding.add(now_ms, activity)
        seen.append((now_ms, activity))
        assert sliding.total(now_ms) == dumb_sum(window, seen, now_ms)
        assert len(sliding) <= window.slots
    now_ms += rest_ms
    assert sliding.total(now_ms) == dumb_sum(window, seen, now_ms)


@given(events=st.lists(st.tuples(st.integers(START_MS, START_MS + 2 * 86_400_000), ACTIVITIES), max_size=400))
def test_a_clock_that_jumps_makes_no_sum_wrong_for_good_and_nothing_grow(events):
    sliding = SlidingSum(WINDOWS[0])
    for ms, activity in events:
        sliding.add(ms, activity)
        assert len(sliding) <= WINDOWS[0].slots
        assert min(sliding.total(ms)) >= 0
    assert sliding.total(START_MS + 4 * 86_400_000) == NOTHING


def test_the_window_is_its_slots_up_to_the_one_of_now():
    sliding = SlidingSum(WINDOWS[0])
    begin_ms = START_MS // 10_000 * 10_000
    sliding.add(begin_ms, activity_of({"new": 1}))
    last_ms = begin_ms + 30 * 10_000 - 1
    assert sliding.total(last_ms) == tuple(activity_of({"new": 1}))
    assert sliding.total(last_ms + 1) == NOTHING


def test_projects_are_summed_apart_and_forgotten_alone():
    windows = Windows()
    windows.add(1, activity_of({"success": 2, "done": 7}), START_MS)
    windows.add(2, activity_of({"failed_total": 1}), START_MS)
    windows.add(2, activity_of({"waiting": 1}), START_MS)
    assert windows.totals(1, START_MS) == dict.fromkeys(("5m", "1h", "1d"), (0, 2, 0, 0, 0, 0, 0, 0))
    windows.forget(1)
    assert windows.totals(1, START_MS)["1d"] == NOTHING
    assert windows.totals(2, START_MS)["1d"] == (0, 0, 0, 1, 0, 0, 0, 0)


def test_loading_replaces_all_that_was_known():
    windows = Windows()
    windows.add(1, activity_of({"new": 1}), START_MS)
    windows.load([WindowSlot(60, WINDOWS[1].slot(START_MS), 2, activity_of({"new": 3}))])
    assert windows.totals(1, START_MS)["1h"] == NOTHING
    assert windows.totals(2, START_MS) == {"5m": NOTHING, "1h": tuple(activity_of({"new": 3})), "1d": NOTHING}
