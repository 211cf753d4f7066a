"""Messages to ZeroMQ frames and back: the one door that hostile bytes come through.

A message is one msgpack array, cut into frames of at most FRAME_BYTES. Every `decode...` raises
ProtocolError and never anything else. msgspec checks types and lengths while it reads, so a bomb of
empty arrays is refused at its first element; only what nobody declares the types of (a page's two dicts,
and what `unpack` reads) can grow in memory, and is bounded in bytes.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, Union, get_args, get_type_hints

import msgpack
import msgspec

from zspider.broker.messages import AnyMessage, Message, Outcomes, Page, ToMaster
from zspider.delivery import BODY_BYTES_MAX, Outcome
from zspider.errors import ProtocolError

FRAME_BYTES = 256 * 1024
FRAME_BYTES_MAX = 320 * 1024  # ZMQ_MAXMSGSIZE, which is per frame
MESSAGE_BYTES_MAX = 48 * 1024 * 1024  # a page of 32 MiB and its headers fit
FRAMES_MAX = MESSAGE_BYTES_MAX // FRAME_BYTES + 1
CONTROL_BYTES_MAX = 4 * 1024 * 1024  # to the master on control: a script, a full heartbeat, a page of leases
PAGE_DICT_BYTES_MAX = BODY_BYTES_MAX + 2 * 1024 * 1024  # a task's options and `track`; 4 MiB of headers fit, too

# For values that have no declared type. Without max_array_len a few bytes of nested headers reserve gigabytes.
_LIMITS = {"max_array_len": 20_000, "max_map_len": 10_000, "max_ext_len": 0, "raw": False}
T = TypeVar("T")

_RawPage: Any = msgspec.defstruct(
    "_RawPage",
    [
        (name, msgspec.Raw if name in ("task", "fetch") else kind)
        for name, kind in get_type_hints(Page, include_extras=True).items()
        if name in Page.__struct_fields__
    ],
    bases=(Message,),
    frozen=True,
    tag="page",
)
_all_but_page = tuple(kind for kind in get_args(AnyMessage) if kind is not Page)
_encoder = msgspec.msgpack.Encoder()
_decode_any: Callable[[bytes], Any] = msgspec.msgpack.Decoder(Union[(*_all_but_page, _RawPage)]).decode
_decode_own: Callable[[bytes], AnyMessage] = msgspec.msgpack.Decoder(AnyMessage).decode
_decode_to_master: Callable[[bytes], ToMaster] = msgspec.msgpack.Decoder(ToMaster).decode
_decode_outcomes = msgspec.msgpack.Decoder(Outcomes).decode
_decode_dict = msgspec.msgpack.Decoder(dict[str, Any]).decode
_decode_outcome = msgspec.msgpack.Decoder(Outcome).decode


def encode(message: AnyMessage) -> list[bytes]:
    """Pack a message into its frames. Raises ProtocolError for one over MESSAGE_BYTES_MAX or of what cannot travel."""
    packed = _pack(message)
    if len(packed) <= FRAME_BYTES:
        return [packed]
    if len(packed) > MESSAGE_BYTES_MAX:
        raise ProtocolError(f"message of {len(packed)} bytes, the limit is {MESSAGE_BYTES_MAX}")
    return [packed[at : at + FRAME_BYTES] for at in range(0, len(packed), FRAME_BYTES)]


def encode_whole(message: AnyMessage) -> bytes:
    """Pack a message into one piece, for a pipe. Raises ProtocolError for what cannot travel."""
    return _pack(message)


def decode(frames: Sequence[bytes]) -> AnyMessage:
    """Turn the frames of one ZeroMQ message into a Message, or raise ProtocolError."""
    message = _guarded(_decode_any, _join(frames))
    return _page(message) if isinstance(message, _RawPage) else message


def decode_own(packed: bytes) -> AnyMessage:
    """Decode bytes from another process of ours; skips the memory check that pages of strangers get."""
    return _guarded(_decode_own, packed)


def decode_to_master(frames: Sequence[bytes]) -> ToMaster:
    """Decode a message of the master's control socket: any other kind of message is a ProtocolError as well."""
    return _guarded(_decode_to_master, _join(frames))


def decode_outcomes(frames: Sequence[bytes]) -> Outcomes:
    """Decode a message of the master's outcomes socket."""
    return _guarded(_decode_outcomes, _join(frames))


def encode_outcome(outcome: Outcome) -> bytes:
    """Pack an outcome for the outbox. Raises ProtocolError when something in it cannot travel."""
    return _pack(outcome)


def decode_outcome(packed: bytes) -> Outcome:
    """Turn an outbox item into an Outcome, or raise ProtocolError."""
    return _guarded(_decode_outcome, packed)


def pack(value: object) -> bytes:
    """Pack a value of no declared type: an admin verb's arguments."""
    packed: bytes = msgpack.packb(value)
    return packed


def pack_answer(value: object) -> bytes:
    """Pack an admin verb's answer; what msgpack does not know (a status, a time) travels as text."""
    packed: bytes = msgpack.packb(value, default=str)
    return packed


def unpack(packed: bytes) -> Any:
    """Return the value that `pack` or `pack_answer` packed. Raises ProtocolError."""
    return _guarded(_unpack_value, packed)


def unpack_to_show(packed: bytes) -> dict[str, Any]:
    """Return a task's packed options or track, to be shown; damaged ones as {"unreadable": why}."""
    try:
        value = unpack(packed)
    except ProtocolError as exc:
        return {"unreadable": str(exc)}
    return value if isinstance(value, dict) else {"unreadable": f"a {type(value).__name__}"}


def _pack(value: msgspec.Struct) -> bytes:
    try:
        return _encoder.encode(value)
    except (ValueError, TypeError, OverflowError, RecursionError) as exc:  # lone surrogates, objects, huge integers
        raise ProtocolError(f"cannot pack a {type(value).__name__}: {_one_line(exc)}") from exc


def _unpack_value(packed: bytes) -> Any:
    return msgpack.unpackb(packed, **_LIMITS)


def _join(frames: Sequence[bytes]) -> bytes:
    if not 1 <= len(frames) <= FRAMES_MAX:
        raise ProtocolError(f"message of {len(frames)} frames, 1 to {FRAMES_MAX} are allowed")
    packed = frames[0] if len(frames) == 1 else b"".join(frames)
    if len(packed) > MESSAGE_BYTES_MAX:
        raise ProtocolError(f"message of {len(packed)} bytes, the limit is {MESSAGE_BYTES_MAX}")
    return packed


def _page(raw: Any) -> Page:
    """Unpack a page's dicts as well."""
    fields = {name: getattr(raw, name) for name in Page.__struct_fields__}
    for name in ("task", "fetch"):
        size = len(fields[name])
        if size > PAGE_DICT_BYTES_MAX:
            raise ProtocolError(f"page with {size} bytes of `{name}`, the limit is {PAGE_DICT_BYTES_MAX}")
        fields[name] = _guarded(_decode_dict, bytes(fields[name]))
    return Page(**fields)


def _guarded(read: Callable[[bytes], T], packed: bytes) -> T:
    try:
        return read(packed)
    except (  # msgspec's errors and UnicodeDecodeError are ValueErrors
        ValueError,
        TypeError,
        RecursionError,
        MemoryError,
        msgpack.UnpackException,
    ) as exc:
        raise ProtocolError(f"cannot decode {len(packed)} bytes: {_one_line(exc)}") from exc


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
