"""Real web servers that make much work out of few bytes, or can take few connections: raw sockets, threads, loopback.

`with Hostile() as server: server.url("/chunks?size=1")`: what it sends is told by the URL.

    /chunks?size=1&count=N      a body in chunks of so many bytes; without count it never ends
    /flushed?size=40&count=N    the same, but ended by a last chunk, each line a chunk: an honest export
    /gzip?mb=32                 zeros, 1000 : 1, which end well; &times=2: packed so many times
    /empty-blocks?times=2       deflate blocks that hold nothing, packed so many times: all work, no output
    /lines?count=N              so many header lines of three bytes; without count they never end
    /interim                    1xx answers without end
    /trailers                   trailers without end, after a chunked body
    /extension                  a chunk extension without end
    /page?n=100                 an ordinary page of so many bytes
    /used-once                  the same, on a connection that looks open and is reset by the next request

`with SmallServer(...) as server` is Python's own `http.server` with its accept queue of 5: `accept_s` is how long it
rests after each connection, `is_threaded` whether it serves more than one, `protocol` HTTP/1.1 keeps connections open.
Both run alone as well: python -m tests.support.hostile (hostile | small) HOST PORT [...].
"""

import argparse
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from itertools import count, repeat
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

BLOCK_BYTES = 60_000  # about as much as is given to the kernel at once
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
Query = dict[str, int]


