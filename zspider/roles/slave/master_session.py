"""A slave's session with its master: whether it is a member, and which message is due next, and when.

Pure: times are arguments, in seconds of a clock that goes on while the machine is suspended
(CLOCK_BOOTTIME), because they answer "may my leases be gone?".
"""

import random
import secrets
from enum import StrEnum

from zspider.broker.messages import Welcome
from zspider.broker.reconnect import Reconnector
from zspider.task import SESSION_BYTES

HELLO_AGAIN_S = 2.0  # an unanswered Hello is said again
NOT_SENT_S = 0.2  # what could not be sent (no connection yet) is tried again
HEARD_BEATS = 3.0  # a master that says nothing for so many heartbeats is away, or hangs
PROTOCOL_RETRY_S = 10.0  # a master of another version will not change its mind soon


class State(StrEnum):
    """Where the slave stands with its master."""

    CALLING = "calling"  # says Hello until it is welcomed
    JOINED = "joined"
    REFUSED = "refused"  # waits before it tries again on new sockets


class Due(StrEnum):
    """The action that is due now."""

    HELLO = "hello"
    BEAT = "beat"
    REBUILD = "rebuild"  # the sockets, with the token read again


class Joined(StrEnum):
    """The meaning of a Welcome."""

    FIRST = "first"
    AGAIN = "again"
    OTHER_CLUSTER = "other cluster"  # another database: what we know and hold is worth nothing there
    STALE = "stale"  # of a master that is not the master any more


class MasterSession:
    """A slave's session with its master. `due` says what to do; the other methods are told what happened."""

    def __init__(self, now: float, chance: random.Random | None = None) -> None:
        """chance: source of randomness for session ids, which must not be guessed; the system's unless a test wants
        repeatable ones.
        """
        self._chance = chance or secrets.SystemRandom()
        self.id = self._chance.randbytes(SESSION_BYTES)
        self.cluster: bytes | None = None
        self.epoch = 0
        self.state = State.CALLING
        self.heartbeat_s = 2.0  # this and the next until the first Welcome; then the master's
        self.quiet_s = 20.0
        self._reconnector = Reconnector(rebuild_s=10.0, now=now, chance=self._chance)
        self._heard = now
        self._due_at = now
        self._refusal = ""  # the last one, until the next Welcome
        self._was_silent = False

    @property
    def is_joined(self) -> bool:
        """Whether the master has let us in."""
        return self.state is State.JOINED

    def is_quiet(self, now: float) -> bool:
        """Return whether the leases may have run out: then nothing more of what is held may be started."""
        return now - self._heard > self.quiet_s

    def is_heard(self, now: float) -> bool:
        """Return whether the master has let us in and speaks as often as it should."""
        return self.is_joined and now - self._heard < HEARD_BEATS * self.heartbeat_s

    def silent_s(self, now: float) -> float:
        """Return the seconds since the master was heard."""
        return now - self._heard

    def due(self, now: float, *, is_refused: bool) -> Due | None:
        """Return what has to be done now, if anything. is_refused: the sockets will not connect by themselves."""
        if self.state is State.REFUSED:
            return Due.REBUILD if now >= max(self._due_at, self._reconnector.rebuild_at(is_refused=True)) else None
        if now >= self._reconnector.rebuild_at(is_refused=is_refused):
            return Due.REBUILD
        if now < self._due_at or is_refused:
            return None
        return Due.BEAT if self.state is State.JOINED else Due.HELLO

    def wait_s(self, now: float, *, is_refused: bool) -> float:
        """Return the seconds until something is due."""
        rebuild_at = self._reconnector.rebuild_at(is_refused=is_refused or self.state is State.REFUSED)
        if self.state is State.REFUSED:
            return max(0.0, rebuild_at - now, self._due_at - now)
        return max(0.0, (rebuild_at if is_refused else min(rebuild_at, self._due_at)) - now)

    def beat_soon(self, now: float) -> None:
        """Make the next heartbeat due: what it says has changed."""
        if self.state is State.JOINED:
            self._due_at = now

    # --- what happened --------------------------------------------------------------------------

    def said(self, was_sent: bool, now: float) -> None:
        """Note that Hello or a heartbeat was sent, or could not be."""
        pause_s = self.heartbeat_s if self.state is State.JOINED else HELLO_AGAIN_S
        self._due_at = now + (pause_s if was_sent else NOT_SENT_S)

    def connected(self, now: float) -> None:
        """Note that there is a new connection: Hello is said on it."""
        if self.state is not State.REFUSED:
            self.state = State.CALLING
            self._due_at = now

    def heard(self, epoch: int | None, now: float) -> bool:
        """Note that a message came. epoch: the one in it. False: it is from a former master, to be ignored."""
        if epoch is not None and epoch < self.epoch:
            return False
        self._heard = now
        self._reconnector.heard(now)
        return True

    def welcomed(self, welcome: Welcome, now: float) -> Joined:
        """Take in a Welcome; returns what it means."""
        joined = Joined.AGAIN
        if self.cluster is None:
            joined = Joined.FIRST
        elif welcome.cluster != self.cluster:
            joined = Joined.OTHER_CLUSTER
        elif welcome.epoch < self.epoch:
            return Joined.STALE
        self.cluster, self.epoch = welcome.cluster, welcome.epoch
        self.heartbeat_s, self.quiet_s = welcome.heartbeat_s, welcome.quiet_s
        self._reconnector.rebuild_s = welcome.rebuild_s
        self.state = State.JOINED
        self._refusal, self._was_silent = "", False
        self._due_at = now
        self.heard(None, now)
        return joined

    def unknown(self, now: float) -> None:
        """Note that the master does not know the session: Hello is said again. Several such answers count as one."""
        self.heard(None, now)
        if self.state is State.JOINED:
            self.state = State.CALLING
            self._due_at = now

    def new_session(self, now: float) -> None:
        """Draw another session, as another slave lives under ours; Hello is said under it."""
        self.id = self._chance.randbytes(SESSION_BYTES)
        self.heard(None, now)
        self.state = State.CALLING
        self._due_at = now

    def refused(self, reason: str, now: float) -> None:
        """Note that the master does not let us in."""
        self.state = State.REFUSED
        self._due_at = now + (PROTOCOL_RETRY_S if reason == "protocol" else 0.0)

    def is_news(self, refusal: str) -> bool:
        """Return whether this refusal was not given before, since the last Welcome."""
        is_news = refusal != self._refusal
        self._refusal = refusal
        return is_news

    def silence_is_news(self) -> bool:
        """Return whether this is the first rebuild of this silence."""
        is_news = not self._was_silent
        self._was_silent = True
        return is_news

    def rebuilt(self, now: float) -> None:
        """Note that the sockets are new, or could not be made (no token) and are tried again later."""
        self.state = State.CALLING
        self._due_at = now
        self._reconnector.rebuilt(now)
