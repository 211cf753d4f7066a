"""A master that does what a test tells it: a real Hub, no scheduler, no database."""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from tests.support.addresses import loopback_address
from zspider.broker import messages as m
from zspider.broker.codec import decode_outcome
from zspider.broker.hub import Hub
from zspider.broker.keys import MasterKeys, proof
from zspider.delivery import End, Grant, Outcome
from zspider.settings import CONTROL_PORT
from zspider.task import GUARDED

PROJECT = 7


def script_hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


class ScriptedMaster:
    """Welcomes slaves, sends scripts that they ask for, keeps what they say; grants and acknowledges when told."""

    def __init__(self, directory: Path, **timing: float) -> None:
        self.keys = MasterKeys(directory)
        self.host = loopback_address()  # its ports are free, and stay so while it is closed
        self.address = f"{self.host}:{CONTROL_PORT}"
        self.timing = {"heartbeat_s": 0.2, "quiet_s": 20.0, "rebuild_s": 10.0, **timing}
        self.epoch = 1
        self.cluster = b"c" * 16
        self.scripts: dict[bytes, str] = {}
        self.projects: dict[str, str | None] = {}  # what a script may import; None: there is no such project
        self.heard: list[Any] = []  # all messages, in order
        self.outcomes: list[tuple[m.OutcomeItem, Outcome]] = []
        self.routes: dict[bytes, bytes] = {}  # session -> route
        self.acknowledges = True
        self.answers_hello = True
        self._unacknowledged: list[tuple[bytes, int]] = []
        self._number = 0
        self.open()

    def open(self) -> None:
        """Listen, on the same port each time; the sessions of before are not known."""
        self.hub = Hub(self.host, CONTROL_PORT, self.keys)
        self.routes = {}

    def close(self) -> None:
        self.hub.close()

    def step(self) -> None:
        """Take in what has arrived and answer it."""
        for peer, message in self.hub.poll(0):
            self.heard.append(message)
            match message:
                case m.Hello() if not self.answers_hello:
                    pass
                case m.Hello(session=session, pages_left=0):
                    self.routes[session] = peer.route
                    self._welcome(session)
                case m.Hello():
                    pass
                case m.Outcomes(session=session, items=items):
                    if session in self.routes:
                        self._on_outcomes(session, items)
                case _ if message.session not in self.routes:
                    self.hub.send(peer.route, m.Unknown(self.epoch))
                case m.Leave(session=session):
                    del self.routes[session]
                    self.hub.send(peer.route, m.Unknown(self.epoch))
                case m.Beat(session=session):
                    self.say(session, m.MasterBeat(self.epoch))
                case m.NeedScript(session=session, script=script):
                    if script in self.scripts:
                        self.say(session, m.Script(script, self.scripts[script]))

                case m.NeedProject(session=session, name=name):
                    if name in self.projects:
                        text = self.projects[name]
                        known = m.ProjectScript(name, None) if text is None else _known(name, text)
                        self.say(session, known)

    def said(self, kind: type[Any]) -> list[Any]:
        return [message for message in self.heard if isinstance(message, kind)]

    @property
    def last_beat(self) -> m.Beat:
        """The latest heartbeat; before the first one, an empty one."""
        beats = self.said(m.Beat)
        return beats[-1] if beats else m.Beat(bytes(16), 0, 0, [], [], 1)

    @property
    def session(self) -> bytes:
        """The one slave's."""
        (session,) = self.routes
        return session

    def say(self, session: bytes, message: m.AnyMessage) -> bool:
        return self.hub.send(self.routes[session], message)

    def tell(self, message: m.AnyMessage) -> None:
        """Say it to the one slave."""
        assert self.say(self.session, message)

    def project(self, script: str, crawl_config: dict[str, Any] | None = None, rate: float = 1e6) -> bytes:
        """Tell the one slave of a script version; returns its hash."""
        digest = script_hash(script)
        self.scripts[digest] = script
        config = msgspec.msgpack.encode(crawl_config or {})
        self.tell(m.ProjectInfo(PROJECT, "demo", "", "RUNNING", rate, rate, 1_700_000_000_000, digest, config))
        return digest

    def grant(self, script: bytes, *urls: str, callback: str = "page", start_ms: int = 0, **parts: Any) -> list[Grant]:
        """Lend these URLs to the one slave. parts: options of `fetch`, `process={...}`, or `guarded=True`."""
        process = {"callback": callback, **parts.pop("process", {})}
        guard = {GUARDED: True} if parts.pop(GUARDED, False) else {}
        body = msgspec.msgpack.encode({"schedule": {}, "fetch": parts, "process": process, **guard})
        grants = [self._grant(url, script, body, start_ms) for url in urls]
        self.tell(m.Grants(self.epoch, grants))
        return grants

    def acknowledge(self) -> None:
        """Acknowledge all that has come and was not acknowledged."""
        for session in {session for session, _ in self._unacknowledged}:
            self.say(session, m.Ack(self.epoch, [id_ for other, id_ in self._unacknowledged if other == session]))
        self._unacknowledged.clear()

    def ended(self) -> dict[str, Outcome]:
        """The ending outcomes, by taskid."""
        return {outcome.taskid: outcome for _, outcome in self.outcomes if outcome.end is not End.PART}

    def results(self) -> list[Any]:
        """All results, unpacked, in the order they came."""
        return [msgspec.json.decode(result) for _, outcome in self.outcomes for result in outcome.results]

    def _grant(self, url: str, script: bytes, body: bytes, start_ms: int) -> Grant:
        self._number += 1
        taskid = hashlib.md5(f"{url} {self._number}".encode()).hexdigest()
        sign = proof(self.keys.secret, PROJECT, taskid, 1, 1)
        return Grant(self._number, PROJECT, taskid, url, 1, 1, sign, script, body, start_ms)

    def _welcome(self, session: bytes) -> None:
        ports = self.hub.ports
        self.say(
            session,
            m.Welcome(
                m.PROTOCOL,
                self.cluster,
                self.epoch,
                ports.outcomes,
                ports.pages_in,
                ports.pages_out,
                **self.timing,
            ),
        )

    def _on_outcomes(self, session: bytes, items: list[m.OutcomeItem]) -> None:
        for item in items:
            self.outcomes.append((item, decode_outcome(item.outcome)))
            self._unacknowledged.append((session, item.id))
        if self.acknowledges:
            self.acknowledge()


def _known(name: str, text: str) -> m.ProjectScript:
    return m.ProjectScript(name, script_hash(text), "RUNNING", text)


def step_until(done: Callable[[], Any], steps: list[Callable[[], object]], what: str, deadline_s: float = 20.0) -> Any:
    """Turn all loops until `done` says something true, and return that."""
    end = time.monotonic() + deadline_s
    while not (answer := done()):
        assert time.monotonic() < end, f"not within {deadline_s} s: {what}"
        for step in steps:
            step()
    return answer
