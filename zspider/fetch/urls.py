"""URLs as they are sent: checked, encoded, joined and compared. Knows no network.

A URL that passes `clean_url` has an http(s) scheme, a plain host and printable ASCII only, so every
parser after it (libcurl's, a proxy's, the server's) reads the same host in it.
"""

import ipaddress
import re
from functools import lru_cache
from urllib.parse import quote, unquote, urljoin, urlsplit

import idna

from zspider.errors import FetchError
from zspider.task import URL_BYTES_MAX

_PLAIN = re.compile(r"https?://[A-Za-z0-9_.-]+(?::(?:[0-9]{1,4}|[1-5][0-9]{4}))?(?:[/?#][!-~]*)?")
_PARTS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)(.*)", re.DOTALL)
_HOST = re.compile(r"[A-Za-z0-9_.-]+")
_PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))
_USERINFO = _PRINTABLE.translate(dict.fromkeys(map(ord, '@[]\\"<>^`{|}')))
_DEFAULT_PORTS = {"http": 80, "https": 443}


def clean_url(url: str) -> str:
    """Return the URL as it may be sent: IDNA host, other bytes than printable ASCII percent-encoded as UTF-8.

    Printable ASCII stays as it is. Raises FetchError for other schemes than http and https, for CR,
    LF and NUL, for a host that is none, and above URL_BYTES_MAX.
    """
    if len(url) <= URL_BYTES_MAX and _PLAIN.fullmatch(url):
        return url
    return _clean_odd_url(url)


def _clean_odd_url(url: str) -> str:
    if len(url) > URL_BYTES_MAX:
        raise FetchError(f"URL of {len(url)} characters, the limit is {URL_BYTES_MAX}")
    if any(bad in url for bad in "\r\n\0"):
        raise FetchError(f"line break or NUL in URL {_shown(url)}")
    match = _PARTS.fullmatch(url.strip(" \t"))
    if not match:
        raise FetchError(f"not a URL: {_shown(url)}")
    scheme, authority, rest = match.groups()
    if scheme.lower() not in _DEFAULT_PORTS:
        raise FetchError(f"scheme {scheme[:20]!r} is not fetched, only http and https are")
    userinfo, at, address = authority.rpartition("@")
    cleaned = f"{scheme.lower()}://{_encoded(userinfo, _USERINFO)}{at}{_address(address)}{_encoded(rest, _PRINTABLE)}"
    if len(cleaned) > URL_BYTES_MAX:
        raise FetchError(f"URL of {len(cleaned)} bytes, the limit is {URL_BYTES_MAX}")
    return cleaned


def _address(address: str) -> str:
    """Check host and port, both as they stand in the URL."""
    host, colon, port = address.rpartition(":")
    if not colon or port.endswith("]"):
        host, port = address, ""
    if port and not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise FetchError(f"invalid port {port[:20]!r}")
    return f"{_host(host)}:{port}" if port else _host(host)


def _host(host: str) -> str:
    if _HOST.fullmatch(host):
        return host
    try:
        if host.startswith("[") and host.endswith("]") and "%" not in host:  # a zone means something here only
            return f"[{ipaddress.IPv6Address(host[1:-1]).compressed}]"
        encoded = idna.encode(unquote(host, errors="strict"), uts46=True).decode("ascii")
    except ValueError as exc:  # idna.IDNAError and UnicodeError are ValueErrors
        raise FetchError(f"invalid host {_shown(host)}") from exc
    if not _HOST.fullmatch(encoded):
        raise FetchError(f"invalid host {_shown(host)}")
    return encoded


def _encoded(text: str, safe: str) -> str:
    try:
        return quote(text, safe=safe)
    except UnicodeEncodeError as exc:
        raise FetchError(f"URL with a lone surrogate: {_shown(text)}") from exc


def _shown(text: str) -> str:
    """Return the text short and escaped, for an error."""
    return ascii(text if len(text) <= 100 else text[:100] + "...")


@lru_cache(maxsize=4096)
def origin_of(url: str) -> str:
    """Return scheme://host:port of a clean URL, in lower case, always with the port."""
    parts = urlsplit(url)
    host = hostname_of(url)
    return f"{parts.scheme}://{host}:{parts.port or _DEFAULT_PORTS[parts.scheme]}"


def hostname_of(url: str) -> str:
    """Return the host of a clean URL without its port, in lower case; an IPv6 address in brackets."""
    host = urlsplit(url).hostname or ""
    return f"[{host}]" if ":" in host else host


def join(base: str, location: str) -> str:
    """Return the clean URL that a Location header means on the page `base`.

    `location` is the header's value read as Latin-1, so that its bytes can be had back: they are
    UTF-8 if they can be, else each is percent-encoded as it is. Raises FetchError.
    """
    if len(location) > URL_BYTES_MAX:
        raise FetchError(f"Location of {len(location)} bytes, the limit is {URL_BYTES_MAX}")
    if any(bad in location for bad in "\r\n\0"):
        raise FetchError(f"line break or NUL in Location {_shown(location)}")
    raw = location.encode("latin-1")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = quote(raw, safe=_PRINTABLE)
    try:
        return clean_url(urljoin(base, text))
    except ValueError as exc:
        raise FetchError(f"not a URL in Location: {_shown(location)}") from exc
