"""Time that stands still for our own work in the middle of user code."""

import time

import pytest
from zspider.script.deadline import Deadline, standing_still


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
