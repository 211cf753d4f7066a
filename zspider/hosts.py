"""The host of a URL, as politeness counts it: its name, and a number for it."""

import re
from functools import lru_cache
from hashlib import sha256
from urllib.parse import urlsplit

_PLAIN_HOST = re.compile(r"(https?)://([A-Za-z0-9_.-]+)(?::([1-9][0-9]{0,3}|[1-5][0-9]{4}))?(?:[/?#]|$)")
_SCHEME_PORTS = {"http": "80", "https": "443"}


def host_of(url: str) -> str:
    """Return a URL's host in lower case, with `:port` unless that is the scheme's; "" for other than http(s).

    Politeness is owed to this name. An IPv6 address stands in its brackets. "" also for what is no URL.
    """
    if url.startswith(("http://", "https://")) and (end := url.find("/", 8)) > 0:
        return _host_of_origin(url[:end])
    return _read_host(url)


def _read_host(url: str) -> str:
    plain = _PLAIN_HOST.match(url)
    if plain is None:
        return _odd_host(url)
    scheme, host, port = plain.groups()
    return host.lower() if port is None or port == _SCHEME_PORTS[scheme] else f"{host.lower()}:{port}"


_host_of_origin = lru_cache(16_384)(_read_host)  # what all pages of a site begin with


def _odd_host(url: str) -> str:
    """Read the host of an odd URL: with a user's name, an IPv6 address, letters beyond ASCII, or no host at all."""
    try:
        parts = urlsplit(url.strip(" \t"))
        host, port = parts.hostname or "", str(parts.port or "")
    except ValueError:
        return ""
    if parts.scheme not in _SCHEME_PORTS or not host:
        return ""
    host = f"[{host}]" if ":" in host else host
    return host if port in ("", _SCHEME_PORTS[parts.scheme]) else f"{host}:{port}"


@lru_cache(65_536)
def host_hash(host: str) -> int:
    """Return 32 bits of a host's name, signed, by which the frontier and its index know hosts; 0 for none.

    Two hosts in some billions share one: they may wait for each other in the frontier, their limits stay their own.
    """
    if not host:
        return 0
    return int.from_bytes(sha256(host.encode("utf-8", "surrogatepass")).digest()[:4], "big", signed=True) or 1
