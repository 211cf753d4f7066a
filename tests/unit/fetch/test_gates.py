"""When a request may open a connection: few at once, more while answers come, again where nobody heard it."""

from dataclasses import dataclass, field

import pytest
from zspider.fetch.gates import (
    FORGET_S,
    GATES_MAX,
    GIVE_UP_S,
    OPEN_AT_FIRST,
    OPEN_MIN,
    REPEATS_MAX,
    SILENT_S,
    UNHEARD_MAX,
    Gate,
    Gates,
)
from zspider.fetch.handle import Reach


@dataclass(eq=False)
class Asking:
    """A request whose fate the test decides."""

    repeats: int = 0
    has_answer: bool = False
    is_safe: bool = True
    connect_s: float = 0.001
    reached: Reach = field(default=Reach.UNKNOWN)

    def reach(self) -> Reach:
        return self.reached


def enter(gate: Gate[Asking], number: int, now: float = 0.0) -> tuple[list[Asking], list[Asking]]:
    """So many requests come: those sent, and those that wait."""
    asked = [Asking() for _ in range(number)]
    sent = [one for one in asked if gate.admit(one, now)]
    waiting = [one for one in asked if one not in sent]
    gate.waiting.extend(waiting)
    return sent, waiting


def answer(gate: Gate[Asking], asked: Asking, now: float, *, is_kept: bool = True) -> list[Asking]:
    """A request is answered; those sent then."""
    asked.has_answer = True
    gate.leave(asked, now, is_answered=True, is_kept=is_kept, was_new=False)
    return list(gate.next(now))


def test_a_few_connections_are_opened_to_a_server_of_which_nothing_is_known():
    gate = Gate[Asking](0.0)
    sent, waiting = enter(gate, 100)
    assert (len(sent), len(waiting)) == (OPEN_AT_FIRST, 100 - OPEN_AT_FIRST)
    assert gate.running == OPEN_AT_FIRST


def test_each_answer_lets_one_more_be_opened_and_uses_the_connection_again():
    gate = Gate[Asking](0.0)
    sent, _ = enter(gate, 100)
    assert len(answer(gate, sent[0], 0.1)) == 3  # its connection, its place among those opened, and one more


def test_a_connection_for_each_page_is_opened_as_gradually():
    gate = Gate[Asking](0.0)
    sent, _ = enter(gate, 100)
    assert len(answer(gate, sent[0], 0.1, is_kept=False)) == 2


def test_connections_that_answer_bring_all_to_their_place_in_a_few_rounds():
    gate = Gate[Asking](0.0)
    running, _ = enter(gate, 1000)
    for number in range(1, 6):
        running = [sent for one in running for sent in answer(gate, one, number * 0.01)]
    assert len(running) > 90


def test_what_is_open_is_used_before_anything_is_opened():
    gate = Gate[Asking](0.0)
    sent, _ = enter(gate, 4)
    for one in sent:
        answer(gate, one, 0.1)
    sent, waiting = enter(gate, 4, 0.2)
    assert len(sent) == 4
    assert not gate.is_opening
    assert not waiting


def test_connections_that_were_closed_meanwhile_are_not_counted_on():
    gate = Gate[Asking](0.0)
    sent, _ = enter(gate, 4)
    for one in sent:
        answer(gate, one, 0.1)
    (reused, *_), _ = enter(gate, 1, 0.2)
    reused.has_answer = True
    gate.leave(reused, 0.3, is_answered=True, is_kept=False)  # it was to use an open one, and had to open another
    sent, waiting = enter(gate, 20, 0.4)
    assert waiting
    assert gate.is_opening


def test_a_server_that_takes_all_on_one_connection_gets_all():
    gate = Gate[Asking](0.0)
    sent, waiting = enter(gate, 100)
    gate.open_wide()
    assert len(answer(gate, sent[0], 0.1)) == len(waiting)


def test_what_has_arrived_holds_up_no_others_while_it_is_not_answered():
    gate = Gate[Asking](0.0)
    sent, _ = enter(gate, 100)
    for one in sent:
        one.reached = Reach.ARRIVED
    assert gate.look(0.05, is_up_to_date=True) == []
    assert len(list(gate.next(0.05))) == OPEN_AT_FIRST


