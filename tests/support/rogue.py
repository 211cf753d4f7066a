"""A machine that speaks the slaves' language with a valid join token, and says in it whatever a test wants."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from tests.support.cluster import PORT, Master
from tests.support.wire import Slave, hello
from zspider.broker import messages as m
from zspider.broker.address import Address
from zspider.broker.codec import encode_outcome
from zspider.broker.link import Link
from zspider.broker.token import Token
from zspider.delivery import End, Grant, Outcome

DEADLINE_S = 15.0
BEAT_S = 0.5


class Rogue(Slave):
    """Joined with `join`; sees what is granted to it, and pushes any outcome."""

    def __init__(self, master: Master, token_file: Path | None = None) -> None:
        self.token = Token.parse((token_file or master.join_token).read_text())
        self.session = os.urandom(16)
        self.epoch = 0
        self.window = 0  # how many grants its heartbeats ask for
        self._beat_at = 0.0
        super().__init__(Link(Address(master.address, PORT), self.token))
        self._number = 0
        self._serial = 0  # of its last message with outcomes

    def __enter__(self) -> "Rogue":
        self.until(lambda: self.link.is_connected, "connected")
        return self

    def __exit__(self, *exc: object) -> None:
        self.link.close()

    def until(self, is_so: Callable[[], Any], what: str, deadline_s: float = DEADLINE_S) -> Any:
        """Step until it is so, and return that."""
        deadline = time.monotonic() + deadline_s
        while not (answer := is_so()):
            assert time.monotonic() < deadline, f"not within {deadline_s:g} s: {what}; heard {self.messages[-5:]}"
            self.step(0.01)
            if self.epoch and time.monotonic() > self._beat_at:
                self.beat()
        return answer

    def say(self, message: m.AnyMessage) -> None:
        """Send on control, as soon as the master has read enough of what was sent before."""
        self.until(lambda: self.link.send(message), "said")

    def heard(self, kind: type[Any]) -> list[Any]:
        """All messages of this kind, in order."""
        return [message for message in self.messages if isinstance(message, kind)]

    def join(self, window: int = 0, **changes: Any) -> "Rogue":
        """Say Hello, and wait to be taken in; window: how many grants it asks for."""
        self.window = window
        self.link.send(hello(self.session, window=window, **changes))
        (welcome, *_) = self.until(lambda: self.heard(m.Welcome), "welcome")
        self.epoch = welcome.epoch
        self.link.open_bulk(welcome)
        self.until(lambda: self.times_bulk_up, "the outcomes connection is up")
        return self

    def beat(self) -> None:
        """Say that it lives and works on everything it was ever granted."""
        self._beat_at = time.monotonic() + BEAT_S
        numbers = [grant.number for grant in self.grants()]
        self.link.send(m.Beat(self.session, self.epoch, max(numbers, default=0), numbers, [], self.window))

    def grants(self, project: str = "") -> list[Grant]:
        """All that was granted, or what was of this project."""
        ids = {info.project for info in self.heard(m.ProjectInfo) if project in ("", info.name)}
        return [grant for grants in self.heard(m.Grants) for grant in grants.grants if grant.project in ids]

    def push(self, *packed: bytes, session: bytes | None = None) -> list[int]:
        """Push packed outcomes as one batch; returns their outbox numbers."""
        first = self._number + 1
        self._number += len(packed)
        items = [m.OutcomeItem(number, 0, one) for number, one in enumerate(packed, first)]
        self._serial += 1
        message = m.Outcomes(session or self.session, self.epoch, items, self._serial)
        self.until(lambda: self.link.push(message), "pushed")
        return [item.id for item in items]

    def has_arrived(self) -> bool:
        """Whether the master has taken in all that was pushed."""
        return any(beat.arrived >= self._serial for beat in self.heard(m.MasterBeat))

    def is_acknowledged(self, ids: list[int]) -> bool:
        return set(ids) <= {one for ack in self.heard(m.Ack) for one in ack.ids}

    def report(self, *outcomes: Outcome) -> None:
        """Push outcomes and wait for their acknowledgement."""
        ids = self.push(*map(encode_outcome, outcomes))
        self.until(lambda: self.is_acknowledged(ids), "acknowledged")


def success(grant: Grant, project: int | None = None, **changes: Any) -> Outcome:
    """That this grant ended well, or whatever `changes` say."""
    made = Outcome(project or grant.project, grant.taskid, grant.run, grant.attempt, grant.proof, End.SUCCESS)
    return msgspec.structs.replace(made, **changes)
