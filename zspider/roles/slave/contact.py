"""A slave's talk with its master on control, and when the connection is made anew."""

import structlog

from zspider.broker import messages as m
from zspider.broker.address import Address
from zspider.broker.link import Link, Refusal
from zspider.roles.machine.clock import Clock
from zspider.roles.slave.delivering import Delivering
from zspider.roles.slave.drain import Drain
from zspider.roles.slave.heartbeat import heartbeat, hellos
from zspider.roles.slave.master_session import Due, Joined, MasterSession, State
from zspider.roles.slave.token_source import TokenSource
from zspider.roles.slave.work import Work

log = structlog.get_logger(__name__)
REFUSALS: dict[Refusal, str] = {  # why there is no connection, by what the link found out
    "auth": "the token in {where} is not valid on this master; on the master run: zspiderd token show",
    "key": "the token in {where} is for another master; on this master run: zspiderd token show",
    "protocol": "only one side encrypts; a slave with a token needs a master with `security: curve`",
    "foreign": "something else than a zspider master listens there",
    "closed": "whatever listens there closes each connection at once: no zspider master, or a proxy without one",
}
HANGS = "something accepts connections there and says nothing: a master that hangs, or none"


class Contact:
    """Says Hello and heartbeats when they are due, and hands on what the master says."""

    def __init__(
        self,
        address: Address,
        session: MasterSession,
        work: Work,
        delivering: Delivering,
        drain: Drain,
        tokens: TokenSource,
        clock: Clock,
    ) -> None:
        self.refusal = ""  # why we are not let in
        self._address = str(address)
        self._session = session
        self._work = work
        self._delivering = delivering
        self._drain = drain
        self._tokens = tokens
        self._clock = clock
        self._is_up = False  # Welcome was received on these sockets
        self._announced = 0  # the window, in the last Hello or heartbeat

    # --- what is said ---------------------------------------------------------------------------

    def keep(self, link: Link) -> None:
        """Say what is due; build the connection anew when it has been silent for too long."""
        refusal = link.refusal
        if refusal is not None:
            self.refusal = REFUSALS[refusal].format(where=self._tokens.where)
            if self._session.is_news(f"refused: {refusal}"):
                log.error("refused", master=self._address, advice=self.refusal)
        now = self._clock.boottime()
        match self._session.due(now, is_refused=link.gives_up):
            case Due.HELLO:
                self._session.said(self._say_hello(link), now)
            case Due.BEAT:
                self._session.said(self._say_beat(link), now)
            case Due.REBUILD:
                self._rebuild(link, now)
            case None:
                if self._work.window != self._announced:
                    self._session.beat_soon(now)

    def _say_hello(self, link: Link) -> bool:
        if not link.is_connected:
            return False
        self._announced = self._work.window
        return all(link.send(hello) for hello in hellos(self._session, self._work, self._announced))

    def _say_beat(self, link: Link) -> bool:
        self._announced = self._work.window
        return link.send(heartbeat(self._session, self._work, self._delivering, self._announced))

    def _rebuild(self, link: Link, now: float) -> None:
        """Make fresh sockets, with the token as it is now."""
        if link.refusal is None and self._session.silence_is_news():
            event = "master_silent" if self._is_up else "master_not_reached"
            keys = {"advice": HANGS} if link.was_answered and not link.is_connected else {}
            log.warning(event, master=self._address, seconds=round(self._session.silent_s(now), 1), **keys)
        if link.refusal is None and self._session.state is not State.REFUSED:
            self.refusal = ""
        self._is_up = False
        token = self._tokens.again()
        if token is not None or not self._tokens.is_needed:  # else the file is away just now: looked at again next time
            link.rebuild(token)
        self._session.rebuilt(now)

    # --- what the master says -------------------------------------------------------------------

    def on_message(self, link: Link, message: m.AnyMessage, now: float) -> None:
        """Take in one message. now: monotonic seconds."""
        session, boottime = self._session, self._clock.boottime()
        match message:
            case m.Welcome():
                self._on_welcome(link, message, now)
            case m.Unknown():
                session.unknown(boottime)
                self._drain.unknown()
            case m.Refused():
                self._on_refused(message)
            case m.NewSession(session=id_) if id_ and id_ != session.id:
                pass  # the answer to a Hello from before the last NewSession
            case m.NewSession():
                undone = self._work.endings.drop_granted()
                session.new_session(boottime)
                log.warning("session_cloned", dropped=undone, outbox=len(self._work.outbox))
            case m.MasterBeat(epoch=epoch) | m.Grants(epoch=epoch) | m.Ack(epoch=epoch):
                if session.heard(epoch, boottime):
                    self._on_work(message, now)
            case _:
                session.heard(None, boottime)
                self._on_work(message, now)

    def _on_work(self, message: m.AnyMessage, now: float) -> None:
        work = self._work
        match message:
            case m.Grants(grants=grants):
                work.grant(grants, now)
            case m.Ack(ids=ids, known=known, again=again):
                work.acknowledge(ids, known, again, now)
            case m.ProjectInfo():
                work.learn(message, now)
            case m.Script(script=script, text=text):
                work.processing.script_came(script, text)
            case m.ProjectScript():
                work.processing.project_came(message, now)
            case m.MasterBeat(arrived=arrived, reads=reads):
                self._delivering.watch.heard(arrived, reads=reads)
            case m.Release(numbers=numbers):
                work.release(numbers, now)
            case m.Recall(numbers=numbers):
                work.recall(numbers)
            case m.Taken(numbers=numbers):
                work.relaying.taken(numbers)
            case m.Resend(numbers=numbers):
                work.relaying.resend(numbers)

    def _on_refused(self, message: m.Refused) -> None:
        self.refusal = message.text
        if self._session.is_news(message.reason):
            log.error("refused", master=self._address, reason=message.reason, advice=message.text)
        self._session.refused(message.reason, self._clock.boottime())

    def _on_welcome(self, link: Link, welcome: m.Welcome, now: float) -> None:
        if welcome.protocol != m.PROTOCOL:
            self._on_refused(m.Refused("protocol", f"the master speaks protocol {welcome.protocol}"))
            return
        joined = self._session.welcomed(welcome, self._clock.boottime())
        if joined is Joined.STALE:
            return
        work = self._work
        if joined is Joined.OTHER_CLUSTER:
            leases, outcomes = work.forget_cluster()
            log.warning("other_cluster", advice="its database is another one", leases=leases, outcomes=outcomes)
        self._is_up = True
        self.refusal = ""
        if not link.open_bulk(welcome, sends_pages=work.sends_pages, takes_pages=work.takes_pages):
            self._session.refused("no sockets", self._clock.boottime())  # all is tried again, from the beginning
            return
        work.rejoined(now)
        self._delivering.joined()
        self._drain.joined()
        event = "joined" if joined is Joined.FIRST else "rejoined"
        log.info(event, master=self._address, epoch=welcome.epoch, held=len(work.held), outbox=len(work.outbox))
