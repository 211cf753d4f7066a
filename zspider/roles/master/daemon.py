"""The master: the loop that joins sockets, core and writer.

One thread runs `step`; the writer thread owns the storage, the reader thread serves the admin's reads.
Whatever a message promises was committed before it is sent.
"""

import json
import os
import re
import secrets
import signal
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import msgspec
import structlog

from zspider.activity import WindowSlot
from zspider.broker import messages as m
from zspider.broker.hub import Hub, Received
from zspider.broker.keys import MasterKeys, check_exposure
from zspider.broker.private import write_private
from zspider.data_dir import OWNER_ID, PORTS
from zspider.errors import ConfigError, ExitCode, ZspiderError
from zspider.roles.machine import gc_tuning
from zspider.roles.machine.clock import SYSTEM_CLOCK, Clock
from zspider.roles.machine.hangups import release_hangups
from zspider.roles.machine.systemd import Notifier
from zspider.roles.master.admin.request import Compiler, Elsewhere, compilers
from zspider.roles.master.admin.verbs import Admin
from zspider.roles.master.auto_delete import LOOK_S, Deletions
from zspider.roles.master.coordinator import Desk
from zspider.roles.master.helper_threads import HelperThreads
from zspider.roles.master.local_slave import LocalSlave
from zspider.roles.master.reader_thread import ReaderThread
from zspider.roles.master.retention import Retention
from zspider.roles.master.writer_thread import Writer
from zspider.scheduler.core import Core, Timing
from zspider.scheduler.pause import Pausing
from zspider.scheduler.rules import SchedulerRules
from zspider.settings import MasterFile, RetentionSettings
from zspider.storage import Reader, Storage, open_storage
from zspider.task import Project

log = structlog.get_logger(__name__)
RENEW_S = 3.0  # how often the database is told that its master lives
TRIM_S = 60.0  # how often the database is told to forget what happened too long ago
STATUS_S = 2.0  # how often systemd is told how it goes
FLUSH_S = 30.0  # how long a stopping master waits for its last commits
_OWNER = re.compile(rb"[0-9a-f]{32}\n?")


class Boot(msgspec.Struct):
    """What the database said when this master took it over."""

    cluster: bytes
    epoch: int
    projects: list[Project]
    sessions: list[bytes]
    windows: list[WindowSlot]


