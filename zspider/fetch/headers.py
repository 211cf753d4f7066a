"""Request header lines: checked, completed with the defaults, and remembered. Pure.

Most tasks of a project carry the same headers, so the lines made of them are cached, and the same
options give the *same* tuple: a handle that sent it last need not be told again.
"""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

from zspider.errors import FetchError
from zspider.fetch.curl import DECODES

Items = tuple[tuple[str, str], ...]

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")
_BAD_IN_VALUE = re.compile(r"[\r\n\0]")
_OURS = frozenset({"content-length", "transfer-encoding", "cookie"})  # framing is libcurl's; cookies travel apart
_CACHED_CHARS_MAX = 16 * 1024


class HeaderSet(NamedTuple):
    """Headers ready to be sent."""

    lines: tuple[bytes, ...]
    names: frozenset[str]  # lower case
    cookies: Items  # of a Cookie header
    user_agent: str


def items_of(headers: object, what: str) -> Items:
    """Return a task's mapping of headers or cookies as pairs of text; FetchError if it is none."""
    if not headers:
        return ()
    if not isinstance(headers, Mapping):
        raise FetchError(f"{what} must be a dict, got {type(headers).__name__}")
    return tuple([(_text(name, what), _text(value, what)) for name, value in headers.items() if value is not None])


def _text(value: object, what: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, int | float):
        return str(value)
    raise FetchError(f"{what}: text expected, got {type(value).__name__}")


def header_set(items: Items, user_agent: str) -> HeaderSet:
    """Return the lines for these headers: the task's own, then defaults for what it does not name.

    Raises FetchError for a name that is none, and for CR, LF or NUL in a value.
    """
    if sum(len(value) for _, value in items) > _CACHED_CHARS_MAX:
        return _header_set(items, user_agent)
    return _cached_header_set(items, user_agent)


def _header_set(items: Items, user_agent: str) -> HeaderSet:
    named = {name.lower(): (name, value) for name, value in items}  # of two spellings of a name the last wins
    cookies = parse_cookies(named.pop("cookie")[1]) if "cookie" in named else ()
    named.setdefault("user-agent", ("User-Agent", user_agent))
    named.setdefault("accept", ("Accept", "*/*"))
    if "accept-encoding" in named:
        name, value = named["accept-encoding"]
        named["accept-encoding"] = (name, _decodable(value))
    lines = tuple(line(name, value) for key, (name, value) in named.items() if key not in _OURS)
    return HeaderSet(lines, frozenset(named), cookies, named["user-agent"][1])


_cached_header_set = lru_cache(maxsize=512)(_header_set)


def line(name: str, value: str) -> bytes:
    """Return one header as libcurl wants it; an empty value is written with a semicolon."""
    if not _NAME.fullmatch(name):
        raise FetchError(f"invalid header name {name[:100]!a}")
    if _BAD_IN_VALUE.search(value):
        raise FetchError(f"line break or NUL in header {name}")
    value = value.strip(" \t")
    return name.encode("ascii") + (b": " + _encoded(value) if value else b";")


def _encoded(value: str) -> bytes:
    try:
        return value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as exc:
        raise FetchError(f"lone surrogate in {value[:100]!a}") from exc


def _decodable(value: str) -> str:
    """Drop the codings that libcurl cannot decode (a header copied from a browser names zstd)."""
    codings = [coding.strip() for coding in value.split(",")]
    return ", ".join(c for c in codings if c.partition(";")[0].strip().lower() in DECODES) or "identity"


def parse_cookies(header: str) -> Items:
    """Return the cookies of a Cookie header, in order; pieces without a name are dropped."""
    pairs = (piece.strip().partition("=") for piece in header.split(";"))
    return tuple((name.strip(), value.strip()) for name, _, value in pairs if name.strip())


def cookie_line(cookies: Iterable[tuple[str, str]]) -> bytes:
    """Return the value of a Cookie header. Raises FetchError for what would begin another header."""
    text = "; ".join([f"{name}={value}" for name, value in cookies])
    if _BAD_IN_VALUE.search(text):
        raise FetchError("line break or NUL in a cookie")
    return _encoded(text)