def test_a_dead_server_is_asked_by_all_soon():
    gate = Gate[Asking](0.0)
    enter(gate, 300)
    now, rounds = 0.0, 0
    while gate.waiting:
        now += GIVE_UP_S + 0.01
        rounds += 1
        assert gate.look(now, is_up_to_date=True) == []  # no one to be sent to instead
        list(gate.next(now))
    assert rounds < 8


@pytest.mark.parametrize("reached", [Reach.LOST, Reach.CONNECTING])
def test_what_nobody_heard_is_sent_again_when_others_answer_and_fewer_are_opened_then(reached):
    gate = Gate[Asking](0.0)
    sent, _ = enter(gate, 100)
    more = [one for asked in sent for one in answer(gate, asked, 0.01)]
    lost = [one for one in more if one in gate.opening]
    for one in lost:
        one.reached = reached
    answer(gate, more[0] if more[0] not in lost else next(one for one in more if one not in lost), 0.02)
    open_max = gate._open_max
    assert set(gate.look(0.5, is_up_to_date=True)) >= set(lost)
    assert gate._open_max == max(OPEN_MIN, open_max / 2)


def test_what_is_connecting_is_not_given_up_by_a_loop_that_is_late():
    gate = Gate[Asking](0.0)
    sent, _ = enter(gate, 4)
    sent[1].reached = Reach.CONNECTING
    answer(gate, sent[0], 0.01)
    assert gate.look(0.5, is_up_to_date=False) == []
    assert gate.look(0.6, is_up_to_date=True) == [sent[1]]


def test_a_request_that_changes_something_is_never_sent_twice():
    gate = Gate[Asking](0.0)
    sent, _ = enter(gate, 4)
    for one in sent[1:]:
        one.is_safe = False
        one.reached = Reach.LOST
    answer(gate, sent[0], 0.1)
    for now in (0.5, 2.0, 4.0, 10.0):
        assert gate.look(now, is_up_to_date=True) == []


def test_a_silent_connection_is_left_for_one_that_works_and_only_so_often():
    gate = Gate[Asking](0.0)
    sent, _ = enter(gate, 2)
    silent = sent[1]
    silent.reached = Reach.ARRIVED
    answer(gate, sent[0], 0.1)
    assert gate.look(0.2, is_up_to_date=True) == []
    assert gate.look(SILENT_S + 0.1, is_up_to_date=True) == [silent]
    silent.repeats = REPEATS_MAX
    assert gate.look(SILENT_S + 0.2, is_up_to_date=True) == []


def test_a_silent_connection_keeps_its_request_where_no_other_works():
    gate = Gate[Asking](0.0)
    sent, _ = enter(gate, 4)
    for one in sent:
        one.reached = Reach.ARRIVED
    for now in (1.0, SILENT_S + 1, 60.0):
        assert gate.look(now, is_up_to_date=True) == []


def test_what_nobody_hears_at_all_is_not_repeated_without_end():
    gate = Gate[Asking](0.0)
    sent, _ = enter(gate, 4)
    sent[1].reached, sent[1].repeats = Reach.LOST, UNHEARD_MAX
    answer(gate, sent[0], 0.1)
    assert gate.look(0.5, is_up_to_date=True) == []


def test_a_server_not_asked_lately_is_met_as_a_new_one():
    gates = Gates[Asking]()
    gate = gates.get("http://a", 0.0)
    sent, _ = enter(gate, 4)
    assert gates.get("http://a", FORGET_S + 9) is gate  # it is in use
    for one in sent:
        answer(gate, one, 20.0)
    assert gates.get("http://a", 21.0) is gate
    assert gates.get("http://a", 21.0 + FORGET_S) is not gate


def test_unused_gates_are_forgotten_and_used_ones_are_not():
    gates = Gates[Asking]()
    used = gates.get("http://used", 0.0)
    enter(used, 1)
    for number in range(3 * GATES_MAX):
        gates.get(f"http://{number}", 1.0)
    assert len(gates._gates) <= 2 * GATES_MAX
    assert gates.get("http://used", 1000.0) is used
