"""URLs as pyspider stores them, so that a taskid is the same, and a fast join.

Source: docs/pyspider-behaviour.md 2.3 step 4.
"""

import re
from functools import lru_cache
from typing import Any
from urllib.parse import urlencode, urljoin, urlparse, urlunparse

# Plain forms, by far the commonest, that `urlparse` and `urlunparse` would give back unchanged.
# No control characters (urlparse removes some), no ";" (it drops an empty one), no empty query or fragment.
_PATH = r"[^?#;\x00-\x1f]*(?:\?[^#\x00-\x1f]+)?(?:#[^\x00-\x1f]+)?\Z"
_ASCII_PATH = _PATH.replace(r"\x1f", r"\x1f\x7f-\U0010ffff")
_HOST = r"[^/?#;\[\]\x00-\x20\x7f-\U0010ffff]+"
_is_plain_url = re.compile(rf"https?://{_HOST}/{_ASCII_PATH}").match
_is_plain_absolute = re.compile(rf"https?://{_HOST}(?:/{_PATH}|\Z)").match
_is_plain_path = re.compile(rf"/(?!/){_PATH}").match
_is_plain_relative = re.compile(rf"(?=[^/.?#;])(?![^/?#]*:){_PATH}").match
_is_plain_fragment = re.compile(r"#[^\x00-\x1f]+\Z").match
_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")


def build_url(url: str, params: Any = None) -> str:
    """Make the URL that is stored and fetched; without changing what is right already.

    params: a mapping or pairs (lists repeat the key, None is left out), or a ready query string.
    Raises ValueError when the host cannot be written in ASCII.
    """
    url = url.strip()
    if not params and _is_plain_url(url):
        return url
    scheme, netloc, path, segment, query, fragment = urlparse(url)
    if added := encode_params(params) if params else "":
        query = f"{query}&{added}" if query else added
    return quote_chinese(urlunparse((scheme, _ascii_host(netloc), path or "/", segment, query, fragment)))


def _ascii_host(netloc: str) -> str:
    if netloc.isascii():
        return netloc
    user, at, address = netloc.rpartition("@")
    host, colon, port = address.partition(":")  # one of IPv6 is ASCII
    return user + at + host.encode("idna").decode("ascii") + colon + port  # UnicodeError is a ValueError


def encode_params(params: Any) -> str:
    """Form-encode a mapping or pairs.

    Text is returned as it is, bytes are decoded. Raises TypeError for other types.
    """
    if isinstance(params, str):
        return params
    if isinstance(params, bytes):
        return params.decode("utf-8", "replace")
    try:
        pairs = [(key, values) for key, values in (params.items() if hasattr(params, "items") else params)]
    except (TypeError, ValueError) as exc:
        raise TypeError(f"params and data are a dict, pairs or text, not {type(params).__name__}") from exc
    flat = []
    for key, values in pairs:
        several = values if hasattr(values, "__iter__") and not isinstance(values, str | bytes) else [values]
        flat += [(key, value) for value in several if value is not None]
    return urlencode(flat, errors="replace")


def quote_chinese(url: str) -> str:
    """Percent-encode whatever is not ASCII, as UTF-8; leave the rest alone."""
    if url.isascii():
        return url
    return _NOT_ASCII.sub(lambda found: _percent(found.group()), url)


def _percent(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode("utf-8", "surrogatepass"))


@lru_cache(maxsize=1000)
def _folders(origin: str, folder: str) -> list[str]:
    """Return the URLs of a folder and its parents up to the root; none if its path is not plain."""
    if "//" in folder or "/." in folder:
        return []
    parts = folder.split("/")
    return [origin + "/".join(parts[:n]) + "/" for n in range(len(parts) - 1, 0, -1)]


class Joiner:
    """`urljoin` with one base: the plain forms are put together without parsing."""

    def __init__(self, base: str) -> None:
        self._base = base
        self.origin = self._page = ""  # scheme and host, and all but the fragment; "": not plain, always ask urljoin
        self.folder = ""  # URL of the page's folder, which decides what a `is_of_folder` link means; "": not plain
        self._folders: list[str] = []  # the base's folder, then its parents up to the root
        if _is_plain_absolute(base):
            self._page = base.partition("#")[0]
            address = self._page.partition("?")[0]
            end = address.find("/", address.index("//") + 2)
            self.origin, folder = (address, "/") if end < 0 else (address[:end], address[end : address.rfind("/") + 1])
            self._folders = _folders(self.origin, folder)
            self.folder = self._folders[0] if self._folders else ""

    def __call__(self, url: str) -> str:
        """Join one URL; surrounding whitespace is removed. A text that is not a URL is returned as it is."""
        url = url.strip()
        first = url[:1]
        if first == "/":
            if self.origin and "/." not in url and _is_plain_path(url):
                return self.origin + url
        elif first == "#":
            if self._page and _is_plain_fragment(url):
                return self._page + url
        elif _is_plain_absolute(url):
            return url
        elif self._folders and (joined := self._join_relative(url)):
            return joined
        try:
            return urljoin(self._base, url)
        except ValueError:  # "http://[": let the script see what the page says
            return url

    @staticmethod
    def is_of_folder(url: str) -> bool:
        """Return whether this certainly means the same on all pages of a folder.

        It has then a path of its own, in a plain form (RFC 3986 section 5.2.2).
        """
        url = url.strip()
        if url.startswith("/"):
            return _is_plain_path(url) is not None
        return bool(_is_plain_absolute(url) or _is_plain_relative(url.lstrip("./")))

    def _join_relative(self, url: str) -> str:
        """`x`, `../x`, `../../x` joined, or "" for other forms."""
        up = 0
        while url.startswith("../", 3 * up):
            up += 1
        rest = url[3 * up :]
        if "/." in rest or "//" in rest or not _is_plain_relative(rest):
            return ""
        return self._folders[min(up, len(self._folders) - 1)] + rest  # above the root is the root
