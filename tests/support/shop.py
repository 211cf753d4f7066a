"""The small shop that the examples crawl: lists with pages, covers, a login, a JSON API and a search form."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

BOOKS = [(f"Book {number}", 5 + 2 * number, f"2026-01-0{number}") for number in range(1, 7)]  # title, price, updated
PER_PAGE = 3
STOCK = [{"id": number, "left": number * number} for number in range(7)]
SESSION = "s3ss10n"
TOKEN = "t0k3n"


def cover(number: int) -> bytes:
    """A picture's bytes: no text in any encoding."""
    return b"\x89PNG\r\n\x1a\n" + bytes([number]) * 40 + b"\xff\x00"


class Shop(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
        match path.strip("/").split("/"):
            case ["books", page]:
                self._html(_list(int(page)))
            case ["book", number]:
                title, price, _ = BOOKS[int(number) - 1]
                self._html(f"<h1>{title}</h1><p class=price>£{price}.50</p>")
            case ["cover", name]:
                self._send(cover(int(name.removesuffix(".png"))), "image/png")
            case ["login"]:
                self._html(f"<form><input name=token type=hidden value={TOKEN}><input name=user></form>")
            case ["orders"] if f"session={SESSION}" in self.headers.get("Cookie", ""):
                self._html("<li class=order>Book 1</li><li class=order>Book 4</li>")
            case ["api", "stock"] if self.headers["Accept"] == "application/json":
                at, limit = int(query["offset"][0]), int(query["limit"][0])
                items = STOCK[at : at + limit]
                answer = {"items": items, "more": at + limit < len(STOCK)}
                self._send(json.dumps(answer).encode(), "application/json")
            case _:
                self._html("nothing here", 404)

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        if self.path == "/search":
            self._html("".join(f"<li>{form['word'][0]} {number}</li>" for number in (1, 2)))
        elif form == {"token": [TOKEN], "user": ["ann"], "password": ["secret"]}:
            self._html("welcome", headers={"Set-Cookie": f"session={SESSION}; Path=/"})
        else:
            self._html("wrong password", 403)

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _html(self, body: str, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._send(f"<html><body>{body}</body></html>".encode(), "text/html; charset=utf-8", status, headers)

    def _send(self, body: bytes, kind: str, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def _list(page: int) -> str:
    first = (page - 1) * PER_PAGE
    parts = [
        f'<img class=cover src="/cover/{number}.png">'
        f'<a class=book data-updated={updated} href="../book/{number}">{title}</a>'
        for number, (title, _, updated) in list(enumerate(BOOKS, 1))[first : first + PER_PAGE]
    ]
    if first + PER_PAGE < len(BOOKS):
        parts.append(f'<a rel=next href="{page + 1}">more</a>')
    return "".join(parts)


@contextmanager
def shop() -> Iterator[str]:
    """Serve the shop on a free loopback port; gives its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Shop)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
