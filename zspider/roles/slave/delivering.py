"""Outcomes on their way to the master, and what is done when they do not get through."""

import structlog

from zspider.broker.link import Link
from zspider.broker.messages import COMPLAINT_CHARS, Outcomes
from zspider.roles.slave.delivery_watch import LOOK_S, DeliveryWatch
from zspider.roles.slave.master_session import MasterSession
from zspider.roles.slave.work import Work

log = structlog.get_logger(__name__)
ADVICE = "slaves need to reach four ports of their master; until then this one takes no more work"


class Delivering:
    """Pushes what waits in the outbox, and looks at the bulk connections."""

    def __init__(self, work: Work, session: MasterSession) -> None:
        self.watch = DeliveryWatch()
        self.told = ""  # the complaint in the next heartbeat
        self._work = work
        self._session = session
        self._has_room = True  # the outcomes socket has
        self._look_at = 0.0  # when the ways to the master are looked at
        self._undelivered = ""  # what was logged last of the ways to the master

    @property
    def complaint(self) -> str:
        """What keeps this slave from working, as the end of a sentence that begins with it; "": nothing."""
        return "; ".join(filter(None, (self.watch.complaint, self._work.complaint)))[:COMPLAINT_CHARS]

    @property
    def _may_push(self) -> bool:
        return self._has_room and self._session.is_joined

    def wait_s(self, now: float) -> float | None:
        """Seconds until `push` has something to do; None while it has not."""
        return self._work.outbox.wait_s(now) if self._may_push else None

    def joined(self) -> None:
        """Note that the bulk connections are new."""
        self._has_room = True
        self.watch.starts_over()

    def has_room_again(self, now: float) -> None:
        """Note that the outcomes socket can be written.

        If it had not been full, the connection is new and may have lost messages: send all again.
        """
        if self._has_room:  # what went into the old one may be lost
            self._push_again(now)
        self._has_room = True

    def push(self, link: Link, now: float) -> None:
        """Send the outcomes that are due, as long as there is room."""
        outbox = self._work.outbox
        while self._may_push and (batch := outbox.batch(now)):
            message = Outcomes(self._session.id, self._session.epoch, batch, self.watch.next_serial)
            self._has_room = link.push(message)
            if self._has_room:
                outbox.sent(batch, now)
                self.watch.pushed(sum(len(item.outcome) for item in batch))

    def look(self, link: Link, now: float, boottime: float) -> None:
        """See whether what we make gets through; when it does not, say so and take no more work."""
        if now < self._look_at:
            return
        self._look_at = now + LOOK_S
        for name in self.watch.look(link.ways, now, is_heard=self._session.is_heard(boottime)):
            log.debug("reopened", way=name)
            link.reopen(name)
            if name == "outcomes":
                self._has_room = True
                self._push_again(now)
        if (unsaid := self.watch.complaint) != self._undelivered:
            self._undelivered = unsaid
            self._log(unsaid)
        if self._work.is_stuck == self.watch.delivers:
            self._work.stuck(not self.watch.delivers)
        if self.complaint != self.told:
            self.told = self.complaint
            self._session.beat_soon(boottime)

    def _push_again(self, now: float) -> None:
        """Send all outcomes again that are not acknowledged."""
        self._work.outbox.resend_all(now)
        self.watch.starts_over()

    def _log(self, complaint: str) -> None:
        held, outbox = len(self._work.held), len(self._work.outbox)
        if complaint:
            log.error("cannot_deliver", reason=complaint, advice=ADVICE, held=held, outbox=outbox)
        else:
            log.info("delivers_again", held=held, outbox=outbox)
