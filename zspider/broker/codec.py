"""Messages to ZeroMQ frames and back: the one door that hostile bytes come through.

A message is one msgpack array, cut into frames of at most FRAME_BYTES. `decode` raises ProtocolError
and never anything else.
"""

from collections.abc import Sequence
from typing import TypeVar

import msgpack
import msgspec

from zspider.broker.messages import AnyMessage
from zspider.errors import ProtocolError
from zspider.task import Outcome

FRAME_BYTES = 256 * 1024
FRAME_BYTES_MAX = 320 * 1024  # ZMQ_MAXMSGSIZE, which is per frame
MESSAGE_BYTES_MAX = 48 * 1024 * 1024  # a page of 32 MiB and its headers fit
FRAMES_MAX = MESSAGE_BYTES_MAX // FRAME_BYTES + 1

# For messages of strangers' making; the arrays in them are bounded again by their types.
_LIMITS = {"max_array_len": 20_000, "max_map_len": 10_000, "max_ext_len": 0, "raw": False}
T = TypeVar("T")
_encoder = msgspec.msgpack.Encoder()


def encode(message: AnyMessage) -> list[bytes]:
    """Pack a message into its frames. Raises ProtocolError when it is over MESSAGE_BYTES_MAX."""
    packed = _encoder.encode(message)
    if len(packed) <= FRAME_BYTES:
        return [packed]
    if len(packed) > MESSAGE_BYTES_MAX:
        raise ProtocolError(f"message of {len(packed)} bytes, the limit is {MESSAGE_BYTES_MAX}")
    return [packed[at : at + FRAME_BYTES] for at in range(0, len(packed), FRAME_BYTES)]


def decode(frames: Sequence[bytes]) -> AnyMessage:
    """Turn the frames of one ZeroMQ message into a Message, or raise ProtocolError. Never anything else."""
    if not 1 <= len(frames) <= FRAMES_MAX:
        raise ProtocolError(f"message of {len(frames)} frames, 1 to {FRAMES_MAX} are allowed")
    packed = frames[0] if len(frames) == 1 else b"".join(frames)
    return _unpack(packed, AnyMessage)  # type: ignore[arg-type] # a union is a type to msgspec


def encode_outcome(outcome: Outcome) -> bytes:
    """Pack an outcome for the outbox."""
    return _encoder.encode(outcome)


def decode_outcome(packed: bytes) -> Outcome:
    """Turn an outbox item into an Outcome, or raise ProtocolError. Never anything else."""
    return _unpack(packed, Outcome)


def _unpack(packed: bytes, kind: type[T]) -> T:
    try:
        return msgspec.convert(msgpack.unpackb(packed, **_LIMITS), kind)
    except (
        ValueError,
        TypeError,
        RecursionError,
        msgpack.UnpackException,
    ) as exc:  # ValidationError is a ValueError
        raise ProtocolError(f"cannot decode {len(packed)} bytes: {exc}") from exc
