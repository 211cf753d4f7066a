"""Time limits on user code: nested, stopped, standing still, and beside timers that are none of ours."""

import signal
import time

import pytest
from tests.support.scripts import handler_of, page
from zspider.script.deadline import Deadline, standing_still
from zspider.script.runner import run


def spin(seconds):
    """Busy, so that a strike finds the interpreter."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


def test_the_time_stands_still_and_then_runs_on():
    with Deadline(0.2):
        with standing_still():
            spin(0.4)
        spin(0.01)

    def goes_on():
        with Deadline(0.05):
            with standing_still():
                spin(0.1)
            spin(5)

    with pytest.raises(TimeoutError):
        goes_on()


def test_without_a_limit_it_is_nothing():
    with standing_still():
        pass
    with Deadline(None), standing_still():
        pass


def test_it_is_the_innermost_limit_that_stands_still():
    with Deadline(5):
        with Deadline(0.1), standing_still():
            spin(0.2)
        with pytest.raises(TimeoutError), Deadline(0.05):
            spin(5)


def test_a_timer_that_the_code_has_stopped_is_not_taken_for_one_that_is_over():
    with Deadline(5):
        signal.setitimer(signal.ITIMER_REAL, 0)  # as `signal.alarm(0)` does, at the end of a limit of its own
        with standing_still():
            pass
        spin(0.02)


def test_a_time_that_ends_as_it_is_stopped_is_over_afterwards():
    def ends():
        with Deadline(5):
            with standing_still():
                signal.raise_signal(signal.SIGALRM)  # it was on its way
            spin(5)

    with pytest.raises(TimeoutError):
        ends()
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_a_strike_of_an_inner_limit_that_has_ended_is_none_of_the_outer_one():
    raised = set()
    for microseconds in range(0, 300, 2):  # before, at and after its end
        with Deadline(5, "outer"):
            try:
                with Deadline(0.0001, "inner"):
                    spin(microseconds / 1e6)
            except TimeoutError as error:
                raised.add(str(error))
    assert raised == {"inner"}


def test_a_signal_that_no_limit_has_sent_is_nothing():
    with Deadline(5):
        pass
    signal.raise_signal(signal.SIGALRM)


def test_a_timer_that_the_code_has_set_ends_with_its_limit():
    with Deadline(5):
        signal.setitimer(signal.ITIMER_REAL, 100)
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_a_limit_that_never_came_to_its_end_ends_with_the_one_around_it():
    with Deadline(5):
        Deadline(0.01, "lost").__enter__()  # as when the strike hits the first line of `__exit__`
    spin(0.02)


def test_the_innermost_limit_does_not_strike_while_follows_are_handed_on():
    def slowly(follows):
        spin(1.2)

    body = "def page(self):\n    with timeout(1): self.crawl('http://a/%d' % i for i in range(1000))"
    assert run(handler_of(body), *page(), on_follows=slowly).reason == ""


def test_slow_code_is_told_of_once_and_goes_on_to_its_limit():
    told = []
    with Deadline(5, on_slow=lambda: told.append("slow")):
        spin(0.0001)
    assert told == []
    with Deadline(5, on_slow=lambda: told.append("slow")):
        spin(0.1)
    assert told == ["slow"]

    def ends():
        with Deadline(0.1, on_slow=lambda: told.append("slow")):
            spin(5)

    with pytest.raises(TimeoutError):
        ends()
    assert told == ["slow", "slow"]
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_the_time_stands_still_while_slow_code_is_told_of():
    with Deadline(0.05, on_slow=lambda: spin(0.2)):
        spin(0.02)


def test_code_that_becomes_slow_while_the_time_stands_still_is_told_of_afterwards():
    told = []
    with Deadline(5, on_slow=lambda: told.append("slow")):
        with standing_still():
            signal.raise_signal(signal.SIGALRM)
            assert told == []
        spin(0.01)
    assert told == ["slow"]


def test_a_limit_below_what_is_slow_just_ends():
    def ends():
        with Deadline(0.001, on_slow=lambda: None):
            spin(5)

    with pytest.raises(TimeoutError):
        ends()
