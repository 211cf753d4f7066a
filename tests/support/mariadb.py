"""A private MariaDB server in a directory of its own: started, killed and started again by the tests that use it."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pymysql
import pytest

START_S = 30.0
NODE_NOT_READY = 1047  # it is not in step with its cluster yet
STOP_S = 300.0  # a large pool is written first
USER, PASSWORD = "crawler", "s3cret/p@ss"
_names = count(1)
# What dies with its parent dies with the thread that started it: one that lives as long as the tests starts all.
_starter = ThreadPoolExecutor(1, "mariadb-starter")


def is_installed() -> bool:
    return all(map(shutil.which, ("mariadbd", "mariadb-install-db")))


class MariaDb:
    """A server on loopback. Its character set is latin1, as on many old servers; ours must not depend on it."""

    def __init__(self, directory: Path, *options: str, programs: Path | None = None) -> None:
        """programs: a directory of programs that the server calls."""
        self._directory = directory
        self._programs = programs
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        subprocess.run(
            [
                "mariadb-install-db",
                "--no-defaults",
                *self._user,
                f"--datadir={directory}/data",
                "--skip-test-db",
                "--auth-root-authentication-method=normal",
            ],
            check=True,
            capture_output=True,
            timeout=60,
        )

    @property
    def _user(self) -> list[str]:
        return ["--user=root"] if os.geteuid() == 0 else []

    def start(self) -> None:
        """Start the server, or start it again after `kill`; returns when it answers."""
        with (self._directory / "log").open("ab") as log:
            self._process = _starter.submit(
                subprocess.Popen,
                # It dies with the tests, however those end.
                [
                    "setpriv",
                    "--pdeathsig",
                    "KILL",
                    "mariadbd",
                    "--no-defaults",
                    *self._user,
                    f"--datadir={self._directory}/data",
                    f"--socket={self._directory}/socket",
                    f"--port={self.port}",
                    "--bind-address=127.0.0.1",
                    "--skip-name-resolve",
                    "--skip-ssl",  # newer servers offer TLS, and clients take it; a test reads what goes over the wire
                    "--innodb-buffer-pool-size=64M",
                    "--character-set-server=latin1",
                    "--collation-server=latin1_swedish_ci",
                    *self._options,
                ],
                stdout=log,
                stderr=log,
                env=os.environ | {"PATH": f"{self._programs or ''}:{os.environ['PATH']}".lstrip(":")},
            ).result()
        end = time.monotonic() + START_S
        while not self._answers():
            if time.monotonic() > end or self._process.poll() is not None:
                raise AssertionError((self._directory / "log").read_text()[-2000:])
            time.sleep(0.05)
        self.query(f"CREATE USER IF NOT EXISTS '{USER}'@'%' IDENTIFIED BY '{PASSWORD}'")
        self.query(f"GRANT ALL ON `crawl%`.* TO '{USER}'@'%'")

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(f"{self._directory}/socket") != 0:
                return False
        try:
            self.query("SELECT COUNT(*) FROM mysql.user")
        except pymysql.err.OperationalError as exc:
            if exc.args[0] != NODE_NOT_READY:
                raise
            return False
        return True

    def kill(self) -> None:
        """SIGKILL, as a power failure would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def send_signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _end(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(STOP_S)
            self._process = None

    def query(self, sql: str, database: str | None = None) -> tuple[tuple[Any, ...], ...]:
        """Run one statement as root."""
        conn = pymysql.connect(
            unix_socket=f"{self._directory}/socket", user="root", database=database, connect_timeout=5, autocommit=True
        )
        with conn, conn.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall()

    def new_database(self) -> str:
        """A name nobody used; the database does not exist yet."""
        return f"crawl{next(_names)}"

    def address(self, name: str, *, user: str = USER, password: str = PASSWORD, host: str = "127.0.0.1") -> str:
        """What an operator would write after `database:`."""
        quoted = password.replace("@", "%40").replace("/", "%2F")
        return f"mysql+pymysql://{user}:{quoted}@{host}:{self.port}/{name}"


@contextmanager
def private_server(*options: str) -> Iterator[MariaDb]:
    """A running server, gone afterwards; skips the test where MariaDB is not installed (CI has it)."""
    if not is_installed():
        if os.environ.get("CI"):
            pytest.fail("mariadb-server is not installed")
        pytest.skip("mariadb-server is not installed")
    directory = Path(tempfile.mkdtemp(prefix="zs-maria-"))  # short: a socket's path has 107 characters at most
    server = None
    try:
        server = MariaDb(directory, *options)
        server.start()
        yield server
    finally:
        if server is not None:
            server.kill()
        shutil.rmtree(directory, ignore_errors=True)
