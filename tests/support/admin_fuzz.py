"""Malformed admin requests: made from a seed, said to a real master, and answered in one line each."""

import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgpack
import zmq
from zspider.broker.address import Address
from zspider.broker.channel import Channel
from zspider.broker.codec import FRAME_BYTES, decode
from zspider.broker.messages import PROTOCOL, AdminReply
from zspider.broker.sockets import CONTROL
from zspider.broker.token import find_token

IN_FLIGHT = 20
ANSWER_S = 60.0
GARBAGE_MAX = 50  # of one connection: after 100 the master ignores it
# What ended a master once.
DEEP_CURSOR = b"\x96\x00\x00\x00\xc4\x00\x00" + b"\x91" * 200_000 + b"\xc0"

# Every verb and the names of its arguments.
VERBS: dict[str, tuple[str, ...]] = {
    "status": ("hosts",),
    "project.push": ("name", "script", "status", "rate", "burst", "group", "edit"),
    "project.list": (),
    "project.show": ("name",),
    "project.start": ("name",),
    "project.stop": ("name",),
    "project.pause": ("name",),
    "project.resume": ("name",),
    "project.set": ("name", "status", "rate", "burst", "group"),
    "project.rm": ("name", "keep_results", "again"),
    "message.send": ("project", "message"),
    "tasks": ("project", "status", "after", "limit"),
    "tasks.add": ("project", "urls", "like"),
    "task": ("project", "taskid"),
    "results": ("project", "after", "limit"),
    "why": ("project", "taskid"),
    "tasks.retry": ("project", "url", "after", "limit", "dry_run", "job"),
    "tasks.recrawl": ("project", "status", "url", "after", "limit", "dry_run", "job"),
    "tasks.drop": ("project", "url", "after", "limit", "dry_run", "job"),
    "results.clear": ("project", "after", "dry_run", "job"),
    "task.retry": ("project", "taskid"),
    "task.rm": ("project", "taskid", "keep_results"),
    "host.resume": ("host",),
}
RIGHT: dict[str, tuple[Any, ...]] = {
    "name": ("victim", "victim", "other"),
    "project": ("victim", "victim", "other"),
    "script": ("x = 1\n", "x = 2\n", "def f(:\n", "x = " + "not " * 3000 + "1\n", "lambda:" * 3000, "(" * 3000, "x\0"),
    "status": ("RUNNING", "STOP", "failed", "done", "all", "waiting"),
    "rate": (1.0, 5),
    "burst": (1.0, 5),
    "group": ("g", "delete"),
    "taskid": ("on_start", "x"),
    "url": ("*", "data:*", "[", "?" * 50),
    "after": (None, DEEP_CURSOR, b"\x95\x00\x00\x00\xc4\x00\x00"),
    "limit": (1, 10, 2**62),
    "urls": (["data:,1"], ["http://x/"] * 3),
    "like": (["t", "http://x/", b"\x80"], ["t", "u", b""]),
    "message": ("hello", {"a": [1, 2]}),
}
NUMBERS = (0, -1, 1, 2**31, 2**63 - 1, -(2**63), 2**64 - 1, 1e308, float("nan"), float("inf"), -0.0)
TEXTS = ("", "x" * 10_000, "a\nb\x1b[31m", "\0", "é🕷", "\ud800", "__proto__", "%s%n{0}", "'; DROP TABLE tasks; --")
BYTES = (b"", b"\xff" * 100, b"\x00", DEEP_CURSOR, bytes(16), b"\x95" + b"\xcf" + b"\xff" * 8 + b"\x00\x00\xc4\x00\x00")
RAW = (
    b"",
    b"\xc1",
    b"\x91" * 200_000,
    b"\x81" * 200_000,
    b"\xdd\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff",
    b"\x80\x80",
)


