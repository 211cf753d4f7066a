"""The demo site: a generated site of articles, the same at every start, served fast or exported as files.

Page N depends on N and on the number of pages only, so a crawl of it can be checked and repeated. It
knows nothing of zspider. All texts are made from word lists; nothing is taken from anywhere.
"""

import asyncio
import hashlib
import http.client
import os
import re
import signal
import struct
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path

from zspider.errors import ConfigError

PAGES = 11_110
SERVER = "zspider-demo-site"  # the Server header, by which one of ours is known
INDEX_LINKS = 100  # articles on one index page
CACHE_BYTES_MAX = 32 * 1024 * 1024
HEAD_BYTES_MAX = 16 * 1024  # of a request; more is no browser and no crawler
PROBE_S = 5.0  # how long another server may take to say who it is
RELATED = 21  # links to other articles under each article


def _words(text: str) -> list[str]:
    return text.split()


_NOUNS = _words(
    """
    harbour river valley archive market garden station workshop museum library bridge forest quarter festival journal
    survey letter engine lantern orchard compass village theatre railway windmill notebook island meadow observatory
    """
)
_ADJECTIVES = _words(
    """
    quiet northern early careful narrow bright distant ordinary wooden patient local steady forgotten modern shallow
    curious autumn common hidden practical
    """
)
_VERBS = _words(
    """
    describes follows explains repairs measures crosses remembers connects collects replaces surrounds supports compares
    reopens records
    """
)
_JOINTS = _words("because while although since whenever where and before after until")
_TAILS = (
    "for the first time in years",
    "to nobody's surprise",
    "with little more than a map",
    "as the records show",
    "in the words of a visitor",
    "at the end of every summer",
    "without any plan",
    "according to the town's own list",
    "for reasons that are still discussed",
    "in spite of the weather",
)
_SENTENCES = 2048  # enough that no two articles read alike, few enough to be made at once


