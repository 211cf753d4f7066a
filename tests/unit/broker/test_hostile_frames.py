"""Messages that were well formed until somebody changed them: every reader answers or raises its one error."""

from collections.abc import Callable
from typing import Any, get_args

import msgpack
import msgspec
import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.struct_strategies import ANYTHING, values_of
from zmq.utils import z85
from zspider.broker import codec
from zspider.broker import messages as m
from zspider.broker.log_limit import LogLimit
from zspider.broker.sockets import ZAP_DOMAIN
from zspider.broker.token import Token
from zspider.broker.zap import Zap
from zspider.delivery import Grant, Outcome
from zspider.errors import ConfigError, ProtocolError
from zspider.roles.slave.late_config import LateConfig
from zspider.roles.slave.pages import BadTask, task_of

MESSAGES = st.one_of([values_of(kind) for kind in get_args(m.AnyMessage)])
EXTREMES = st.sampled_from(
    [None, -1, 2**31, 2**63, 2**64 - 1, -(2**63), float("nan"), float("inf"), "", "\0", b"", [], {}]
)
BODIES = values_of(Outcome) | MESSAGES
DECODERS: list[Callable[[list[bytes]], Any]] = [
    codec.decode,
    codec.decode_to_master,
    codec.decode_outcomes,
    lambda frames: codec.decode_outcome(b"".join(frames)),
    lambda frames: codec.unpack(b"".join(frames)),
]


def changed(tree: Any, data: st.DataObject) -> Any:
    """The same tree with one of its values, picked by hypothesis, replaced, doubled or taken out."""
    children = list(tree) if isinstance(tree, list) else list(tree.values()) if isinstance(tree, dict) else []
    if not children or data.draw(st.booleans()):
        return data.draw(EXTREMES | ANYTHING)
    at = data.draw(st.integers(0, len(children) - 1))
    if isinstance(tree, dict):
        return {**tree, list(tree)[at]: changed(children[at], data)}
    how = data.draw(st.sampled_from(["change", "double", "drop", "move"]))
    if how == "change":
        return [*tree[:at], changed(tree[at], data), *tree[at + 1 :]]
    if how == "double":
        return [*tree[:at], tree[at], *tree[at:]]
    rest = [*tree[:at], *tree[at + 1 :]]
    return [*rest, tree[at]] if how == "move" else rest


def cut(packed: bytes, data: st.DataObject) -> list[bytes]:
    """In frames, at any places."""
    places = sorted(data.draw(st.lists(st.integers(0, len(packed)), max_size=3)))
    return [packed[one:other] for one, other in zip([0, *places], [*places, len(packed)], strict=True)]


@given(BODIES, st.data())
@settings(max_examples=300, deadline=None)
def test_a_message_changed_in_its_structure_raises_protocol_error_and_nothing_else(
    message: msgspec.Struct, data: st.DataObject
) -> None:
    tree = msgpack.unpackb(msgspec.msgpack.encode(message))
    for _ in range(data.draw(st.integers(1, 3))):
        tree = changed(tree, data)
    frames = cut(msgpack.packb(tree, unicode_errors="surrogatepass"), data)
    for decode in DECODERS:
        try:
            decode(frames)
        except ProtocolError:
            pass


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_tasks_options_are_read_or_are_a_bad_task(data: st.DataObject) -> None:
    parts = {part: data.draw(ANYTHING) for part in ("schedule", "fetch", "process", "guarded")}
    body = bytearray(msgpack.packb(data.draw(st.sampled_from([parts, data.draw(ANYTHING)]))))
    if data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(body) - 1))
        body[at : at + 1] = data.draw(st.binary(max_size=3))
    info = m.ProjectInfo(1, "p", "", "RUNNING", 1.0, 1.0, 0, bytes(32), b"\x80")
    grant = Grant(1, 1, "t", "http://x/", 1, 1, bytes(16), bytes(32), bytes(body), track=bytes(body))
    try:
        task_of(grant, info, LateConfig({}))
    except BadTask:
        pass


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: "ZS1." + raw.decode("latin-1")))
@settings(deadline=None)
def test_a_token_is_read_or_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Token.parse(text)
    assert len(text) < 20 or text not in str(raised.value)


KEY = bytes(range(32))
QUESTION = [b"1.0", b"1", ZAP_DOMAIN, b"127.0.0.1", b"route", b"CURVE", KEY]


@pytest.fixture(scope="module")
def zap() -> Any:
    """An authenticator that admits KEY alone."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    made = Zap(context, lambda user: user == z85.encode(KEY))
    made._log_limit = LogLimit(float("inf"))  # once is enough
    yield made
    context.term()


@given(data=st.data())
@settings(max_examples=250, deadline=None)
def test_the_authenticator_admits_one_question_and_answers_all(zap: Zap, data: st.DataObject) -> None:
    frames = list(QUESTION)
    for _ in range(data.draw(st.integers(0, 3))):
        frame = data.draw(st.binary(max_size=40) | st.sampled_from(QUESTION))
        match data.draw(st.sampled_from(["replace", "insert", "drop", "all"])):
            case "replace" if frames:
                frames[data.draw(st.integers(0, len(frames) - 1))] = frame
            case "insert":
                frames.insert(data.draw(st.integers(0, len(frames))), frame)
            case "drop" if frames:
                del frames[data.draw(st.integers(0, len(frames) - 1))]
            case "all":
                frames = data.draw(st.lists(st.binary(max_size=40), max_size=9))
    reply = zap._answer(frames)
    is_right = frames[:1] + frames[2:3] + frames[5:] == [b"1.0", ZAP_DOMAIN, b"CURVE", KEY]
    assert len(reply) == 6
    assert reply[2] == (b"200" if is_right else b"400")
    assert reply[4] == (z85.encode(KEY) if is_right else b"")
