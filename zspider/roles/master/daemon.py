"""The master's process: it makes what a master is made of, takes the database over, and runs the loop.

One thread runs the loop; the writer thread owns the storage, the reader thread serves the admin's reads.
Whatever a message promises was committed before it is sent.
"""

import json
import os
from collections.abc import Callable

import structlog

from zspider.broker.hub import Hub
from zspider.broker.keys import MasterKeys, check_exposure
from zspider.data_dir import NEW_PORTS, PORTS
from zspider.errors import ConfigError, ExitCode, ZspiderError
from zspider.roles.machine import gc_tuning
from zspider.roles.machine.clock import SYSTEM_CLOCK, Clock
from zspider.roles.machine.signals import Signals
from zspider.roles.machine.systemd import Notifier
from zspider.roles.master.admin.threads import AdminThreads, compilers
from zspider.roles.master.admin.verbs import Admin
from zspider.roles.master.commits import Commits
from zspider.roles.master.consequences import reraise
from zspider.roles.master.coordinator import Coordinator
from zspider.roles.master.local_slave import LocalSlave
from zspider.roles.master.loop import FLUSH_S, Every, Loop, Timer
from zspider.roles.master.project_removal import LOOK_S, ProjectRemovals
from zspider.roles.master.reader_thread import ReaderThread
from zspider.roles.master.retention import Retention
from zspider.roles.master.script_cache import ScriptCache
from zspider.roles.master.script_retention import LOOK_S as SCRIPTS_LOOK_S
from zspider.roles.master.script_retention import ScriptRetention
from zspider.roles.master.slave_messages import SlaveMessages
from zspider.roles.master.takeover import Boot, sole_owner, take_over
from zspider.roles.master.writer_thread import WriterThread
from zspider.scheduler.core import Core, Timing
from zspider.scheduler.pause import PauseLimits
from zspider.scheduler.rules import SchedulerRules
from zspider.settings import MasterFile, PolitenessSettings
from zspider.storage import Reader, Storage, open_storage
from zspider.waker import Waker

