"""The master's side of the conversation with its slaves: messages in, core, actions, messages out."""

from collections.abc import Callable, Container, Iterable, Sequence

import msgspec
import structlog

from zspider.activity import activity_of
from zspider.broker import messages as m
from zspider.broker.codec import decode_outcome
from zspider.broker.hub import Hub, Peer
from zspider.broker.keys import MasterKeys
from zspider.decisions import Accept
from zspider.delivery import End, Outcome
from zspider.errors import ProtocolError, ZspiderError
from zspider.roles.machine.clock import SYSTEM_CLOCK, Clock
from zspider.roles.master.grants import Granting
from zspider.roles.master.limited_log import SeldomLog
from zspider.roles.master.project_log import ProjectNews
from zspider.roles.master.script_cache import ScriptTexts
from zspider.roles.master.slave_registry import Reception
from zspider.roles.master.storage_requests import Questions
from zspider.roles.master.unforeseen import unforeseen
from zspider.roles.master.writer_thread import Delivery, Writer
from zspider.scheduler import actions as a
from zspider.scheduler.core import Condition, Core
from zspider.scheduler.host_rates import HostRates
from zspider.scheduler.internal import info_run
from zspider.scheduler.rules import SchedulerRules
from zspider.scheduler.windows import Windows
from zspider.settings import MasterFile, PolitenessSettings
from zspider.storage import Committed
from zspider.task import CRONJOB, INTERNAL, Project, Ref, ScriptInfo, task_key

log = structlog.get_logger(__name__)
BACKLOG_MAX = 2000  # outcomes waiting for the database; above it the outcomes socket is not read
_REFUSED = "dropped:" + Accept.FULL  # a counter
NAMES_SHOWN = 5  # in one line of the log


