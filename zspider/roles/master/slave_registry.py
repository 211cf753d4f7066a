"""The slaves of this master: which may join, which have joined, and what they said of themselves."""

from collections import Counter
from collections.abc import Callable, Iterable

import msgspec
import structlog

from zspider import __version__
from zspider.broker import messages as m
from zspider.broker.hub import NOT_VALID, Hub, Peer
from zspider.broker.keys import MasterKeys
from zspider.roles.machine.clock import Clock
from zspider.roles.master.limited_log import RateLimitedLog
from zspider.roles.master.writer_thread import WriterThread
from zspider.scheduler.actions import Action
from zspider.scheduler.core import Core, Greeting, HeldLease
from zspider.scheduler.leases import Session
from zspider.scheduler.smooth_rate import SmoothRate
from zspider.settings import MasterSettings

log = structlog.get_logger(__name__)
HELLOS_MAX = 8  # of one session that wait for the database
ARRIVALS_LOGGED = 50  # slaves that join, or go, with a line each, before it is a line a second


class SlaveStats(msgspec.Struct):
    """The figures that a slave gave of itself, for `status`."""

    user: bytes = b""
    pid: int = 0
    version: str = ""
    fetched: int = 0
    processed: int = 0
    outbox: int = 0
    rate: SmoothRate = msgspec.field(default_factory=SmoothRate)  # of `processed`


