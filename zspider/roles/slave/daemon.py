"""The slave: the loop that joins the connection to the master with the work.

One thread runs `step`; it waits in one place for the master, for web servers, for processors and for signals.
"""

import os
import random
import socket
from collections.abc import Callable
from typing import Literal

import structlog

from zspider import __version__
from zspider.broker import messages as m
from zspider.broker.address import Address
from zspider.broker.link import Link, Polled, Refusal
from zspider.broker.token import Token
from zspider.errors import ExitCode, ShortageError
from zspider.roles.machine import garbage
from zspider.roles.machine.clock import SYSTEM_CLOCK, Clock
from zspider.roles.machine.signals import Signals
from zspider.roles.machine.systemd import Notifier
from zspider.roles.slave.delivery_watch import LOOK_S, DeliveryWatch
from zspider.roles.slave.drain import Drain
from zspider.roles.slave.leases import Stage
from zspider.roles.slave.master_port import MasterPort
from zspider.roles.slave.master_session import Due, Joined, MasterSession, State
from zspider.roles.slave.token_source import Find, TokenSource
from zspider.roles.slave.work import Work
from zspider.settings import SlaveFile

log = structlog.get_logger(__name__)
HELD_PER_HELLO = 1000
STATUS_S = 2.0  # how often systemd is told how it goes
NO_TOKEN_RETRY_S = 1.0
DRAIN_TURN_S = 0.05  # while draining, its deadlines are looked at so often
DELIVERY_ADVICE = "slaves need to reach four ports of their master; until then this one takes no more work"
REFUSALS: dict[Refusal, str] = {  # why there is no connection, by what the link found out
    "auth": "the token in {where} is not valid on this master; on the master run: zspiderd token show",
    "key": "the token in {where} is for another master; on this master run: zspiderd token show",
    "protocol": "only one side encrypts; a slave with a token needs a master with `security: curve`",
    "foreign": "something else than a zspider master listens there",
    "closed": "whatever listens there closes each connection at once: no zspider master, or a proxy without one",
}
HANGS = "something accepts connections there and says nothing: a master that hangs, or none"