def _in_blocks(piece: bytes, number: int | None) -> Iterator[bytes]:
    """A piece so many times, many in a block; None: for ever."""
    per_block = max(1, BLOCK_BYTES // len(piece))
    if number is None:
        yield from repeat(piece * per_block)
        return
    yield from repeat(piece * per_block, number // per_block)
    yield piece * (number % per_block)


def _chunk(size: int) -> bytes:
    return b"%x\r\n%s\r\n" % (size, b"a" * size)


def _chunks(query: Query) -> Iterator[bytes]:
    yield CHUNKED + b"\r\n"
    yield from _in_blocks(_chunk(query.get("size", 1)), query.get("count"))
    yield b"0\r\n\r\n"


def _flushed(query: Query) -> Iterator[bytes]:
    size = query.get("size", 40)
    line = b"x" * (size - 1) + b"\n"
    yield CHUNKED + b"\r\n"
    yield from _in_blocks(b"%x\r\n%s\r\n" % (size, line), query.get("count", 1000))
    yield b"0\r\n\r\n"


@cache
def _packed(data: bytes, times: int) -> bytes:
    for _ in range(times):
        packer = zlib.compressobj(9, zlib.DEFLATED, 31)
        data = packer.compress(data) + packer.flush()
    return data


def _with_coding(body: bytes, times: int) -> bytes:
    codings = ", ".join(["gzip"] * times).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Encoding: %s\r\nContent-Length: %d\r\n\r\n%s" % (codings, len(body), body)


def _gzip(query: Query) -> Iterator[bytes]:
    times = query.get("times", 1)
    yield _with_coding(_packed(bytes(query.get("mb", 32) << 20), times), times)


@cache
def _empty_blocks(times: int) -> bytes:
    raw = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03" + b"\x00\x00\x00\xff\xff" * 8_000_000  # no last block
    return _packed(raw, times - 1)


def _empty(query: Query) -> Iterator[bytes]:
    times = query.get("times", 2)
    yield _with_coding(_empty_blocks(times), times)


def _lines(query: Query) -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\n"
    yield from _in_blocks(b"a:\r\n", query.get("count"))
    yield b"Content-Length: 2\r\n\r\nok"


def _interim(query: Query) -> Iterator[bytes]:
    yield from _in_blocks(b"HTTP/1.1 103 \r\n\r\n", query.get("count"))
    yield b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def _trailers(query: Query) -> Iterator[bytes]:
    yield CHUNKED + b"\r\n2\r\nok\r\n0\r\n"
    yield from _in_blocks(b"a:\r\n", query.get("count"))
    yield b"\r\n"


def _extension(query: Query) -> Iterator[bytes]:
    yield CHUNKED + b"\r\n2;"
    yield from _in_blocks(b"e" * 1000, query.get("count"))
    yield b"\r\nok\r\n0\r\n\r\n"


def _page(query: Query) -> Iterator[bytes]:
    body = b"x" * query.get("n", 100)
    yield b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


ANSWERS: dict[str, Callable[[Query], Iterator[bytes]]] = {
    "/chunks": _chunks,
    "/flushed": _flushed,
    "/gzip": _gzip,
    "/empty-blocks": _empty,
    "/lines": _lines,
    "/interim": _interim,
    "/trailers": _trailers,
    "/extension": _extension,
    "/page": _page,
}


class Hostile:
    """Answers each request as its URL says, on a connection of its own. `asked` counts requests by path."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self.asked: dict[str, int] = {}
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._server = socket.create_server((host, port), backlog=1024)
        self.host, self.port = self._server.getsockname()[:2]
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown(socket.SHUT_RDWR)  # wakes the thread in accept
        self._server.close()
        self._thread.join(10)
        with self._lock:
            for connection in self._open:
                with suppress(OSError):  # the client may have closed it
                    connection.shutdown(socket.SHUT_RDWR)

    def url(self, path: str) -> str:
        return f"http://{self.host}:{self.port}{path}"

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            with self._lock:
                self._open.add(connection)
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        try:
            target = connection.recv(65536).split(b" ", 2)[1].decode()
            parts = urlsplit(target)
            with self._lock:
                self.asked[parts.path] = self.asked.get(parts.path, 0) + 1
            query = {name: int(values[0]) for name, values in parse_qs(parts.query).items() if values[0].isdigit()}
            for block in ANSWERS.get(parts.path, _page)(query):
                connection.sendall(block)
            if parts.path == "/used-once" and connection.recv(1):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except (OSError, IndexError):
            pass  # the client has had enough
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()


class SmallServer:
    """Python's `http.server`, which has room for five connections that wait: pages of about 300 bytes at any path."""

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        protocol: str = "HTTP/1.1",
        accept_s: float = 0.0,
        is_threaded: bool = True,
    ) -> None:
        small = self
        self.accepted = 0  # connections
        self.asked: list[str] = []  # paths, in order
        self.times: list[float] = []  # when each was answered, in monotonic seconds

        class Handler(BaseHTTPRequestHandler):
            protocol_version = protocol

            def do_GET(self) -> None:
                small.asked.append(self.path)
                body = f"<html><title>page {self.path}</title>{'x' * 250}</html>".encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                small.times.append(time.monotonic())

            def log_message(self, *_: Any) -> None:
                pass

        kind: type[HTTPServer] = ThreadingHTTPServer if is_threaded else HTTPServer

        class Server(kind):  # type: ignore[misc, valid-type]
            def get_request(self) -> Any:
                found = super().get_request()
                small.accepted += 1
                time.sleep(accept_s)
                return found

        self._server = Server((host, port), Handler)
        self._server.daemon_threads = True
        self.host, self.port = self._server.server_address[:2]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        # A server without threads may be reading from a connection that its client keeps open: it is left behind.
        threading.Thread(target=self._server.shutdown, daemon=True).start()
        self._thread.join(0.5)
        self._server.socket.close()

    def url(self, path: str) -> str:
        return f"http://{self.host}:{self.port}{path}"


def main() -> None:
    """Serve until killed; says its port first."""
    arguments = argparse.ArgumentParser(prog="tests.support.hostile", description="A server with faults.")
    arguments.add_argument("kind", choices=["hostile", "small"])
    arguments.add_argument("host")
    arguments.add_argument("port", type=int)
    arguments.add_argument("--protocol", default="HTTP/1.1")
    arguments.add_argument("--accept-s", type=float, default=0.0)
    given = arguments.parse_args()
    server: Hostile | SmallServer
    if given.kind == "hostile":
        server = Hostile(given.host, given.port)
    else:
        server = SmallServer(given.host, given.port, protocol=given.protocol, accept_s=given.accept_s)
    with server:
        print(f"listening {server.port}", flush=True)
        for _ in count():
            time.sleep(3600)


if __name__ == "__main__":
    main()
