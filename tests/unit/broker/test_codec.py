"""The codec: what is packed comes back, and hostile bytes are a ProtocolError and nothing else, in bounded memory."""

import tracemalloc
from typing import Any, get_args

import msgpack
import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.support.struct_strategies import ANYTHING, values_of
from zspider.broker import codec
from zspider.broker import messages as m
from zspider.delivery import Outcome
from zspider.errors import ProtocolError

MESSAGES = st.one_of([values_of(kind) for kind in get_args(m.AnyMessage)])
DECODERS = [codec.decode, codec.decode_to_master, codec.decode_outcomes, lambda frames: codec.decode_outcome(frames[0])]
MIB = 1024 * 1024


def page(**changes: object) -> m.Page:
    plain = m.Page(
        7, 1, "news", "RUNNING", b"h" * 32, "t" * 32, 3, 1, b"p" * 16, {"url": "http://x/"}, {"status_code": 200}, b""
    )
    return msgspec.structs.replace(plain, **changes)


def refuses(frames: list[bytes]) -> None:
    """Every decoder either takes the frames or raises ProtocolError."""
    for decode in DECODERS:
        try:
            decode(frames)
        except ProtocolError:
            pass


@given(MESSAGES)
@settings(max_examples=400, deadline=None)
def test_every_message_comes_back_as_it_was(message: m.AnyMessage) -> None:
    assert codec.decode(codec.encode(message)) == message


@given(st.one_of([values_of(kind) for kind in get_args(m.ToMaster)]))
@settings(deadline=None)
def test_what_is_said_to_a_master_comes_back_through_its_own_decoder(message: m.ToMaster) -> None:
    assert codec.decode_to_master(codec.encode(message)) == message


@given(values_of(Outcome))
@settings(deadline=None)
def test_an_outcome_comes_back_as_it_was(outcome: Outcome) -> None:
    assert codec.decode_outcome(codec.encode_outcome(outcome)) == outcome


@given(ANYTHING)
@settings(deadline=None)
def test_an_undeclared_value_comes_back_as_it_was(value: object) -> None:
    assert codec.unpack(codec.pack(value)) == value


def test_a_large_message_travels_in_frames_below_the_socket_limit() -> None:
    message = page(content=bytes(range(256)) * 40_000)
    frames = codec.encode(message)
    assert len(frames) == 40
    assert max(map(len, frames)) <= codec.FRAME_BYTES < codec.FRAME_BYTES_MAX
    assert codec.decode(frames) == message


def test_a_message_over_the_limit_is_refused_by_its_sender_and_by_its_reader() -> None:
    with pytest.raises(ProtocolError, match=r"the limit is 50331648"):
        codec.encode(page(content=bytes(codec.MESSAGE_BYTES_MAX)))
    with pytest.raises(ProtocolError, match=r"194 frames"):
        codec.decode([b""] * 194)
    with pytest.raises(ProtocolError, match=r"the limit is 50331648"):
        codec.decode([bytes(codec.FRAME_BYTES_MAX)] * codec.FRAMES_MAX)


@pytest.mark.parametrize("value", [2**70, "\ud800", object()])
def test_what_cannot_travel_is_a_protocol_error_of_the_sender(value: object) -> None:
    with pytest.raises(ProtocolError, match="cannot pack a Page"):
        codec.encode(page(task={"fetch": value}))


@given(st.lists(st.binary(max_size=200), max_size=4))
@example([])
@example([b""])
@example([b"\xc1"])
@example([b"\x92\xa7refused\xa1\xff"])  # bad UTF-8
@settings(max_examples=500, deadline=None)
def test_random_bytes_raise_protocol_error_and_nothing_else(frames: list[bytes]) -> None:
    if frames:
        refuses(frames)
    else:
        with pytest.raises(ProtocolError):
            codec.decode(frames)


@given(MESSAGES | values_of(Outcome), st.data())
@settings(max_examples=500, deadline=None)
def test_mutated_messages_raise_protocol_error_and_nothing_else(message: msgspec.Struct, data: st.DataObject) -> None:
    packed = bytearray(msgspec.msgpack.encode(message))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(packed)))
        cut = data.draw(st.integers(0, 3))
        packed[at : at + cut] = data.draw(st.binary(max_size=4))
    refuses([bytes(packed)])


@given(ANYTHING)
@settings(max_examples=300, deadline=None)
def test_well_formed_values_that_are_no_message_raise_protocol_error(value: object) -> None:
    refuses([msgpack.packb(value)])