class Master:
    """`zspiderd master`: construct, then `run` until a signal ends it."""

    def __init__(
        self,
        settings: MasterFile,
        *,
        is_oneshot: bool = False,
        local_slave: bool | None = None,
        reread: Callable[[], MasterFile | None] = lambda: None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """is_oneshot: @every and auto_recrawl are left out (`zspiderd run`). local_slave: overrides the setting.

        reread: gives the settings as they are at a SIGHUP; None: they stay as they were.
        """
        self.clock = clock
        self._settings = settings
        self._is_oneshot = is_oneshot
        self._has_local_slave = settings.master.local_slave if local_slave is None else local_slave
        self._stops = 0
        self._reload = False
        self._reread = reread
        self._fresh = settings  # as they were read last
        self._wake: Callable[[], None] = lambda: None
        self._notify = Notifier()

    def run(self) -> ExitCode:
        """Serve until SIGTERM or SIGINT. Raises ZspiderError for what the operator must mend.

        An error that nobody foresaw in what is ours alone (the core, a commit's report, a timer) ends the master, too:
        it is logged, and whoever starts the next one loses nothing.
        """
        try:
            return self._run()
        except ZspiderError:
            raise
        except Exception as exc:  # the top of a process
            log.error("master_failed", advice="start it again: nothing is lost", exc_info=exc)
            return ExitCode.FAILED

    def _run(self) -> ExitCode:
        master = self._settings.master
        check_exposure(master.bind, master.security, master.i_know_this_is_open)
        signal.signal(signal.SIGHUP, self._on_reload)  # before the tokens are read: then they are read once more
        release_hangups()
        keys = MasterKeys(self._settings.data_dir)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop)
        hub = Hub(master.bind, master.port, keys if master.security == "curve" else None)
        self._wake = hub.wake
        try:
            return self._serve(hub, keys)
        finally:
            hub.close()
            self._notify.close()

    def _serve(self, hub: Hub, keys: MasterKeys) -> ExitCode:
        rules = SchedulerRules(has_recrawl=not self._is_oneshot, waiting_max=self._settings.limits.waiting)
        desk = Desk(hub, keys, rules, self.clock)
        writer = Writer(
            lambda: self._open(rules),
            self._settings.storage,
            desk.committed,
            desk.reload_frontier,
            hub.wake,
            self.clock,
        )
        helpers = _Helpers(ReaderThread(lambda: Reader(self._settings.database_url), hub.wake), compilers(hub.wake))
        writer.start()
        boot = self._take_over(writer, hub)
        if boot is None:
            return ExitCode.OK
        helpers.start()
        self.open_desk(desk, writer, boot)
        admits = keys if self._settings.master.security == "curve" else None
        local = LocalSlave(self._settings, hub.ports.control, admits) if self._has_local_slave else None
        self._write_ports(hub)
        log.info(
            "master_started",
            bind=self._settings.master.bind,
            port=hub.ports.control,
            database=self._settings.database_shown,
            epoch=boot.epoch,
            waits_for=len(boot.sessions),
        )
        self._notify.ready()
        gc_tuning.collect_rarely()
        try:
            return self.loop(hub, desk, writer, helpers, local).run()
        finally:
            if local is not None:
                local.kill()
            (self._settings.data_dir / PORTS).unlink(missing_ok=True)
            helpers.stop()
            writer.stop(FLUSH_S)

    def loop(self, hub: Hub, desk: Desk, writer: Writer, helpers: "_Helpers", local: LocalSlave | None) -> "_Loop":
        """What serves, once the desk is open."""
        deletions = Deletions(desk, writer, self._settings.scheduler.delete_s, self.clock.wall_ms)
        elsewhere = Elsewhere(desk, writer, helpers.reader, helpers.compilers)
        admin = Admin(desk, hub, writer, elsewhere, deletions, self._settings)
        return _Loop(self, hub, desk, admin, writer, helpers, local, deletions, self._settings.retention)

    def open_desk(self, desk: Desk, writer: Writer, boot: Boot) -> None:
        """Let the desk begin with what the database said."""
        now = self.clock.monotonic()
        scheduler = self._settings.scheduler
        timing = Timing(
            suspect_s=self._settings.master.suspect_s,
            lease_s=self._settings.master.lease_s,
            adopt_s=self._settings.master.adopt_s,
            answer_s=2 * self._settings.master.heartbeat_s,
        )
        core = Core(
            timing,
            window=self._settings.frontier.window,
            expected=boot.sessions,
            now=now,
            has_cron=not self._is_oneshot,
            pausing=Pausing(scheduler.fail_pause_num, scheduler.pause_s, scheduler.unpause_check_num),
            politeness=self._settings.politeness,
        )
        desk.open(core, writer, self._settings, boot.cluster, boot.epoch)
        for project in boot.projects:
            desk.set_project(project)
        desk.windows.load(boot.windows)

    def _open(self, rules: SchedulerRules) -> Storage:
        return open_storage(self._settings.database_url, rules=rules, known=self._settings.frontier.known)

    def _take_over(self, writer: Writer, hub: Hub) -> Boot | None:
        """Make the database ours; wait for it if it is away. None: we were stopped meanwhile."""
        found: list[Boot] = []
        owner = owner_id(self._settings.data_dir)
        writer.call(lambda storage: _boot(storage, owner, self.clock.wall_ms()), found.append, _reraise)
        while not found:
            if self._stops:
                return None
            hub.wait_wake(0.5)
            writer.finished()
            self._notify.status("waiting for the database" if writer.is_away else "taking over the database")
        return found[0]

    def _write_ports(self, hub: Hub) -> None:
        """Tell who started us where we listen. No secret, and of no use after a crash."""
        path = self._settings.data_dir / PORTS
        fresh = path.with_suffix(".new")
        told = {"pid": os.getpid(), "security": self._settings.master.security, **hub.ports._asdict()}
        try:
            fresh.write_text(json.dumps(told))
            fresh.replace(path)
        except OSError as exc:
            raise ConfigError(f"{path}: cannot be written: {exc.strerror}") from exc

    # --- signals ----------------------------------------------------------------------------------

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        self._stops += 1
        self._wake()

    def _on_reload(self, number: int, frame: FrameType | None) -> None:
        self._reload = True
        self._wake()

    @property
    def stops(self) -> int:
        """How often we were asked to stop; the second time means at once."""
        return self._stops

    def take_reload(self) -> MasterFile | None:
        """The settings to go on with, if SIGHUP came since the last call."""
        if not self._reload:
            return None
        self._reload = False
        self._fresh = self._reread() or self._fresh
        return self._fresh


