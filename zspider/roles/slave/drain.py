"""How a slave ends: what runs is finished, the rest is given back, and nothing that was made is lost."""

import structlog

from zspider.broker.messages import Leave
from zspider.roles.slave.leases import Stage
from zspider.roles.slave.master_port import MasterPort
from zspider.roles.slave.work import Work

log = structlog.get_logger(__name__)
FLUSH_S = 10.0  # for acknowledgements after the work is done
LEAVE_S = 2.0  # for the master to hear the last word


class Drain:
    """Ends a slave in order: `begin` it once, then `step` until `is_done`."""

    def __init__(self, work: Work, port: MasterPort, drain_s: float) -> None:
        """drain_s: seconds that work which is begun may still take."""
        self.has_begun = False
        self.is_done = False
        self._work = work
        self._port = port
        self._drain_s = drain_s
        self._work_until = 0.0
        self._flush_until: float | None = None  # set: only acknowledgements are waited for
        self._leave_until: float | None = None  # set: only the master's answer to Leave is waited for
        self._has_left = False  # Leave is said to the master that we joined last

    def begin(self, now: float) -> None:
        """Take on nothing more, and give back what is not begun."""
        self.has_begun = True
        self._work_until = now + self._drain_s
        self._work.drain()

    def end(self) -> None:
        """End at once. What is held goes back when its leases run out."""
        self.is_done = True

    def joined(self) -> None:
        """Note that a master has let us in: it has not heard a Leave that was said to an earlier one."""
        self._has_left = False

    def unknown(self) -> None:
        """Note that the master does not know us; after Leave, this is its answer."""
        self.is_done = self.is_done or self._has_left

    def step(self, now: float) -> None:
        """Go on with the drain, if it has begun."""
        if not self.has_begun:
            return
        work = self._work
        if self._leave_until is not None:
            self._leave(now, self._leave_until)
            return
        if work.running and now >= self._work_until:
            log.warning("drain_time_over", given_back=work.running)
            work.endings.give_back_undone()
        if work.running:
            return
        if self._flush_until is None:
            self._flush_until = now + FLUSH_S
        if len(work.outbox) and now < self._flush_until:
            return
        if len(work.outbox):
            log.warning("outcomes_not_acknowledged", outcomes=len(work.outbox), held=work.held.count(Stage.OUTBOX))
        self._leave_until = now + LEAVE_S
        self._leave(now, self._leave_until)

    def _leave(self, now: float, until: float) -> None:
        if not self._has_left:
            self._has_left = self._port.say(Leave(self._port.session))
        if now >= until:
            log.warning("leaving_not_answered", seconds=LEAVE_S)
            self.is_done = True
