"""Outcomes on their way into the database: checked, written in groups, and acknowledged afterwards."""

from collections.abc import Container, Sequence

import msgspec
import structlog

from zspider.broker import messages as m
from zspider.broker.codec import decode_outcome
from zspider.broker.hub import Hub, Peer
from zspider.broker.keys import MasterKeys
from zspider.delivery import End, Outcome
from zspider.errors import ProtocolError
from zspider.roles.machine.clock import SYSTEM_CLOCK, Clock
from zspider.roles.master.coordinator import Coordinator
from zspider.roles.master.follow_limit import FollowLimit
from zspider.roles.master.limited_log import RateLimitedLog
from zspider.roles.master.outcome_checks import check_outcome
from zspider.roles.master.received import ReceivedOutcome, received
from zspider.roles.master.writer_thread import WriterThread
from zspider.settings import LimitSettings
from zspider.storage import Committed
from zspider.task import CRONJOB, INTERNAL, Ref, ScriptInfo, info_run, task_key

log = structlog.get_logger(__name__)


class Commits:
    """Has the outcomes of slaves written; nothing is acknowledged before its COMMIT."""

    def __init__(
        self,
        hub: Hub,
        keys: MasterKeys,
        writer: WriterThread,
        coordinator: Coordinator,
        clock: Clock = SYSTEM_CLOCK,
        *,
        limits: LimitSettings | None = None,
    ) -> None:
        self._hub = hub
        self._keys = keys
        self._writer = writer
        self._coordinator = coordinator
        self._core = coordinator.core
        self._clock = clock
        self._limited_log = RateLimitedLog(log, clock)
        self._follow_limit = FollowLimit((limits or LimitSettings()).follows)
        coordinator.registry.on_revoked(self.drop_revoked)

    def receive(self, peer: Peer, message: m.Outcomes, now: float) -> None:
        """Check a batch of outcomes and queue it for the writer. now: monotonic seconds.

        A batch of an unknown session is dropped: the slave sends it again after its Hello. So is what waits for the
        writer already, and what is over the bounds of its session: that is asked for when there is room, and the slave
        sends it again anyhow until it is acknowledged.
        """
        coordinator = self._coordinator
        if not coordinator.registry.is_known(peer, message.session):
            return
        session = self._core.sessions[message.session]
        self._core.slaves.heard(session, now)
        session.outcomes = max(session.outcomes, message.serial)
        taken: list[ReceivedOutcome] = []
        refused: list[int] = []
        room = self._writer.waiting.room(message.session)
        for number, item in enumerate(message.items):
            if room.is_full:
                self._writer.waiting.put_off(message.session, [one.id for one in message.items[number:]])
                break
            if item.id in room.items:
                continue
            outcome = self._checked(item, peer, message.session)
            if outcome is None:
                refused.append(item.id)
                continue
            one = received(message.session, item.id, outcome, peer.user, len(item.outcome))
            room.take(one)
            taken.append(one)
        self._writer.commit(taken, self._committed)  # before the core hears of them: what follows cannot lose them
        if refused:
            self._hub.send(session.route, m.Ack(coordinator.epoch, refused))
        for one in taken:
            outcome = one.outcome
            if outcome.end is not End.PART:
                ref = Ref(outcome.project, task_key(outcome.taskid))
                self._core.arrived(ref, outcome.run, outcome.answer, outcome.fetch_ms / 1000, now, session)

    def drop_revoked(self) -> None:
        """Drop what waits and came with a token that is not valid any longer; its tasks go to others."""
        self._writer.drop(lambda one: bool(one.user) and self._keys.role_of(one.user) is None, self._dropped)

    def _checked(self, item: m.OutcomeItem, peer: Peer, session: bytes) -> Outcome | None:
        """Return the outcome, or None for what was never granted, cannot be read or is over `limits.follows`.

        The first one that is over this limit becomes one by which its run fails. The caller acknowledges such an item,
        too, so that it is not sent for ever.
        """
        try:
            outcome = decode_outcome(item.outcome)
        except ProtocolError as exc:
            self._limited_log.warning("outcome_dropped", reason=str(exc), peer=peer.address)
            return None
        if not self._keys.is_proven(outcome):
            self._limited_log.warning(
                "outcome_dropped", reason="no valid proof", task=outcome.taskid, peer=peer.address
            )
            return None
        ref = Ref(outcome.project, task_key(outcome.taskid))
        was_over = self._follow_limit.is_over(ref, outcome.run)
        if self._follow_limit.admits(ref, outcome, (session, item.id)):
            return self._admitted(outcome, peer)
        self._limited_log.warning(
            "outcome_dropped", reason=self._follow_limit.reason, task=outcome.taskid, peer=peer.address
        )
        return None if was_over else outcome.failed(End.FATAL, self._follow_limit.reason)

    def _admitted(self, outcome: Outcome, peer: Peer) -> Outcome:
        """Return a proven outcome as it may be stored, and log what it had that may not."""
        state = self._core.projects.get(outcome.project)
        checked = check_outcome(outcome, None if state is None else state.project.name)
        if checked.refused:
            self._limited_log.warning("result_refused", reason=checked.refused, task=outcome.taskid, peer=peer.address)
        if checked.dropped:
            self._limited_log.warning(
                "messages_unreadable", number=checked.dropped, task=outcome.taskid, peer=peer.address
            )
        return checked.outcome

    def _dropped(self, dropped: Sequence[ReceivedOutcome]) -> None:
        """Have the tasks of outcomes that are not committed run again."""
        log.warning("outcomes_dropped", reason="their token was revoked", number=sum(one.is_last for one in dropped))
        for one in dropped:
            ref = Ref(one.outcome.project, task_key(one.outcome.taskid))
            self._follow_limit.ended(ref, one.outcome.run)
            if one.outcome.end is not End.PART:
                self._coordinator.perform(self._core.slaves.outcome_dropped(ref, one.outcome.run))

    def _committed(self, received: Sequence[ReceivedOutcome], report: Committed) -> None:
        """Tell the core of a group that is in the database, then acknowledge it."""
        senders = {
            (one.outcome.project, task_key(one.outcome.taskid), one.outcome.run): one.session
            for one in reversed(received)  # of two outcomes of one run, the first won
        }
        for end in report.ended:
            by = senders.get((end.ref.project, end.ref.key, end.run), b"")
            if self._follow_limit.ended(end.ref, end.run):  # its slave does not know that it is over
                by = b""
            self._coordinator.perform(
                self._core.ended(end.ref, end.run, by, is_late=end.late, is_success=end.is_success, error=end.error)
            )
        self._coordinator.apply(report)
        for one in received:
            if one.outcome.taskid in INTERNAL:
                self._internal_ended(one.outcome, one.session)
        self._acknowledge(received, set(report.followed))
        for session_id, again in self._writer.waiting.wanted_again():
            self._answer(session_id, m.Ack(self._coordinator.epoch, [], again=again))

    def _acknowledge(self, received: Sequence[ReceivedOutcome], followed: Container[int]) -> None:
        """Send an Ack to each session. followed: the outcomes whose follows all have rows now, by their index.

        A large outcome is acknowledged with its last piece; that all its follows have rows is not said.
        """
        ids: dict[bytes, tuple[list[int], list[int]]] = {}
        for index, one in enumerate(received):
            if not one.is_last:
                continue
            done, known = ids.setdefault(one.session, ([], []))
            done.append(one.id)
            if index in followed and not one.was_cut:
                known.append(one.id)
        for session_id, (done, known) in ids.items():
            self._answer(session_id, m.Ack(self._coordinator.epoch, done, known))

    def _answer(self, session_id: bytes, ack: m.Ack) -> None:
        if (session := self._core.sessions.get(session_id)) is not None:
            self._hub.send(session.route, ack)

    def _internal_ended(self, outcome: Outcome, session_id: bytes) -> None:
        """Act on the outcome of a task that is the master's own: a tick of @every, or what a script declares."""
        if outcome.taskid != CRONJOB:
            self._learn(outcome, session_id)
        elif outcome.end is not End.PART:
            error = "" if outcome.end is End.SUCCESS else outcome.reason or "failed"
            self._core.cron_ended(outcome.project, outcome.run, error, self._clock.wall_ms())

    def _learn(self, outcome: Outcome, session_id: bytes) -> None:
        """Take in what a version of a script declares, or why it cannot be used.

        The word of a slave that is gone counts for nothing, as it may be gone for its token: another one is asked.
        """
        state, session = self._core.projects.get(outcome.project), self._core.sessions.get(session_id)
        if state is None or session is None:
            return
        if state.project.info is not None or outcome.run != info_run(state.project.script):
            return
        try:
            info = msgspec.msgpack.decode(outcome.info or b"", type=ScriptInfo)
        except Exception as exc:  # a slave's bytes: MsgspecError, UnicodeDecodeError, RecursionError, MemoryError
            info = ScriptInfo(error=outcome.reason or f"the script's declarations cannot be read: {exc}")
        if info.error:
            self._coordinator.script_failed(state.project, session, info)
        else:
            self._coordinator.script_told(state.project, session, info)