class Desk:
    """Everything slaves say and are told. `open` completes it once the database is ours."""

    def __init__(self, hub: Hub, keys: MasterKeys, rules: SchedulerRules, clock: Clock = SYSTEM_CLOCK) -> None:
        self.committed_total = 0
        self.windows = Windows()
        self.hosts = HostRates(clock.monotonic())
        self.is_open = False
        self._hub = hub
        self._keys = keys
        self._rules = rules
        self._clock = clock
        self._seldom = SeldomLog(log, clock)
        self._lacking: dict[str, set[int]] = {}  # name that nobody knows -> projects whose scripts import it

    def open(self, core: Core, writer: Writer, settings: MasterFile, cluster: bytes, epoch: int) -> None:
        """Begin to work."""
        self.is_open = True
        self.core = core
        self.cluster = cluster
        self.epoch = epoch
        self.started = self._clock.monotonic()
        self._writer = writer
        self._texts = ScriptTexts(writer)
        self._granting = Granting(self._hub, self._keys, core, cluster, epoch)
        self._news = ProjectNews(settings.scheduler.pause_s)
        self.reception = Reception(
            self._hub,
            self._keys,
            core,
            writer,
            settings.master,
            self._clock,
            cluster=cluster,
            epoch=epoch,
            perform=self._perform,
        )
        self.heartbeat_s = settings.master.heartbeat_s
        self._questions = Questions(
            core, writer, self._clock, window=settings.frontier.window, committed=self._answered
        )

    # --- the loop's questions -------------------------------------------------------------------

    @property
    def is_full(self) -> bool:
        """The database is behind: no more outcomes, please."""
        return self._writer.backlog > BACKLOG_MAX

    def wait_s(self, now: float) -> float:
        """Seconds until `step` has something to do if nothing comes in; a commit comes in, too."""
        return 1.0 if self.is_full else self.core.wait_s(now)

    def step(self, now: float) -> None:
        """Let time pass in the core, and grant; nothing is granted while the database is behind."""
        self.reception.expel_revoked()
        if not self.is_full:
            self._perform(self.core.step(now, self._clock.wall_ms()))

    def say_beat(self) -> None:
        """Tell every slave that we live."""
        reads = not self.is_full
        for session in self.core.sessions.values():
            self._hub.send(session.route, m.MasterBeat(self.epoch, session.outcomes, reads))

    def reload_frontier(self) -> None:
        """A write was repeated: what waits, and how much, is read from the database again."""
        if self.is_open:
            self.core.reload()
            self._writer.call(lambda storage: storage.projects(), self.recount)
            self._writer.call(lambda storage: storage.windows(self._clock.wall_ms()), self.windows.load)

    def trim_windows(self) -> None:
        """Have the database forget what happened too long ago, a little in each transaction until nothing is left."""
        if self._writer.is_away:
            return
        self._writer.call(
            lambda storage: storage.trim_windows(self._clock.wall_ms()),
            lambda cut: self.trim_windows() if cut else None,
        )

    def goodbye(self) -> None:
        """The last messages are sent; slaves keep what is not acknowledged and wait for the next master."""
        log.info("slaves_left_waiting", slaves=len(self.core.sessions))

    def reload(self, politeness: PolitenessSettings) -> None:
        """SIGHUP: token files are read again, and hosts are treated by these settings from now on.

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

    def status_line(self) -> str:
        """One line for systemd."""
        leased = len(self.core.leases)
        if self.core.is_adopting(self._clock.monotonic()):
            return f"waiting for slaves that were connected before the restart ({len(self.core.sessions)} are back)"
        return f"{len(self.core.sessions)} slaves, {leased} tasks leased, {self.committed_total} outcomes committed"

    # --- projects -------------------------------------------------------------------------------

    def set_project(self, project: Project) -> None:
        """A project is new or changed in the database."""
        if project.info is not None:
            self._rules.set_retry_delays(project.id, project.info.retry_delay)
        project = self._unless_outdated(project)
        self._perform(self.core.set_project(project, self._clock.monotonic(), self._clock.wall_ms()))
        for lacking in self._lacking.pop(project.name, ()):
            if (state := self.core.projects.get(lacking)) is not None:
                self.set_project(state.project)

    def _unless_outdated(self, project: Project) -> Project:
        """Without what its script declared, if that was that it lacks a project which is known now: ask again."""
        lacks = project.info.lacks if project.info is not None else ""
        if not lacks:
            return project
        if any(state.project.name == lacks for state in self.core.projects.values()):
            return msgspec.structs.replace(project, info=None)
        self._lacking.setdefault(lacks, set()).add(project.id)
        return project

    def remove_project(self, project: int) -> None:
        """A project is deleted from the database."""
        self._perform(self.core.remove_project(project))
        self.windows.forget(project)

    # --- messages -------------------------------------------------------------------------------

    def handle(self, peer: Peer, message: m.AnyMessage) -> None:
        """Act on one message of a slave. Nothing that a slave says ends the master.

        If nobody foresaw what it leads to, the slave's session ends and it is told so: it joins again and says what it
        has, and what it has not been told of an outcome is sent again. So nothing is lost, and no half of a change
        stays in memory.
        """
        try:
            self._act(peer, message)
        except Exception as exc:
            kind = type(message).__name__
            self._seldom.error("internal_error", where=f"a slave's {kind}", peer=peer.address, exc_info=exc)
            session = self.core.sessions.get(getattr(message, "session", b""))
            if session is not None and self.reception.is_known(peer, session.id):
                self._perform(self.core.leave(session.id))
                self._hub.send(session.route, m.Unknown(self.epoch))

    def _act(self, peer: Peer, message: m.AnyMessage) -> None:
        now = self._clock.monotonic()
        match message:
            case m.Outcomes():
                self._on_outcomes(peer, message, now)
            case m.Hello():
                self.reception.hello(peer, message)
            case m.Beat() | m.GiveBack() | m.NeedScript() | m.NeedProject() | m.Took() | m.Leave():
                if self.reception.is_known(peer, message.session):
                    self._on_word(peer, message, now)
                else:
                    self._hub.send(peer.route, m.Unknown(self.epoch))
            case _:
                self._seldom.warning("message_unexpected", kind=type(message).__name__, peer=peer.address)

    def _on_word(
        self,
        peer: Peer,
        message: m.Beat | m.GiveBack | m.NeedScript | m.NeedProject | m.Took | m.Leave,
        now: float,
    ) -> None:
        core, session = self.core, message.session
        match message:
            case m.Beat():
                named = [*message.held, *message.outbox]
                how = Condition(message.complaint, message.delivers)
                self._perform(
                    core.beat(session, peer.route, message.seen, named, message.window, now, how, message.held)
                )
                self.reception.note(message, now)
            case m.GiveBack():
                core.give_back(session, message.numbers, bar=message.reason == "script", error=message.error)
            case m.NeedScript():
                self._send_script(peer.route, message.script)
            case m.NeedProject():
                self._send_project(peer.route, message.name)
            case m.Took():
                if self._keys.is_proven(message):
                    ref = Ref(message.project, task_key(message.taskid))
                    self._perform(core.took(session, ref, message.run))
            case m.Leave():
                self._perform(core.leave(session))
                self._hub.send(peer.route, m.Unknown(self.epoch))

    def _send_script(self, route: bytes, script: bytes) -> None:
        self._texts.with_text(script, (route, ""), lambda text: self._hub.send(route, m.Script(script, text)))

    def _send_project(self, route: bytes, name: str) -> None:
        """What another project imports: whatever its status is (docs/pyspider-behaviour.md 2.1)."""
        projects = (state.project for state in self.core.projects.values())
        project = next((project for project in projects if project.name == name), None)
        if project is None:
            self._hub.send(route, m.ProjectScript(name, None))
            return
        script, status = project.script, project.status.value
        self._texts.with_text(
            script, (route, name), lambda text: self._hub.send(route, m.ProjectScript(name, script, status, text))
        )

    # --- outcomes -------------------------------------------------------------------------------

    def _on_outcomes(self, peer: Peer, message: m.Outcomes, now: float) -> None:
        """Check and queue a batch; an unknown session sends it again after its Hello."""
        if not self.reception.is_known(peer, message.session):
            return
        session = self.core.sessions[message.session]
        self.core.heard(session, now)
        session.outcomes = max(session.outcomes, message.serial)
        deliveries, refused = [], []
        for item in message.items:
            outcome = self._checked(item, peer)
            if outcome is None:
                refused.append(item.id)
                continue
            deliveries.append(Delivery(message.session, item.id, outcome))
        self._writer.deliver(deliveries)  # before the core hears of them: what follows cannot lose them
        if refused:
            self._hub.send(session.route, m.Ack(self.epoch, refused))
        for _, _, outcome in deliveries:
            if outcome.end is not End.PART:
                ref = Ref(outcome.project, task_key(outcome.taskid))
                self.core.arrived(ref, outcome.run, outcome.answer, outcome.fetch_ms / 1000, now)

    def _checked(self, item: m.OutcomeItem, peer: Peer) -> Outcome | None:
        """Nobody reports what was never granted; such an item is acknowledged so that it is not sent for ever."""
        try:
            outcome = decode_outcome(item.outcome)
        except ProtocolError as exc:
            self._seldom.warning("outcome_dropped", reason=str(exc), peer=peer.address)
            return None
        if not self._keys.is_proven(outcome):
            self._seldom.warning("outcome_dropped", reason="no valid proof", task=outcome.taskid, peer=peer.address)
            return None
        return outcome

    def committed(self, deliveries: Sequence[Delivery], report: Committed) -> None:
        """A group is in the database: tell the core, then acknowledge."""
        self.committed_total += len(deliveries)
        senders = {
            (one.outcome.project, task_key(one.outcome.taskid), one.outcome.run): one.session
            for one in reversed(deliveries)  # of two outcomes of one run, the first won
        }
        for end in report.ended:
            by = senders.get((end.ref.project, end.ref.key, end.run), b"")
            self._perform(
                self.core.ended(end.ref, end.run, by, is_late=end.late, is_success=end.is_success, error=end.error)
            )
        self.apply(report)
        for one in deliveries:
            if one.outcome.taskid in INTERNAL:
                self._internal_ended(one.outcome)
        self._acknowledge(deliveries, set(report.followed))

    def recount(self, projects: Iterable[Project]) -> None:
        """The counters of these projects are as the database has them now."""
        for project in projects:
            if (state := self.core.projects.get(project.id)) is not None:
                state.project.counts = project.counts

    def apply(self, report: Committed) -> None:
        """Bring the core up to date with a transaction."""
        self._perform(self.core.void(report.gone))
        self.core.entered(report.entered)
        for project, deltas in report.counts.items():
            if (state := self.core.projects.get(project)) is not None:
                counts = state.project.counts
                for name, delta in deltas.items():
                    counts[name] = counts.get(name, 0) + delta
                self.windows.add(project, activity_of(deltas), report.at_ms)
                if refused := deltas.get(_REFUSED):
                    self._news.refused(state.project.name, refused, self._clock.monotonic())
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

    def _acknowledge(self, deliveries: Sequence[Delivery], followed: Container[int]) -> None:
        """Followed: the deliveries whose follows all have rows now, by their index."""
        ids: dict[bytes, tuple[list[int], list[int]]] = {}
        for index, one in enumerate(deliveries):
            done, known = ids.setdefault(one.session, ([], []))
            done.append(one.id)
            if index in followed:
                known.append(one.id)
        for session_id, (done, known) in ids.items():
            if (session := self.core.sessions.get(session_id)) is not None:
                self._hub.send(session.route, m.Ack(self.epoch, done, known))

    def _internal_ended(self, outcome: Outcome) -> None:
        if outcome.taskid != CRONJOB:
            self._learn(outcome)
        elif outcome.end is not End.PART:
            error = "" if outcome.end is End.SUCCESS else outcome.reason or "failed"
            self.core.cron_ended(outcome.project, outcome.run, error, self._clock.wall_ms())

    def _learn(self, outcome: Outcome) -> None:
        """A script version has said what it declares."""
        state = self.core.projects.get(outcome.project)
        if state is None or state.project.info is not None or outcome.run != info_run(state.project.script):
            return
        try:
            info = msgspec.msgpack.decode(outcome.info or b"", type=ScriptInfo)
        except Exception as exc:  # a slave's bytes: MsgspecError, UnicodeDecodeError, RecursionError, MemoryError
            info = ScriptInfo(error=outcome.reason or f"the script's declarations cannot be read: {exc}")
        if info.error:
            log.error("script_error", project=state.project.name, error=info.error)
        script = state.project.script
        self._writer.call(lambda storage: storage.save_info(script, info))
        self.set_project(msgspec.structs.replace(state.project, info=info))

    # --- actions --------------------------------------------------------------------------------

    def _perform(self, actions: Iterable[a.Action]) -> None:
        for action in actions:
            match action:
                case a.Give(session, grants):
                    self._granting.give(session, grants)
                case a.Tell(what, session, numbers):
                    self._hub.send(session.route, _TELLING[what](list(numbers)))
                case a.Refill(project, kind, after):
                    self._questions.refill(project, kind, after)
                case a.Sweep(project, stretch):
                    self._questions.sweep(project, stretch)
                case a.Charge(lost):
                    self._questions.charge(lost)
                case a.Finish(project):
                    self._questions.finish(project)
                case a.Paused(project, phase, reason):
                    self._news.paused(self.core.projects[project].project.name, phase, reason)
                case a.Welcome(session):
                    self.reception.welcome(session)
                case a.Gone(session):
                    self.reception.gone(session)
                case a.Challenge(session):
                    if not self._hub.send(session.route, m.MasterBeat(self.epoch)):
                        self._perform(self.core.route_is_gone(session.id, self._clock.monotonic()))
                case a.AskHello(route):
                    self._hub.send(route, m.Unknown(self.epoch))
                case a.RefuseClone(route, session_id):
                    log.warning("session_cloned", route=route.hex())
                    self._hub.send(route, m.NewSession(session_id))

    def _answered(self, report: Committed) -> None:
        """A question of the core was answered with a transaction."""
        for end in report.ended:
            self._perform(self.core.ended(end.ref, end.run, b"", is_late=end.late))
        self.apply(report)


_TELLING: dict[str, Callable[[list[int]], m.AnyMessage]] = {
    "release": m.Release,
    "recall": m.Recall,
    "taken": m.Taken,
    "resend": m.Resend,
}
