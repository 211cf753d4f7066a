"""The record that a run leaves in its task: the track of docs/pyspider-behaviour.md 3.5, packed."""

from collections.abc import Mapping
from typing import Any

import msgspec

from zspider.delivery import TRACK_BYTES_MAX
from zspider.script.page.response import Response
from zspider.script.plain import said, text

FAILED_CONTENT_CHARS = 500  # of a failed page
RESULT_CHARS = 10  # of what the callback returned
VALIDATORS = ("etag", "last-modified")  # what a conditional request needs of the last success

_pack = msgspec.msgpack.Encoder().encode


class TrackTooLarge(Exception):
    """The track is over its limit: `self.save` is too large."""


def fetch_part(response: Response, headers: Mapping[str, str], ok: bool) -> dict[str, Any]:
    """Return what is kept of the page; ok: the run was a success. A callback may have put anything into `response`."""
    return {
        "ok": response.isok(),
        "redirect_url": None if response.url == response.orig_url else response.url,
        "time": response.time,
        "error": response.error,
        "status_code": response.status_code,
        "encoding": response.known_encoding,
        "headers": _kept_headers(headers, ok),
        "content": None if ok else text(response.start_of_text(FAILED_CONTENT_CHARS)),
    }


def beginning(value: Any) -> str | None:
    """Return the beginning of what a callback returned, as text; None if it has none."""
    if value is None:
        return None
    try:
        return said(value)[:RESULT_CHARS]
    except BaseException:  # a user's class may do anything
        return None


def packed(fetch: dict[str, Any], process: dict[str, Any], save: Any) -> bytes:
    """Return the packed track. save: JSON-like. Raises TrackTooLarge.

    What a callback has put into `response` and cannot be packed is left out.
    """
    try:
        track = _pack({"fetch": fetch, "process": process, "save": save})
    except (TypeError, ValueError, RecursionError):
        track = _pack({"fetch": {}, "process": process, "save": save})
    if len(track) > TRACK_BYTES_MAX:
        problem = f"self.save and the rest of the track are {len(track)} bytes, the limit is {TRACK_BYTES_MAX}"
        raise TrackTooLarge(problem)
    return track


def _kept_headers(headers: Mapping[str, str], ok: bool) -> dict[str, str]:
    if not ok:
        return {text(name): text(value) for name, value in headers.items()}
    return {name: text(value) for key, value in headers.items() if (name := key.lower()) in VALIDATORS}
