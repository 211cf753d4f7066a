"""A real web server whose faults are URLs, for tests: `with Site() as site: site.url("/slow?s=3")`.

It speaks raw HTTP/1.1 over asyncio streams in a thread of its own, on a free loopback port, so that it
can be as wrong as a test needs. `site.log` holds every request it read. A folder's conftest.py gives it to
its tests with `from tests.support.site import site  # noqa: F401`.

    /                       a page with a link             /etag              ETag, 304 when it fits
    /hello /bytes?n=        fixed bodies                   /gzip /deflate     compressed bodies
    /echo                   JSON of what was asked         /gzip-bomb?mb=100  zeros, 1000 : 1
    /status/404             any status                     /truncated         less than Content-Length
    /redirect?to=&code=     one redirect                   /gzip-truncated    a stream without its end
    /redirect-loop /redirect-long?n=  to itself; far too far
                                                           /drop              closed without a word
    /redirect-chain?n=      n redirects, then /hello       /reset             RST
    /redirect-raw?to=       Location bytes as given        /reset-body        RST in the body
    /slow?s=                waits, then answers            /garbage           no HTTP
    /slow-redirect?s=&n=    waits before each of n hops    /http09            a body without headers
    /drip?s=&n=             a byte every s seconds         /bad-charset       charset that is none
    /endless                a body that never ends         /bad-chunk         chunk size that is none
    /header-bomb?kb=        headers that never seem to end /huge-length       Content-Length of 1 TB
    /silent                 never answers                  /interim?n=        n times 103, then 200
    /cookies/set?a=b&path=  Set-Cookie for each pair       /trailers          chunked, with trailers
    /raw?hex=               these bytes, then closed
    /duplicate-location     two of them                    /close             without keep-alive
    /robots.txt             site.robots (status, body)     as a proxy         names what it was asked for
"""

import asyncio
import gzip
import json
import socket
import ssl
import struct
import subprocess
import threading
import zlib
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import parse_qs, unquote_to_bytes, urlsplit

import pytest


@dataclass
class Asked:
    """One request as the server read it."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes
    connection: int  # which connection it came over, counted from 1

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(urlsplit(self.target).query).items()}

    def header(self, name: str) -> str | None:
        """The values of a header, joined by a comma; None if it was not sent."""
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        return ",".join(values) if values else None


@dataclass
class Exchange:
    """A request and the way to answer it, as a handler gets them."""

    asked: Asked
    site: "Site"
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, body: bytes = b"", status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> None:
        lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Odd')}"]
        lines += [f"{name}: {value}" for name, value in headers]
        if not any(name.lower() in ("content-length", "transfer-encoding") for name, _ in headers):
            lines.append(f"Content-Length: {len(body)}")
        head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
        await self.send(head if self.asked.method == "HEAD" or status in (204, 304) else head + body)

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


REASONS = {200: "OK", 204: "No Content", 301: "Moved Permanently", 302: "Found", 303: "See Other"}
REASONS |= {304: "Not Modified", 307: "Temporary Redirect", 308: "Permanent Redirect", 404: "Not Found"}
REASONS |= {403: "Forbidden", 500: "Internal Server Error", 503: "Service Unavailable"}
Handler = Callable[[Exchange], Awaitable[None]]
HANDLERS: dict[str, Handler] = {}
TEXT = ("Content-Type", "text/html; charset=utf-8")


class Closed(Exception):
    """A handler's way to say that the connection is over."""


def at(path: str) -> Callable[[Handler], Handler]:
    def register(handler: Handler) -> Handler:
        HANDLERS[path] = handler
        return handler

    return register


@dataclass
class Site:
    """The server. Start and stop it with `with`."""

    host: str = "127.0.0.1"
    tls: bool = False
    robots: tuple[int, str] = (404, "")
    robots_delay_s: float = 0.0
    proxied_location: str = ""
    log: list[Asked] = field(default_factory=list)
    connections: int = 0
    port: int = 0

    def __enter__(self) -> "Site":
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        assert ready.wait(10), "the test server did not start"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        assert not self._thread.is_alive(), "the test server did not stop"

    def url(self, path: str = "/", host: str | None = None) -> str:
        return f"{'https' if self.tls else 'http'}://{host or self.host}:{self.port}{path}"

    def paths(self) -> list[str]:
        """The targets asked for, in order."""
        return [asked.target for asked in self.log]

    def _run(self, ready: threading.Event) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve(ready))

    async def _serve(self, ready: threading.Event) -> None:
        self._stop = asyncio.Event()
        context = _tls_context() if self.tls else None
        server = await asyncio.start_server(self._accept, self.host, self.port, ssl=context, limit=1 << 20)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await self._stop.wait()
        server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = self._loop.create_task(self._talk(reader, writer, self.connections))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        try:
            while (asked := await _read(reader, number)) is not None:
                self.log.append(asked)
                path = asked.path
                handler = HANDLERS.get(path) or HANDLERS.get(path[: path.rfind("/") + 1] + "*", _not_found)
                if asked.target.startswith("http://"):  # we are asked as a proxy
                    handler = _proxied
                await handler(Exchange(asked, self, writer))
        except (Closed, OSError, asyncio.IncompleteReadError, ValueError):
            pass  # the client went away, as many of these tests make it do
        except asyncio.CancelledError:
            writer.transport.abort()  # the server stops: nothing is sent any more
            raise
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