class Site:
    """The pages of one site. Making a page costs about 50 us, so nothing has to be kept."""

    def __init__(self, pages: int = PAGES) -> None:
        """pages: how many articles there are, at least 1."""
        if pages < 1:
            raise ConfigError(f"a site has at least 1 page, got {pages}")
        self.pages = pages
        self.index_pages = -(-pages // INDEX_LINKS)
        self._sentences = [_sentence(n) for n in range(_SENTENCES)]

    def page(self, path: str) -> bytes | None:
        """The body at this path, or None when there is none."""
        if path in ("/", "/index.html"):
            return self._start()
        if path == "/robots.txt":
            return b"User-agent: *\nDisallow:\n"
        if found := re.fullmatch(r"/(article|index)/([1-9][0-9]{0,8})\.html", path):
            number = int(found[2])
            if found[1] == "article":
                return self.article(number) if number <= self.pages else None
            return self._index(number) if number <= self.index_pages else None
        return None

    def paths(self) -> list[str]:
        """Every path that has a page."""
        articles = [f"/article/{n}.html" for n in range(1, self.pages + 1)]
        return ["/index.html", "/robots.txt", *(f"/index/{n}.html" for n in range(1, self.index_pages + 1)), *articles]

    def article(self, number: int) -> bytes:
        """Article `number`: 8 to 15 KB, about 30 links."""
        draws = _Draws(f"article {number}")
        sections = []
        for _ in range(5 + draws.below(2)):
            paragraphs = "\n".join(f"<p>{self._prose(draws, 4 + draws.below(3))}</p>" for _ in range(3))
            sections.append(f"<section>\n<h2>{_title(draws)}</h2>\n{paragraphs}\n</section>")
        related = (1 + draws.below(self.pages) for _ in range(RELATED))
        links = "\n".join(f'<li><a href="{other}.html">Article {other}</a></li>' for other in related)
        shelf = 1 + (number - 1) // INDEX_LINKS
        return _html(
            f"Article {number}: {_title(draws)}",
            f'<p class="lead">{self._prose(draws, 3)}</p>\n' + "\n".join(sections),
            f'<aside>\n<h2>Read on</h2>\n<ul>\n{links}\n</ul>\n</aside>\n<p class="steps">'
            f'<a rel="prev" href="/article/{(number - 2) % self.pages + 1}.html">Previous</a> '
            f'<a rel="next" href="/article/{number % self.pages + 1}.html">Next</a> '
            f'<a rel="up" href="/index/{shelf}.html">Shelf {shelf}</a></p>',
            shelves=[1 + draws.below(self.index_pages) for _ in range(5)],
        )

    def _index(self, number: int) -> bytes:
        first = (number - 1) * INDEX_LINKS + 1
        last = min(first + INDEX_LINKS - 1, self.pages)
        links = "\n".join(f'<li><a href="/article/{n}.html">Article {n}</a></li>' for n in range(first, last + 1))
        return _html(f"Shelf {number}: articles {first} to {last}", f"<ul>\n{links}\n</ul>", "", shelves=[])

    def _start(self) -> bytes:
        links = "\n".join(f'<li><a href="/index/{n}.html">Shelf {n}</a></li>' for n in range(1, self.index_pages + 1))
        return _html(f"The reading room: {self.pages} articles", f"<ul>\n{links}\n</ul>", "", shelves=[])

    def _prose(self, draws: "_Draws", sentences: int) -> str:
        return " ".join([self._sentences[draws.below(_SENTENCES)] for _ in range(sentences)])


def export_site(directory: Path, pages: int = PAGES) -> int:
    """Write the site as static files for a web server whose root is `directory`. Returns how many files."""
    site = Site(pages)
    for folder in ("article", "index"):
        (directory / folder).mkdir(parents=True, exist_ok=True)
    paths = site.paths()
    for path in paths:
        body = site.page(path)
        assert body is not None
        (directory / path[1:]).write_bytes(body)
    return len(paths)


class _Draws:
    """Numbers drawn from a seed; the same with every Python version, which `random` does not promise."""

    def __init__(self, seed: str) -> None:
        drawn = hashlib.shake_128(seed.encode()).digest(2 * _DRAWS)
        self._left: Iterator[int] = iter(struct.unpack(f"<{_DRAWS}H", drawn))

    def below(self, limit: int) -> int:
        """A number from 0 to limit - 1 (limit up to 2**16 is even enough)."""
        return next(self._left) * limit >> 16


_DRAWS = 256  # an article uses fewer than 190


def _sentence(number: int) -> str:
    draws = _Draws(f"sentence {number}")
    clauses = [_clause(draws) for _ in range(1 + draws.below(2))]
    text = f" {_JOINTS[draws.below(len(_JOINTS))]} ".join(clauses)
    return f"{text[0].upper()}{text[1:]} {_TAILS[draws.below(len(_TAILS))]}."


def _clause(draws: _Draws) -> str:
    verb = _VERBS[draws.below(len(_VERBS))]
    return f"the {_thing(draws)} {verb} the {_thing(draws)}"


def _title(draws: _Draws) -> str:
    return f"The {_thing(draws)} and the {_thing(draws)}".title()


def _thing(draws: _Draws) -> str:
    return f"{_ADJECTIVES[draws.below(len(_ADJECTIVES))]} {_NOUNS[draws.below(len(_NOUNS))]}"


def _html(title: str, main: str, end: str, shelves: list[int]) -> bytes:
    nav = "".join(f' <a href="/index/{shelf}.html">Shelf {shelf}</a>' for shelf in shelves)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n</head>\n<body>\n'
        f'<nav><a href="/index.html">The reading room</a>{nav}</nav>\n<h1>{title}</h1>\n<main>\n{main}\n</main>\n'
        f"{end}\n<footer>Generated text; it means nothing.</footer>\n</body>\n</html>\n"
    ).encode()


