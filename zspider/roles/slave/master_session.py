"""What this slave knows of its master, what it has to say to it next, and when.

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
    """What has to be done now."""

    HELLO = "hello"
    BEAT = "beat"
    REBUILD = "rebuild"  # the sockets, with the token read again


class Joined(StrEnum):
    """What a Welcome means."""

    FIRST = "first"
    AGAIN = "again"
    OTHER_CLUSTER = "other cluster"  # another database: what we know and hold is worth nothing there
    STALE = "stale"  # of a master that is not the master any more


class MasterSession:
    """One slave's session. `due` says what to do; each event method is told what happened."""

    def __init__(self, now: float, chance: random.Random | None = None) -> None:
        """chance: draws sessions, which nobody may guess; the system's own unless a test wants them repeated."""
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
        return self.state is State.JOINED

    def is_quiet(self, now: float) -> bool:
        """The leases may have run out: start nothing more of what is held."""
        return now - self._heard > self.quiet_s

    def is_heard(self, now: float) -> bool:
        """Whether the master has taken us in and speaks, as often as it should."""
        return self.is_joined and now - self._heard < HEARD_BEATS * self.heartbeat_s

    def silent_s(self, now: float) -> float:
        """Seconds since the master was heard."""
        return now - self._heard

    def due(self, now: float, *, is_refused: bool) -> Due | None:
        """What has to be done at this time, if anything. is_refused: the sockets will not connect by themselves."""
        if self.state is State.REFUSED:
            return Due.REBUILD if now >= max(self._due_at, self._reconnector.rebuild_at(is_refused=True)) else None
        if now >= self._reconnector.rebuild_at(is_refused=is_refused):
            return Due.REBUILD
        if now < self._due_at or is_refused:
            return None
        return Due.BEAT if self.state is State.JOINED else Due.HELLO

    def wait_s(self, now: float, *, is_refused: bool) -> float:
        """Seconds until something is due."""
        rebuild_at = self._reconnector.rebuild_at(is_refused=is_refused or self.state is State.REFUSED)
        if self.state is State.REFUSED:
            return max(0.0, rebuild_at - now, self._due_at - now)
        return max(0.0, (rebuild_at if is_refused else min(rebuild_at, self._due_at)) - now)

    def beat_soon(self, now: float) -> None:
        """What the next heartbeat says has changed and should be known."""
        if self.state is State.JOINED:
            self._due_at = now

    # --- what happened --------------------------------------------------------------------------

    def said(self, was_sent: bool, now: float) -> None:
        """Hello or a heartbeat was said, or could not be sent."""
        pause_s = self.heartbeat_s if self.state is State.JOINED else HELLO_AGAIN_S
        self._due_at = now + (pause_s if was_sent else NOT_SENT_S)

    def connected(self, now: float) -> None:
        """A connection is there, and it is a new one: say Hello on it."""
        if self.state is not State.REFUSED:
            self.state = State.CALLING
            self._due_at = now

    def heard(self, epoch: int | None, now: float) -> bool:
        """A message came. epoch: the one in it. False: it is from a former master, to be ignored."""
        if epoch is not None and epoch < self.epoch:
            return False
        self._heard = now
        self._reconnector.heard(now)
        return True

    def welcomed(self, welcome: Welcome, now: float) -> Joined:
        """The master took us in."""
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
        """The master does not know the session: say Hello. Several such answers are one."""
        self.heard(None, now)
        if self.state is State.JOINED:
            self.state = State.CALLING
            self._due_at = now

    def new_session(self, now: float) -> None:
        """Somebody else lives under our session: draw another, say Hello under it."""
        self.id = self._chance.randbytes(SESSION_BYTES)
        self.heard(None, now)
        self.state = State.CALLING
        self._due_at = now

    def refused(self, reason: str, now: float) -> None:
        """The master answered that it will not have us."""
        self.state = State.REFUSED
        self._due_at = now + (PROTOCOL_RETRY_S if reason == "protocol" else 0.0)

    def is_news(self, refusal: str) -> bool:
        """Whether this refusal was not given before, since the last Welcome."""
        is_news = refusal != self._refusal
        self._refusal = refusal
        return is_news

    def silence_is_news(self) -> bool:
        """Whether this is the first rebuild of this silence."""
        is_news = not self._was_silent
        self._was_silent = True
        return is_news

    def rebuilt(self, now: float) -> None:
        """The sockets are new, or could not be made (no token): tried again later."""
        self.state = State.CALLING
        self._due_at = now
        self._reconnector.rebuilt(now)
