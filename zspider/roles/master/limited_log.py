"""Log lines that a peer can bring about as often as it likes."""

import structlog

from zspider.broker.log_limit import LogLimit
from zspider.roles.machine.clock import Clock


class RateLimitedLog:
    """Logs each event once a second at most, with how many times it was held back since the last line (`more`)."""

    def __init__(self, log: structlog.typing.FilteringBoundLogger, clock: Clock, burst: int = 1) -> None:
        """burst: how many lines of an event may come at once, before it is once a second."""
        self._log = log
        self._clock = clock
        self._limit = LogLimit(burst=burst)

    def error(self, event: str, **keys: object) -> None:
        """Log an event that needs a human, unless it was logged within this second."""
        held_back = self._limit.may_log(event, self._clock.monotonic())
        if held_back is not None:
            self._log.error(event, **keys, more=held_back)

    def warning(self, event: str, **keys: object) -> None:
        """Log an event that we coped with, unless it was logged within this second."""
        held_back = self._limit.may_log(event, self._clock.monotonic())
        if held_back is not None:
            self._log.warning(event, **keys, more=held_back)

    def info(self, event: str, **keys: object) -> None:
        """Log an event that an operator would look up; `more` only if there were more."""
        held_back = self._limit.may_log(event, self._clock.monotonic())
        if held_back is not None:
            self._log.info(event, **keys, **({"more": held_back} if held_back else {}))
