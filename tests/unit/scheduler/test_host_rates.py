"""The busiest hosts of the last five minutes, against counting all of them."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zspider.scheduler.host_rates import KEPT_HOSTS_MAX, OPEN_HOSTS_MAX, OTHERS, SLOT_S, SLOTS, HostRates

RUNS = st.dictionaries(st.sampled_from("abcdef"), st.tuples(st.integers(1, 9), st.integers(0, 1), st.integers(0, 99)))


@given(
    batches=st.lists(st.tuples(st.floats(0, 200), RUNS), max_size=40), limit=st.integers(1, 8), rest_s=st.floats(0, 400)
)
def test_few_hosts_are_counted_exactly(batches, limit, rest_s):
    rates, now, seen = HostRates(1000.0), 1000.0, []
    for gap_s, runs in batches:
        now += gap_s
        rates.add(runs, now)
        seen.append((now, runs))
    now += rest_s
    counted = [Counter(), Counter(), Counter()]
    for at, runs in seen:
        if at // SLOT_S > now // SLOT_S - SLOTS:
            for host, numbers in runs.items():
                for counter, number in zip(counted, numbers, strict=True):
                    counter[host] += number
    order = sorted(counted[0], key=lambda host: (-counted[0][host], host))
    expected = [(host, *(counter[host] for counter in counted)) for host in order]
    rest = [sum(numbers) for numbers in zip(*(row[1:] for row in expected[limit:]), strict=True)]
    found = [tuple(rate[:4]) for rate in rates.busiest(limit, now)]
    assert found == expected[:limit] + ([(OTHERS, *rest)] if rest else [])


def test_many_hosts_cost_no_more_memory_and_every_page_is_counted():
    rates, pages = HostRates(0.0), 0
    for slot in range(SLOTS):
        runs = {f"h{slot}-{number}": (1, 0, 2) for number in range(OPEN_HOSTS_MAX + 500)}
        rates.add({"busy": (3, 1, 30), **runs}, slot * SLOT_S)
        pages += 3 + len(runs)
    assert sum(len(slot.hosts) for slot in rates._slots) <= OPEN_HOSTS_MAX + 1 + SLOTS * (KEPT_HOSTS_MAX + 1)
    first, *_, others = found = rates.busiest(10, SLOTS * SLOT_S - 1)
    assert (first.host, first.pages, first.failed, first.fetch_ms) == ("busy", 3 * SLOTS, SLOTS, 30 * SLOTS)
    assert others.host == OTHERS
    assert sum(rate.pages for rate in found) == pages


@pytest.mark.parametrize(("age_s", "per_s"), [(0.5, 60.0), (30.0, 2.0), (1005.0, 60 / 295)])
def test_pages_per_second_are_of_the_time_that_is_covered(age_s, per_s):
    rates = HostRates(0.0)
    rates.add({"a": (60, 0, 0)}, age_s)
    (rate,) = rates.busiest(5, age_s)
    assert rate.pages_per_s == pytest.approx(per_s)


def test_nothing_was_asked_yet():
    assert HostRates(0.0).busiest(5, 0.0) == []
