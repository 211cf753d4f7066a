"""Pacer of held tasks keep the distances the master planned."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from zspider.roles.slave.pacing import QUEUES_MAX, Pacer


def run(starts, until, now=0.0, pause=(), step=0.01):
    """Start whatever may start, turn by turn; no turn happens within the `pause` (begin, end)."""
    times = {}
    while now <= until:
        if not (pause and pause[0] <= now < pause[1]):
            while (serial := starts.pop(now)) is not None:
                times[serial] = now
        now += step
    return times


def test_tasks_start_at_their_offsets():
    starts = Pacer()
    starts.add(1, [(1, 0.0), (2, 0.5), (3, 1.0)], now=0.0)
    assert starts.pop(0.0) == 1
    assert starts.pop(0.49) is None
    assert starts.wait_s(0.4) == pytest.approx(0.1)
    assert starts.pop(0.5) == 2
    assert starts.pop(1.0) == 3
    assert starts.wait_s(1.0) is None


def test_a_late_start_moves_those_that_follow_it():
    starts = Pacer()
    starts.add(1, [(1, 0.0), (2, 0.5), (3, 0.6)], now=0.0)
    assert starts.pop(3.0) == 1
    assert starts.pop(3.0) is None
    assert starts.pop(3.5) == 2
    assert starts.pop(3.55) is None
    assert starts.pop(3.61) == 3


def test_projects_do_not_wait_for_each_other():
    starts = Pacer()
    starts.add(1, [(1, 5.0)], now=0.0)
    starts.add(2, [(2, 0.0)], now=0.0)
    assert starts.pop(0.0) == 2
    assert starts.pop(0.0) is None


def test_a_slave_that_wakes_up_with_many_messages_keeps_to_the_rate():
    starts = Pacer()
    starts.set_rate(1, rate=2.0, burst=3.0, now=0.0)
    for serial in range(9):  # nine messages at once: this process was stopped while they came
        starts.add(1, [(serial, 0.0)], now=10.0)
    times = run(starts, until=14.0, now=10.0)
    assert sorted(times) == list(range(9))
    assert [round(times[serial], 1) for serial in range(9)] == [10.0, 10.0, 10.0, 10.5, 11.0, 11.5, 12.0, 12.5, 13.0]


def test_a_rate_that_was_lowered_holds_from_then_on():
    starts = Pacer()
    starts.set_rate(1, rate=1000.0, burst=1000.0, now=0.0)
    starts.set_rate(1, rate=1.0, burst=1.0, now=0.0)
    starts.add(1, [(1, 0.0), (2, 0.0), (3, 0.0)], now=0.0)
    times = run(starts, until=3.0)
    assert [round(times[serial]) for serial in (1, 2, 3)] == [0, 1, 2]


def test_a_removed_task_does_not_start_and_frees_its_place():
    starts = Pacer()
    starts.add(1, [(1, 0.0), (2, 0.0)], now=0.0)
    starts.remove(1, 0.0)
    starts.remove(1, 0.0)
    assert starts.pop(0.0) == 2
    assert len(starts) == 0
    assert starts.wait_s(0.0) is None


def test_a_removed_task_does_not_hold_up_those_behind_it():
    starts = Pacer()
    starts.add(1, [(1, 60.0)], now=0.0)
    starts.add(1, [(2, 0.0)], now=1.0)
    assert starts.pop(1.0) is None  # a project's tasks start in the order of their grants
    starts.remove(1, 2.0)
    assert starts.pop(2.0) == 2


messages = st.lists(
    st.tuples(st.floats(0, 2), st.lists(st.floats(0, 0.5), min_size=1, max_size=5).map(sorted)), max_size=8
)


@settings(deadline=None, max_examples=80)
@given(messages, st.floats(0, 3), st.floats(0, 3), st.floats(0.5, 50), st.integers(1, 5))
def test_no_two_starts_of_a_message_are_closer_than_planned_and_no_project_is_faster_than_its_rate(
    sent, pause_at, pause_s, rate, burst
):
    starts = Pacer()
    starts.set_rate(7, rate, float(burst), now=0.0)
    planned, arrivals, serial = {}, [], 0
    at = 0.0
    for message, (gap, offsets) in enumerate(sent):
        at += gap
        serials = range(serial, serial + len(offsets))
        serial += len(offsets)
        arrivals.append((at, list(zip(serials, offsets, strict=True))))
        planned |= {one: (at, offset, message) for one, offset in zip(serials, offsets, strict=True)}
    started, now = {}, 0.0
    while len(started) < serial:
        while arrivals and arrivals[0][0] <= now:
            starts.add(7, arrivals.pop(0)[1], now)
        if not pause_at <= now < pause_at + pause_s:
            while (one := starts.pop(now)) is not None:
                started[one] = now
        now += 0.05
        assert now < 1000
    order = sorted(started)
    assert [started[one] for one in order] == sorted(started.values())
    for one, other in pairwise(order):
        if planned[one][2] == planned[other][2]:
            assert started[other] - started[one] >= planned[other][1] - planned[one][1] - 1e-6
    for i, one in enumerate(order):
        assert started[one] >= sum(planned[one][:2]) - 0.05 - 1e-6
        for n, other in enumerate(order[i:], start=1):
            assert n <= burst + rate * (started[other] - started[one]) + 1e-6


def test_rates_of_projects_do_not_pile_up_and_are_forgotten_with_their_cluster():
    pacer = Pacer()
    pacer.set_rate(1, rate=1.0, burst=1.0, now=0.0)
    pacer.add(1, [(1, 0.0), (2, 0.0)], now=0.0)
    for project in range(2, QUEUES_MAX + 500):
        pacer.set_rate(project, rate=1.0, burst=1.0, now=0.0)
        pacer.add(project, [(project + 1, 0.0)], now=0.0)
        pacer.remove(project + 1, 0.0)
    assert len(pacer._queues) == QUEUES_MAX
    assert 1 in pacer._queues  # it has tasks here
    assert (pacer.pop(0.0), pacer.pop(0.0), pacer.pop(1.0)) == (1, None, 2)
    pacer.clear()
    assert (pacer._queues, len(pacer), pacer.wait_s(2.0), pacer.pop(2.0)) == ({}, 0, None, None)
