"""Whether what is made gets through: what the ways look like, and what a slave concludes from it."""

import pytest
from zspider.broker.link import Way
from zspider.roles.slave.delivery_watch import (
    CLEAN_S,
    DEAD_S,
    DOWN_S,
    LOOK_MAX_S,
    STEADY_S,
    UNHEARD_BYTES_PER_S,
    UNHEARD_S,
    DeliveryWatch,
)

STEP_S = 0.5
PORTS = {"outcomes": 5571, "pages-in": 5572, "pages-out": 5573}


class Ways:
    """A slave's ways to its master, whose time is moved by hand."""

    def __init__(self, *names: str) -> None:
        self.delivery = DeliveryWatch()
        self.now = 100.0
        self.ways = {name: Way(name, PORTS[name], False, 0) for name in names or ("outcomes",)}
        self.reopened: list[tuple[float, str]] = []
        self.is_heard = True
        self.master = Master(self.delivery)
        self.comes_up = True  # what is opened anew connects at once

    def change(self, name: str = "outcomes", **facts: object) -> None:
        self.ways[name] = self.ways[name]._replace(**facts)

    def up(self, name: str = "outcomes") -> None:
        self.change(name, is_up=True, connection=self.ways[name].connection + 1, unanswered_s=0.0)

    def down(self, name: str = "outcomes") -> None:
        self.change(name, is_up=False)

    def wait(self, seconds: float) -> None:
        """Let time pass, with looks and with a master that beats."""
        end = self.now + seconds
        while self.now < end:
            self.now += STEP_S
            self.master.beat(self.is_heard)
            for name in self.delivery.look(list(self.ways.values()), self.now, is_heard=self.is_heard):
                self.reopened.append((self.now, name))
                self.delivery.starts_over()
                self.down(name)
                if self.comes_up:
                    self.up(name)

    def push(self, size: int = 100) -> int:
        serial = self.delivery.next_serial
        self.delivery.pushed(size)
        return serial


class Master:
    """What the master says of what has arrived."""

    def __init__(self, delivery: DeliveryWatch) -> None:
        self.arrived: int | None = 0
        self.reads = True
        self._delivery = delivery

    def beat(self, is_heard: bool) -> None:
        if is_heard:
            self._delivery.heard(self.arrived, reads=self.reads)


def works(ways: Ways) -> bool:
    return ways.delivery.delivers and not ways.delivery.complaint


def test_a_way_that_is_up_is_no_matter():
    ways = Ways()
    ways.up()
    ways.wait(100)
    assert works(ways)
    assert ways.reopened == []


@pytest.mark.parametrize(
    ("name", "said", "delivers"),
    [
        ("outcomes", "cannot deliver its outcomes: it has no connection to port 5571 of its master", False),
        ("pages-in", "cannot pass on its pages: it has no connection to port 5572 of its master", False),
        ("pages-out", "gets no pages: it has no connection to port 5573 of its master", True),
    ],
)
@pytest.mark.parametrize("was_up", [False, True])
def test_a_way_that_is_down_for_too_long_is_complained_about(name, said, delivers, was_up):
    ways = Ways("outcomes", *({name} - {"outcomes"}))
    for other in ways.ways:
        ways.up(other)
    if was_up:
        ways.wait(5)
    ways.down(name)
    ways.wait(DOWN_S)
    assert works(ways)
    ways.wait(1.5)
    assert said in ways.delivery.complaint
    assert ways.delivery.delivers is delivers
    ways.up(name)
    ways.wait(STEADY_S[0] + 1)
    assert works(ways)


def test_a_short_break_is_no_matter():
    ways = Ways()
    for _ in range(20):
        ways.up()
        ways.wait(STEADY_S[0] + 1)
        ways.down()
        ways.wait(DOWN_S - 1)
    assert works(ways)


def test_a_way_that_comes_and_goes_is_none():
    ways = Ways()
    for _ in range(12):
        ways.up()
        ways.wait(0.5)
        ways.down()
        ways.wait(0.5)
    assert not works(ways)


def test_while_the_master_is_not_heard_no_time_passes():
    ways = Ways()
    ways.up()
    ways.wait(5)
    ways.push()
    ways.down()
    ways.is_heard = False
    ways.wait(1000)
    ways.is_heard = True
    ways.wait(DOWN_S - 1)
    assert works(ways)
    ways.wait(2)
    assert not works(ways)


