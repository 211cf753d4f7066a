"""Which page goes to which processor."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from zspider.roles.slave.processors.dispatch import PAGES_MAX, STUCK_S, Dispatch


@pytest.fixture
def dispatch():
    dispatch = Dispatch()
    for processor in (0, 1):
        dispatch.up(processor)
    return dispatch


def take_all(dispatch, now=0.0):
    taken = []
    while (one := dispatch.take(now)) is not None:
        taken.append(one)
    return taken


def test_an_idle_processor_gets_the_next_page(dispatch):
    for page in (1, 2, 3):
        dispatch.put(page)
    assert take_all(dispatch) == [(0, 1), (1, 2), (0, 3)]
    dispatch.finished(1, 2, 0.0)
    dispatch.put(4)
    assert take_all(dispatch) == [(1, 4)]


def test_each_processor_has_a_few_pages_at_most(dispatch):
    for page in range(100):
        dispatch.put(page)
    assert len(take_all(dispatch)) == 2 * PAGES_MAX
    assert dispatch.waiting == 100 - 2 * PAGES_MAX


def test_a_dead_processors_page_is_blamed_and_its_others_wait_first_in_their_order(dispatch):
    for page in range(1, 7):
        dispatch.put(page)
    take_all(dispatch)
    dispatch.put(99)
    dispatch.finished(0, 1, 0.0)
    dispatch.saw(0, 3, 0.0)
    assert dispatch.died(0) == (3, True, True)
    for page in (2, 4, 6):
        dispatch.finished(1, page, 0.0)
    assert [page for _, page in take_all(dispatch)] == [5, 99]


def test_a_page_that_was_not_begun_is_suspected_but_had_not_started(dispatch):
    dispatch.put(1)
    dispatch.put(2)
    take_all(dispatch)
    assert dispatch.died(0) == (1, False, True)
    assert dispatch.died(7) == (None, False, False)


def test_a_page_that_had_a_processor_to_itself_is_charged_whatever_was_seen(dispatch):
    dispatch.put(1, alone=True)
    assert take_all(dispatch) == [(0, 1)]
    assert dispatch.died(0) == (1, True, True)


def test_what_a_retired_processor_has_not_answered_waits_first_and_none_is_blamed(dispatch):
    for page in range(1, 7):
        dispatch.put(page)
    take_all(dispatch)
    dispatch.put(99)
    dispatch.finished(0, 1, 0.0)
    dispatch.retired(0)
    assert dispatch.died(0) == (None, False, False)
    for page in (2, 4, 6):
        dispatch.finished(1, page, 0.0)
    assert [page for _, page in take_all(dispatch)] == [3, 5, 99]


def test_a_page_runs_alone_in_a_new_processor(dispatch):
    dispatch.put(5)
    assert take_all(dispatch) == [(0, 5)]
    dispatch.finished(0, 5, 0.0)
    dispatch.died(1)
    dispatch.put(1, first=True, alone=True)
    dispatch.put(2)
    dispatch.put(3)
    assert take_all(dispatch) == [(0, 2), (0, 3)]  # this one is not new
    dispatch.up(1)
    dispatch.put(4)
    assert take_all(dispatch) == [(1, 1), (0, 4)]
    dispatch.finished(1, 1, 0.0)
    dispatch.put(6)
    assert take_all(dispatch) == [(1, 6)]


def test_what_waits_behind_a_long_page_is_taken_back_when_another_processor_is_idle(dispatch):
    for page in (1, 2, 3, 4):
        dispatch.put(page)
    take_all(dispatch)  # 1 and 3 at the first processor
    dispatch.saw(0, 1, 0.0)
    dispatch.move_waiting_pages(STUCK_S)
    assert dispatch.waiting == 0  # the other one is busy
    for page in (2, 4):
        dispatch.finished(1, page, STUCK_S)
    dispatch.move_waiting_pages(STUCK_S)
    assert take_all(dispatch, STUCK_S) == [(1, 3)]
    dispatch.finished(0, 1, 5.0)
    dispatch.saw(0, 3, 5.0)  # it had it in its pipe
    assert dispatch.died(0) == (3, True, False)  # to blame, but somebody else has it


def test_a_stuck_processor_gets_nothing_more(dispatch):
    dispatch.put(1)
    take_all(dispatch)
    dispatch.saw(0, 1, 0.0)
    for page in range(2, 12):
        dispatch.put(page)
    assert {processor for processor, _ in take_all(dispatch, STUCK_S)} == {1}
    assert dispatch.running_pages(3.0)[0] == (0, 1, True, 3.0)


def test_a_dropped_page_is_given_to_nobody(dispatch):
    dispatch.put(1)
    dispatch.put(2)
    dispatch.drop(1)
    assert take_all(dispatch) == [(0, 2)]
    dispatch.drop(2)
    assert dispatch.assigned == 0


class DispatchModel(RuleBasedStateMachine):
    """A page that is neither finished nor dropped is in exactly one place, and comes to a processor in the end."""

    def __init__(self):
        super().__init__()
        self.dispatch = Dispatch()
        self.up = {0, 1, 2}
        for processor in self.up:
            self.dispatch.up(processor)
        self.now, self.page = 0.0, 0
        self.open = set()
        self.sent = {processor: [] for processor in self.up}  # what its pipe has, in order

    @rule()
    def put(self):
        self.page += 1
        self.open.add(self.page)
        self.dispatch.put(self.page)

    @rule()
    def take(self):
        while (taken := self.dispatch.take(self.now)) is not None:
            processor, page = taken
            assert page in self.open
            self.sent[processor].append(page)
            assert len(self.sent[processor]) <= PAGES_MAX + 1

    @precondition(lambda self: any(self.sent.values()))
    @rule(data=st.data(), seconds=st.sampled_from([0.0, 2.0]), ends=st.booleans())
    def run(self, data, seconds, ends):
        processor = data.draw(st.sampled_from([one for one in sorted(self.up) if self.sent[one]] or [-1]))
        if processor < 0:
            return
        page = self.sent[processor][0]
        self.dispatch.saw(processor, page, self.now)
        self.now += seconds
        if ends:
            self.sent[processor].pop(0)
            self.dispatch.finished(processor, page, self.now)
            self.dispatch.drop(page)
            self.open.discard(page)

    @rule()
    def move_waiting_pages(self):
        self.dispatch.move_waiting_pages(self.now)

    @precondition(lambda self: self.up)
    @rule(data=st.data())
    def die(self, data):
        processor = data.draw(st.sampled_from(sorted(self.up)))
        fallen = self.dispatch.died(processor)
        if fallen.blamed is not None:
            assert fallen.blamed == self.sent[processor][0]
        if fallen.is_unassigned and fallen.blamed in self.open:
            self.dispatch.put(fallen.blamed, first=True, alone=True)
        self.sent[processor].clear()
        self.up.discard(processor)

    @precondition(lambda self: self.up)
    @rule(data=st.data())
    def retire(self, data):
        processor = data.draw(st.sampled_from(sorted(self.up)))
        self.dispatch.retired(processor)
        self.sent[processor].clear()
        self.up.discard(processor)

    @precondition(lambda self: len(self.up) < 3)
    @rule()
    def start(self):
        processor = min({0, 1, 2} - self.up)
        self.up.add(processor)
        self.dispatch.up(processor)

    @invariant()
    def every_page_is_somewhere(self):
        assert self.dispatch.waiting + self.dispatch.assigned == len(self.open)

    def teardown(self):
        for _ in range(300):
            if not self.open:
                return
            for processor in {0, 1, 2} - self.up:
                self.up.add(processor)
                self.dispatch.up(processor)
            self.take()
            if not any(self.sent.values()):  # only pages that need a new processor are left: its turn comes
                self.dispatch.died(0)
                self.dispatch.up(0)
            for processor in sorted(self.up):
                for page in self.sent[processor]:
                    self.dispatch.finished(processor, page, self.now)
                    self.dispatch.drop(page)
                    self.open.discard(page)
                self.sent[processor].clear()
        raise AssertionError(f"pages that never came to a processor: {self.open}")


DispatchModel.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestDispatchModel = DispatchModel.TestCase


QUICK, SLOW = (1, "page"), (2, "sitemap")


def run_next(dispatch, now, seconds):
    """Give the only processor its pages, and have it run the first; returns it and when it is done."""
    take_all(dispatch, now)
    page = next(iter(dispatch._slots[0].pages))
    now += seconds(page)
    dispatch.finished(0, page, now, has_run=True)
    dispatch.drop(page)
    return page, now


def test_quick_pages_of_one_project_do_not_wait_behind_the_slow_ones_of_another():
    dispatch, now, done = Dispatch(), 0.0, []
    dispatch.up(0)
    for page in range(24):
        dispatch.put(1000 + page, SLOW)
    for page in range(100):
        dispatch.put(page, QUICK)
    while dispatch.waiting or dispatch.assigned:
        page, now = run_next(dispatch, now, lambda page: 1.5 if page >= 1000 else 0.01)
        done.append((page, now))
    ends = [end for page, end in done if page < 1000]
    assert len(ends) == 100
    assert max(later - end for end, later in zip([0.0, *ends], ends, strict=False)) < 2.0
    assert [page for page, _ in done if page >= 1000] == list(range(1000, 1024))


def test_pages_that_take_long_or_are_not_known_are_given_one_at_a_time(dispatch):
    for page in range(10):
        dispatch.put(page, SLOW)
    assert take_all(dispatch) == [(0, 0), (1, 1)]
    dispatch.finished(0, 0, 0.001, has_run=True)
    assert len(take_all(dispatch)) == 8  # one took a millisecond
    dispatch.finished(0, 2, 1.0, has_run=True)
    for page in range(10, 20):
        dispatch.put(page, SLOW)
    assert take_all(dispatch, 1.0) == []


def test_projects_get_equal_parts_of_the_time(dispatch):
    dispatch.died(1)
    now, ran = 0.0, {1: 0.0, 2: 0.0}
    for page in range(400):
        dispatch.put(page, QUICK)
        dispatch.put(1000 + page, SLOW)
    while now < 30:
        page, end = run_next(dispatch, now, lambda page: 0.3 if page >= 1000 else 0.1)
        ran[2 if page >= 1000 else 1] += end - now
        now = end
    assert abs(ran[1] - ran[2]) < 1.0


def test_quick_pages_whose_outcomes_are_read_together_are_given_many_at_a_time(dispatch):
    dispatch.died(1)
    for page in range(1000):
        dispatch.put(page, QUICK)
    _, now = run_next(dispatch, 0.0, lambda _: 0.001)
    for _ in range(100):  # five outcomes each 10 ms: the first one seems to have taken all of it
        take_all(dispatch, now)
        pages = [*dispatch._slots[0].pages]
        assert len(pages) == PAGES_MAX
        now += 0.01
        for page in pages[:5]:
            dispatch.finished(0, page, now, has_run=True)
            dispatch.drop(page)