async def _read(reader: asyncio.StreamReader, number: int) -> Asked | None:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")[:-2]
    method, target, _ = first.split(" ", 2)
    headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    asked = Asked(method, target, headers, b"", number)
    asked.body = await reader.readexactly(int(asked.header("Content-Length") or 0))
    return asked


def make_certificate(folder: Path) -> None:
    """Write a self-signed certificate for localhost and its key to the files `cert` and `key`."""
    words = "-x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout key -out cert"
    subprocess.run(["openssl", "req", *words.split()], cwd=folder, check=True, capture_output=True, timeout=60)


@cache
def _tls_context() -> ssl.SSLContext:
    with TemporaryDirectory(prefix="zspider-test-tls") as name:
        folder = Path(name)
        make_certificate(folder)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "cert", folder / "key")
    return context


async def _not_found(x: Exchange) -> None:
    await x.answer(b"nothing here", 404, (TEXT,))


async def _proxied(x: Exchange) -> None:
    if x.site.proxied_location:
        await x.answer(b"", 302, (("Location", x.site.proxied_location),))
    else:
        await x.answer(b"by proxy: " + x.asked.target.encode(), headers=(TEXT,))


@at("/")
async def _home(x: Exchange) -> None:
    await x.answer(b'<html><title>home</title><a href="/hello">hello</a></html>', headers=(TEXT,))


@at("/hello")
async def _hello(x: Exchange) -> None:
    await x.answer(b"hello", headers=(TEXT,))


@at("/bytes")
async def _bytes(x: Exchange) -> None:
    await x.answer(b"x" * int(x.asked.query["n"]))


@at("/echo")
async def _echo(x: Exchange) -> None:
    asked = x.asked
    seen = {"method": asked.method, "target": asked.target, "headers": dict(asked.headers)}
    body = json.dumps({**seen, "body": asked.body.decode("latin-1")}).encode()
    await x.answer(body, headers=(("Content-Type", "application/json"),))


@at("/status/*")
async def _status(x: Exchange) -> None:
    await x.answer(b"body of a status", int(x.asked.path.rpartition("/")[2]), (TEXT,))


@at("/redirect")
async def _redirect(x: Exchange) -> None:
    query = x.asked.query
    cookies = (("Set-Cookie", query["cookie"]),) if "cookie" in query else ()
    location = query["to"].encode("utf-8").decode("latin-1")
    await x.answer(b"moved", int(query.get("code", 302)), (("Location", location), *cookies))


@at("/redirect-raw")
async def _redirect_raw(x: Exchange) -> None:
    raw = unquote_to_bytes(urlsplit(x.asked.target).query.removeprefix("to="))
    await x.send(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + raw + b"\r\n\r\n")


@at("/redirect-long")
async def _redirect_long(x: Exchange) -> None:
    await x.answer(b"", 302, (("Location", "/" + "a" * int(x.asked.query["n"])),))


@at("/redirect-loop")
async def _redirect_loop(x: Exchange) -> None:
    await x.answer(b"again", 302, (("Location", "/redirect-loop"),))


@at("/redirect-chain")
async def _redirect_chain(x: Exchange) -> None:
    left = int(x.asked.query["n"])
    await x.answer(b"", 302, (("Location", f"/redirect-chain?n={left - 1}" if left > 1 else "/hello"),))


@at("/duplicate-location")
async def _duplicate_location(x: Exchange) -> None:
    await x.answer(b"", 302, (("Location", "/hello"), ("Location", "/echo")))


@at("/slow")
async def _slow(x: Exchange) -> None:
    await asyncio.sleep(float(x.asked.query["s"]))
    await x.answer(b"slow", headers=(TEXT,))


@at("/slow-redirect")
async def _slow_redirect(x: Exchange) -> None:
    s, n = x.asked.query["s"], int(x.asked.query["n"])
    await asyncio.sleep(float(s))
    await x.answer(b"", 302, (("Location", f"/slow-redirect?s={s}&n={n - 1}" if n > 1 else "/hello"),))


@at("/silent")
async def _silent(x: Exchange) -> None:
    await asyncio.sleep(3600)


@at("/drip")
async def _drip(x: Exchange) -> None:
    query = x.asked.query
    n = int(query.get("n", 1000))
    await x.send(f"HTTP/1.1 200 OK\r\nContent-Length: {n}\r\n\r\n".encode())
    for _ in range(n):
        await asyncio.sleep(float(query.get("s", 1)))
        await x.send(b".")