class Slave:
    """`zspiderd slave`: construct, then `run` until a signal ends it."""

    def __init__(
        self,
        settings: SlaveFile,
        find_token: Find | None = None,
        *,
        security: Literal["curve", "none"] = "curve",
        reload: Callable[[], None] | None = None,
        clock: Clock = SYSTEM_CLOCK,
        chance: random.Random | None = None,
        connect: Callable[[Address, Token | None], Link] = Link,
        work: Callable[[SlaveFile, MasterPort], Work] = Work,
    ) -> None:
        """find_token: instead of the usual places. reload: called on SIGHUP. Raises ConfigError for a wrong address.

        The others stand for this machine's clocks, its randomness, its network and its processes.
        """
        self._address = Address.parse(settings.slave.master)
        self._settings = settings
        self._clock = clock
        self._connect = connect
        self.work = work(settings, self)
        self.master_session = MasterSession(clock.boottime(), chance)
        self.delivery = DeliveryWatch()
        self._tokens = TokenSource(settings, find_token)
        self._has_token = security == "curve"
        self._reload = reload
        self._link: Link | None = None
        self._open_at = 0.0  # when the token is looked for again
        self._notify = Notifier()
        self._signals = Signals()
        self._drain: Drain | None = None
        self._is_up = False  # Welcome was received on these sockets
        self._has_push_room = True  # the outcomes socket has room
        self._has_no_memory = False
        self._announced = 0  # the window, in the last Hello or heartbeat
        self._status_at = 0.0
        self._look_at = 0.0  # when the ways to the master are looked at
        self._complaint = ""  # in the next heartbeat
        self._undelivered = ""  # what was said last of the ways to the master
        self._refusal = ""  # why we are not let in

    def run(self) -> ExitCode:
        """Work until SIGTERM or SIGINT, then finish what runs. Raises ZspiderError for what the operator must mend."""
        with self._signals:  # to the very end: SIGHUP does not end what is closing
            try:
                self.start()
                garbage.look_seldom()
                while not self.is_done:
                    try:
                        self.step()
                    except MemoryError:
                        self._out_of_memory()
            finally:
                self.close()
        log.info("slave_ended", fetched=self.work.fetching.fetched, processed=self.work.endings.processed)
        return ExitCode.SHORTAGE if self._has_no_memory else ExitCode.OK

    def start(self) -> None:
        """Open the connection, if there is a token. Raises ConfigError for a malformed one."""
        token = self._tokens.first() if self._has_token else None
        log.info("slave_started", master=str(self._address), roles=list(self._settings.slave.roles), pid=os.getpid())
        if token is not None or not self._has_token:
            self._link = self._connect(self._address, token)
        self._notify.ready()

    def _out_of_memory(self) -> None:
        """A turn ended in the middle, and may have left something half done: give back what is held, and end."""
        if self._has_no_memory:
            raise MemoryError
        self._has_no_memory = True
        log.error("out_of_memory", advice="it gives back what it holds and ends", exc_info=True)
        now = self._clock.monotonic()
        if self._drain is None:
            self.stop(now)
        if self._drain is not None:
            self._drain.now()

    @property
    def is_done(self) -> bool:
        """Whether the last step has been made."""
        return self._drain is not None and self._drain.is_done

    @property
    def session(self) -> bytes:
        """The name under which the master knows us."""
        return self.master_session.id

    def step(self, wait_max_s: float = 1.0) -> None:
        """One turn: wait for something to happen or a deadline, take it in, act."""
        if self._link is None:
            self._step_apart(wait_max_s)
            return
        fds = self.work.fds | {self._signals.fd}
        polled = self._link.poll(self._wait_s(self._link, wait_max_s), fds, self.work.pipes)
        now = self._clock.monotonic()
        if self._signals.fd in polled.ready_fds:
            self._look_at_signals(now)
        self._take_in(self._link, polled, now)
        self.work.is_quiet = self.master_session.is_quiet(self._clock.boottime())
        self.work.step(now)
        self._push_outcomes(self._link, now)
        self._look_at_ways(self._link, now)
        if self._drain is not None:
            self._drain.step(now)
        if not self.is_done:
            self._keep_in_touch(self._link)
        self._report(now)

    def close(self) -> None:
        """End everything now. Safe to repeat."""
        self._notify.stopping()
        self.work.close()
        if self._link is not None:
            self._link.close()
            self._link = None
        self._signals.close()
        self._notify.close()

    # --- Work's port ----------------------------------------------------------------------------

    def say(self, message: m.AnyMessage) -> bool:
        """Send on control, to a master that knows us."""
        return self._link is not None and self.master_session.is_joined and self._link.send(message)

    def push_page(self, page: m.Page) -> bool:
        """Send into the relay."""
        return self._link is not None and self._link.push_page(page)

    # --- a turn ---------------------------------------------------------------------------------

    def _step_apart(self, wait_max_s: float) -> None:
        """A turn without a token: nothing is connected, and nothing was ever begun."""
        self._signals.wait(min(wait_max_s, max(0.0, self._open_at - self._clock.monotonic())))
        now = self._clock.monotonic()
        self._look_at_signals(now)
        if self._drain is None and now >= self._open_at:
            self._open_at = now + NO_TOKEN_RETRY_S
            if (token := self._tokens.again()) is not None:
                try:
                    self._link = self._connect(self._address, token)
                except ShortageError as exc:
                    log.warning("no_socket", reason=str(exc))
                else:
                    self.master_session.rebuilt(self._clock.boottime())
        self._report(now)

    def _wait_s(self, link: Link, most: float) -> float:
        now = self._clock.monotonic()
        is_refused = link.refusal is not None
        dues = [most, self.work.wait_s(now), self.master_session.wait_s(self._clock.boottime(), is_refused=is_refused)]
        if self._may_push and (due := self.work.outbox.wait_s(now)) is not None:
            dues.append(due)
        if self._drain is not None:
            dues.append(DRAIN_TURN_S)
        return min(dues)

    @property
    def _may_push(self) -> bool:
        return self._has_push_room and self.master_session.is_joined

    def _look_at_signals(self, now: float) -> None:
        signals = self._signals
        signals.clear()
        if signals.wants_reload:
            signals.wants_reload = False
            if self._reload is not None:
                self._reload()
            log.info("reloaded")
        if signals.stops and self._drain is None:
            self.stop(now)
        if signals.stops > 1 and self._drain is not None:
            self._drain.now()

    def stop(self, now: float) -> None:
        """Begin to drain: `is_done` follows."""
        log.info("draining", running=self.work.running, held=len(self.work.held), outbox=len(self.work.outbox))
        self._notify.stopping()
        self._drain = Drain(self.work, self, self._settings.slave.drain_s, now)
        if self.master_session.cluster is None:  # no master has ever let us in
            self._drain.now()
        self.master_session.beat_soon(self._clock.boottime())

    def _take_in(self, link: Link, polled: Polled, now: float) -> None:
        if polled.is_control_up:
            self.master_session.connected(self._clock.boottime())
        for message in polled.messages:
            self._on_message(message, now)
        if polled.is_bulk_up:
            if self._has_push_room:  # it was not full: this is a new connection, and what went into the old may be lost
                self._push_again(now)
            self._has_push_room = True
        if polled.can_push_page:
            self.work.relaying.has_room_again()
        for page in polled.pages:
            self.work.page_came(page, now)
        self.work.read(polled.ready_fds, polled.ready_pipes, now)
        if self.work.takes_pages:
            link.take_pages(self.work.wants_pages)
            link.pause_pages(not self.work.has_page_room)

    def _push_outcomes(self, link: Link, now: float) -> None:
        outbox = self.work.outbox
        while self._may_push and (batch := outbox.batch(now)):
            message = m.Outcomes(self.session, self.master_session.epoch, batch, self.delivery.next_serial)
            self._has_push_room = link.push(message)
            if self._has_push_room:
                outbox.sent(batch, now)
                self.delivery.pushed(sum(len(item.outcome) for item in batch))

    def _push_again(self, now: float) -> None:
        """Everything that is not acknowledged."""
        self.work.outbox.resend_all(now)
        self.delivery.starts_over()

    def _look_at_ways(self, link: Link, now: float) -> None:
        """See whether what we make gets through; when it does not, say so and take no more work."""
        if now < self._look_at:
            return
        self._look_at = now + LOOK_S
        for name in self.delivery.look(link.ways, now, is_heard=self.master_session.is_heard(self._clock.boottime())):
            log.debug("reopened", way=name)
            link.reopen(name)
            if name == "outcomes":
                self._has_push_room = True
                self._push_again(now)
        if (unsaid := self.delivery.complaint) != self._undelivered:
            self._undelivered = unsaid
            self._tell_of_delivery(unsaid)
        if self.work.is_stuck == self.delivery.delivers:
            self.work.stuck(not self.delivery.delivers)
        if self.complaint != self._complaint:
            self._complaint = self.complaint
            self.master_session.beat_soon(self._clock.boottime())

    @property
    def complaint(self) -> str:
        """What keeps this slave from working, as the end of a sentence that begins with it; "": nothing."""
        return "; ".join(filter(None, (self.delivery.complaint, self.work.complaint)))[: m.COMPLAINT_CHARS]

    def _tell_of_delivery(self, complaint: str) -> None:
        held, outbox = len(self.work.held), len(self.work.outbox)
        if complaint:
            log.error("cannot_deliver", reason=complaint, advice=DELIVERY_ADVICE, held=held, outbox=outbox)
        else:
            log.info("delivers_again", held=held, outbox=outbox)

    def _report(self, now: float) -> None:
        self._notify.watchdog(now)
        if now < self._status_at:
            return
        self._status_at = now + STATUS_S
        work = self.work
        standing = "draining" if self._drain else self.master_session.state.value
        if self._link is None:
            standing = "waiting for a token"
        complaint = self._refusal or self.complaint
        self._notify.status(
            f"{standing} {self._address}: {complaint + '; ' if complaint else ''}"
            f"{len(work.held)} tasks held, {work.running} running, "
            f"{len(work.outbox)} outcomes not acknowledged, {work.endings.processed} made"
        )

    # --- the connection ---------------------------------------------------------------------------

    def _keep_in_touch(self, link: Link) -> None:
        refusal = link.refusal
        if refusal is not None:
            self._refusal = REFUSALS[refusal].format(where=self._tokens.where)
            if self.master_session.is_news(f"refused: {refusal}"):
                log.error("refused", master=str(self._address), advice=self._refusal)
        now = self._clock.boottime()
        match self.master_session.due(now, is_refused=refusal is not None):
            case Due.HELLO:
                self.master_session.said(self._say_hello(link), now)
            case Due.BEAT:
                self.master_session.said(self._say_beat(link), now)
            case Due.REBUILD:
                self._rebuild(link, now)
            case None:
                if self.work.window != self._announced:
                    self.master_session.beat_soon(now)

    def _say_hello(self, link: Link) -> bool:
        if not link.is_connected:
            return False
        work, member = self.work, self.master_session
        held = work.held.in_full()
        pages = [held[at : at + HELD_PER_HELLO] for at in range(0, len(held), HELD_PER_HELLO)] or [[]]
        self._announced = work.window
        return all(
            link.send(
                m.Hello(
                    protocol=m.PROTOCOL,
                    session=self.session,
                    roles=list(self._settings.slave.roles),
                    window=self._announced,
                    host=socket.gethostname()[:256],
                    pid=os.getpid(),
                    version=__version__,
                    cluster=member.cluster,
                    epoch=member.epoch,
                    seen=work.held.seen,
                    held=page,
                    pages_left=left,
                )
            )
            for left, page in zip(reversed(range(len(pages))), pages, strict=True)
        )

    def _say_beat(self, link: Link) -> bool:
        work = self.work
        held, outbox = work.held.named()
        self._announced = work.window
        return link.send(
            m.Beat(
                session=self.session,
                epoch=self.master_session.epoch,
                seen=work.held.seen,
                held=held,
                outbox=outbox,
                window=self._announced,
                fetching=work.held.count(Stage.FETCHING),
                fetched=work.fetching.fetched,
                processed=work.endings.processed,
                complaint=self._complaint,
                delivers=self.delivery.delivers,
            )
        )

    def _rebuild(self, link: Link, now: float) -> None:
        """Fresh sockets, with the token as it is now."""
        if link.refusal is None and self.master_session.silence_is_news():
            event = "master_silent" if self._is_up else "master_not_reached"
            keys = {"advice": HANGS} if link.was_answered and not link.is_connected else {}
            log.warning(event, master=str(self._address), seconds=round(self.master_session.silent_s(now), 1), **keys)
        if link.refusal is None and self.master_session.state is not State.REFUSED:
            self._refusal = ""
        self._is_up = False
        token = self._tokens.again() if self._has_token else None
        if token is not None or not self._has_token:  # else the file is away just now: looked at again next time
            link.rebuild(token)
        self.master_session.rebuilt(now)

    # --- what the master says ---------------------------------------------------------------------

    def _on_message(self, message: m.AnyMessage, now: float) -> None:
        member, boottime = self.master_session, self._clock.boottime()
        match message:
            case m.Welcome():
                self._on_welcome(message, now)
            case m.Unknown():
                member.unknown(boottime)
                if self._drain is not None:
                    self._drain.unknown()
            case m.Refused(reason=reason, text=text):
                self._refusal = text
                if member.is_news(reason):
                    log.error("refused", master=str(self._address), reason=reason, advice=text)
                member.refused(reason, boottime)
            case m.NewSession(session=session) if session and session != self.session:
                pass  # the answer to a Hello from before the last NewSession
            case m.NewSession():
                undone = self.work.endings.drop_granted()
                member.new_session(boottime)
                log.warning("session_cloned", dropped=undone, outbox=len(self.work.outbox))
            case m.MasterBeat(epoch=epoch) | m.Grants(epoch=epoch) | m.Ack(epoch=epoch):
                if member.heard(epoch, boottime):
                    self._on_work(message, now)
            case _:
                member.heard(None, boottime)
                self._on_work(message, now)

    def _on_work(self, message: m.AnyMessage, now: float) -> None:
        work = self.work
        match message:
            case m.Grants(grants=grants):
                work.grant(grants, now)
            case m.Ack(ids=ids, known=known):
                work.acknowledge(ids, known, now)
            case m.ProjectInfo():
                work.learn(message, now)
            case m.Script(script=script, text=text):
                work.processing.script_came(script, text)
            case m.ProjectScript():
                work.processing.project_came(message, now)
            case m.MasterBeat(arrived=arrived, reads=reads):
                self.delivery.heard(arrived, reads=reads)
            case m.Release(numbers=numbers):
                work.release(numbers, now)
            case m.Recall(numbers=numbers):
                work.recall(numbers)
            case m.Taken(numbers=numbers):
                work.relaying.taken(numbers)
            case m.Resend(numbers=numbers):
                work.relaying.resend(numbers)

    def _on_welcome(self, welcome: m.Welcome, now: float) -> None:
        assert self._link is not None
        if welcome.protocol != m.PROTOCOL:
            self._on_message(m.Refused("protocol", f"the master speaks protocol {welcome.protocol}"), now)
            return
        joined = self.master_session.welcomed(welcome, self._clock.boottime())
        if joined is Joined.STALE:
            return
        if joined is Joined.OTHER_CLUSTER:
            leases, outcomes = self.work.forget_cluster()
            log.warning("other_cluster", advice="its database is another one", leases=leases, outcomes=outcomes)
        self._is_up = self._has_push_room = True
        self._refusal = ""
        work = self.work
        if not self._link.open_bulk(welcome, sends_pages=work.sends_pages, takes_pages=work.takes_pages):
            self.master_session.refused("no sockets", self._clock.boottime())  # all is tried again, from the beginning
            return
        work.rejoined(now)
        self.delivery.starts_over()
        if self._drain is not None:
            self._drain.joined()
        event = "joined" if joined is Joined.FIRST else "rejoined"
        log.info(event, master=str(self._address), epoch=welcome.epoch, held=len(work.held), outbox=len(work.outbox))
