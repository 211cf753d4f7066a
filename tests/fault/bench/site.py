"""The web server of a history, as a process: `python -m tests.fault.bench.site ADDRESS PORT SEED LOG`.

It writes down a request before it answers it: Unix seconds, the client's address, the path, the status.
"""

import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

from tests.fault.bench.world import HUB, MARK, World


class Fetch(NamedTuple):
    """A line of the log."""

    time_s: float
    client: str
    path: str
    status: int


def read_log(log: Path) -> list[Fetch]:
    """All fetches so far, in order."""
    lines = log.read_text().splitlines() if log.exists() else []
    rows = [line.split(" ") for line in lines]
    return [Fetch(float(time_s), client, path, int(status)) for time_s, client, path, status in rows]


class Server(ThreadingHTTPServer):
    """Serves a world."""

    daemon_threads = True
    request_queue_size = 200

    def __init__(self, address: tuple[str, int], world: World, log: Path) -> None:
        super().__init__(address, Answer)
        self.world = world
        self._asked: Counter[str] = Counter()
        self._log = log.open("a")
        self._lock = threading.Lock()

    def status(self, client: str, path: str) -> int:
        """The status of this answer; the request is written down."""
        with self._lock:
            self._asked[path] += 1
            status = self._status(path, self._asked[path])
            self._log.write(f"{time.time():.3f} {client} {path} {status}\n")
            self._log.flush()
        return status

    def _status(self, path: str, times: int) -> int:
        if self.world.is_stormy and (path == HUB or path.startswith(MARK)):
            return 200
        number = path.removeprefix("/page/")
        if not number.isdecimal() or int(number) >= len(self.world.pages):
            return 404
        page = self.world.pages[int(number)]
        return 404 if page.is_gone else 503 if times <= page.failures else 200


class Answer(BaseHTTPRequestHandler):
    """Answers GET."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        status = self.server.status(self.client_address[0], self.path)
        body = b"no"
        if status == 200 and self.path.startswith("/page/"):
            number = int(self.path.rpartition("/")[2])
            time.sleep(self.server.world.pages[number].slow_s)  # the site is slow: that is its fault
            body = self.server.world.html(number)
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: object) -> None:
        """The log is written elsewhere."""


def main(address: str, port: str, seed: str, log: str) -> None:
    server = Server((address, int(port)), World(int(seed)), Path(log))
    print("listening", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
