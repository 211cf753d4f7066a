"""data: URLs (RFC 2397), which contain their page. Pure."""

import base64
import binascii
from urllib.parse import unquote_to_bytes

from zspider.errors import FetchError


def is_data_url(url: str) -> bool:
    """Return whether this is a data: URL."""
    return url[:5].lower() == "data:"


def decode(url: str) -> tuple[str, bytes]:
    """Return the media type as written ("" if none) and the decoded bytes after the first comma.

    pyspider cuts at the last comma (docs/pyspider-behaviour.md 5.4); RFC 2397 and browsers cut at the first.
    Raises FetchError when there is no comma, or base64 that is none.
    """
    head, comma, body = url[5:].partition(",")
    if not comma:
        raise FetchError("data: URL without a comma")
    is_base64 = head.lower().endswith(";base64")
    try:
        raw = unquote_to_bytes(body)
        if is_base64:
            compact = raw.translate(None, b" \t\r\n\f")
            raw = base64.b64decode(compact + b"=" * (-len(compact) % 4), validate=True)
    except (binascii.Error, UnicodeEncodeError) as exc:
        raise FetchError(f"data: URL: {exc}") from exc
    return (head[: -len(";base64")] if is_base64 else head), raw
