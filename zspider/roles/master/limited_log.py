"""Warnings that somebody out there can bring about as often as he likes."""

import structlog

from zspider.broker.log_limit import LogLimit
from zspider.roles.machine.clock import Clock


class RateLimitedLog:
    """Logs each event once a second at most, and says then how many times more it had happened (`more`)."""

    def __init__(self, log: structlog.typing.FilteringBoundLogger, clock: Clock) -> None:
        self._log = log
        self._clock = clock
        self._limit = LogLimit()

    def error(self, event: str, **keys: object) -> None:
        """One more of these, for a human."""
        held_back = self._limit.may_log(event, self._clock.monotonic())
        if held_back is not None:
            self._log.error(event, **keys, more=held_back)

    def warning(self, event: str, **keys: object) -> None:
        """One more of these."""
        held_back = self._limit.may_log(event, self._clock.monotonic())
        if held_back is not None:
            self._log.warning(event, **keys, more=held_back)
