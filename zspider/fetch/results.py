"""The result of a fetch: the dict a script's Response is made from (docs/pyspider-behaviour.md 3.4). Pure."""

import re
from functools import lru_cache
from http import HTTPStatus
from typing import Any, NamedTuple

from zspider.fetch.request import Request

ERROR_CHARS_MAX = 500

_PHRASES = {status.value: status.phrase for status in HTTPStatus}


class Fetched(NamedTuple):
    """The answer to the request with the same tag. `result` is plain data, ready for msgpack."""

    tag: int
    result: dict[str, Any]
    content: bytes
    redirects: tuple[tuple[int, str], ...] = ()  # those followed: status and the URL that answered so
    is_public: bool = False  # a server outside private networks made it; not told where those are allowed
    is_ours: bool = False  # nobody was asked: this process has no descriptor left
    was_held: bool = False  # it failed after it had to wait for memory here: that may be why


class Head(NamedTuple):
    """A response's status line and headers. Repeated headers are joined by a comma."""

    headers: dict[str, str]
    repeated: dict[str, list[str]]  # of those, the single values


def parse_head(lines: list[bytes]) -> Head:
    """Read what libcurl saw before (and, with chunked trailers, after) the body of the last response.

    Names get their usual capitals, values are Latin-1. `X-Http-Reason` holds the status line's phrase.
    """
    first, last = _last_block(lines)
    status = lines[first].split(None, 2) if lines else []
    headers = {"X-Http-Reason": status[2].decode("latin-1").rstrip("\r\n") if len(status) == 3 else ""}
    repeated: dict[str, list[str]] = {}
    text = b"".join(lines[first + 1 : last]).decode("latin-1")
    if "\n " in text or "\n\t" in text:  # the obsolete folding of RFC 9112 section 5.2
        text = _FOLD.sub(" ", text)
    for line in text.split("\n"):
        raw_name, colon, value = line.partition(":")
        if not colon:
            continue
        name, value = header_name(raw_name), value.strip(" \t\r")
        if name in headers:
            repeated.setdefault(name, [headers[name]]).append(value)
        else:
            headers[name] = value
    for name, values in repeated.items():
        headers[name] = ",".join(values)
    return Head(headers, repeated)


_FOLD = re.compile(r"[ \t\r]*\n[ \t]+")


def _last_block(lines: list[bytes]) -> tuple[int, int]:
    """Return where the final response's lines begin and end: before them are 1xx answers and a proxy's own."""
    if lines and lines.count(b"\r\n") == 1 and lines[-1] == b"\r\n":
        return 0, len(lines) - 1
    first = max((i for i, line in enumerate(lines) if line.startswith(b"HTTP/")), default=0)
    last = next((i for i in range(first, len(lines)) if not lines[i].strip()), len(lines))
    return first, last


def header_name(name: str) -> str:
    """Normalize a header's name as pyspider's fetcher does: `content-type` -> `Content-Type`."""
    return _cached_name(name) if len(name) <= 64 else _capitalized(name)


def _capitalized(name: str) -> str:
    return "-".join([part.capitalize() for part in name.strip().split("-")])


_cached_name = lru_cache(maxsize=2048)(_capitalized)


def page(
    request: Request, url: str, status: int, head: Head, cookies: dict[str, str], seconds: float, content: bytes
) -> Fetched:
    """Return the answer for a server's response, whatever its status."""
    result = {
        "status_code": status,
        "url": url,
        "orig_url": request.orig_url,
        "headers": head.headers,
        "cookies": cookies,
        "time": seconds,
    }
    if not 200 <= status <= 299:
        result["error"] = f"HTTP {status}: {head.headers['X-Http-Reason'] or _PHRASES.get(status, 'Unknown')}"
    return Fetched(request.tag, result, content)


def failure(tag: int, url: str, text: str, seconds: float = 0.0, status: int = 599) -> Fetched:
    """Return the answer for a fetch without a response: pyspider's status 599, or another of our own.

    Source: docs/pyspider-behaviour.md 5.5.
    """
    result = {
        "status_code": status,
        "url": url,
        "orig_url": url,
        "headers": {},
        "cookies": {},
        "time": seconds,
        "error": f"HTTP {status}: {text[:ERROR_CHARS_MAX]}",
    }
    return Fetched(tag, result, b"")
