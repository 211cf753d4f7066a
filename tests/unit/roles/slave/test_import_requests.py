"""Which processors wait for which project."""

from hypothesis import given
from hypothesis import strategies as st
from zspider.roles.processor.options import IMPORT_WAIT_S
from zspider.roles.slave.processors.import_requests import ASK_AGAIN_S, ImportRequests


def test_an_answer_is_for_all_who_wait_and_is_asked_for_again_until_it_comes():
    wanted = ImportRequests()
    assert wanted.to_ask(0.0) == []
    wanted.want(1, "a", 0.0)
    wanted.want(2, "b", 0.0)
    wanted.want(3, "a", 0.0)
    assert wanted.to_ask(0.0) == ["a", "b"]
    assert wanted.to_ask(1.0) == []
    assert wanted.to_ask(ASK_AGAIN_S) == ["a", "b"]
    assert wanted.came("a") == [1, 3]
    assert wanted.came("a") == []
    assert wanted.to_ask(2 * ASK_AGAIN_S) == ["b"]


def test_who_asks_later_is_not_served_with_an_earlier_question():
    wanted = ImportRequests()
    wanted.want(1, "a", 0.0)
    assert wanted.to_ask(0.0) == ["a"]
    wanted.want(2, "a", 0.1)
    assert wanted.to_ask(0.1) == ["a"]


def test_nobody_waits_for_ever_and_the_dead_do_not_wait():
    wanted = ImportRequests()
    wanted.want(1, "a", 0.0)
    assert wanted.is_waiting(1, IMPORT_WAIT_S - 0.1)
    assert not wanted.is_waiting(1, IMPORT_WAIT_S)
    assert wanted.to_ask(IMPORT_WAIT_S) == []
    wanted.want(1, "b", 20.0)
    wanted.gone(1)
    wanted.gone(1)
    assert not wanted.is_waiting(1, 20.0)
    assert wanted.to_ask(20.0) == []


STEPS = st.lists(st.tuples(st.integers(0, 3), st.sampled_from("abc"), st.sampled_from([0.0, 0.5, 3.0])), max_size=30)


@given(STEPS)
def test_each_who_waits_is_asked_for_within_one_pause(steps):
    wanted, now, last = ImportRequests(), 0.0, {}
    for processor, name, pause in steps:
        wanted.want(processor, name, now)
        for asked in wanted.to_ask(now):
            last[asked] = now
        assert last[name] == now
        now += pause
    answered = [processor for name in "abc" for processor in wanted.came(name)]
    assert sorted(answered) == sorted({processor for processor, _, _ in steps})
