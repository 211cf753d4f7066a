"""JSON texts as RFC 8259 has them: how results are checked, and made such texts.

Python's own `json` reads and writes NaN and Infinity, which other readers refuse.
"""

import json
from math import isfinite
from typing import Any

import msgspec

REASON_CHARS_MAX = 200
_read_whole = msgspec.json.Decoder(msgspec.Raw).decode  # it reads everything and makes nothing of it
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
_decode_old = json.JSONDecoder(parse_constant=lambda name: None).decode


def json_fault(text: bytes) -> str:
    """Return why a text is no JSON, in one line; "" if it is.

    Source: RFC 8259: sections 2 to 7 for the grammar, 8.1 for UTF-8 without byte order mark, 8.2 for lone surrogates,
    which are refused; section 9 lets a reader limit the nesting: some 1,000 here.
    """
    try:
        _read_whole(text)
        if not text.isascii():
            text.decode()
    except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
        return str(exc)[:REASON_CHARS_MAX] or type(exc).__name__
    return ""


def repaired(text: str) -> str:
    """Return a stored text that is no JSON as one: NaN and Infinity become null; what cannot be read, a string.

    Lone surrogates become "?". For rows of an older version, or of a database that others wrote to.
    """
    try:
        fixed = _encode(finite(_decode_old(text)))
    except (ValueError, RecursionError):
        fixed = _encode(text)
    return fixed.encode("utf-8", "replace").decode()


def finite(value: Any) -> Any:
    """Return a value of lists, maps and scalars with None for each number that JSON does not have.

    Raises RecursionError if it is nested too deep.
    """
    match value:
        case float():
            return value if isfinite(value) else None
        case dict():
            return dict(zip(value, map(finite, value.values()), strict=True))  # one frame a level: 512 must do
        case list() | tuple():
            return list(map(finite, value))
    return value
