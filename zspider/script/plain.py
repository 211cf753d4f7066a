"""JSON-like values: what a script returns or submits, in the form that is sent (docs/pyspider-behaviour.md 3.3).

str, int, float, bool, None and bytes are kept, tuples become lists, keys become text, anything else `str(x)`.
"""

from json import dumps  # by itself: a script may replace what `json` holds
from typing import Any

DEPTH_MAX = 200

_AS_THEY_ARE = frozenset({bool, float, bytes, type(None)})


class NestedTooDeep(ValueError):
    """The value is nested too deep, or in itself."""


def plain(value: Any, depth: int = 0) -> Any:
    """Copy a value in JSON-like form. Raises NestedTooDeep, and whatever the value's own methods raise."""
    kind = type(value)
    if kind is str:
        return value if value.isascii() else text(value)
    if kind in _AS_THEY_ARE:
        return value
    if kind is int:
        return value if -(2**63) <= value < 2**64 else str(value)
    if depth >= DEPTH_MAX:
        raise NestedTooDeep(f"a value is nested more than {DEPTH_MAX} deep")
    if isinstance(value, dict):
        return {_key(key): plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, depth + 1) for item in value]
    return _other(value)


def _other(value: Any) -> Any:
    """Return a subclass of a plain type as that type; anything else as its text."""
    match value:
        case str():
            return text(str.__str__(value))
        case int():
            return plain(int.__int__(value))
        case float():
            return float.__float__(value)
        case bytes() | bytearray() | memoryview():
            return bytes(value)
    return said(value)


def _key(key: Any) -> str:
    """Return a dict's key as JSON would write it."""
    if isinstance(key, str):
        return text(str.__str__(key))
    if isinstance(key, bytes):
        return bytes.decode(key, "utf-8", "replace")
    if key is None or isinstance(key, bool | int | float):
        return dumps(key)
    return said(key)


def said(value: Any) -> str:
    """Return `str(value)` as text that is no subclass of str. Raises whatever the value's own methods raise."""
    return text(str.__str__(str(value)))


def text(value: str) -> str:
    """Return the text with "?" for lone surrogates, which UTF-8 cannot hold."""
    if value.isascii():
        return value
    return value.encode("utf-8", "replace").decode("utf-8")