@at("/endless")
async def _endless(x: Exchange) -> None:
    await x.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        await x.send(b"10000\r\n" + b"e" * 65536 + b"\r\n")


@at("/huge-length")
async def _huge_length(x: Exchange) -> None:
    await x.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")
    if x.asked.method != "HEAD":
        await x.send(b"and here it begins")
        await asyncio.sleep(3600)


@at("/header-bomb")
async def _header_bomb(x: Exchange) -> None:
    await x.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n")
    for number in range(int(x.asked.query.get("kb", 10_000))):
        await x.send(f"X-Bomb-{number}: ".encode() + b"b" * 1000 + b"\r\n")
    await x.send(b"\r\nok")


@at("/interim")
async def _interim(x: Exchange) -> None:
    for _ in range(int(x.asked.query.get("n", 1))):
        await x.send(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n")
    await x.answer(b"at last", headers=(TEXT,))


@at("/trailers")
async def _trailers(x: Exchange) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Before: yes\r\n\r\n"
    await x.send(head + b"5;ext=1\r\nhello\r\n0\r\nX-After: yes\r\n\r\n")


@at("/bad-chunk")
async def _bad_chunk(x: Exchange) -> None:
    await x.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n")


@at("/gzip")
async def _gzip(x: Exchange) -> None:
    await x.answer(gzip.compress(b"packed " * 100), headers=(("Content-Encoding", "gzip"), TEXT))


@at("/deflate")
async def _deflate(x: Exchange) -> None:
    await x.answer(zlib.compress(b"packed " * 100), headers=(("Content-Encoding", "deflate"), TEXT))


@at("/gzip-truncated")
async def _gzip_truncated(x: Exchange) -> None:
    body = gzip.compress(bytes(range(256)) * 100)
    await x.answer(body[: len(body) // 2], headers=(("Content-Encoding", "gzip"),))


@cache
def _bomb(megabytes: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(megabytes)) + packer.flush()


@at("/gzip-bomb")
async def _gzip_bomb(x: Exchange) -> None:
    bomb = _bomb(int(x.asked.query.get("mb", 100)))
    await x.answer(bomb, headers=(("Content-Encoding", "gzip"), TEXT))


@at("/bad-charset")
async def _bad_charset(x: Exchange) -> None:
    await x.answer("köln".encode("latin-1"), headers=(("Content-Type", "text/html; charset=no-such-thing"),))


@at("/cookies/set")
async def _cookies_set(x: Exchange) -> None:
    query = x.asked.query
    rest = "".join(f"; {name}={query.pop(name)}" for name in ("path", "domain", "expires") if name in query)
    cookies = tuple(("Set-Cookie", f"{name}={value}{rest}") for name, value in query.items())
    await x.answer(b"cookies", headers=cookies)


@at("/etag")
async def _etag(x: Exchange) -> None:
    modified = "Mon, 01 Jan 2024 00:00:00 GMT"
    validators = (("ETag", '"one"'), ("Last-Modified", modified))
    if x.asked.header("If-None-Match") == '"one"' or x.asked.header("If-Modified-Since") == modified:
        await x.answer(b"", 304, validators)
    else:
        await x.answer(b"fresh", headers=(*validators, TEXT))


@at("/close")
async def _close(x: Exchange) -> None:
    await x.answer(b"closing", headers=(("Connection", "close"),))
    raise Closed


@at("/truncated")
async def _truncated(x: Exchange) -> None:
    await x.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf a pa")
    raise Closed


@at("/drop")
async def _drop(x: Exchange) -> None:
    raise Closed


@at("/reset")
async def _reset(x: Exchange) -> None:
    x.reset()
    raise Closed


@at("/reset-body")
async def _reset_body(x: Exchange) -> None:
    await x.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf a pa")
    x.reset()
    raise Closed


@at("/garbage")
async def _garbage(x: Exchange) -> None:
    await x.send(bytes(range(128, 256)) * 4)
    raise Closed


@at("/raw")
async def _raw(x: Exchange) -> None:
    await x.send(bytes.fromhex(x.asked.query.get("hex", "")))
    raise Closed


@at("/http09")
async def _http09(x: Exchange) -> None:
    await x.send(b"<html>no headers at all</html>")
    raise Closed


@at("/robots.txt")
async def _robots(x: Exchange) -> None:
    await asyncio.sleep(x.site.robots_delay_s)
    status, text = x.site.robots
    if status in (301, 302):
        await x.answer(b"", status, (("Location", text),))
    else:
        await x.answer(text.encode(), status, (("Content-Type", "text/plain"),))


@pytest.fixture
def site() -> Iterator[Site]:
    """A server of one's own on 127.0.0.1."""
    with Site() as running:
        yield running


def as_json(content: bytes) -> Any:
    """What /echo said."""
    return json.loads(content)
