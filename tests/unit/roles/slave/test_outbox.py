"""The outbox against a model that keeps everything in plain sets and dicts."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from zspider.roles.slave.outbox import (
    BATCH_BYTES_MAX,
    BATCH_ITEMS_MAX,
    FLUSH_ITEMS,
    FLUSH_S,
    ITEM_BYTES,
    PARTS_WINDOW_BYTES,
    RESEND_S,
    Outbox,
)


@pytest.fixture
def outbox():
    return Outbox(items_max=10_000, bytes_max=256 * 1024 * 1024)


def ids(batch):
    return [item.id for item in batch]


def send(outbox, now):
    """Send all that is due; returns the ids in order."""
    sent = []
    while batch := outbox.batch(now):
        outbox.sent(batch, now)
        sent += ids(batch)
    return sent


def test_a_lone_outcome_waits_ten_milliseconds_for_company(outbox):
    first = outbox.add(1, 1, b"x", 0.0, is_final=True)
    assert outbox.batch(FLUSH_S / 2) == []
    assert outbox.wait_s(FLUSH_S / 2) == pytest.approx(FLUSH_S / 2)
    assert ids(outbox.batch(FLUSH_S)) == [first]


def test_fifty_outcomes_go_at_once(outbox):
    for owner in range(FLUSH_ITEMS):
        assert outbox.batch(0.0) == []
        outbox.add(owner, owner, b"x", 0.0, is_final=True)
    assert len(outbox.batch(0.0)) == FLUSH_ITEMS
    assert outbox.wait_s(0.0) == 0.0


def test_a_batch_that_could_not_go_is_offered_again(outbox):
    outbox.add(1, 1, b"x", 0.0, is_final=True)
    assert outbox.batch(1.0) == outbox.batch(1.0) != []


def test_an_outcome_is_sent_again_after_ten_seconds_then_twenty_then_forty_then_every_minute(outbox):
    outbox.add(1, 7, b"x", 0.0, is_final=True)
    now = 1.0
    for pause_s in (*RESEND_S, RESEND_S[-1]):
        assert len(send(outbox, now)) == 1
        assert outbox.wait_s(now) == pytest.approx(pause_s)
        assert send(outbox, now + pause_s - 0.001) == []
        now += pause_s
    outbox.acknowledge([1], now)
    assert len(outbox) == 0
    assert outbox.wait_s(now) is None


def test_the_end_waits_until_all_parts_are_acknowledged(outbox):
    parts = [outbox.add(1, 1, b"p", 0.0, is_final=False) for _ in range(2)]
    final = outbox.add(1, 1, b"f", 0.0, is_final=True)
    other = outbox.add(2, 2, b"f", 0.0, is_final=True)
    assert send(outbox, 1.0) == [*parts, other]
    assert outbox.acknowledge([parts[1]], 1.0) == []
    assert send(outbox, 1.0) == []
    assert outbox.acknowledge([parts[0]], 1.0) == []
    assert send(outbox, 1.0) == [final]
    assert outbox.acknowledge([final, final, 999], 1.0) == [1]


def test_everything_but_a_held_back_end_goes_again_to_a_new_master(outbox):
    part = outbox.add(1, 1, b"p", 0.0, is_final=False)
    outbox.add(1, 1, b"f", 0.0, is_final=True)
    other = outbox.add(2, 2, b"f", 0.0, is_final=True)
    send(outbox, 1.0)
    fresh = outbox.add(3, 3, b"f", 1.0, is_final=True)
    outbox.resend_all(1.0)
    assert send(outbox, 1.0) == [part, other, fresh]
    assert outbox.wait_s(1.0) == RESEND_S[0]


def test_what_belongs_to_a_released_lease_is_dropped(outbox):
    outbox.add(1, 1, b"p", 0.0, is_final=False)
    outbox.add(1, 1, b"f", 0.0, is_final=True)
    kept = outbox.add(2, 2, b"f", 0.0, is_final=True)
    outbox.forget(1, 0.0)
    outbox.forget(77, 0.0)
    assert send(outbox, 1.0) == [kept]


def test_a_new_session_names_no_grants_of_the_old(outbox):
    outbox.add(1, 41, b"x", 0.0, is_final=True)
    outbox.disown()
    assert [item.number for item in outbox.batch(1.0)] == [0]


def test_batches_are_bounded_in_items_and_in_bytes(outbox):
    for owner in range(BATCH_ITEMS_MAX + 1):
        outbox.add(owner, 0, b"x", 0.0, is_final=True)
    assert len(outbox.batch(0.0)) == BATCH_ITEMS_MAX
    large = Outbox(1000, 1 << 30)
    for owner in range(3):
        large.add(owner, 0, bytes(BATCH_BYTES_MAX), 0.0, is_final=True)
    assert len(large.batch(0.0)) == 1  # even one that is over the limit by itself goes


def test_it_is_tight_from_three_quarters_until_half():
    outbox = Outbox(100, 1 << 30)
    for owner in range(1, 76):
        outbox.add(owner, 0, b"x", 0.0, is_final=True)
    assert not outbox.is_tight
    outbox.add(76, 0, b"x", 0.0, is_final=True)
    assert outbox.is_tight
    assert not outbox.is_full
    outbox.acknowledge(range(1, 26), 0.0)
    assert outbox.is_tight  # 51 left
    outbox.acknowledge([26], 0.0)
    assert not outbox.is_tight


def test_it_is_full_by_bytes_as_well():
    outbox = Outbox(100, 10 * (1000 + ITEM_BYTES))
    for owner in range(10):
        assert not outbox.is_full
        outbox.add(owner, 0, bytes(1000), 0.0, is_final=True)
    assert outbox.is_full


class OutboxModel(RuleBasedStateMachine):
    """Everything that was added is offered until it is acknowledged, ends after their parts, nothing else."""

    def __init__(self):
        super().__init__()
        self.outbox = Outbox(60, 60_000)
        self.now = 0.0
        self.parts = {}  # id -> (owner, packed)
        self.finals = {}
        self.sent_at = {}  # id -> when it is due again
        self.times = {}
        self.owner = 0

    def all(self):
        return {**self.parts, **self.finals}

    def may_go(self, id_):
        owner = self.all()[id_][0]
        return id_ in self.parts or all(other != owner for other, _ in self.parts.values())

    @rule(parts=st.integers(0, 3), size=st.integers(1, 3000), has_end=st.booleans())
    def add(self, parts, size, has_end):
        self.owner += 1
        for _ in range(parts):
            packed = bytes(size)
            self.parts[self.outbox.add(self.owner, self.owner, packed, self.now, is_final=False)] = (self.owner, packed)
        if has_end or not parts:
            self.finals[self.outbox.add(self.owner, self.owner, b"end", self.now, is_final=True)] = (self.owner, b"end")

    @rule(seconds=st.sampled_from([0.001, 0.02, 3.0, 10.0, 61.0]))
    def pass_time(self, seconds):
        self.now += seconds

    @rule(goes=st.booleans())
    def send(self, goes):
        while batch := self.outbox.batch(self.now):
            for item in batch:
                assert item.outcome == self.all()[item.id][1]
                assert self.may_go(item.id)
                assert self.sent_at.get(item.id, 0.0) <= self.now
            assert len(batch) <= BATCH_ITEMS_MAX
            if not goes:
                return
            self.outbox.sent(batch, self.now)
            for item in batch:
                times = self.times.get(item.id, 0)
                self.times[item.id] = times + 1
                self.sent_at[item.id] = self.now + RESEND_S[min(times, 3)]
        if self.outbox.wait_s(self.now) is None or self.now > 1:
            late = [
                id_ for id_ in self.all() if self.may_go(id_) and id_ in self.sent_at and self.sent_at[id_] <= self.now
            ]
            assert late == []

    @precondition(lambda self: self.parts or self.finals)
    @rule(data=st.data())
    def acknowledge(self, data):
        some = data.draw(st.lists(st.sampled_from(sorted(self.all())), unique=True, max_size=5))
        ended = {self.finals[id_][0] for id_ in some if id_ in self.finals}
        assert set(self.outbox.acknowledge([*some, 10**9], self.now)) == ended
        for id_ in some:
            self._gone(id_)

    @precondition(lambda self: self.owner)
    @rule(data=st.data())
    def forget(self, data):
        owner = data.draw(st.integers(1, self.owner))
        self.outbox.forget(owner, self.now)
        for id_ in [id_ for id_, (other, _) in self.all().items() if other == owner]:
            self._gone(id_)

    @rule()
    def reconnect(self):
        self.outbox.resend_all(self.now)
        self.sent_at.clear()
        self.times.clear()
        offered = []
        while batch := self.outbox.batch(self.now):
            self.outbox.sent(batch, self.now)
            offered += ids(batch)
        assert offered == [id_ for id_ in sorted(self.all()) if self.may_go(id_)]
        self.times = dict.fromkeys(offered, 1)
        self.sent_at = dict.fromkeys(offered, self.now + RESEND_S[0])

    def _gone(self, id_):
        for known in (self.parts, self.finals, self.sent_at, self.times):
            known.pop(id_, None)

    @invariant()
    def counts_agree(self):
        assert len(self.outbox) == len(self.all())
        assert self.outbox.size == sum(len(packed) + ITEM_BYTES for _, packed in self.all().values())
        assert self.outbox.is_full == (len(self.all()) >= 60 or self.outbox.size >= 60_000)

    def teardown(self):
        """Whatever happened, an attentive master gets all of it in the end."""
        for _ in range(3):
            self.now += 61
            while batch := self.outbox.batch(self.now):
                self.outbox.sent(batch, self.now)
                self.outbox.acknowledge(ids(batch), self.now)
        assert len(self.outbox) == 0


OutboxModel.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestOutboxModel = OutboxModel.TestCase


def test_parts_that_are_not_acknowledged_hold_back_more_parts_and_no_ends(outbox):
    packed = bytes(100_000)
    for owner in range(40):
        outbox.add(owner, owner, packed, 0.0, is_final=False)
    sent = send(outbox, 1.0)
    assert PARTS_WINDOW_BYTES <= sum(100_000 + ITEM_BYTES for _ in sent) < PARTS_WINDOW_BYTES + 2 * len(packed)
    assert outbox.wait_s(1.0) == RESEND_S[0]
    end = outbox.add(99, 99, b"end", 1.0, is_final=True)
    assert send(outbox, 2.0) == [end]
    outbox.acknowledge(sent[:3], 2.0)
    assert send(outbox, 2.0) == [sent[-1] + 1, sent[-1] + 2, sent[-1] + 3]


def test_what_the_master_had_no_room_for_goes_again_when_it_asks(outbox):
    first, part, end = (outbox.add(owner, owner, b"x", 0.0, is_final=owner != 2) for owner in (1, 2, 3))
    assert send(outbox, 1.0) == [first, part, end]
    outbox.send_again([end, part, 99], 1.5)
    assert sorted(send(outbox, 1.6)) == [part, end]
    assert send(outbox, 1.5 + RESEND_S[0]) == [first]  # which nobody asked for
    outbox.acknowledge([first, part, end], 20.0)
    outbox.send_again([first, part, end], 20.0)
    assert (len(outbox), send(outbox, 21.0)) == (0, [])