class _Loop:
    """The master's loop while it serves."""

    def __init__(
        self,
        master: Master,
        hub: Hub,
        desk: Desk,
        admin: Admin,
        writer: Writer,
        helpers: "_Helpers",
        local: LocalSlave | None,
        deletions: Deletions,
        retention: RetentionSettings,
    ) -> None:
        self._master = master
        self._hub = hub
        self._desk = desk
        self._admin = admin
        self._writer = writer
        self._helpers = helpers
        self._local = local
        self._clock = master.clock
        now = self._clock.monotonic()
        self._every: list[_Every | Retention] = [
            _Every(desk.heartbeat_s, desk.say_beat, now),
            _Every(RENEW_S, self._renew, now),
            _Every(STATUS_S, self._status, now),
            _Every(TRIM_S, desk.trim_windows, now),
            _Every(LOOK_S, deletions.look, now),
        ]
        if retention.is_wanted:
            self._every.append(Retention(retention, desk, writer, now))
        deletions.look()  # what the last master began to remove

    def run(self) -> ExitCode:
        """Until a signal; raises OwnedElsewhere when another master took the database.

        When memory runs out in the middle of a turn, what is in memory may be half done, so the master ends: what
        arrived is committed, and a new one begins from the database.
        """
        try:
            while not self._master.stops:
                self.step()
        except MemoryError:
            log.error("out_of_memory", advice="it ends, and loses nothing when it is started again", exc_info=True)
            return ExitCode.SHORTAGE if self._drain() == ExitCode.OK else ExitCode.FAILED
        return self._drain()

    def step(self, *, may_grant: bool = True) -> None:
        """One turn: wait for messages, consequences or the next deadline; decide; act."""
        for received in self._hub.poll(self.wait_s()):
            self._dispatch(received)
        self._writer.finished()
        self._helpers.finished()
        self._hub.pause_outcomes(self._desk.is_full)
        now = self._clock.monotonic()
        if may_grant:
            self._desk.step(now)
        for one in self._every:
            one.run_if_due(now)
        if self._local is not None:
            self._local.step(now)
        if (settings := self._master.take_reload()) is not None:
            self._desk.reload(settings.politeness)

    def wait_s(self) -> float:
        """Seconds until `step` has something to do if nothing comes in."""
        now = self._clock.monotonic()
        return max(0.0, min([self._desk.wait_s(now), *(one.due - now for one in self._every)]))

    def _dispatch(self, received: Received) -> None:
        if isinstance(received.message, m.AdminRequest):
            self._admin.handle(received.peer, received.message)
        else:
            self._desk.handle(received.peer, received.message)

    def _drain(self) -> ExitCode:
        """Grant no more, let the local slave finish, commit what arrived."""
        master = self._master
        master._notify.stopping()
        log.info("master_stopping")
        if self._local is not None:
            self._local.terminate()
            while self._local.is_running and master.stops < 2:
                self.step(may_grant=False)
        self._desk.goodbye()
        self._writer.call(lambda storage: storage.release())
        is_flushed = self._writer.stop(FLUSH_S)
        self._writer.finished()
        log.info("master_stopped", flushed=is_flushed)
        return ExitCode.OK if is_flushed else ExitCode.FAILED

    def _renew(self) -> None:
        if self._writer.is_away:  # else one more would wait for it every few seconds
            return
        self._writer.call(lambda storage: storage.renew())

    def _status(self) -> None:
        self._master._notify.status(self._desk.status_line())
        self._master._notify.watchdog(self._clock.monotonic())


class _Every:
    """Something to do at a steady pace."""

    def __init__(self, pace_s: float, work: Callable[[], None], now: float) -> None:
        self._pace_s = pace_s
        self._work = work
        self.due = now + pace_s

    def run_if_due(self, now: float) -> None:
        if now >= self.due:
            self.due = now + self._pace_s
            self._work()


def _boot(storage: Storage, owner: str, now_ms: int) -> Boot:
    ownership = storage.take_over(owner, now_ms)
    slots = storage.windows(now_ms)
    return Boot(ownership.cluster, ownership.epoch, storage.projects(), storage.sessions(), slots)


class _Helpers(NamedTuple):
    """The threads that work for the administration."""

    reader: ReaderThread
    compilers: HelperThreads[Compiler]

    def start(self) -> None:
        self.reader.start()
        self.compilers.start()

    def finished(self) -> None:
        """Run what has come back from them; raises what ended one."""
        self.reader.finished()
        self.compilers.finished()

    def stop(self) -> None:
        self.reader.stop()
        self.compilers.stop()


def owner_id(data_dir: Path) -> str:
    """Who this master is to the database: the same for each start in this directory, so it re-enters at once.

    A file that does not hold one (empty after a power cut, say) is replaced: then the database's last owner is watched
    before it is taken over. Raises ConfigError when the file cannot be read or written.
    """
    path = data_dir / OWNER_ID
    try:
        found = path.read_bytes() if path.exists() else None
        if found is not None and _OWNER.fullmatch(found):
            return found.decode().strip()
        fresh = secrets.token_hex(16)
        write_private(path, fresh.encode() + b"\n")
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read or written: {exc.strerror}") from exc
    if found is not None:
        log.warning("owner_id_replaced", file=str(path), reason=f"it held no owner id, but {len(found)} bytes")
    return fresh


def _reraise(error: Exception) -> None:
    raise error
