"""A slave that answers at once: what it is granted is done the moment it arrives, with a small result.

It speaks the real protocol over real, encrypted sockets and keeps its outbox until it is acknowledged. So what limits a
master with such slaves is the master and its database, and nothing else.
"""

import secrets
import time
from collections.abc import Iterable

import msgspec
from zspider.broker import messages as m
from zspider.broker.address import Address
from zspider.broker.codec import encode_outcome
from zspider.broker.link import Link
from zspider.broker.token import Token
from zspider.delivery import End, Grant, Outcome
from zspider.task import GET_INFO, ScriptInfo

WINDOW = 1000  # leases held at most: about those of five real slaves
BATCH = 200
BEAT_S = 0.5
POLL_S = 0.2
DEADLINE_S = 120.0
RESULT = b'{"url": "http://example.org/", "title": "The quiet harbour"}'
TRACK = b"\x82\xa5fetch\x80\xa7process\x80"


class EchoSlave:
    """One session with a master."""

    def __init__(self, address: Address, token: Token) -> None:
        self.first_grant_s = 0.0  # time.monotonic() at which the first task came
        self.acknowledged = 0  # tasks
        self._acks: list[tuple[int, float]] = []  # so many were acknowledged at this time
        self._link = Link(address, token)
        self._session = secrets.token_bytes(16)
        self._epoch = 0
        self._seen = 0
        self._unsent: list[m.OutcomeItem] = []
        self._outbox: dict[int, m.OutcomeItem] = {}  # by id
        self._left = 0  # tasks that are still wanted
        self._beat_at = 0.0
        self._is_joined = False

    def run(self, tasks: int) -> None:
        """Do so many tasks and leave; what was granted beyond is given back."""
        self._left = tasks
        end = time.monotonic() + DEADLINE_S
        try:
            while self._left or self._outbox:
                assert time.monotonic() < end, self._state(tasks)
                self._step()
            while not self._link.send(m.Leave(self._session)):
                self._step()
            self._link.poll(POLL_S)
        finally:
            self._link.close()

    def rate(self, tasks: int) -> float:
        """Tasks per second from the first grant until so many were acknowledged."""
        return tasks / (next(at for number, at in self._acks if number >= tasks) - self.first_grant_s)

    def _state(self, wanted: int) -> str:
        where = self._link.refusal or ("joined" if self._is_joined else "not joined")
        return f"{where}; {self.acknowledged} tasks done in {DEADLINE_S} s, wanted {wanted}"

    def _step(self) -> None:
        polled = self._link.poll(POLL_S)
        if polled.is_control_up:
            self._say_hello()
        for message in polled.messages:
            self._hear(message)
        self._push()
        if time.monotonic() >= self._beat_at:
            self._beat_at = time.monotonic() + BEAT_S
            if self._is_joined:
                self._link.send(self._beat())
            else:
                self._say_hello()

    def _say_hello(self) -> None:
        roles, window = ["fetcher", "processor"], WINDOW
        hello = m.Hello(m.PROTOCOL, self._session, roles, window, "echo", 1, "0", None, self._epoch, self._seen)
        self._link.send(hello)

    def _beat(self) -> m.Beat:
        numbers = [item.number for item in self._outbox.values()]
        return m.Beat(self._session, self._epoch, self._seen, [], numbers, WINDOW if self._left else 0)

    def _hear(self, message: m.AnyMessage) -> None:
        match message:
            case m.Welcome():
                self._epoch, self._is_joined = message.epoch, True
                self._link.open_bulk(message)
            case m.Unknown():
                self._is_joined = False
            case m.Grants():
                self._answer(message.grants)
            case m.Ack():
                self._forget(message.ids)

    def _answer(self, grants: list[Grant]) -> None:
        self._seen = grants[-1].number
        unwanted = []
        for grant in grants:
            if grant.taskid == GET_INFO:
                self._keep(grant, info=msgspec.msgpack.encode(ScriptInfo()))
            elif self._left:
                self.first_grant_s = self.first_grant_s or time.monotonic()
                self._left -= 1
                self._keep(grant, results=[RESULT], track=TRACK)
            else:
                unwanted.append(grant.number)
        if unwanted:
            self._link.send(m.GiveBack(self._session, unwanted))

    def _keep(self, grant: Grant, **fields: object) -> None:
        outcome = Outcome(
            grant.project,
            grant.taskid,
            grant.run,
            grant.attempt,
            grant.proof,
            End.SUCCESS,
            **fields,  # type: ignore[arg-type]
        )
        item = m.OutcomeItem(grant.number, grant.number, encode_outcome(outcome))
        self._outbox[item.id] = item
        self._unsent.append(item)

    def _push(self) -> None:
        while self._unsent and self._link.push(m.Outcomes(self._session, self._epoch, self._unsent[:BATCH])):
            del self._unsent[:BATCH]

    def _forget(self, ids: Iterable[int]) -> None:
        for number in ids:
            if self._outbox.pop(number, None) is not None:
                self.acknowledged += 1
        self._acks.append((self.acknowledged, time.monotonic()))