BOMBS = {
    "empty arrays": b"\x93\xa5hello" + b"\x90" * 4 * MIB,
    "empty arrays where numbers belong": b"\x92\xa7release\xdd\x00\x40\x00\x00" + b"\x90" * 4 * MIB,
    "empty maps as surplus fields": b"\xdd\x00\x40\x00\x02\xa7release\x90" + b"\x80" * 4 * MIB,
    "too many numbers": b"\x92\xa7release\xdd\x00\x40\x00\x00" + b"\x01" * 4 * MIB,
    "depth": b"\x93\xa7release\x90" + b"\x91" * MIB,
    "depth from the start": b"\x91" * MIB,
    "depth of maps": b"\x93\xa7release\x90" + b"\x81\xa0" * MIB,
    "a length of 4 G": b"\x92\xa7release\xdd\xff\xff\xff\xff",
    "a map of 4 G": b"\xdf\xff\xff\xff\xff",
    "a text of 4 G": b"\xdb\xff\xff\xff\xff",
    "headers of long arrays in each other": b"\xdc\x4e\x20" * 300_000,
    "follows that are arrays": b"\x97\x01\xa1a\x01\x01\xc4\x00\x01\xdd\x00\x40\x00\x00" + b"\x90" * 4 * MIB,
    "short follows": b"\x97\x01\xa1a\x01\x01\xc4\x00\x01\xdd\x00\x08\x00\x00" + b"\x93\xa1a\xa1b\xc4\x00" * 524288,
    "results": b"\x98\x01\xa1a\x01\x01\xc4\x00\x01\x90\xdd\x00\x20\x00\x00" + b"\xc4\x00" * 0x200000,
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_a_bomb_is_read_in_bounded_memory(bomb: bytes) -> None:
    for decode in DECODERS:
        tracemalloc.start()
        try:
            decode([bomb])
        except ProtocolError:
            pass
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2 * MIB


@pytest.mark.parametrize(
    "bomb",
    [b"\xdc\x4e\x20" * 300_000, b"\xdd\xff\xff\xff\xff", b"\x90" * 4 * MIB, b"\xdd\x00\x40\x00\x00" + b"\x90" * MIB],
)
def test_an_undeclared_value_does_not_reserve_more_than_its_limits_allow(bomb: bytes) -> None:
    tracemalloc.start()
    with pytest.raises(ProtocolError):
        codec.unpack(bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 * MIB  # 512 nested headers reserve 20,000 places each before the depth limit stops them


def test_a_page_cannot_bring_a_bomb_in_its_dicts() -> None:
    frames = codec.encode(page(fetch={"headers": [[]] * 7 * MIB}))
    tracemalloc.start()
    with pytest.raises(ProtocolError, match="of `fetch`, the limit is"):
        codec.decode(frames)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 * MIB  # the message itself, joined and cut


def test_a_master_is_not_told_what_only_masters_and_processors_say() -> None:
    for message in (m.Stop(), m.MasterBeat(1), page(), m.Outcomes(b"s" * 16, 1, [])):
        with pytest.raises(ProtocolError):
            codec.decode_to_master(codec.encode(message))
    with pytest.raises(ProtocolError):
        codec.decode_outcomes(codec.encode(m.Leave(b"s" * 16)))


def test_fields_that_a_newer_peer_appended_are_skipped() -> None:
    newer = msgpack.packb(["masterbeat", 5, 7, False, "from a later version", [1, 2]])
    assert codec.decode([newer]) == m.MasterBeat(5, 7, False)


class OldBeat(msgspec.Struct, frozen=True, array_like=True, tag="beat"):
    """As the version before had it; so the next two."""

    session: bytes
    epoch: int
    seen: int
    held: list[int]
    outbox: list[int]
    window: int
    fetching: int = 0
    fetched: int = 0
    processed: int = 0


class OldMasterBeat(msgspec.Struct, frozen=True, array_like=True, tag="masterbeat"):
    epoch: int


class OldOutcomes(msgspec.Struct, frozen=True, array_like=True, tag="outcomes"):
    session: bytes
    epoch: int
    items: list[m.OutcomeItem]


OLD_AND_NEW = [
    (
        OldBeat(b"s" * 16, 3, 9, [8, 9], [7], 20, 1, 2, 3),
        m.Beat(b"s" * 16, 3, 9, [8, 9], [7], 20, 1, 2, 3, "cannot deliver", False),
    ),
    (OldMasterBeat(5), m.MasterBeat(5, 17, False)),
    (
        OldOutcomes(b"s" * 16, 3, [m.OutcomeItem(1, 2, b"x")]),
        m.Outcomes(b"s" * 16, 3, [m.OutcomeItem(1, 2, b"x")], 17),
    ),
]


@pytest.mark.parametrize(("old", "new"), OLD_AND_NEW, ids=lambda one: type(one).__name__)
def test_peers_of_the_version_before_and_of_this_one_understand_each_other(old: Any, new: Any) -> None:
    fields = old.__struct_fields__
    read_by_new = codec.decode([msgspec.msgpack.encode(old)])
    assert [getattr(read_by_new, name) for name in fields] == [getattr(old, name) for name in fields]
    read_by_old = msgspec.msgpack.decode(b"".join(codec.encode(new)), type=type(old))
    assert read_by_old == old


def test_what_an_old_peer_does_not_say_means_that_all_is_well() -> None:
    beat, told, outcomes = (codec.decode([msgspec.msgpack.encode(old)]) for old, _ in OLD_AND_NEW)
    assert isinstance(beat, m.Beat)
    assert (beat.complaint, beat.delivers) == ("", True)
    assert told == m.MasterBeat(5, None, True)
    assert isinstance(outcomes, m.Outcomes)
    assert outcomes.serial == 0
