"""Calls posted by threads, run later by the loop."""

from collections import deque
from collections.abc import Callable
from typing import NoReturn


class Consequences:
    """Calls that threads post and the master's loop runs, in the order in which they were posted."""

    def __init__(self, wake: Callable[[], None]) -> None:
        """wake: wakes the loop; called from the thread after each post."""
        self._wake = wake
        self._calls: deque[Callable[[], None]] = deque()

    def __len__(self) -> int:
        return len(self._calls)

    def post(self, call: Callable[[], None]) -> None:
        """Have the loop make this call. From any thread."""
        self._calls.append(call)
        self._wake()

    def run(self) -> None:
        """Make the calls that were posted. In the loop; raises what one of them raises, and the rest stays."""
        while self._calls:
            self._calls.popleft()()


def reraise(error: BaseException) -> NoReturn:
    """Raise an error of a thread in the loop."""
    raise error
