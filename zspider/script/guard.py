"""A step of user code outside of its callback: it gets its own short time, and whatever it raises ends with it."""

from collections.abc import Callable
from typing import TypeVar

from zspider.script.deadline import Deadline

T = TypeVar("T")
STEP_S = 0.5  # for `__str__`, a property, a logger; a failed run has some five, and its slave waits GRACE_S for it


def attempt(step: Callable[[], T], otherwise: T, seconds: float = STEP_S) -> T:
    """Return what the step returns; `otherwise` when it raises anything or takes longer. Never raises."""
    deadline = Deadline(seconds)
    try:
        with deadline:
            return step()
    except BaseException:  # SystemExit as well
        return otherwise
    finally:
        deadline.stop()
