"""Limits per host: stories, and any history against what was promised."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from zspider.delivery import Answer
from zspider.scheduler import hosts as hosts_module
from zspider.scheduler.hosts import Holding, HostFigures, HostLimits
from zspider.settings import HostRule, PolitenessSettings

INF = float("inf")


def limits(*rules, silent_share=1.0, **fields):
    return HostLimits(PolitenessSettings(rules=rules, silent_share=silent_share, **fields))


def asked(hosts, name, now):
    """A host is asked as soon as it may be; returns when."""
    start = now + hosts.wait_s(name, now)
    assert hosts.begin(name, start)
    return start


# --- rules


def test_without_limits_no_host_is_known():
    hosts = limits()
    assert not hosts.is_used
    assert not hosts.begin("a.example", 0.0)
    hosts.answered("a.example", None, 0.1, 0.0, 1.0)
    hosts.answered("a.example", Answer(404), 0.1, 0.0, 1.0)
    assert not hosts.is_used
    assert hosts.names() == []


def test_the_first_rule_that_matches_counts_and_a_host_without_a_rule_has_the_usual_limits():
    rules = [HostRule(match="www.a.example", concurrency=1), HostRule(match="*.A.example", concurrency=2)]
    hosts = limits(*rules, HostRule(match="free.example"), concurrency=3)
    found = {}
    for name in ("www.a.example", "b.a.example", "a.example", "free.example", "a.example:8080"):
        counted = hosts.begin(name, 0.0)
        found[name] = hosts.figures(name).concurrency if counted else 0
    assert found == {"www.a.example": 1, "b.a.example": 2, "a.example": 3, "free.example": 0, "a.example:8080": 3}


def test_a_full_host_is_free_when_one_of_its_tasks_has_ended():
    hosts = limits(HostRule(match="*", concurrency=2))
    assert hosts.begin("a", 0.0)
    assert hosts.wait_s("a", 0.0) == 0.0
    assert hosts.begin("a", 0.0)
    assert hosts.wait_s("a", 5.0) == INF
    hosts.wait_for("a", 5.0)
    assert hosts.now_allowed(100.0, 0.1) == []
    assert hosts.holding("a", 100.0) == Holding("concurrency", 2, INF)
    hosts.end("a")
    assert hosts.next_s(100.0) == 0.0
    assert hosts.now_allowed(100.0, 0.1) == ["a"]
    assert hosts.now_allowed(100.0, 0.1) == []  # told once


def test_a_host_with_a_delay_is_free_when_the_delay_is_over():
    hosts = limits(HostRule(match="*", delay_s=2.0))
    hosts.begin("a", 10.0)
    hosts.wait_for("a", 10.5)
    assert hosts.next_s(10.5) == 1.5
    assert hosts.holding("a", 10.5) == Holding("delay", 2.0, 12.0)
    assert hosts.now_allowed(11.8, 0.1) == []
    assert hosts.now_allowed(11.95, 0.1) == ["a"]
    assert hosts.wait_s("a", 11.95) == pytest.approx(0.05)
    assert hosts.holding("a", 12.0) is None


def test_a_task_that_was_not_started_gives_its_time_back_to_the_next_one():
    hosts = limits(HostRule(match="*", delay_s=2.0))
    hosts.begin("a", 10.0)
    hosts.begin("a", 12.0)
    hosts.refund("a", 12.0)
    hosts.end("a")
    assert hosts.wait_s("a", 10.0) == 2.0
    hosts.refund("a", 7.0)  # not the last one: others have been given times behind it
    assert hosts.wait_s("a", 10.0) == 2.0


def test_other_settings_hold_at_once_for_what_runs_and_what_waits():
    hosts = limits(HostRule(match="*", concurrency=1))
    hosts.begin("a", 0.0)
    hosts.wait_for("a", 0.0)
    assert hosts.now_allowed(1.0, 0.1) == []
    hosts.change(PolitenessSettings(concurrency=2, silent_share=1.0))
    assert hosts.now_allowed(1.0, 0.1) == ["a"]
    assert hosts.figures("a") == HostFigures("a", 1, 2, 0.0, 0)
    hosts.change(PolitenessSettings(silent_share=1.0))
    assert hosts.figures("a") == HostFigures("a", 1, 0, 0.0, 0)


# --- refusals


@pytest.mark.parametrize("status", [429, 503])
def test_a_host_that_refuses_is_left_alone_for_1_2_4_seconds_up_to_the_longest_pause(status):
    hosts = limits(back_off_max_s=5.0)
    now = 100.0
    pauses = []
    for _ in range(5):
        granted = now
        hosts.answered("a", Answer(status), 0.1, granted, now + 0.1)
        pauses.append(hosts.wait_s("a", now + 0.1))
        now += 10.0
    assert pauses == pytest.approx([1.0, 2.0, 4.0, 5.0, 5.0])
    hosts.answered("a", Answer(404), 0.1, now, now)  # it answers again
    assert hosts.figures("a").refusals == 0
    hosts.answered("a", Answer(status), 0.1, now, now)
    assert hosts.wait_s("a", now) == pytest.approx(1.0)


def test_a_host_that_says_how_long_is_taken_at_its_word_within_the_limit():
    hosts = limits(retry_after_max_s=600.0)
    hosts.answered("a", Answer(429, 120_000), 0.1, 0.0, 1.0)
    assert hosts.holding("a", 1.0) == Holding("back-off", 120.0, 121.0)
    hosts.answered("b", Answer(503, 86_400_000), 0.1, 0.0, 1.0)
    hosts.answered("b", Answer(503, 86_400_000), 0.1, 400.0, 401.0)  # again, after the pause on one word
    assert hosts.wait_s("b", 401.0) == 600.0


def test_refusals_of_tasks_granted_before_the_pause_began_count_once():
    hosts = limits()
    for n in range(20):
        hosts.answered("a", Answer(429), 0.1, 0.0, 1.0 + n / 100)
    assert hosts.figures("a").refusals == 1
    assert hosts.wait_s("a", 2.0) == 0.0
    hosts.answered("a", Answer(429, 9000), 0.1, 0.0, 2.0)  # what one of them asks for is heard all the same
    assert hosts.wait_s("a", 2.0) == 9.0
    hosts.answered("a", None, 0.1, 0.0, 2.0)  # nor does an answer of before the pause end it
    assert hosts.wait_s("a", 2.0) == 9.0


def test_after_a_pause_one_request_at_a_time_finds_out_how_the_host_is():
    hosts = limits()
    hosts.answered("a", Answer(429), 0.1, 0.0, 1.0)
    assert asked(hosts, "a", 5.0) == 5.0
    assert hosts.wait_s("a", 6.0) == INF
    hosts.wait_for("a", 6.0)
    hosts.answered("a", Answer(599), 20.0, 5.0, 25.0)  # no answer says nothing
    hosts.end("a")
    assert hosts.now_allowed(25.0, 0.1) == ["a"]
    assert asked(hosts, "a", 25.0) == 25.0
    hosts.wait_for("a", 25.0)
    hosts.answered("a", None, 0.1, 25.0, 26.0)
    hosts.end("a")
    assert hosts.now_allowed(26.0, 0.1) == ["a"]
    assert hosts.figures("a").concurrency == 0


def test_backing_off_can_be_left_out():
    hosts = limits(back_off=False)
    hosts.answered("a", Answer(429, 60_000), 0.1, 0.0, 1.0)
    assert not hosts.is_used


# --- what hosts wish, and how fast they are


def test_a_crawl_delay_raises_the_delay_and_never_lowers_it():
    hosts = limits(HostRule(match="slow.*", delay_s=5.0), retry_after_max_s=60.0)
    for name, told_ms in (("a", 3000), ("slow.a", 3000), ("odd", 86_400_000)):
        hosts.answered(name, Answer(200, 0, told_ms), 0.1, 0.0, 1.0)
    assert {name: hosts.figures(name).delay_s for name in hosts.names()} == {"a": 3.0, "slow.a": 5.0, "odd": 60.0}


def test_an_adaptive_delay_goes_up_at_once_and_down_by_halves_with_good_answers_only():
    hosts = limits(adaptive=True, adaptive_concurrency=2.0, adaptive_max_s=10.0)
    hosts.begin("a", 0.0)
    delays = [hosts.figures("a").delay_s]
    for answer, fetch_s in [(None, 4.0), (None, 1.0), (Answer(404), 0.2), (Answer(599), 30.0), (Answer(500), 50.0)]:
        hosts.answered("a", answer, fetch_s, 0.0, 1.0)
        delays.append(hosts.figures("a").delay_s)
    assert delays == pytest.approx([1.0, 2.0, 1.25, 1.25, 1.25, 10.0])


# --- memory


def test_hosts_of_which_nothing_need_be_known_are_forgotten():
    hosts = limits(HostRule(match="*", delay_s=2.0))
    for n in range(100):
        hosts.begin(f"h{n}", 0.0)
        hosts.end(f"h{n}")
    hosts.begin("busy", 0.0)
    hosts.now_allowed(1.0, 0.1)
    assert len(hosts.names()) == 101
    hosts.now_allowed(100.0, 0.1)
    assert hosts.names() == ["busy"]


def test_too_many_hosts_are_never_kept_and_those_at_work_or_in_a_pause_stay(monkeypatch):
    monkeypatch.setattr(hosts_module, "HOSTS_MAX", 100)
    hosts = limits()
    hosts.answered("held", Answer(429, 3_600_000), 0.1, 0.0, 1.0)
    hosts.answered("busy", Answer(200, 0, 1000), 0.1, 0.0, 1.0)
    hosts.begin("busy", 1.0)
    for n in range(1000):
        hosts.answered(f"h{n}", Answer(200, 0, 1000), 0.1, 0.0, 1.0)
        assert len(hosts.names()) <= 100
    assert {"held", "busy", "h999"} <= set(hosts.names())
    assert "h0" not in hosts.names()


# --- any history

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["ask", "ask", "ask", "end", "end", "refuse", "refund", "pass"]),
        st.sampled_from(["a", "b"]),
        st.floats(0, 3),
    ),
    max_size=80,
)


@settings(deadline=None, max_examples=300)
@given(
    steps=STEPS,
    concurrency=st.integers(0, 3),
    delay_s=st.sampled_from([0.0, 0.3, 1.0, 2.5]),
    ahead_s=st.sampled_from([0.0, 0.1]),
)
def test_in_any_history_a_host_is_asked_no_more_than_its_limits_allow(steps, concurrency, delay_s, ahead_s):
    hosts = limits(HostRule(match="*", concurrency=concurrency, delay_s=delay_s))
    now = 100.0
    running = {"a": [], "b": []}  # when each was to start
    starts = {"a": [], "b": []}  # of all that was really started
    held_until = {"a": 0.0, "b": 0.0}
    for what, name, number in steps:
        now += number if what == "pass" else 0.01
        if what == "ask":
            wait_s = hosts.wait_s(name, now)
            if wait_s <= ahead_s:
                assert now + wait_s >= held_until[name] - 1e-9
                if hosts.begin(name, now + wait_s):
                    running[name].append(now + wait_s)
                starts[name].append(now + wait_s)
            else:
                hosts.wait_for(name, now)
        elif what == "end" and running[name]:
            running[name].pop(0)
            hosts.end(name)
        elif what == "refund" and running[name]:  # the slave did not start the last one
            start = running[name].pop()
            starts[name].remove(start)
            hosts.refund(name, start)
            hosts.end(name)
        elif what == "refuse":
            hosts.answered(name, Answer(429, int(1000 * number)), 0.1, now, now)
            held_until[name] = max(held_until[name], now + int(1000 * number) / 1000)
        for freed in hosts.now_allowed(now, ahead_s):
            assert hosts.wait_s(freed, now) <= ahead_s
        for host, begun in running.items():
            figures = hosts.figures(host)
            assert len(begun) == (0 if figures is None else figures.leased)
            assert not concurrency or len(begun) <= concurrency
            gaps = [b - a for a, b in pairwise(starts[host])]
            assert all(gap >= delay_s - 1e-6 for gap in gaps)
    for host, begun in running.items():  # whoever waits is told when the time has come
        waits = host in hosts._waited
        for _ in begun:
            hosts.end(host)
        assert (host in hosts.now_allowed(now + 10_000, ahead_s)) == waits


# --- hosts that do not answer


def fill(hosts, name, now):
    """Ask a host as often as it may be asked now."""
    number = 0
    while hosts.wait_s(name, now) == 0.0 and number < 1000:
        assert hosts.begin(name, now)
        number += 1
    return number


def test_a_host_that_does_not_answer_gets_its_share_and_the_others_all_they_want():
    hosts = limits(silent_share=0.125)
    hosts.set_capacity(200)
    assert fill(hosts, "dead", 0.0) == 25
    assert hosts.holding("dead", 1.0) == Holding("silent", 25, INF)
    hosts.answered("dead", Answer(599), 20.0, 0.0, 20.0)  # nobody has answered
    hosts.end("dead")
    assert fill(hosts, "dead", 20.0) == 1
    assert fill(hosts, "alive", 20.0) == 25  # until it has answered once
    hosts.answered("alive", None, 0.1, 20.0, 20.1)
    assert fill(hosts, "alive", 20.2) == 1000


def test_an_answer_frees_a_host_at_once_and_silence_holds_it_again():
    hosts = limits(silent_share=0.125)
    hosts.set_capacity(80)
    assert fill(hosts, "a", 0.0) == 10
    hosts.wait_for("a", 0.0)
    hosts.answered("a", Answer(404), 0.1, 0.0, 1.0)  # any answer shows that it lives
    hosts.end("a")
    assert hosts.now_allowed(1.0, 0.1) == ["a"]
    assert hosts.begin("a", 1.0)
    assert hosts.wait_s("a", 1.0 + hosts_module.SILENT_S) == 0.0
    assert hosts.wait_s("a", 1.1 + hosts_module.SILENT_S) == INF


def test_with_more_slaves_a_silent_host_gets_more():
    hosts = limits(silent_share=0.125)
    hosts.set_capacity(80)
    assert fill(hosts, "a", 0.0) == 10
    hosts.wait_for("a", 0.0)
    hosts.set_capacity(160)
    assert hosts.now_allowed(0.1, 0.1) == ["a"]
    assert fill(hosts, "a", 0.1) == 10


@pytest.mark.parametrize(("capacity", "least"), [(0, 8), (8, 8), (64, 8), (80, 10)])
def test_a_few_requests_a_silent_host_may_have_anyway(capacity, least):
    hosts = limits(silent_share=0.125)
    hosts.set_capacity(capacity)
    assert fill(hosts, "a", 0.0) == least


def test_a_limit_of_its_own_is_told_before_the_share_of_the_silent():
    hosts = limits(HostRule(match="a", concurrency=2), silent_share=0.125)
    hosts.set_capacity(200)
    assert fill(hosts, "a", 0.0) == 2
    assert hosts.holding("a", 0.0) == Holding("concurrency", 2, INF)


def test_a_host_is_new_until_it_has_answered_or_has_had_time_to():
    hosts = limits(silent_share=0.125)
    assert not hosts.is_new("a", 0.0)
    hosts.begin("a", 1.0)
    hosts.begin("b", 1.0)
    assert hosts.is_new("a", 1.0 + hosts_module.SILENT_S)
    assert not hosts.is_new("a", 1.1 + hosts_module.SILENT_S)
    hosts.answered("b", None, 0.1, 1.0, 2.0)
    assert not hosts.is_new("b", 2.0)


# --- one slave's word

HOUR = Answer(429, retry_after_ms=3_600_000)
ROGUE, OTHER = (b"r" * 16, "rogue"), (b"o" * 16, "other")


def test_a_pause_that_one_slave_reports_is_short_until_something_confirms_it():
    hosts = limits()
    hosts.answered("a", HOUR, 0.1, 0.5, 1.0, ROGUE)
    hosts.answered("a", Answer(429, retry_after_ms=86_400_000), 0.1, 0.5, 1.0, ROGUE)
    assert hosts.holding("a", 1.0) == Holding("back-off", 300.0, 301.0, "rogue")
    hosts.answered("a", HOUR, 0.1, 0.6, 2.0, OTHER)  # its request was under way, too
    assert hosts.wait_s("a", 2.0) == 3600.0


def test_the_only_slave_asks_once_after_five_minutes_and_then_the_full_pause_counts():
    hosts = limits()
    hosts.answered("a", HOUR, 0.1, 0.5, 1.0, ROGUE)
    assert hosts.begin("a", 301.0) in (True, False)
    hosts.answered("a", HOUR, 0.1, 301.0, 302.0, ROGUE)
    assert hosts.wait_s("a", 302.0) >= 3600.0


def test_a_host_that_is_resumed_may_be_asked_at_once():
    hosts = limits()
    hosts.answered("a", Answer(429, 3_600_000, crawl_delay_ms=60_000), 0.1, 0.5, 1.0, ROGUE)
    hosts.wait_for("a", 1.0)
    assert hosts.resume("a")
    assert hosts.now_allowed(1.0, 0.1) == ["a"]
    assert hosts.holding("a", 1.0) is None
    assert not hosts.resume("b")