class Responses:
    """Whole HTTP responses of a site by path, the latest kept up to a bound."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._kept: OrderedDict[bytes, bytes] = OrderedDict()
        self._bytes = 0

    def of(self, path: bytes) -> bytes:
        """The response to GET `path`, complete with its header."""
        if (kept := self._kept.get(path)) is not None:
            return kept
        body = self._site.page(path.partition(b"?")[0].decode("latin-1"))
        if body is None:
            return response("404 Not Found", b"no such page\n", "text/plain")
        kind = "text/plain" if path.startswith(b"/robots.txt") else "text/html; charset=utf-8"
        made = response("200 OK", body, kind)
        self._keep(path, made)
        return made

    def _keep(self, path: bytes, made: bytes) -> None:
        self._kept[path] = made
        self._bytes += len(made)
        while self._bytes > CACHE_BYTES_MAX:
            self._bytes -= len(self._kept.popitem(last=False)[1])


def response(status: str, body: bytes, kind: str) -> bytes:
    """A complete HTTP/1.1 response."""
    head = f"HTTP/1.1 {status}\r\nServer: {SERVER}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode("latin-1") + body


class Connection(asyncio.Protocol):
    """One client: keep-alive and pipelining; GET and HEAD only. It stops reading while the client does not."""

    def __init__(self, responses: Responses) -> None:
        self._responses = responses
        self._received = b""
        self._blocked = False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport. (This and the following are called by asyncio.)"""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def pause_writing(self) -> None:
        """Read no more requests while the client does not read the answers."""
        self._blocked = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Answer what was read, and read on."""
        self._blocked = False
        self._answer()
        if not self._blocked and not self._transport.is_closing():
            self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Answer the requests that are complete."""
        self._received += data
        self._answer()

    def _answer(self) -> None:
        """Answer the complete requests that have arrived."""
        at = 0
        while not self._blocked and not self._transport.is_closing():
            end = self._received.find(b"\r\n\r\n", at)
            if end < 0:
                if len(self._received) - at > HEAD_BYTES_MAX:
                    self._refuse("431 Request Header Fields Too Large")
                break
            self._answer_one(self._received[at:end])
            at = end + 4
        self._received = self._received[at:]

    def _answer_one(self, head: bytes) -> None:
        line, _, fields = head.partition(b"\r\n")
        words = line.split(b" ")
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return self._refuse("400 Bad Request")
        method, path, protocol = words
        if method not in (b"GET", b"HEAD"):
            return self._refuse("405 Method Not Allowed")  # and close: a body may follow that is not read
        made = self._responses.of(path)
        self._transport.write(made if method == b"GET" else made[: made.index(b"\r\n\r\n") + 4])
        if protocol == b"HTTP/1.0" or re.search(rb"(?im)^connection:\s*close\b", fields):
            self._transport.close()
        return None

    def _refuse(self, status: str) -> None:
        self._transport.write(response(status, f"{status}\n".encode(), "text/plain"))
        self._transport.close()


def is_demo_site(port: int, host: str = "127.0.0.1") -> bool:
    """Whether one of ours serves at this address now."""
    connection = http.client.HTTPConnection(host, port, timeout=PROBE_S)
    try:
        connection.request("HEAD", "/index.html")
        return connection.getresponse().getheader("Server") == SERVER
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def serve(site: Site, host: str, port: int, on_ready: Callable[[int], None]) -> None:
    """Serve the site until SIGTERM or SIGINT.

    port: 0 picks a free one. on_ready is told the port once connections are accepted.
    Raises ConfigError when the address is in use or not ours.
    """
    asyncio.run(_serve(site, host, port, on_ready))


async def _serve(site: Site, host: str, port: int, on_ready: Callable[[int], None]) -> None:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    responses = Responses(site)
    try:
        server = await loop.create_server(lambda: Connection(responses), host, port, backlog=1024)
    except OSError as exc:
        reason = (
            os.strerror(exc.errno) if exc.errno and exc.errno > 0 else exc.strerror
        )  # asyncio's text repeats it all
        raise ConfigError(f"cannot serve the demo site on {host}:{port}: {reason}") from exc
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with server:
        on_ready(server.sockets[0].getsockname()[1])
        await stopped.wait()
