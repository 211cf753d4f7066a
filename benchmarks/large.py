"""Millions of waiting tasks: loading them, starting a master on them, and whether it is as quick as with few.

    python -m benchmarks.large [--tasks 1000000] [--hosts 100000] [sqlite] [mariadb]

Tasks go in through `Storage.submit`, as every URL from outside does. Then a real master works for a slave that
answers at once (`echo.py`): grants, outcomes, commits and acknowledgements over encrypted sockets, no pages. The same
with 10,000 tasks alternates with it. The page cache of the machine is warm, as after a crash of the master alone, and
MariaDB's buffer pool holds the tables; at last MariaDB is restarted with nothing in it, and then given a small one.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import NamedTuple

from tests.support.cluster import PORT, Master
from tests.support.mariadb import MariaDb, private_server
from zspider.broker.address import Address
from zspider.broker.token import Token
from zspider.delivery import Follow
from zspider.scheduler.rules import SchedulerRules
from zspider.storage import Storage, open_storage
from zspider.task import ProjectStatus, usual_taskid

from benchmarks.echo import EchoSlave

FEW = 10_000
BATCH = 5_000  # rows of one transaction while loading
DONE_FEW = 8_000  # of the few, so that the window never runs dry
DONE_MANY = 30_000  # of the many: several refills
ROUNDS = 3
POOL_BYTES_PER_TASK = 600  # innodb_buffer_pool_size: the tables take 450
POOL_MB_MIN = 1024
SMALL_POOL_MB = 128
BODY = b"\x83\xa8schedule\x80\xa5fetch\x80\xa7process\x81\xa8callback\xa4page"
SCRIPT = (
    "from zspider import BaseHandler\n\n\nclass Handler(BaseHandler):\n    def page(self, response):\n        pass\n"
)
RSS_MB_MAX, FIRST_GRANT_S_MAX, RATIO_MIN = 300, 10.0, 0.8  # issued goals


@dataclass
class Measured:
    """What one database gave."""

    database: str
    tasks: int
    hosts: int
    rows_per_s: float = 0.0  # while loading
    load_s: float = 0.0
    size_mb: float = 0.0
    first_grant_s: float = 0.0  # from the start of the master's process
    master_rss_mb: float = 0.0  # the highest there was
    few_per_s: list[float] = field(default_factory=list)  # tasks granted, committed and acknowledged
    many_per_s: list[float] = field(default_factory=list)  # the same number of them
    sustained_per_s: list[float] = field(default_factory=list)  # DONE_MANY of them: the window is refilled
    pool_mb: int = 0  # of MariaDB
    cold_per_s: float = 0.0  # MariaDB restarted with an empty pool, sustained
    small_pool_per_s: float = 0.0  # MariaDB with SMALL_POOL_MB, sustained

    @property
    def ratio(self) -> float:
        return median(self.many_per_s) / median(self.few_per_s)


class Base:
    """One database: where it is, how it is restarted, how large it is."""

    def __init__(self, directory: Path, server: MariaDb | None) -> None:
        self.directory = directory
        self.server = server
        self._names: dict[str, str] = {}

    def address(self, name: str) -> str:
        if self.server is None:
            return f"sqlite:///{self.directory}/{name}.db"
        if name not in self._names:
            self._names[name] = self.server.new_database()
        return self.server.address(self._names[name])

    def drop(self, name: str) -> None:
        """Make room for another of this name."""
        if self.server is not None:
            self.server.query(f"DROP DATABASE `{self._names.pop(name)}`")
        for file in self.directory.glob(f"{name}.db*"):
            file.unlink()

    def restart(self) -> None:
        """The server, if there is one, with nothing in its memory."""
        if self.server is not None:
            self.server.stop()
            self.server.start()

    def size_mb(self, name: str) -> float:
        if self.server is None:
            return sum(file.stat().st_size for file in self.directory.glob(f"{name}.db*")) / 1e6
        spaces = "information_schema.innodb_sys_tablespaces"
        (row,) = self.server.query(f"SELECT sum(file_size) FROM {spaces} WHERE name LIKE '{self._names[name]}/%'")
        return float(row[0]) / 1e6


def load(address: str, tasks: int, hosts: int) -> float:
    """Make a project with so many waiting tasks; returns the seconds it took."""
    storage = open_storage(address, rules=SchedulerRules(), seen=0)
    try:
        now_ms = time.time_ns() // 1_000_000
        storage.take_over("loader", now_ms)
        project = storage.push(
            "many", SCRIPT, now_ms=now_ms, status=ProjectStatus.RUNNING, rate=1_000_000, burst=1_000_000
        )
        started = time.monotonic()
        _submit(storage, project.id, tasks, hosts)
        took = time.monotonic() - started
        storage.release()
        return took
    finally:
        storage.close()


def _submit(storage: Storage, project: int, tasks: int, hosts: int) -> None:
    said = time.monotonic()
    for at in range(0, tasks, BATCH):
        urls = (f"http://host{n % hosts}.example.org/page/{n}.html" for n in range(at, min(tasks, at + BATCH)))
        storage.submit(project, [Follow(usual_taskid(url), url, BODY) for url in urls], time.time_ns() // 1_000_000)
        if time.monotonic() - said > 30:
            said = time.monotonic()
            print(f"  {at + BATCH:,} of {tasks:,} are in", flush=True)


@contextmanager
def master_on(address: str, directory: Path) -> Iterator[tuple[Master, float]]:
    """A master, and when it was started."""
    settings = {"log": {"level": "warning"}}
    master = Master(directory, database=address, master={"local_slave": False}, settings=settings)
    started = time.monotonic()
    with closing(master.start()):
        yield master, started
        assert master.stop() == 0, master.process.tail()


class Worked(NamedTuple):
    """One life of a master."""

    slave: EchoSlave
    first_grant_s: float  # from the start of its process
    rss_mb: float  # its peak


def work(address: str, directory: Path, tasks: int) -> Worked:
    """Start a master and do so many tasks."""
    with master_on(address, directory) as (master, started):
        token = Token.parse((master.data_dir / "join.token").read_text())
        slave = EchoSlave(Address(master.address, PORT), token)
        slave.run(tasks)
        status = Path(f"/proc/{master.process.pid}/status").read_text()
    rss_mb = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")) / 1024
    return Worked(slave, slave.first_grant_s - started, rss_mb)


def measure(base: Base, measured: Measured) -> None:
    """Load, start, and let few and many alternate."""
    tasks, hosts = measured.tasks, measured.hosts
    measured.load_s = load(base.address("many"), tasks, hosts)
    measured.rows_per_s = tasks / measured.load_s
    measured.size_mb = base.size_mb("many")
    for number in range(ROUNDS):
        _round(base, measured, number)
    if base.server is not None:
        base.restart()
        measured.cold_per_s = _work_many(base, measured, "cold").rate(DONE_MANY)
        base.server.query(f"SET GLOBAL innodb_buffer_pool_size = {SMALL_POOL_MB * 1024 * 1024}")
        measured.small_pool_per_s = _work_many(base, measured, "small-pool").rate(DONE_MANY)


def _work_many(base: Base, measured: Measured, name: str) -> EchoSlave:
    worked = work(base.address("many"), base.directory / name, DONE_MANY)
    measured.first_grant_s = max(measured.first_grant_s, worked.first_grant_s)
    measured.master_rss_mb = max(measured.master_rss_mb, worked.rss_mb)
    return worked.slave


def _round(base: Base, measured: Measured, number: int) -> None:
    slave = _work_many(base, measured, f"many{number}")
    measured.many_per_s.append(slave.rate(DONE_FEW))
    measured.sustained_per_s.append(slave.rate(DONE_MANY))
    load(base.address("few"), FEW, FEW)
    worked = work(base.address("few"), base.directory / f"few{number}", DONE_FEW)
    measured.few_per_s.append(worked.slave.rate(DONE_FEW))
    base.drop("few")


def report(one: Measured) -> str:
    """Everything about one database, with the goals."""

    def verdict(is_met: bool, goal: str) -> str:
        return f"(goal {goal}: {'met' if is_met else 'MISSED'})"

    few, many, sustained = median(one.few_per_s), median(one.many_per_s), median(one.sustained_per_s)
    lines = [
        f"{one.database}: {one.tasks:,} waiting tasks of {one.hosts:,} hosts",
        f"  loaded in           {one.load_s:8.0f} s  ({one.rows_per_s:,.0f} rows/s)",
        f"  on disk             {one.size_mb:8,.0f} MB",
        f"  start to 1st grant  {one.first_grant_s:8.1f} s  {verdict(one.first_grant_s < FIRST_GRANT_S_MAX, '< 10 s')}",
        f"  master's peak RSS   {one.master_rss_mb:8.0f} MB  {verdict(one.master_rss_mb < RSS_MB_MAX, '< 300 MB')}",
        f"  tasks/s             {many:8,.0f}  with {FEW:,} tasks {few:,.0f}: {one.ratio:.2f} of it  "
        f"{verdict(one.ratio >= RATIO_MIN, '>= 0.8')}; {sustained:,.0f} sustained",
    ]
    if one.pool_mb:
        lines.append(f"  sustained with a buffer pool of {one.pool_mb:,} MB that is empty: {one.cold_per_s:,.0f}")
        lines.append(f"  ... of {SMALL_POOL_MB} MB: {one.small_pool_per_s:,.0f}")
    return "\n".join(lines)


def main() -> int:
    """Measure the databases that are named, or both; a missed goal is only said."""
    arguments = argparse.ArgumentParser(prog="benchmarks.large", description="Millions of waiting tasks.")
    arguments.add_argument("databases", nargs="*", default=["sqlite", "mariadb"], metavar="sqlite|mariadb")
    arguments.add_argument("--tasks", type=int, default=1_000_000)
    arguments.add_argument("--hosts", type=int, default=100_000)
    arguments.add_argument("--save", type=Path, help="JSON file for all figures")
    given = arguments.parse_args()
    found = [_measured(kind, given.tasks, given.hosts) for kind in given.databases]
    if given.save:
        given.save.write_text(json.dumps([asdict(one) for one in found], indent=1) + "\n")
    return 0


def _server(measured: Measured) -> AbstractContextManager[MariaDb]:
    measured.pool_mb = max(POOL_MB_MIN, measured.tasks * POOL_BYTES_PER_TASK >> 20)
    return private_server(
        f"--innodb-buffer-pool-size={measured.pool_mb}M",
        "--innodb-buffer-pool-load-at-startup=OFF",
        "--innodb-log-file-size=512M",
    )


def _measured(kind: str, tasks: int, hosts: int) -> Measured:
    work_dir = Path(tempfile.mkdtemp(prefix="zspider-large-"))
    measured = Measured(kind, tasks, hosts)
    try:
        with _server(measured) if kind == "mariadb" else nullcontext() as server:
            measure(Base(work_dir, server), measured)
    finally:
        shutil.rmtree(work_dir)
    print(report(measured), flush=True)
    return measured


if __name__ == "__main__":
    sys.exit(main())