class Requests:
    """Makes requests; the same seed makes the same ones."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)

    def args(self, verb: str) -> bytes:
        """The packed arguments of one call."""
        chance = self._chance
        if chance.random() < 0.05:
            return chance.choice((*RAW, chance.randbytes(chance.randrange(1, 200))))
        args: dict[Any, Any] = {}
        for name in VERBS[verb]:
            draw = chance.random()
            if draw < 0.6:
                args[name] = chance.choice(RIGHT.get(name, (True, False, None)))
            elif draw < 0.9:
                args[name] = self.value(3)
        if chance.random() < 0.2:
            args[chance.choice((*TEXTS, 5, b"name"))] = self.value(2)
        packed: bytes = msgpack.packb(args if chance.random() < 0.97 else self.value(3), unicode_errors="surrogatepass")
        if chance.random() < 0.05:
            packed = packed[: chance.randrange(len(packed) + 1)]
        return packed

    def value(self, depth: int) -> Any:
        """Anything that msgpack can say."""
        chance = self._chance
        match chance.randrange(9 if depth else 6):
            case 0:
                return chance.choice(NUMBERS)
            case 1:
                return chance.choice(TEXTS)
            case 2:
                return chance.choice(BYTES)
            case 3:
                return chance.choice((None, True, False))
            case 4:
                return msgpack.ExtType(chance.randrange(128), b"ext")
            case 5:
                return msgpack.Timestamp(chance.randrange(2**32), 5)
            case 6:
                return [self.value(depth - 1) for _ in range(chance.randrange(4))]
            case 7:
                return {chance.choice(TEXTS): self.value(depth - 1) for _ in range(chance.randrange(4))}
        nested: Any = 1
        for _ in range(chance.randrange(400)):
            nested = [nested]
        return nested

    def frames(self) -> list[bytes]:
        """Something that is no request at all."""
        chance = self._chance
        whole: bytes = msgpack.packb(["admin", 1, PROTOCOL, "status", b"\x80"])
        match chance.randrange(5):
            case 0:
                return [whole[: chance.randrange(len(whole))]]
            case 1:
                return [chance.randbytes(chance.randrange(300))]
            case 2:
                return [b""] * chance.randrange(1, 5)
            case 3:
                return [
                    msgpack.packb(["admin", chance.choice((-1, 2**64 - 1, "1", None)), PROTOCOL, "status", b"\x80"])
                ]
        return [msgpack.packb(["admin", 1, PROTOCOL, "status", b"\x80", *range(chance.randrange(1, 9))]), b"more"]


class Door:
    """A connection that says what no AdminClient would."""

    def __init__(self, host: str, port: int, data_dir: Path) -> None:
        found = find_token("admin", None, data_dir, {})
        assert found is not None
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        endpoint = Address(host, port).endpoint()
        self._channel = Channel(self._context, zmq.DEALER, endpoint, found.token, CONTROL, ipv6=False)
        self._last = 0
        self._open: dict[int, tuple[str, bytes]] = {}
        self.answers: Counter[str] = Counter()  # by kind: well, or the exit code
        self.unforeseen: list[str] = []

    def __enter__(self) -> "Door":
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()
        self._context.term()

    def say(self, verb: str, args: bytes) -> None:
        """Send a request; waits while too many are not answered."""
        while len(self._open) >= IN_FLIGHT:
            self.hear()
        self._last += 1
        self._open[self._last] = (verb, args)
        whole: bytes = msgpack.packb(["admin", self._last, PROTOCOL, verb, args])
        self.throw([whole[at : at + FRAME_BYTES] for at in range(0, len(whole), FRAME_BYTES)])

    def throw(self, frames: list[bytes]) -> None:
        """Send these frames."""
        assert self._channel.socket.poll(ANSWER_S * 1000, zmq.POLLOUT), "the master takes nothing"
        self._channel.socket.send_multipart(frames)

    def hear(self) -> None:
        """Take one answer; it is one line."""
        if not self._channel.socket.poll(ANSWER_S * 1000):
            raise AssertionError(f"no answer within {ANSWER_S} s to {next(iter(self._open.values()))!r:.300}")
        reply = decode(self._channel.socket.recv_multipart())
        assert isinstance(reply, AdminReply), reply
        verb, args = self._open.pop(reply.id)
        assert len(reply.error.splitlines()) <= 1, (verb, reply.error)
        assert bool(reply.error) == bool(reply.exit_code), (verb, reply)
        self.answers["well" if not reply.error else f"exit {reply.exit_code}"] += 1
        if reply.error.startswith("internal error"):
            self.unforeseen.append(f"{verb} {args!r:.300}: {reply.error}")

    def hear_all(self) -> None:
        """Until nothing is open."""
        while self._open:
            self.hear()


def fuzz(host: str, port: int, data_dir: Path, *, seed: int, calls: int) -> tuple[Counter[str], list[str], float]:
    """So many calls of every verb, and garbage between them; answers by kind, what nobody foresaw, and the seconds."""
    began = time.monotonic()
    answers: Counter[str] = Counter()
    unforeseen: list[str] = []
    requests = Requests(seed)
    push = msgpack.packb({"name": "victim", "script": "x = 1\n"})
    for verb in VERBS:
        with Door(host, port, data_dir) as door:
            for number in range(calls):
                if number % 50 == 0:
                    door.say("project.push", push)  # it may have been removed
                    door.hear_all()
                door.say(verb, requests.args(verb))
            door.hear_all()
            for _ in range(min(calls, GARBAGE_MAX)):
                door.throw(requests.frames())
            door.say("status", b"\x80")
            door.hear_all()
            answers += door.answers
            unforeseen += door.unforeseen
    return answers, unforeseen, time.monotonic() - began