class SlaveRegistry:
    """Lets slaves join, and keeps what `status` shows of them. The core decides what their coming and going means."""

    def __init__(
        self,
        hub: Hub,
        keys: MasterKeys,
        core: Core,
        writer: WriterThread,
        settings: MasterSettings,
        clock: Clock,
        *,
        cluster: bytes,
        epoch: int,
        perform: Callable[[Iterable[Action]], None],
    ) -> None:
        """perform: carries out the actions that the core decides."""
        self.stats: dict[bytes, SlaveStats] = {}
        self._hub = hub
        self._keys = keys
        self._core = core
        self._writer = writer
        self._settings = settings
        self._clock = clock
        self._cluster = cluster
        self._epoch = epoch
        self._perform = perform
        self._limited_log = RateLimitedLog(log, clock)
        self._arrivals_log = RateLimitedLog(log, clock, ARRIVALS_LOGGED)
        self._claims: dict[bytes, tuple[bytes, SlaveStats]] = {}  # route and figures of who claims a session that lives
        self._revocations = keys.revocations
        self._on_revoked: Callable[[], None] = lambda: None
        self._arriving: Counter[bytes] = Counter()  # Hellos that the writer has

    def is_known(self, peer: Peer, session: bytes) -> bool:
        """Return whether a session has joined with the token of this peer."""
        stats = self.stats.get(session)
        return session in self._core.sessions and stats is not None and stats.user == peer.user

    def hello(self, peer: Peer, hello: m.Hello) -> None:
        """Let a slave join or come back, or send it why it may not."""
        if hello.protocol != m.PROTOCOL:
            text = (
                f"this master speaks protocol {m.PROTOCOL} (zspider {__version__}), the slave on {hello.host} speaks "
                f"{hello.protocol} (zspider {hello.version}): install the same version on both"
            )
            self._limited_log.warning("slave_refused", reason="protocol", text=text, peer=peer.address)
            self._hub.send(peer.route, m.Refused("protocol", text))
        elif not self._has_room(hello.session):
            text = f"this master has its {self._settings.slaves_max} slaves already (master.slaves_max)"
            self._hub.send(peer.route, m.Refused("busy", text))
        elif hello.pages_left:
            self._greet(peer, hello, self._held(hello))
        elif self._arriving[hello.session] < HELLOS_MAX:  # else the database is away; it says Hello again
            self._arriving[hello.session] += 1
            held = self._held(hello)
            self._writer.call(
                lambda storage: storage.add_session(hello.session, hello.host, self._clock.wall_ms()),
                lambda _: self._admit(peer, hello, held),
            )

    def note(self, beat: m.Beat, now: float) -> None:
        """Keep the figures of a slave's heartbeat. now: monotonic seconds."""
        stats = self.stats[beat.session]
        stats.rate.note(beat.processed, now)
        stats.outbox = len(beat.outbox)
        stats.fetched, stats.processed = beat.fetched, beat.processed

    def on_revoked(self, then: Callable[[], None]) -> None:
        """Have `then` called when slaves were expelled because a token is not valid any longer."""
        self._on_revoked = then

    def expel_revoked(self) -> bool:
        """End the sessions of slaves whose token was revoked since they joined: what they hold goes to others.

        Returns whether a token was revoked since the last call.
        """
        if self._revocations == self._keys.revocations:
            return False
        self._revocations = self._keys.revocations
        for session in list(self._core.sessions.values()):
            stats = self.stats.get(session.id)
            if stats is not None and stats.user and self._keys.role_of(stats.user) is None:
                self._hub.send(session.route, m.Refused("token", NOT_VALID))
                self._perform(self._core.slaves.leave(session.id))
        self._on_revoked()
        return True

    def welcome(self, session: Session) -> None:
        """Tell a slave that the core has taken it in."""
        ports = self._hub.ports
        route, stats = self._claims.pop(session.id, (b"", None))
        if stats is not None and route == session.route:
            self.stats[session.id] = stats
        self._arrivals_log.info(
            "slave_joined", host=session.host, session=session.id.hex()[:8], leases=len(session.leases)
        )
        self._hub.send(
            session.route,
            m.Welcome(
                protocol=m.PROTOCOL,
                cluster=self._cluster,
                epoch=self._epoch,
                outcomes_port=ports.outcomes,
                pages_in_port=ports.pages_in,
                pages_out_port=ports.pages_out,
                heartbeat_s=self._settings.heartbeat_s,
                quiet_s=self._settings.quiet_s,
                rebuild_s=self._settings.rebuild_s,
            ),
        )

    def gone(self, session: Session) -> None:
        """Forget a slave that the core has let go."""
        self._arrivals_log.info("slave_gone", host=session.host, session=session.id.hex()[:8])
        self.stats.pop(session.id, None)
        self._claims.pop(session.id, None)
        self._writer.call(lambda storage: storage.drop_session(session.id), lambda _: self._keep_if_back(session.id))

    def _has_room(self, session: bytes) -> bool:
        """Return whether a session is known or one more may join; those whose Hello is under way count, too."""
        known = self._core.sessions.keys() | self._arriving.keys()
        return session in known or len(known) < self._settings.slaves_max

    def _held(self, hello: m.Hello) -> list[HeldLease]:
        """Return the leases that a slave proves to hold."""
        return [
            HeldLease(one.number, one.project, one.taskid, one.run, one.attempt, one.host)
            for one in hello.held
            if self._keys.is_proven(one)
        ]

    def _admit(self, peer: Peer, hello: m.Hello, held: list[HeldLease]) -> None:
        """Take in a slave whose session is in the database, where a restarted master finds it and waits for it."""
        self._arriving[hello.session] -= 1
        if not self._arriving[hello.session]:
            del self._arriving[hello.session]
        known = self.stats.get(hello.session)
        stats = SlaveStats(user=peer.user, pid=hello.pid, version=hello.version)
        if known is None or hello.session not in self._core.sessions:
            self.stats[hello.session] = stats
        elif known.user != peer.user:
            self._limited_log.warning("session_claimed_with_another_token", host=hello.host, peer=peer.address)
            return
        else:  # it came back, or it is a clone: the core finds out, and `welcome` is for the one that stays
            self._claims[hello.session] = (peer.route, stats)
        self._greet(peer, hello, held)

    def _greet(self, peer: Peer, hello: m.Hello, held: list[HeldLease]) -> None:
        """Hand a Hello on to the core."""
        greeting = Greeting(hello.session, peer.route, frozenset(hello.roles), hello.host, hello.window, hello.seen)
        self._perform(self._core.slaves.hello(greeting, held, hello.pages_left == 0, self._clock.monotonic()))

    def _keep_if_back(self, session_id: bytes) -> None:
        """Write a session to the database again if its Hello was on the way while it was deleted there."""
        if (session := self._core.sessions.get(session_id)) is not None:
            self._writer.call(lambda storage: storage.add_session(session_id, session.host, self._clock.wall_ms()))
