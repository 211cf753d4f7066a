"""A web server that notes when it was asked, and by how many at once; for tests of politeness."""

import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from types import TracebackType
from typing import NamedTuple, Self

ROBOTS = "/robots.txt"


class Visit(NamedTuple):
    """A request: times are monotonic seconds."""

    path: str
    began: float
    at_once: int  # requests that were being answered then, with this one
    status: int


class PoliteSite:
    """Answers every page after `answer_s`. Its URLs are `url` + any path.

    refusals: which page, counted from 1, is answered by which status and headers instead of 200.
    """

    def __init__(
        self,
        *,
        answer_s: float = 0.02,
        refusals: Mapping[int, tuple[int, dict[str, str]]] | None = None,
        robots: str | None = None,
    ) -> None:
        self.visits: list[Visit] = []
        self.answer_s = answer_s
        self.refusals = refusals or {}
        self.robots = robots
        self._lock = Lock()
        self._at_once = 0
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.host = f"127.0.0.1:{self._server.server_port}"
        self.url = f"http://{self.host}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def times(self) -> list[float]:
        """When each page was asked for, in order."""
        return sorted(visit.began for visit in self.visits)

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Take note of a request, and say how it is answered."""
        if path == ROBOTS:
            return (404, {}, b"") if self.robots is None else (200, {}, self.robots.encode())
        began = time.monotonic()
        with self._lock:
            self._at_once += 1
            status, headers = self.refusals.get(len(self.visits) + 1, (200, {}))
            self.visits.append(Visit(path, began, self._at_once, status))
        time.sleep(self.answer_s)  # the work that a real server has with a page
        with self._lock:
            self._at_once -= 1
        return status, headers, b"<html><title>page</title></html>"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024  # the usual 5 lets the kernel drop connections, which come back seconds later


def _handler(site: PoliteSite) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, headers, body = site.answer(self.path)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass  # `visits` is the log

    return Handler