def test_a_sleep_counts_little():
    ways = Ways()
    ways.wait(1)
    ways.now += 3600.0
    ways.wait(DOWN_S - LOOK_MAX_S - 1.5)
    assert works(ways)


def test_what_arrives_is_delivered():
    ways = Ways()
    ways.up()
    for _ in range(50):
        ways.master.arrived = ways.push()
        ways.wait(1)
    assert works(ways)
    assert ways.reopened == []


def test_what_does_not_arrive_is_sent_again_on_a_new_connection_and_that_may_help():
    ways = Ways()
    ways.up()
    ways.wait(5)
    ways.push()
    ways.wait(UNHEARD_S + 1)
    assert len(ways.reopened) == 1
    ways.master.arrived = ways.push()  # a router had forgotten the old one
    ways.wait(100)
    assert works(ways)
    assert len(ways.reopened) == 1


def test_what_does_not_arrive_on_a_new_connection_either_is_complained_about():
    ways, pushed_on = Ways(), 0
    ways.up()
    ways.push()
    for _ in range(40):
        ways.wait(STEP_S)
        if len(ways.reopened) > pushed_on:
            pushed_on = len(ways.reopened)
            ways.push()
    assert not ways.delivery.delivers
    assert "it is connected to port 5571 of its master (outcomes), and nothing arrives" in ways.delivery.complaint
    ways.push()
    ways.wait(STEADY_S[0] + 2)
    assert not ways.delivery.delivers  # a connection alone is not enough
    ways.master.arrived = ways.push()
    ways.wait(STEADY_S[0] + 2)
    assert works(ways)


def test_a_master_whose_database_is_away_reads_nothing_and_that_is_no_fault():
    ways = Ways()
    ways.up()
    ways.master.reads = False
    ways.push()
    ways.wait(600)
    assert works(ways)
    assert ways.reopened == []
    ways.master.reads = True
    ways.wait(UNHEARD_S - 1)
    assert ways.reopened == []


def test_a_large_outcome_may_take_its_time_on_a_slow_network():
    ways = Ways()
    ways.up()
    ways.push(60 * UNHEARD_BYTES_PER_S)
    ways.wait(60)
    assert works(ways)
    assert ways.reopened == []
    ways.wait(UNHEARD_S + 2)
    assert ways.reopened


def test_it_may_take_its_time_also_after_a_break():
    ways = Ways()
    ways.wait(DOWN_S - 2)
    ways.up()
    ways.push(60 * UNHEARD_BYTES_PER_S)
    ways.wait(60)
    assert works(ways)


def test_an_older_master_tells_nothing_and_nothing_is_concluded():
    ways = Ways()
    ways.up()
    ways.master.arrived = None
    ways.push()
    ways.wait(600)
    assert works(ways)
    assert ways.reopened == []


def test_a_connection_that_nobody_answers_is_replaced_before_anything_is_said():
    ways = Ways("outcomes", "pages-in")
    ways.up("outcomes")
    ways.up("pages-in")
    ways.wait(10)
    ways.change("pages-in", unanswered_s=DEAD_S)
    ways.wait(100)
    assert [name for _, name in ways.reopened] == ["pages-in"]
    assert works(ways)


def test_if_no_new_one_can_be_had_it_is_complained_about():
    ways = Ways()
    ways.comes_up = False
    ways.up()
    ways.wait(10)
    ways.change(unanswered_s=DEAD_S)
    ways.wait(DOWN_S + 1)
    assert not ways.delivery.delivers


def test_a_refused_way_is_tried_again_and_again():
    ways = Ways()
    ways.comes_up = False
    ways.change(is_refused=True)
    ways.wait(30)
    assert 4 <= len(ways.reopened) <= 8
    assert not ways.delivery.delivers


def test_who_breaks_again_and_again_has_to_work_for_longer_and_longer():
    ways = Ways()
    needed = []
    for _ in range(8):
        ways.down()
        ways.wait(DOWN_S + 1)
        assert not works(ways)
        ways.up()
        began = ways.now
        while not works(ways):
            ways.wait(STEP_S)
        needed.append(ways.now - began)
    assert needed == sorted(needed)
    assert needed[0] <= STEADY_S[0] + 1
    assert STEADY_S[1] - 1 <= needed[-1] <= STEADY_S[1] + 1
    ways.wait(CLEAN_S + 1)
    ways.down()
    ways.wait(DOWN_S + 1)
    ways.up()
    ways.wait(STEADY_S[0] + 1)
    assert works(ways)
