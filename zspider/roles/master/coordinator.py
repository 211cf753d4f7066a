"""The core at work: events go in, and its decisions are carried out."""

from collections.abc import Callable, Iterable

import msgspec
import structlog

from zspider.activity import activity_of
from zspider.broker import messages as m
from zspider.broker.hub import Hub
from zspider.broker.keys import MasterKeys
from zspider.decisions import Accept
from zspider.errors import ZspiderError
from zspider.roles.machine.clock import SYSTEM_CLOCK, Clock
from zspider.roles.master.grants import GrantSender
from zspider.roles.master.project_log import ProjectLog
from zspider.roles.master.script_trust import ScriptTrust
from zspider.roles.master.slave_registry import SlaveRegistry
from zspider.roles.master.storage_requests import StorageRequests
from zspider.roles.master.unforeseen import unforeseen
from zspider.roles.master.writer_thread import WriterThread
from zspider.scheduler import actions as a
from zspider.scheduler.core import Core
from zspider.scheduler.host_rates import HostRates
from zspider.scheduler.leases import Session
from zspider.scheduler.rules import SchedulerRules
from zspider.scheduler.windows import Windows
from zspider.settings import MasterFile, PolitenessSettings
from zspider.storage import Committed
from zspider.task import Project, ScriptInfo

log = structlog.get_logger(__name__)
NAMES_SHOWN = 5  # in one line of the log
_REFUSED = "dropped:" + Accept.FULL  # a counter
_RESERVED = "dropped:" + Accept.RESERVED


