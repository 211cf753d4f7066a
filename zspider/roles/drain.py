"""How a slave ends: what runs is finished, the rest is given back, and nothing that was made is lost."""

import structlog

from zspider.broker.messages import Leave
from zspider.roles.held import Stage
from zspider.roles.work import Voice, Work

log = structlog.get_logger(__name__)
FLUSH_S = 10.0  # for acknowledgements after the work is done
LEAVE_S = 0.1  # for the last word to leave the socket


class Drain:
    """Begins at once; `step` until `is_done`."""

    def __init__(self, work: Work, voice: Voice, drain_s: float, now: float) -> None:
        self.is_done = False
        self._work = work
        self._voice = voice
        self._work_until = now + drain_s
        self._flush_until: float | None = None  # set: only acknowledgements are waited for
        self._left_at: float | None = None  # set: Leave is said
        work.drain()

    @property
    def has_left(self) -> bool:
        """Nothing more is to be said: the master does not know us any longer."""
        return self._left_at is not None

    def now(self) -> None:
        """Somebody is in a hurry: end at once. What is held goes back when its leases run out."""
        self.is_done = True

    def step(self, now: float) -> None:
        """Go on."""
        work = self._work
        if self._left_at is not None:
            self.is_done = self.is_done or now >= self._left_at + LEAVE_S
            return
        if work.running and now >= self._work_until:
            log.warning("drain_time_over", given_back=work.running)
            work.abandon()
        if work.running:
            return
        if self._flush_until is None:
            self._flush_until = now + FLUSH_S
        if len(work.outbox) and now < self._flush_until:
            return
        if len(work.outbox):
            log.warning("outcomes_not_acknowledged", outcomes=len(work.outbox), held=work.held.count(Stage.OUTBOX))
        self._voice.say(Leave(self._voice.session))
        self._left_at = now