log = structlog.get_logger(__name__)
RENEW_S = 3.0  # how often the database is told that its master lives
TRIM_S = 60.0  # how often the database is told to forget what happened too long ago


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
        """is_oneshot: leave out @every and auto_recrawl (`zspiderd run`).

        local_slave: overrides the setting of this name.

        reread: returns the settings as they are at a SIGHUP; None: the settings stay as they were.
        """
        self.clock = clock
        self._settings = settings
        self._is_oneshot = is_oneshot
        self._has_local_slave = settings.master.local_slave if local_slave is None else local_slave
        self._reread = reread
        self._fresh = settings  # as they were read last
        self._notifier = Notifier()

    def run(self) -> ExitCode:
        """Serve until SIGTERM or SIGINT. Raises ZspiderError for what the operator must mend.

        An error that nobody foresaw in what is ours alone (the core, a commit's report, a timer) ends the master, too:
        it is logged, and nothing is lost when the next one is started.
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
        waker = Waker()
        signals = Signals(waker)
        signals.catch()  # before the tokens are read: after a SIGHUP they are read once more
        keys = MasterKeys(self._settings.data_dir)
        hub = Hub(master.bind, master.port, keys if master.security == "curve" else None, waker=waker)
        try:
            with sole_owner(self._settings.data_dir) as owner:
                return self._serve(hub, keys, signals, owner)
        finally:
            hub.close()
            self._notifier.close()

    def _serve(self, hub: Hub, keys: MasterKeys, signals: Signals, owner: str) -> ExitCode:
        rules = SchedulerRules(has_recrawl=not self._is_oneshot, waiting_max=self._settings.limits.waiting)
        writer = WriterThread(lambda: self._open(rules), self._settings.storage, hub.wake, self.clock)
        writer.start()
        boot = self._take_over(writer, hub, signals, owner)
        if boot is None:
            return ExitCode.OK
        coordinator = self.coordinator(hub, keys, rules, writer, boot)
        reader = ReaderThread(lambda: Reader(self._settings.database_url), hub.wake)
        threads = AdminThreads(coordinator, writer, reader, compilers(hub.wake))
        threads.start()
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
        self._notifier.ready()
        gc_tuning.collect_rarely()
        try:
            return self.loop(hub, keys, coordinator, writer, threads, local, signals).run()
        finally:
            if local is not None:
                local.kill()
            (self._settings.data_dir / PORTS).unlink(missing_ok=True)
            threads.stop()
            writer.stop(FLUSH_S)

    def loop(
        self,
        hub: Hub,
        keys: MasterKeys,
        coordinator: Coordinator,
        writer: WriterThread,
        threads: AdminThreads,
        local: LocalSlave | None,
        signals: Signals,
    ) -> Loop:
        """Return the loop, made of the parts that serve from now on."""
        commits = Commits(hub, keys, writer, coordinator, self.clock, limits=self._settings.limits)
        messages = SlaveMessages(hub, keys, coordinator, commits, ScriptCache(writer, self.clock), self.clock)
        removals = ProjectRemovals(coordinator, writer, self._settings.scheduler.delete_s, self.clock.wall_ms)
        admin = Admin(hub, coordinator, writer, threads, removals, self._settings, self.clock)
        return Loop(
            hub,
            coordinator,
            messages,
            admin,
            writer,
            threads,
            local,
            self._timers(coordinator, writer, removals),
            signals=signals,
            notifier=self._notifier,
            reread=self._fresh_politeness,
            clock=self.clock,
        )

    def _timers(self, coordinator: Coordinator, writer: WriterThread, removals: ProjectRemovals) -> list[Timer]:
        """Return what the loop does now and then; what the last master began to remove goes on at once."""
        now = self.clock.monotonic()
        timers: list[Timer] = [
            Every(self._settings.master.heartbeat_s, coordinator.send_beats, now),
            Every(RENEW_S, coordinator.renew, now),
            Every(TRIM_S, coordinator.trim_windows, now),
            Every(LOOK_S, removals.look, now),
        ]
        retention = self._settings.retention
        scripts = ScriptRetention(retention.scripts_days, writer, self.clock)
        timers.append(Every(SCRIPTS_LOOK_S, scripts.look, now))
        if retention.is_wanted:
            timers.append(Retention(retention, coordinator, writer, now, self.clock))
        if check_s := self._settings.scheduler.check_s:
            timers.append(Every(check_s, coordinator.core.assert_invariants, now))
        removals.look()
        return timers

    def _fresh_politeness(self) -> PolitenessSettings:
        """Read the settings again, and return how hosts are treated from now on."""
        self._fresh = self._reread() or self._fresh
        return self._fresh.politeness

    def coordinator(
        self, hub: Hub, keys: MasterKeys, rules: SchedulerRules, writer: WriterThread, boot: Boot
    ) -> Coordinator:
        """Return the coordinator, which begins with what the database said."""
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
            pausing=PauseLimits(scheduler.fail_pause_num, scheduler.pause_s, scheduler.unpause_check_num),
            politeness=self._settings.politeness,
            script_retry_s=scheduler.script_retry_s,
        )
        coordinator = Coordinator(
            hub,
            keys,
            rules,
            core,
            writer,
            self._settings,
            cluster=boot.cluster,
            epoch=boot.epoch,
            clock=self.clock,
        )
        for project in boot.projects:
            coordinator.set_project(project)
        coordinator.windows.load(boot.windows)
        return coordinator

    def _open(self, rules: SchedulerRules) -> Storage:
        return open_storage(self._settings.database_url, rules=rules, seen=self._settings.frontier.known)

    def _take_over(self, writer: WriterThread, hub: Hub, signals: Signals, owner: str) -> Boot | None:
        """Make the database ours, waiting for it if it is away. Returns None if we were stopped meanwhile."""
        found: list[Boot] = []
        writer.call(lambda storage: take_over(storage, owner, self.clock.wall_ms()), found.append, reraise)
        while not found:
            if signals.stops:
                return None
            hub.wait_wake(0.5)
            writer.finished()
            self._notifier.status("waiting for the database" if writer.is_away else "taking over the database")
        return found[0]

    def _write_ports(self, hub: Hub) -> None:
        """Write where we listen, for commands on this machine. It is no secret, and of no use after a crash."""
        path = self._settings.data_dir / PORTS
        fresh = self._settings.data_dir / NEW_PORTS
        content = {"pid": os.getpid(), "security": self._settings.master.security, **hub.ports._asdict()}
        try:
            fresh.write_text(json.dumps(content))
            fresh.replace(path)
        except OSError as exc:
            raise ConfigError(f"{path}: cannot be written: {exc.strerror}") from exc
