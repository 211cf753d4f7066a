"""The slave: the loop that joins the connection to the master with the work.

One thread runs `step`; it waits in one place for the master, for web servers, for processors and for signals.
"""

import os
import random
from collections.abc import Callable
from typing import Literal

import structlog

from zspider.broker.address import Address
from zspider.broker.link import Link, Polled
from zspider.broker.messages import AnyMessage, Page
from zspider.broker.token import Token
from zspider.errors import ExitCode, ShortageError
from zspider.roles.machine import gc_tuning
from zspider.roles.machine.clock import SYSTEM_CLOCK, Clock
from zspider.roles.machine.signals import Signals
from zspider.roles.machine.systemd import Notifier
from zspider.roles.slave.contact import Contact
from zspider.roles.slave.delivering import Delivering
from zspider.roles.slave.drain import Drain
from zspider.roles.slave.master_port import MasterPort
from zspider.roles.slave.master_session import MasterSession
from zspider.roles.slave.token_source import Find, TokenSource
from zspider.roles.slave.work import Work
from zspider.settings import SlaveFile

log = structlog.get_logger(__name__)
STATUS_S = 2.0  # how often systemd is told how it goes
NO_TOKEN_RETRY_S = 1.0
DRAIN_LOOK_S = 0.05  # while draining, its deadlines are looked at so often


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
        """find_token: finds the token instead of a search in the usual places. reload: called on SIGHUP.

        Raises ConfigError for a wrong address.

        The other parameters stand for this machine's clocks, its randomness, its network and its processes.
        """
        self._address = address = Address.parse(settings.slave.master)
        self._settings = settings
        self._clock = clock
        self._connect = connect
        self._reload = reload
        self._tokens = tokens = TokenSource(settings, find_token, is_needed=security == "curve")
        self.work = work(settings, self)
        self.master_session = session = MasterSession(clock.boottime(), chance)
        self._delivering = Delivering(self.work, session)
        self._drain = Drain(self.work, self, settings.slave.drain_s)
        self._contact = Contact(address, session, self.work, self._delivering, self._drain, tokens, clock)
        self._link: Link | None = None
        self._open_at = 0.0  # when the token is looked for again
        self._notify = Notifier()
        self._signals = Signals()
        self._has_no_memory = False
        self._status_at = 0.0

    def run(self) -> ExitCode:
        """Work until SIGTERM or SIGINT, then finish what runs. Raises ZspiderError for what the operator must mend."""
        with self._signals:  # to the very end: SIGHUP does not end what is closing
            try:
                self.start()
                gc_tuning.collect_rarely()
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
        token = self._tokens.first()
        log.info("slave_started", master=str(self._address), roles=self.work.roles, pid=os.getpid())
        if token is not None or not self._tokens.is_needed:
            self._link = self._connect(self._address, token)
        self._notify.ready()

    def _out_of_memory(self) -> None:
        """Give back what is held and end: a step ended in the middle, and may have left something half done."""
        if self._has_no_memory:
            raise MemoryError
        self._has_no_memory = True
        log.error("out_of_memory", advice="it gives back what it holds and ends", exc_info=True)
        if not self._drain.has_begun:
            self.stop(self._clock.monotonic())
        self._drain.end()

    @property
    def is_done(self) -> bool:
        """Whether the last step has been made."""
        return self._drain.is_done

    @property
    def session(self) -> bytes:
        """The name under which the master knows us."""
        return self.master_session.id

    def step(self, wait_max_s: float = 1.0) -> None:
        """Take one step: wait for something to happen or a deadline, take it in, act."""
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
        self._delivering.push(self._link, now)
        self._delivering.look(self._link, now, self._clock.boottime())
        self._drain.step(now)
        if not self.is_done:
            self._contact.keep(self._link)
        self._report(now)

    def stop(self, now: float) -> None:
        """Begin to drain: `is_done` follows."""
        log.info("draining", running=self.work.running, held=len(self.work.held), outbox=len(self.work.outbox))
        self._notify.stopping()
        self._drain.begin(now)
        if self.master_session.cluster is None:  # no master has ever let us in
            self._drain.end()
        self.master_session.beat_soon(self._clock.boottime())

    def close(self) -> None:
        """End everything now. Safe to repeat."""
        self._notify.stopping()
        self.work.close()
        if self._link is not None:
            self._link.close()
            self._link = None
        self._signals.close()
        self._notify.close()

    # --- the work's MasterPort --------------------------------------------------------------------

    def say(self, message: AnyMessage) -> bool:
        """Send on control, to a master that knows us."""
        return self._link is not None and self.master_session.is_joined and self._link.send(message)

    def push_page(self, page: Page) -> bool:
        """Send into the relay."""
        return self._link is not None and self._link.push_page(page)

    # --- a step ---------------------------------------------------------------------------------

    def _step_apart(self, wait_max_s: float) -> None:
        """Take a step without a token: nothing is connected, and nothing was ever begun."""
        self._signals.wait(min(wait_max_s, max(0.0, self._open_at - self._clock.monotonic())))
        now = self._clock.monotonic()
        self._look_at_signals(now)
        if not self._drain.has_begun and now >= self._open_at:
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
        session_s = self.master_session.wait_s(self._clock.boottime(), is_refused=link.gives_up)
        dues = [most, self.work.wait_s(now), session_s]
        if (due := self._delivering.wait_s(now)) is not None:
            dues.append(due)
        if self._drain.has_begun:
            dues.append(DRAIN_LOOK_S)
        return min(dues)

    def _look_at_signals(self, now: float) -> None:
        signals = self._signals
        signals.clear()
        if signals.wants_reload:
            signals.wants_reload = False
            if self._reload is not None:
                self._reload()
            log.info("reloaded")
        if signals.stops and not self._drain.has_begun:
            self.stop(now)
        if signals.stops > 1:
            self._drain.end()

    def _take_in(self, link: Link, polled: Polled, now: float) -> None:
        if polled.is_control_up:
            self.master_session.connected(self._clock.boottime())
        for message in polled.messages:
            self._contact.on_message(link, message, now)
        if polled.is_bulk_up:
            self._delivering.has_room_again(now)
        if polled.can_push_page:
            self.work.relaying.has_room_again()
        for page in polled.pages:
            self.work.page_came(page, now)
        self.work.read(polled.ready_fds, polled.ready_pipes, now)
        if self.work.takes_pages:
            link.take_pages(self.work.wants_pages)
            link.pause_pages(not self.work.has_page_room)

    def _report(self, now: float) -> None:
        self._notify.watchdog(now)
        if now < self._status_at:
            return
        self._status_at = now + STATUS_S
        work = self.work
        standing = "draining" if self._drain.has_begun else self.master_session.state.value
        if self._link is None:
            standing = "waiting for a token"
        complaint = self._contact.refusal or self._delivering.complaint
        self._notify.status(
            f"{standing} {self._address}: {complaint + '; ' if complaint else ''}"
            f"{len(work.held)} tasks held, {work.running} running, "
            f"{len(work.outbox)} outcomes not acknowledged, {work.endings.processed} made"
        )
