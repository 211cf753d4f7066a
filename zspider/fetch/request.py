"""A task's fetch options turned into a request that can be sent (docs/pyspider-behaviour.md 2.3, 5.2, 5.3). Pure."""

import base64
import binascii
import math
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import unquote, urlencode, urlsplit

from msgspec import Struct

from zspider.errors import FetchError
from zspider.fetch import headers as h
from zspider.fetch.curl import ACCEPT_ENCODING
from zspider.fetch.data_url import is_data_url
from zspider.fetch.urls import clean_url
from zspider.settings import FetchSettings

REDIRECTS_MAX = 5  # pyspider's default
TIMEOUT_S_MAX = 24 * 3600.0
VALIDATOR_CHARS_MAX = 1024  # a longer ETag or Last-Modified is not sent back

_METHOD = re.compile(r"[A-Z][A-Z0-9_-]{0,31}")
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})  # without data these send an empty body
_RENDERERS = {"js": "phantomjs", "phantomjs": "phantomjs", "splash": "splash", "puppeteer": "puppeteer"}
_PROXY_PORTS = {"http": 8080, "https": 8080, "socks4": 1080, "socks4a": 1080, "socks5": 1080, "socks5h": 1080}
_MARKER = re.compile(r"\[BASE64-DATA\](.*?)\[/BASE64-DATA\]", re.DOTALL)


class Proxy(NamedTuple):
    """A proxy server. `url` has scheme, host and port; the password stays out of it, and out of repr()."""

    url: str
    username: str = ""
    password: str = ""

    def __repr__(self) -> str:
        return f"Proxy({self.url!r})"


class Request(Struct, frozen=True, kw_only=True):
    """One fetch, all options settled. `headers` are lines as they are sent, without Cookie."""

    tag: int
    url: str
    orig_url: str  # as the task has it
    method: str = "GET"
    headers: tuple[bytes, ...] = ()
    cookies: dict[str, str] = {}  # for the host of `url`, and no other
    body: bytes | None = None
    user_agent: str = ""  # the one in `headers`: robots.txt is read for it
    timeout_s: float = 120.0  # for everything, redirects and robots.txt included
    connect_timeout_s: float = 20.0
    accept_encoding: str = ACCEPT_ENCODING
    follow: bool = True
    max_redirects: int = REDIRECTS_MAX
    proxy: Proxy | None = None
    validate_cert: bool = True
    robots_txt: bool = False
    private_ok: bool = True  # whether `url` itself may be at a private address
    renderer: str = ""  # needs a browser: which kind of it pyspider would have asked


def build_request(
    tag: int,
    url: str,
    fetch: Mapping[str, Any],
    track: Mapping[str, Any],
    settings: FetchSettings,
    *,
    private_ok: bool = True,
) -> Request:
    """Settle a task's options; `fetch` has crawl_config merged in already, `track` is {} for a new task.

    private_ok: whether private addresses may be fetched; False for a URL that a public page led to.

    Raises FetchError, its text fit for `response.error`, for whatever cannot be sent. Changes neither
    mapping. Options it does not know are the script's business and are ignored.
    """
    if is_data_url(url):
        return Request(tag=tag, url=url, orig_url=url)
    clean = clean_url(url)
    if not fetch and not track:
        rest = _plain(settings.user_agent, settings.timeout_s, settings.connect_timeout_s, settings.proxy, private_ok)
        return Request(tag=tag, url=clean, orig_url=url, **rest)
    return _settled(tag, url, clean, fetch, track, settings, private_ok)


_SHARED = [name for name in Request.__struct_fields__ if name not in ("tag", "url", "orig_url", "cookies")]


@lru_cache(maxsize=16)
def _plain(
    user_agent: str, timeout_s: float, connect_timeout_s: float, proxy: str | None, private_ok: bool
) -> dict[str, Any]:
    """Return the request that tasks without options, as most are, have in common."""
    settings = FetchSettings(
        user_agent=user_agent, timeout_s=timeout_s, connect_timeout_s=connect_timeout_s, proxy=proxy
    )
    settled = _settled(0, "", "", {}, {}, settings, private_ok)
    return {name: getattr(settled, name) for name in _SHARED}


