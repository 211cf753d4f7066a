"""The clock of the scheduler: due times hold whatever is done to the system's clock."""

from hypothesis import given
from hypothesis import strategies as st
from zspider.roles.machine.clock import SteadyClock

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND


class Clocks:
    """The machine's two clocks, moved by hand."""

    def __init__(self) -> None:
        self.wall, self.monotonic = START, 5 * SECOND
        self.steady = SteadyClock(lambda: self.wall, lambda: self.monotonic)

    def pass_time(self, ns: int) -> None:
        self.wall += ns
        self.monotonic += ns


def test_it_is_the_wall_clock_as_long_as_nobody_sets_it():
    clocks = Clocks()
    for _ in range(5):
        clocks.pass_time(7 * SECOND)
        assert clocks.steady.now_ms() == clocks.wall // 1_000_000


def test_it_follows_a_jump_ahead_at_once():
    clocks = Clocks()
    clocks.wall += 3600 * SECOND
    assert clocks.steady.now_ms() == clocks.wall // 1_000_000


def test_after_a_jump_back_it_runs_at_half_speed_until_the_wall_clock_has_caught_up():
    clocks = Clocks()
    clocks.wall -= 7200 * SECOND
    assert clocks.steady.now_ms() == START // 1_000_000
    clocks.pass_time(60 * SECOND)
    assert clocks.steady.now_ms() == (START + 30 * SECOND) // 1_000_000
    clocks.pass_time(4 * 3600 * SECOND)
    assert clocks.steady.now_ms() == clocks.wall // 1_000_000


@given(st.lists(st.tuples(st.integers(0, 100 * SECOND), st.integers(-10_000 * SECOND, 10_000 * SECOND)), max_size=30))
def test_it_always_goes_on_and_is_never_behind_the_wall_clock(steps):
    clocks = Clocks()
    before = clocks.steady.now_ms()
    for passed, jump in steps:
        clocks.pass_time(passed)
        clocks.wall += jump
        now = clocks.steady.now_ms()
        assert now >= clocks.wall // 1_000_000
        assert now >= before + passed // 2 // 1_000_000 - 1
        before = now
