"""The messages of slaves to the master, and the actions that follow."""

import structlog

from zspider.broker import messages as m
from zspider.broker.hub import Hub, Peer
from zspider.broker.keys import MasterKeys
from zspider.roles.machine.clock import SYSTEM_CLOCK, Clock
from zspider.roles.master.commits import Commits
from zspider.roles.master.coordinator import Coordinator
from zspider.roles.master.limited_log import RateLimitedLog
from zspider.roles.master.script_cache import ScriptCache
from zspider.scheduler.core import Condition
from zspider.task import Ref, task_key

log = structlog.get_logger(__name__)
_OfMember = m.Beat | m.GiveBack | m.NeedScript | m.NeedProject | m.Took | m.Leave


class SlaveMessages:
    """Acts on the messages of slaves. Nothing that a slave says ends the master."""

    def __init__(
        self,
        hub: Hub,
        keys: MasterKeys,
        coordinator: Coordinator,
        commits: Commits,
        scripts: ScriptCache,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._hub = hub
        self._keys = keys
        self._coordinator = coordinator
        self._core = coordinator.core
        self._registry = coordinator.registry
        self._commits = commits
        self._scripts = scripts
        self._clock = clock
        self._limited_log = RateLimitedLog(log, clock)

    def handle(self, peer: Peer, message: m.AnyMessage) -> None:
        """Act on one message of a slave.

        After an error that nobody foresaw the slave's session ends, and the slave is told so: it joins again, says what
        it holds, and sends again what was not acknowledged. So nothing is lost, and no half of a change stays in
        memory.
        """
        try:
            self._act(peer, message)
        except Exception as exc:
            kind = type(message).__name__
            self._limited_log.error("internal_error", where=f"a slave's {kind}", peer=peer.address, exc_info=exc)
            session = self._core.sessions.get(getattr(message, "session", b""))
            if session is not None and self._registry.is_known(peer, session.id):
                self._coordinator.perform(self._core.slaves.leave(session.id))
                self._hub.send(session.route, m.Unknown(self._coordinator.epoch))

    def _act(self, peer: Peer, message: m.AnyMessage) -> None:
        now = self._clock.monotonic()
        match message:
            case m.Outcomes():
                self._commits.receive(peer, message, now)
            case m.Hello():
                self._registry.hello(peer, message)
            case m.Beat() | m.GiveBack() | m.NeedScript() | m.NeedProject() | m.Took() | m.Leave():
                if self._registry.is_known(peer, message.session):
                    self._act_on_member(peer, message, now)
                else:
                    self._hub.send(peer.route, m.Unknown(self._coordinator.epoch))
            case _:
                self._limited_log.warning("message_unexpected", kind=type(message).__name__, peer=peer.address)

    def _act_on_member(self, peer: Peer, message: _OfMember, now: float) -> None:
        """Act on what only a slave that has joined may say."""
        core, perform, session = self._core, self._coordinator.perform, message.session
        match message:
            case m.Beat():
                named = [*message.held, *message.outbox]
                how = Condition(message.complaint, message.delivers)
                perform(
                    core.slaves.beat(session, peer.route, message.seen, named, message.window, now, how, message.held)
                )
                self._registry.note(message, now)
            case m.GiveBack():
                core.slaves.give_back(session, message.numbers, bar=message.reason == "script", error=message.error)
            case m.NeedScript():
                self._send_script(peer.route, message.script)
            case m.NeedProject():
                self._send_project(peer.route, message.name)
            case m.Took():
                if self._keys.is_proven(message):
                    ref = Ref(message.project, task_key(message.taskid))
                    perform(core.slaves.took(session, ref, message.run))
            case m.Leave():
                perform(core.slaves.leave(session))
                self._hub.send(peer.route, m.Unknown(self._coordinator.epoch))

    def _send_script(self, route: bytes, script: bytes) -> None:
        """Send a script's text, now or when it is read."""
        self._scripts.with_text(script, (route, ""), lambda text: self._hub.send(route, m.Script(script, text)))

    def _send_project(self, route: bytes, name: str) -> None:
        """Send the script of a project that another one imports, whatever its status is.

        Source: docs/pyspider-behaviour.md 2.1.
        """
        projects = (state.project for state in self._core.projects.values())
        project = next((project for project in projects if project.name == name), None)
        if project is None:
            self._hub.send(route, m.ProjectScript(name, None))
            return
        script, status = project.script, project.status.value
        self._scripts.with_text(
            script, (route, name), lambda text: self._hub.send(route, m.ProjectScript(name, script, status, text))
        )
