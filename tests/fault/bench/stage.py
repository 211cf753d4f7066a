"""Where a history happens: hosts of a private network, a site, a master, two slaves, one of them behind a proxy."""

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import psutil
import pymysql
from tests.fault.bench.plan import SLAVES, TIMING, Kind, Plan
from tests.fault.bench.site import Fetch, read_log
from tests.fault.bench.world import World
from tests.support.cluster import PORT, Cluster, Daemon, Slave
from tests.support.mariadb import MariaDb
from tests.support.netns import Host, Network
from tests.support.process import Process

PROJECT = "known"
RATE, BURST = 30.0, 5.0  # a crawl of a few hundred pages lasts as long as the faults do
SITE_PORT, ENDLESS_PORT = 8080, 8081
PORTS = range(PORT, PORT + 4)
DISK_BYTES = 96 * 1024 * 1024  # of the master's directory and of each slave's temporary one
SCRIPT_RETRY_S = 2
SLAVE = {"processors": 1, "fetch_concurrency": 10}
ROLES = {False: (["fetcher", "processor"],) * 2, True: (["fetcher"], ["processor"])}
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")


class Database(Protocol):
    """The master's database, seen from beside it."""

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Read."""

    def rival(self) -> "sqlite3.Connection | pymysql.Connection[Any]":
        """A connection of its own, to be closed by the caller."""


class SqliteFile:
    """The file of a master."""

    address = ""  # the default of a master

    def __init__(self, file: Path) -> None:
        self._file = file

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(f"file:{self._file}?mode=ro", uri=True, timeout=20)) as conn:
            return conn.execute(sql).fetchall()

    def rival(self) -> sqlite3.Connection:
        return sqlite3.connect(self._file, isolation_level=None, timeout=20)


class MariaDatabase:
    """A database of its own on a server, reached through the server's socket file: no network leads there."""

    def __init__(self, server: MariaDb) -> None:
        self.server = server
        self.name = server.new_database()
        self._socket = server.query("SELECT @@socket")[0][0]
        address = server.address(self.name, user="root", password="", host="localhost")
        self.address = f"{address}?unix_socket={self._socket}"

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return list(self.server.query(sql, self.name))

    def rival(self) -> "pymysql.Connection[Any]":
        return pymysql.connect(unix_socket=self._socket, user="root", database=self.name, connect_timeout=5)


class Stage:
    """Everything of one history. Leaving the `with` block ends and removes all of it."""

    def __init__(self, plan: Plan, directory: Path, server: MariaDb | None) -> None:
        """server: a running MariaDB, which plans for it need and which is nobody else's meanwhile."""
        self.plan = plan
        self.directory = directory
        self.world = World(plan.seed)
        self.site_log = directory / "site.log"
        self._server = server
        self._members: list[psutil.Process] = []
        self._stack = ExitStack()

    def __enter__(self) -> "Stage":
        try:
            self._build()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def _build(self) -> None:
        self.network = self._stack.enter_context(Network())
        self._site_host, proxy_host, master_host = map(self.network.host, ("site", "proxy", "master"))
        self.hosts = {name: self.network.host(name) for name in SLAVES}
        self._mount(self.directory / "master" / "data")
        self.site = self._spawn(self._site_host, "site", SITE_PORT, self.plan.seed, self.site_log)
        self.cluster = self._stack.enter_context(Cluster(self.directory, prints_logs=False))
        self.database: SqliteFile | MariaDatabase = SqliteFile(self.directory / "master" / "data" / "zspider.db")
        if self.plan.database == "mariadb":
            assert self._server is not None
            self.database = MariaDatabase(self._server)
        self.master = self.cluster.master(
            host=master_host,
            database=self.database.address,
            master=TIMING,
            settings={"scheduler": {"script_retry_s": SCRIPT_RETRY_S}},
        )
        self._fake_clock()
        self.master.start()
        self.proxy = self._spawn(proxy_host, "proxy", self.master.address, *PORTS)
        self.upstream = dict(zip(SLAVES, (master_host, proxy_host), strict=True))
        self.slaves: dict[str, Slave] = {}
        for name, roles in zip(SLAVES, ROLES[self.plan.is_split], strict=True):
            self.add_slave(name, self.hosts[name], self.upstream[name], roles).start()

    def _fake_clock(self) -> None:
        """A master whose wall clock will jump has a library between it and the clock."""
        if any(fault.kind is Kind.CLOCK_JUMP for fault in self.plan.faults):
            self.clock = self.directory / "clock"
            self.clock.write_text("+0\n")
            self.master.env = {
                "LD_PRELOAD": str(FAKETIME),
                "FAKETIME_TIMESTAMP_FILE": str(self.clock),
                "FAKETIME_CACHE_DURATION": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            }

    def add_slave(self, name: str, host: Host, upstream: Host, roles: list[str]) -> Slave:
        """A slave that is not started yet, with a small disk for its temporary files."""
        temp = self.directory / f"{name}-temp"
        self._mount(temp)
        settings = {**SLAVE, "roles": roles, "master": f"{upstream.address}:{PORT}"}
        slave = self.cluster.slave(self.master, host=host, slave=settings)
        slave.env = {"TMPDIR": str(temp)}
        self.slaves[name] = slave
        return slave

    def _spawn(self, host: Host, module: str, *words: object) -> Process:
        argv = [sys.executable, "-m", f"tests.fault.bench.{module}", host.address, *map(str, words)]
        process = self._stack.enter_context(Process(host.argv(argv), name=module))
        process.wait_for("^listening$")
        return process

    @contextmanager
    def endless_server(self) -> Iterator[str]:
        """A second server on the site's host; yields where it is."""
        address = self._site_host.address
        argv = [sys.executable, "-m", "tests.fault.bench.chunks", address, str(ENDLESS_PORT)]
        with Process(self._site_host.argv(argv), name="chunks") as process:
            process.wait_for("^listening$")
            yield f"http://{address}:{ENDLESS_PORT}"

    def _mount(self, directory: Path) -> None:
        self._stack.enter_context(small_disk(directory))

    @property
    def site_url(self) -> str:
        return f"http://{self._site_host.address}:{SITE_PORT}"

    def begin(self) -> None:
        """Start the crawl."""
        self.master.begin(PROJECT, self.world.script(self.site_url), rate=RATE, burst=BURST)

    def fetches(self) -> list[Fetch]:
        return read_log(self.site_log)

    @property
    def daemons(self) -> list[Daemon]:
        return [self.master, *self.slaves.values()]

    def note_members(self) -> None:
        """Remember every process of the cluster that runs now."""
        known = set(self._members)
        self._members += [one for daemon in self.daemons for one in daemon.process.family() if one not in known]

    def survivors(self) -> list[str]:
        """Which of the noted processes still run, in words."""
        return [str(one) for one in self._members if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]

    @cached_property
    def temps(self) -> list[Path]:
        return [self.directory / f"{name}-temp" for name in self.slaves]


@contextmanager
def small_disk(directory: Path) -> Iterator[None]:
    """A file system of DISK_BYTES on this directory."""
    directory.mkdir(parents=True, exist_ok=True)
    options = f"size={DISK_BYTES},mode=0700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", directory], check=True, timeout=20)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", directory], check=True, timeout=20)
        shutil.rmtree(directory, ignore_errors=True)