class Coordinator:
    """Keeps the core up to date with the database, and carries out its decisions.

    It is made when the database is ours. All methods belong to the master's loop.
    """

    def __init__(
        self,
        hub: Hub,
        keys: MasterKeys,
        rules: SchedulerRules,
        core: Core,
        writer: WriterThread,
        settings: MasterFile,
        *,
        cluster: bytes,
        epoch: int,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """cluster: the name of the cluster in the database. epoch: how often the database was taken over."""
        self.core = core
        self.cluster = cluster
        self.epoch = epoch
        self.started = clock.monotonic()
        self.windows = Windows()
        self.hosts = HostRates(self.started)
        self._hub = hub
        self._keys = keys
        self._rules = rules
        self._writer = writer
        self._clock = clock
        self._grants = GrantSender(hub, keys, core, cluster, epoch)
        self._project_log = ProjectLog(settings.scheduler.pause_s)
        self.registry = SlaveRegistry(
            hub, keys, core, writer, settings.master, clock, cluster=cluster, epoch=epoch, perform=self.perform
        )
        self._requests = StorageRequests(core, writer, clock, window=settings.frontier.window, committed=self._answered)
        self._scripts = ScriptTrust(keys, self.registry, needs_token=settings.master.security != "none")
        writer.on_repeat(self.reload_frontier)

    # --- the loop's questions -------------------------------------------------------------------

    @property
    def is_full(self) -> bool:
        """Whether the database is behind: no more outcomes are read then, and nothing is granted."""
        return self._writer.waiting.is_full

    def wait_s(self, now: float) -> float:
        """Return the seconds until `step` has something to do if nothing comes in; a commit comes in, too."""
        return 1.0 if self.is_full else self.core.wait_s(now)

    def step(self, now: float) -> None:
        """Let time pass in the core, and grant; nothing is granted while the database is behind."""
        if self.registry.expel_revoked():
            self._forget_revoked()
        now_ms = self._clock.wall_ms()
        if self.is_full:
            self.core.story.stamp_time(now_ms)
        else:
            self.perform(self.core.step(now, now_ms))

    def send_beats(self) -> None:
        """Send every slave a heartbeat."""
        reads = not self.is_full
        for session in self.core.sessions.values():
            self._hub.send(session.route, m.MasterBeat(self.epoch, session.outcomes, reads))

    def reload_frontier(self) -> None:
        """Read the waiting tasks and the counters from the database again: a write was repeated."""
        self.core.reload()
        self._writer.call(lambda storage: storage.projects(), self.recount)
        self._writer.call(lambda storage: storage.windows(self._clock.wall_ms()), self.windows.load)

    def renew(self) -> None:
        """Tell the database that its master lives, unless it is away."""
        if self._writer.is_away:  # else one more would wait for it every few seconds
            return
        self._writer.call(lambda storage: storage.renew())

    def trim_windows(self) -> None:
        """Delete slots of activity that are too old, some in each transaction until none is left."""
        if self._writer.is_away:
            return
        self._writer.call(
            lambda storage: storage.trim_windows(self._clock.wall_ms()),
            lambda cut: self.trim_windows() if cut else None,
        )

    def reload(self, politeness: PolitenessSettings) -> None:
        """Read the token files again, and treat hosts by these settings from now on (SIGHUP).

        Tokens that cannot be read stay as they were.
        """
        try:
            self._keys.reload()
        except ZspiderError as exc:
            log.error("reload_refused", reason=str(exc), kept="the tokens as they were")
        except Exception as exc:
            unforeseen(exc, "the reload of the tokens", kept="the tokens as they were")
        self.core.hosts.change(politeness)
        log.info("reloaded", tokens=len(self._keys.list_tokens()))

    # --- projects -------------------------------------------------------------------------------

    def set_project(self, project: Project, *, asks_anew: bool = False) -> None:
        """Tell the core of a project that is new or changed in the database.

        asks_anew: what its script declares is asked again, of slaves too that could not load it. What is known of a
        script that the core has stays: the database may be a step behind.
        """
        known = self.core.projects.get(project.id)
        info = project.info if known is None or known.project.script != project.script else known.project.info
        self._use(msgspec.structs.replace(project, info=info if self._scripts.is_trusted(info) else None))
        if asks_anew:
            self.ask_anew(project.id)
        for lacking in self._scripts.that_lack(project.name):
            self.ask_anew(lacking)

    def ask_anew(self, project: int) -> None:
        """Forget what a project's script declares, in the database too, and ask a slave."""
        if (state := self.core.projects.get(project)) is None:
            return
        script, was_known = state.project.script, state.project.info is not None
        self.core.scripts.ask_anew(project)
        if was_known:
            self._writer.call(lambda storage: storage.save_info(script, None))

    def script_told(self, project: Project, session: Session, info: ScriptInfo) -> None:
        """Keep what a slave has told of a script that was asked, in the database and in the core."""
        info = msgspec.structs.replace(info, told=self._scripts.teller(session, self._clock.wall_ms()))
        self._writer.call(lambda storage: storage.save_info(project.script, info))
        self._use(msgspec.structs.replace(project, info=info))

    def script_failed(self, project: Project, session: Session, info: ScriptInfo) -> None:
        """Note that a slave cannot load a script that was asked: another one is asked.

        If the script lacked another project, and that is known meanwhile, it is asked again at once; but once only.
        """
        log.error("script_error", project=project.name, error=info.error, host=session.host)
        failure = self.core.projects[project.id].load_failure
        was_lacking, is_known = failure.lacks, bool(info.lacks) and self._is_name(info.lacks)
        self.core.scripts.failed(project.id, session.id, info.error, info.lacks)
        if info.lacks and not is_known:
            self._scripts.lacks(project.id, info.lacks)
        elif is_known and was_lacking != info.lacks:
            self.core.scripts.ask_anew(project.id)
            failure.lacks = info.lacks

    def _is_name(self, name: str) -> bool:
        return any(state.project.name == name for state in self.core.projects.values())

    def _use(self, project: Project) -> None:
        if project.info is not None:
            self._rules.set_retry_delays(project.id, project.info.retry_delay)
        self.perform(self.core.set_project(project, self._clock.monotonic(), self._clock.wall_ms()))

    def _forget_revoked(self) -> None:
        """Ask anew what slaves have told whose token was revoked."""
        for state in self.core.projects.values():
            if not self._scripts.is_trusted(state.project.info):
                log.info("script_asked_anew", project=state.project.name, reason="the token of the slave that told")
                self._rules.set_retry_delays(state.project.id, {})
                self.ask_anew(state.project.id)

    def remove_project(self, project: int) -> None:
        """Forget a project that is deleted from the database."""
        state = self.core.projects.get(project)
        self.perform(self.core.remove_project(project))
        self.windows.forget(project)
        self._rules.forget(project)
        self._scripts.forget(project)
        if state is not None:
            self._project_log.forget(state.project.name)

    # --- transactions ---------------------------------------------------------------------------

    def recount(self, projects: Iterable[Project]) -> None:
        """Take over the counters of these projects as the database has them now."""
        for project in projects:
            if (state := self.core.projects.get(project.id)) is not None:
                state.project.counts = project.counts

    def apply(self, report: Committed) -> None:
        """Bring the core up to date with a transaction."""
        self.perform(self.core.void(report.gone))
        self.core.replaced(report.replaced)
        self.core.entered(report.entered)
        for project, deltas in report.counts.items():
            if (state := self.core.projects.get(project)) is not None:
                counts = state.project.counts
                for name, delta in deltas.items():
                    counts[name] = counts.get(name, 0) + delta
                self.windows.add(project, activity_of(deltas), report.at_ms)
                if refused := deltas.get(_REFUSED):
                    self._project_log.refused(state.project.name, refused, self._clock.monotonic())
                if reserved := deltas.get(_RESERVED):
                    self._project_log.reserved(state.project.name, reserved, self._clock.monotonic())
        if report.hosts:
            self.hosts.add(report.hosts, self._clock.monotonic())
        for reason, number in report.dropped.items():
            log.debug("follows_dropped", reason=reason, number=number)
        if report.undelivered:
            names = sorted(report.undelivered)
            log.warning(
                "messages_dropped",
                reason="no such project",
                number=report.undelivered.total(),
                projects=names[:NAMES_SHOWN],
                and_more=max(0, len(names) - NAMES_SHOWN),
            )

    def _answered(self, report: Committed) -> None:
        """Take in the transaction that a request of the core led to."""
        for end in report.ended:
            self.perform(self.core.ended(end.ref, end.run, b"", is_late=end.late))
        self.apply(report)

    # --- actions --------------------------------------------------------------------------------

    def perform(self, actions: Iterable[a.Action]) -> None:
        """Carry out what the core has decided, in this order."""
        for action in actions:
            match action:
                case a.Give(session, grants):
                    self._grants.give(session, grants)
                case a.Tell(what, session, numbers):
                    self._hub.send(session.route, _TELLING[what](list(numbers)))
                case a.Refill(project, kind, after):
                    self._requests.refill(project, kind, after)
                case a.ScanHosts(project, part):
                    self._requests.scan_hosts(project, part)
                case a.Charge(lost):
                    self._requests.charge(lost)
                case a.Finish(project):
                    self._requests.finish(project)
                case a.Paused(project, phase, reason):
                    self._project_log.paused(self.core.projects[project].project.name, phase, reason)
                case a.Welcome(session):
                    self.registry.welcome(session)
                case a.Gone(session):
                    self.registry.gone(session)
                case a.Challenge(session):
                    if not self._hub.send(session.route, m.MasterBeat(self.epoch)):
                        self.perform(self.core.slaves.route_is_gone(session.id, self._clock.monotonic()))
                case a.AskHello(route):
                    self._hub.send(route, m.Unknown(self.epoch))
                case a.RefuseClone(route, session_id):
                    log.warning("session_cloned", route=route.hex())
                    self._hub.send(route, m.NewSession(session_id))


_TELLING: dict[str, Callable[[list[int]], m.AnyMessage]] = {
    "release": m.Release,
    "recall": m.Recall,
    "taken": m.Taken,
    "resend": m.Resend,
}