def _settled(
    tag: int,
    url: str,
    clean: str,
    fetch: Mapping[str, Any],
    track: Mapping[str, Any],
    settings: FetchSettings,
    private_ok: bool,
) -> Request:
    own = h.items_of(_unmarked(fetch.get("headers")), "headers")
    sent = h.header_set(own, _user_agent(fetch, settings))
    body = _body(fetch.get("data"))
    method = _method(fetch.get("method"), body)
    if body is None and method in _WITH_BODY:
        body = b""
    elif method == "HEAD":
        body = None  # libcurl would wait for a body in the answer too
    lines = sent.lines
    if track:
        lines += _validators(fetch, track, sent.names)
    elif "etag" in fetch or "last_modified" in fetch or "last_modifed" in fetch:
        lines += _validators(fetch, {}, sent.names)
    if body is not None:
        lines += _body_lines(method, body, sent.names)
    return Request(
        tag=tag,
        url=clean,
        orig_url=url,
        method=method,
        headers=lines,
        cookies=_cookies(sent.cookies, fetch.get("cookies")),
        body=body,
        user_agent=sent.user_agent,
        timeout_s=_seconds(fetch, "timeout", settings.timeout_s),
        connect_timeout_s=_seconds(fetch, "connect_timeout", settings.connect_timeout_s),
        accept_encoding=ACCEPT_ENCODING if fetch.get("use_gzip", True) else "identity",
        follow=bool(fetch.get("allow_redirects", True)),
        max_redirects=_max_redirects(fetch.get("max_redirects")),
        proxy=_proxy(fetch.get("proxy", True), settings.proxy),
        validate_cert=bool(fetch.get("validate_cert", True)),
        robots_txt=bool(fetch.get("robots_txt", False)),
        private_ok=private_ok,
        renderer=_renderer(fetch.get("fetch_type")),
    )


def _user_agent(fetch: Mapping[str, Any], settings: FetchSettings) -> str:
    """`crawl()` copies the option into the headers, which win; here it counts in crawl_config as well."""
    user_agent = fetch.get("user_agent") or settings.user_agent
    if not isinstance(user_agent, str):
        raise FetchError(f"user_agent must be text, got {type(user_agent).__name__}")
    return user_agent


def _method(given: object, body: bytes | None) -> str:
    if given is None:
        return "GET" if body is None else "POST"
    method = given.upper() if isinstance(given, str) else ""
    if not _METHOD.fullmatch(method):
        raise FetchError(f"unknown method {ascii(given)[:50]}")
    return method


def _body(data: object) -> bytes | None:
    data = _unmarked(data)
    if data is None or isinstance(data, bytes):
        return data or None
    if isinstance(data, bytearray | memoryview):
        return bytes(data) or None
    try:
        if isinstance(data, str):
            return data.encode("utf-8") or None
        if isinstance(data, Mapping):  # from an imported task: `crawl()` has encoded it
            return urlencode(data, doseq=True).encode("ascii") or None
    except (UnicodeError, TypeError, ValueError) as exc:
        raise FetchError(f"data: {exc}") from exc
    raise FetchError(f"data must be text or bytes, got {type(data).__name__}")


def _body_lines(method: str, body: bytes, names: frozenset[str]) -> tuple[bytes, ...]:
    """Return a Content-Type for forms, else none (libcurl would add one), and no wait for "100 Continue"."""
    if "content-type" in names:
        return (b"Expect:",)
    if method == "POST" and body:
        return (b"Content-Type: application/x-www-form-urlencoded", b"Expect:")
    return (b"Content-Type:", b"Expect:")


def _unmarked(value: Any) -> Any:
    """Decode `[BASE64-DATA]...[/BASE64-DATA]`, which imported pyspider databases hold instead of bytes."""
    if isinstance(value, str) and "[BASE64-DATA]" in value:
        if match := _MARKER.fullmatch(value):
            return _base64(match[1])
        return _MARKER.sub(lambda found: _base64(found[1]).decode("utf-8", "surrogateescape"), value)
    if isinstance(value, Mapping):
        return {_unmarked(name): _unmarked(item) for name, item in value.items()}
    return value


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text)
    except (binascii.Error, ValueError) as exc:
        raise FetchError(f"[BASE64-DATA]: {exc}") from exc


