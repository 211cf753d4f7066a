"""Which slaves are in: sessions that joined, sessions expected back after a restart, and claims of sessions in use.

It knows nothing of projects and tasks; leases only as text that a Hello carries.
"""

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import NamedTuple

from zspider.scheduler.actions import Challenge
from zspider.scheduler.leases import Session

BEGUN_MAX = 2000  # slaves whose Hello has pages to come; of more, the one that began first begins again
HELD_MAX = 50_000  # leases named by one slave: more than a window and an outbox can hold


class Timing(NamedTuple):
    """Time limits for slaves, in seconds; see `master` in conf/master.yaml."""

    suspect_s: float = 6.0
    lease_s: float = 30.0
    adopt_s: float = 15.0
    answer_s: float = 4.0  # how long the older holder of a session has to show that it lives


class Greeting(NamedTuple):
    """The facts that a slave gives of itself in Hello."""

    session: bytes
    route: bytes
    roles: frozenset[str]
    host: str
    window: int
    seen: int


class HeldLease(NamedTuple):
    """A lease that a slave names in Hello; its proof was checked."""

    number: int
    project: int
    taskid: str
    run: int
    attempt: int
    host: str = ""  # that its page comes from, as `hosts.host_of` names it; "": none, or the page is here


class Condition(NamedTuple):
    """A slave's own report on whether it can work."""

    complaint: str = ""  # what keeps it from working, as the end of a sentence that begins with it
    delivers: bool = True  # False: what it makes does not get through


HEALTHY = Condition()


class Arrival(NamedTuple):
    """All pages of a slave's Hello."""

    greeting: Greeting
    held: list[HeldLease]
    at: float


class Membership:
    """The sessions of one master, and the claims of a second slave to one of them."""

    def __init__(self, timing: Timing, expected: Iterable[bytes], now: float) -> None:
        self.sessions: dict[bytes, Session] = {}
        self._timing = timing
        self._expected = set(expected)  # sessions of before the restart that are not back yet
        self._adopt_until = now + timing.adopt_s
        self._pages: dict[bytes, Arrival] = {}  # of a Hello that has more pages to come, by session
        self._claims: dict[bytes, Arrival] = {}  # a second slave says Hello with a live session
        self._looked = now

    def hello(
        self, greeting: Greeting, held: Sequence[HeldLease], is_last: bool, now: float
    ) -> Arrival | Challenge | None:
        """Take a page of a Hello; returns the slave to let in, a challenge to send first, or None: more follows."""
        begun = self._pages.pop(greeting.session, None)
        before = begun.held if begun is not None and begun.greeting.route == greeting.route else []
        arrival = Arrival(greeting, [*before, *islice(held, max(0, HELD_MAX - len(before)))], now)
        if not is_last:
            self._pages[greeting.session] = arrival
            if len(self._pages) > BEGUN_MAX:
                del self._pages[next(iter(self._pages))]
            return None
        session = self.sessions.get(greeting.session)
        if session is None or session.route == greeting.route or now - session.heard >= self._timing.suspect_s:
            return arrival
        older = self._claims.get(greeting.session)  # two clones in turn must not put the end off for ever
        self._claims[greeting.session] = arrival if older is None else arrival._replace(at=older.at)
        return Challenge(session)

    def admit(self, greeting: Greeting, now: float) -> Session:
        """Let a slave in and return its session, new or known; it is reached by its newest route."""
        session = self.sessions.get(greeting.session)
        if session is None:
            session = Session(*greeting[:5], joined=now, heard=now)
            self.sessions[session.id] = session
        for claim in [one for one in self._claims.values() if one.greeting.route == greeting.route]:
            # A connection is one slave's, and its session is that of its newest Hello.
            del self._claims[claim.greeting.session]
        if session.route != greeting.route:
            self.end_claim(session.id)  # of a connection before this one, or of a clone, which will say Hello again
        self.heard(session, now)
        session.route, session.window, session.seen = greeting.route, greeting.window, greeting.seen
        session.told.clear()
        self._expected.discard(session.id)
        return session

    def heard(self, session: Session, now: float) -> None:
        """Note that a slave lives: any message of it shows that."""
        session.heard = now
        session.is_silent = False

    def remove(self, session_id: bytes) -> Session | None:
        """Take a session out and return it; None if it was not in."""
        self._expected.discard(session_id)
        return self.sessions.pop(session_id, None)

    def claim(self, session_id: bytes) -> Arrival | None:
        """Return the slave that claims a session though it is in use, or None."""
        return self._claims.get(session_id)

    def end_claim(self, session_id: bytes) -> Arrival | None:
        """Take away a claim that is decided, and return it."""
        return self._claims.pop(session_id, None)

    def unanswered(self, now: float) -> list[Arrival]:
        """Return the claims whose challenge the older holder did not answer in time."""
        return [claim for claim in self._claims.values() if now - claim.at >= self._timing.answer_s]

    def mark_silent(self, now: float) -> list[Session]:
        """Mark silent sessions; returns those silent for so long that their leases are over."""
        slept_s, self._looked = now - self._looked, now
        gone = []
        for session in self.sessions.values():
            if slept_s >= self._timing.suspect_s:  # it may have spoken while we did not listen
                session.heard = max(session.heard, now - self._timing.suspect_s)
            silent_s = now - session.heard
            session.is_silent = session.is_silent or silent_s >= self._timing.suspect_s
            if silent_s >= self._timing.lease_s:
                gone.append(session)
        for begun in [x for x in self._pages.values() if now - x.at >= self._timing.lease_s]:
            del self._pages[begun.greeting.session]
        return gone

    def note_condition(self, session: Session, condition: Condition, now: float) -> bool:
        """Note a slave's condition; returns whether that changes if it may be granted tasks."""
        session.complaint = condition.complaint
        if condition.delivers == (session.stuck_since is None):
            return False
        session.stuck_since = None if condition.delivers else now
        return True

    def stuck_too_long(self, now: float) -> list[Session]:
        """Return the sessions that could not deliver anything for so long that their leases are over."""
        return [
            session
            for session in self.sessions.values()
            if session.stuck_since is not None and now - session.stuck_since >= self._timing.lease_s
        ]

    def is_adopting(self, now: float) -> bool:
        """Return whether it waits for slaves of before a restart, whose leases must not be granted twice."""
        return bool(self._expected) and now < self._adopt_until

    def not_back_after_restart(self, now: float) -> list[Session]:
        """Return the sessions that did not come back in time, once."""
        if not self._expected or now < self._adopt_until:
            return []
        expected, self._expected = self._expected, set()
        return [Session(id, b"", frozenset(), "", 0, joined=now, heard=now) for id in sorted(expected)]
