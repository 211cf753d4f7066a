"""Coverage-guided fuzzing of everything that reads what a peer sent: `make fuzz`, or SECONDS=600 make fuzz.

Whatever comes, a decoder answers or raises ProtocolError (BadTask for a task's options), and the authenticator says no
to all but the one key it knows. What breaks that is written to fuzz/found/ and ends the run; copy it into a test.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import atheris

with atheris.instrument_imports(include=["zspider"]):
    import msgspec
    from zmq.utils import z85
    from zspider.broker import codec
    from zspider.broker import messages as m
    from zspider.broker.log_limit import LogLimit
    from zspider.broker.token import Token
    from zspider.broker.zap import Zap
    from zspider.delivery import Grant, Outcome
    from zspider.errors import ConfigError, ProtocolError
    from zspider.roles.slave.late_config import LateConfig
    from zspider.roles.slave.pages import BadTask, task_of

HERE = Path(__file__).parent
KEY = bytes(range(32))
INFO = m.ProjectInfo(1, "p", "", "RUNNING", 1.0, 1.0, 0, bytes(32), b"\x80")


def _authenticator() -> Zap:
    """One without its thread: only its answers are wanted."""
    zap = Zap.__new__(Zap)
    zap._admits = lambda user: user == z85.encode(KEY)
    zap._log_limit = LogLimit(float("inf"))
    return zap


ZAP = _authenticator()


def _frames(data: bytes) -> list[bytes]:
    """Cut at a mark, so that the fuzzer can make frames of its own."""
    return data.split(b"\xfe\xfd")


def _token(data: bytes) -> None:
    Token.parse(data.decode("latin-1"))


def _task(data: bytes) -> None:
    task_of(Grant(1, 1, "t", "http://x/", 1, 1, bytes(16), bytes(32), data, track=data), INFO, LateConfig({}))


def _zap(data: bytes) -> None:
    frames = _frames(data)
    reply = ZAP._answer(frames)
    is_right = frames[:1] + frames[2:3] + frames[5:] == [b"1.0", b"zspider", b"CURVE", KEY]
    if len(reply) != 6 or (reply[2] == b"200") != is_right:
        raise AssertionError(f"{frames!r} was answered {reply!r}")


READERS: list[Callable[[bytes], Any]] = [
    lambda data: codec.decode(_frames(data)),
    lambda data: codec.decode_to_master(_frames(data)),
    lambda data: codec.decode_outcomes(_frames(data)),
    codec.decode_outcome,
    codec.unpack,
    _task,
    _token,
    _zap,
]


def read(data: bytes) -> None:
    """The first byte picks the reader."""
    if not data:
        return
    try:
        READERS[data[0] % len(READERS)](data[1:])
    except (ProtocolError, BadTask, ConfigError):
        pass


def seeds(directory: Path) -> None:
    """Something valid of each kind, for the fuzzer to change."""
    directory.mkdir(exist_ok=True)
    smallest: dict[Any, Any] = {bytes: bytes(16), int: 1, str: "x", float: 1.0, bool: False}
    for number, kind in enumerate(get_args(m.AnyMessage)):
        fields = [
            smallest.get(type(_example(field.type)), _example(field.type)) for field in msgspec.structs.fields(kind)
        ]
        packed = msgspec.msgpack.encode([kind.__struct_config__.tag, *fields])
        for reader in (0, 1, 2):
            (directory / f"{number}-{reader}").write_bytes(bytes([reader]) + packed)
    outcome = Outcome(1, "t", 1, 1, bytes(16), 1, results=[b"{}"])  # type: ignore[arg-type]
    (directory / "outcome").write_bytes(b"\x03" + msgspec.msgpack.encode(outcome))
    question = [b"1.0", b"1", b"zspider", b"127.0.0.1", b"", b"CURVE", KEY]
    (directory / "zap").write_bytes(b"\x07" + b"\xfe\xfd".join(question))


def _example(kind: Any) -> Any:
    """A value of about this type: the fuzzer finds the rest."""
    text = str(kind)
    for name, value in (("list", []), ("dict", {}), ("bytes", b""), ("str", ""), ("float", 1.0), ("bool", False)):
        if name in text:
            return value
    return 1


def main() -> None:
    corpus, found = HERE / "corpus", HERE / "found"
    seeds(corpus)
    found.mkdir(exist_ok=True)
    seconds = os.environ.get("SECONDS", "120")
    options = [
        f"-max_total_time={seconds}",
        "-max_len=8192",
        "-rss_limit_mb=1024",
        "-timeout=5",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], str(corpus), f"-artifact_prefix={found}/", *options, *sys.argv[1:]], read)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
