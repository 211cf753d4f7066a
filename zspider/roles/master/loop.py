"""The master's loop: waits for messages, consequences and deadlines, and hands each to the part that acts on it."""

from collections.abc import Callable, Iterable
from typing import Protocol

import structlog

from zspider.broker import messages as m
from zspider.broker.hub import Hub, Received
from zspider.errors import ExitCode
from zspider.roles.machine.clock import Clock
from zspider.roles.machine.signals import Signals
from zspider.roles.machine.systemd import Notifier
from zspider.roles.master.admin.threads import AdminThreads
from zspider.roles.master.admin.verbs import Admin
from zspider.roles.master.coordinator import Coordinator
from zspider.roles.master.local_slave import LocalSlave
from zspider.roles.master.slave_messages import SlaveMessages
from zspider.roles.master.writer_thread import WriterThread
from zspider.settings import PolitenessSettings

log = structlog.get_logger(__name__)
STATUS_S = 2.0  # how often systemd is told how it goes
FLUSH_S = 30.0  # how long a stopping master waits for its last commits


class Timer(Protocol):
    """Something that the loop does when its time has come."""

    @property
    def due(self) -> float:
        """When that is, in monotonic seconds."""

    def run_if_due(self, now: float) -> None:
        """Do it, if it is time."""


class Every:
    """Something to do at a steady pace."""

    def __init__(self, pace_s: float, work: Callable[[], None], now: float) -> None:
        """now: monotonic seconds; `action` is done first `pace_s` later."""
        self._pace_s = pace_s
        self._work = work
        self.due = now + pace_s

    def run_if_due(self, now: float) -> None:
        """Do it, if it is time."""
        if now >= self.due:
            self.due = now + self._pace_s
            self._work()


class Loop:
    """Serves until a signal ends it. One thread runs it, and with it everything that it is given but the threads."""

    def __init__(
        self,
        hub: Hub,
        coordinator: Coordinator,
        messages: SlaveMessages,
        admin: Admin,
        writer: WriterThread,
        threads: AdminThreads,
        local: LocalSlave | None,
        timers: Iterable[Timer],
        *,
        signals: Signals,
        notifier: Notifier,
        reread: Callable[[], PolitenessSettings],
        clock: Clock,
    ) -> None:
        """timers: other work to do now and then. reread: returns the settings to go on with after a SIGHUP."""
        self._hub = hub
        self._coordinator = coordinator
        self._messages = messages
        self._admin = admin
        self._writer = writer
        self._threads = threads
        self._local = local
        self._signals = signals
        self._notifier = notifier
        self._reread = reread
        self._clock = clock
        self._timers: list[Timer] = [*timers, Every(STATUS_S, self._tell_systemd, clock.monotonic())]

    def run(self) -> ExitCode:
        """Serve until a signal. Raises OwnedElsewhere when another master took the database.

        When memory runs out in the middle of a step, what is in memory may be half done, so the master ends: what
        arrived is committed, and a new one begins from the database.
        """
        try:
            while not self._signals.stops:
                self.step()
        except MemoryError:
            log.error("out_of_memory", advice="it ends, and loses nothing when it is started again", exc_info=True)
            return ExitCode.SHORTAGE if self._drain() == ExitCode.OK else ExitCode.FAILED
        return self._drain()

    def step(self, *, may_grant: bool = True) -> None:
        """Take one step: wait for messages, consequences or the next deadline; decide; act."""
        for received in self._hub.poll(self.wait_s()):
            self._dispatch(received)
        self._writer.finished()
        self._threads.finished()
        self._hub.pause_outcomes(self._coordinator.is_full)
        now = self._clock.monotonic()
        if may_grant:
            self._coordinator.step(now)
        for timer in self._timers:
            timer.run_if_due(now)
        if self._local is not None:
            self._local.step(now)
        if self._signals.wants_reload:
            self._signals.wants_reload = False
            self._coordinator.reload(self._reread())

    def wait_s(self) -> float:
        """Return the seconds until `step` has something to do if nothing comes in."""
        now = self._clock.monotonic()
        return max(0.0, min([self._coordinator.wait_s(now), *(timer.due - now for timer in self._timers)]))

    def _dispatch(self, received: Received) -> None:
        if isinstance(received.message, m.AdminRequest):
            self._admin.handle(received.peer, received.message)
        else:
            self._messages.handle(received.peer, received.message)

    def _drain(self) -> ExitCode:
        """Grant no more, let the local slave finish, commit what arrived."""
        self._notifier.stopping()
        log.info("master_stopping")
        if self._local is not None:
            self._local.terminate()
            while self._local.is_running and self._signals.stops < 2:
                self.step(may_grant=False)
        # The last messages are sent: slaves keep what is not acknowledged, and wait for the next master.
        log.info("slaves_left_waiting", slaves=len(self._coordinator.core.sessions))
        is_flushed = self._writer.stop(FLUSH_S, lambda storage: storage.release())
        self._writer.finished()
        log.info("master_stopped", flushed=is_flushed)
        return ExitCode.OK if is_flushed else ExitCode.FAILED

    def _tell_systemd(self) -> None:
        now = self._clock.monotonic()
        self._notifier.status(self._status_line(now))
        self._notifier.watchdog(now)

    def _status_line(self, now: float) -> str:
        core = self._coordinator.core
        if core.is_adopting(now):
            return f"waiting for slaves that were connected before the restart ({len(core.sessions)} are back)"
        leased, committed = len(core.leases), self._writer.committed
        return f"{len(core.sessions)} slaves, {leased} tasks leased, {committed} outcomes committed"
