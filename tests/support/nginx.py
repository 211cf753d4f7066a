"""A private nginx that serves one directory and writes down every request."""

import os
import resource
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from tests.support.addresses import loopback_address
from tests.support.netns import Host
from tests.support.process import Process, eventually

PORT = 8080
CONNECTIONS = 4096
FILES_MAX = 20_000  # kept open, when so many may be

# One process, in the foreground: its pid is the server. It stays who started it, since the pages
# usually lie in a directory that nobody else may read.
CONFIG = """
daemon off;
master_process off;
{user}
pid {directory}/nginx.pid;
error_log {directory}/error.log warn;
events {{ worker_connections {connections}; }}
http {{
    types {{
        text/html html htm;
        text/plain txt py;
        text/css css;
        application/javascript js;
        image/png png;
        image/svg+xml svg;
    }}
    default_type application/octet-stream;
    charset {charset};
    log_format requests '$msec $remote_addr $connection $status $request_method $request_uri';
    access_log {directory}/access.log requests{buffering};
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    sendfile on;
    tcp_nopush on;
    keepalive_timeout 65;
    keepalive_requests 1000000;
    open_file_cache max={files} inactive=600s;
    server {{
        listen {address}:{port} backlog=1024;
        root {root};
        index index.html;
        autoindex off;
    }}
}}
"""


class Request(NamedTuple):
    """One line of the access log: when the answer was sent (Unix seconds), to whom, and for what."""

    time_s: float
    client: str
    connection: int
    status: int
    method: str
    uri: str


def _files_kept_open() -> int:
    """As many as the limit on descriptors leaves room for: without a master process nginx cannot raise it."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(100, min(FILES_MAX, limit // 2, limit - CONNECTIONS))


def parse_log(text: str) -> list[Request]:
    """The requests of an access log; a last line that is still being written is left out."""
    requests = []
    for line in text.splitlines(keepends=True):
        if not line.endswith("\n"):
            break
        time_s, client, connection, status, method, uri = line.rstrip("\n").split(" ", 5)
        requests.append(Request(float(time_s), client, int(connection), int(status), method, uri))
    return requests


class Nginx:
    """A running server. `directory` takes its files, `root` is what it serves.

    host: the host of a private network to run on, else an address of 127/8 of its own.
    buffered: write the log in blocks, for benchmarks; it is complete only after `stop`.
    """

    def __init__(
        self,
        root: Path,
        directory: Path,
        *,
        host: Host | None = None,
        buffered: bool = False,
        charset: str = "utf-8",
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.address = host.address if host else loopback_address()
        self.url = f"http://{self.address}:{PORT}"
        self._log = directory / "access.log"
        config = directory / "nginx.conf"
        config.write_text(
            CONFIG.format(
                directory=directory,
                root=root,
                address=self.address,
                port=PORT,
                charset=charset,
                connections=CONNECTIONS,
                files=_files_kept_open(),
                buffering=" buffer=256k flush=5s" if buffered else "",
                user="user root;" if os.geteuid() == 0 else "",
            )
        )
        argv = ["nginx", "-e", directory / "error.log", "-c", config]
        self.process = Process(host.argv(argv) if host else argv, name="nginx")
        try:
            # nginx writes its pid when the sockets listen.
            eventually(lambda: self._is_ready(), 20, "nginx listens")
        except BaseException:
            self.process.close()
            raise

    def _is_ready(self) -> bool:
        if self.process.returncode is not None:
            errors = self.directory / "error.log"
            raise AssertionError(f"nginx ended: {self.process.tail()} {errors.read_text() if errors.exists() else ''}")
        pid = self.directory / "nginx.pid"
        return pid.exists() and pid.read_text().strip() != ""

    def requests(self) -> list[Request]:
        """Every request answered so far, in order."""
        return parse_log(self._log.read_text(errors="replace")) if self._log.exists() else []

    def counts(self) -> Counter[str]:
        """How often each URI was asked for."""
        return Counter(request.uri for request in self.requests())

    def answered(self) -> int:
        """The number of requests so far; cheap enough to poll."""
        return self._log.read_bytes().count(b"\n") if self._log.exists() else 0

    def forget(self) -> None:
        """Begin the log anew: nginx appends, so cutting the file is enough."""
        with self._log.open("w"):
            pass

    def stop(self) -> None:
        """End politely, so that the log is whole."""
        if self.process.returncode is None:
            self.process.stop(20)
        self.process.close()

    def close(self) -> None:
        self.process.close()

    def __enter__(self) -> "Nginx":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