def _cookies(from_header: h.Items, option: object) -> dict[str, str]:
    """Return the Cookie header and the `cookies` option together; the option wins."""
    if not option and not from_header:
        return {}
    cookies = dict(from_header) | dict(h.items_of(_unmarked(option), "cookies"))
    h.cookie_line(cookies.items())  # raises for what cannot be sent
    return cookies


def _validators(fetch: Mapping[str, Any], track: Mapping[str, Any], names: frozenset[str]) -> tuple[bytes, ...]:
    """If-None-Match and If-Modified-Since (docs/pyspider-behaviour.md 5.3). A header given explicitly wins."""
    known = _tracked(track)
    last_modified = fetch.get("last_modified", fetch.get("last_modifed", True))  # upstream's typo is in scripts
    lines = []
    for option, name, key in (
        (fetch.get("etag", True), "If-None-Match", "etag"),
        (last_modified, "If-Modified-Since", "last-modified"),
    ):
        if not option or name.lower() in names:
            continue
        if isinstance(option, str):
            lines.append(h.line(name, option))
        elif key in known:
            lines.append(h.line(name, known[key]))
    return tuple(lines)


def _tracked(track: Mapping[str, Any]) -> dict[str, str]:
    """Return the validators of the last good run; what a server cannot have meant is left out."""
    process, fetched = track.get("process"), track.get("fetch")
    if not (isinstance(process, Mapping) and process.get("ok") and isinstance(fetched, Mapping)):
        return {}
    known = fetched.get("headers")
    if not isinstance(known, Mapping):
        return {}
    return {
        name.lower(): value
        for name, value in known.items()
        if isinstance(name, str) and isinstance(value, str) and _is_validator(value)
    }


def _is_validator(value: str) -> bool:
    return 0 < len(value) <= VALIDATOR_CHARS_MAX and value.isascii() and value.isprintable()


def _seconds(fetch: Mapping[str, Any], name: str, default: float) -> float:
    """Return a time limit; None and 0 mean the default."""
    given = fetch.get(name)
    if not given:
        return default
    try:
        seconds = float(given)
    except (TypeError, ValueError, OverflowError) as exc:
        raise FetchError(f"{name} must be a number of seconds, got {ascii(given)[:50]}") from exc
    if not math.isfinite(seconds) or seconds <= 0:
        raise FetchError(f"{name} must be a positive number of seconds, got {seconds}")
    return min(seconds, TIMEOUT_S_MAX)


def _max_redirects(given: object) -> int:
    if given is None:
        return REDIRECTS_MAX
    if isinstance(given, int | float) and 0 <= given < 1000:
        return int(given)
    raise FetchError(f"max_redirects must be a number from 0 to 999, got {ascii(given)[:50]}")


def _proxy(given: object, default: str | None) -> Proxy | None:
    """Return the task's proxy; the default when it names none; no proxy when it says False."""
    if isinstance(given, str):
        return parse_proxy(given) if given else None
    return parse_proxy(default) if given and default else None


def parse_proxy(text: str) -> Proxy:
    """`[user:password@]host[:port]`, or a URL with one of curl's proxy schemes; FetchError otherwise."""
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, port = parts.hostname, parts.port
    except ValueError as exc:
        raise FetchError(f"invalid proxy: {exc}") from exc
    if parts.scheme not in _PROXY_PORTS or not host or any(bad in text for bad in "\r\n\0 "):
        raise FetchError("invalid proxy, expected [user:password@]host[:port]")
    if not host.isascii():
        raise FetchError("invalid proxy host")
    address = f"[{host}]" if ":" in host else host
    return Proxy(
        f"{parts.scheme}://{address}:{port or _PROXY_PORTS[parts.scheme]}",
        unquote(parts.username or ""),
        unquote(parts.password or ""),
    )


def _renderer(fetch_type: object) -> str:
    return _RENDERERS.get(fetch_type, "") if isinstance(fetch_type, str) else ""
