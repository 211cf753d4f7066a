"""What pages with very many links cost: other projects and verbs beside them, and the master's memory.

python -m benchmarks.large_outcomes [beside] [flood] [locked] [--database URL]

beside: 24 pages that each submit 50,000 URLs, on one slave with one processor, and a project with 8 pages/s: the
longest time between two of its results, and how long `send-message` takes. flood: the holder of a join token sends 181
PARTs of 10,000 follows with 2 KB bodies for one grant, then the token is revoked: the master's memory, and what is
written afterwards. locked: three slaves deliver PARTs of 1,000 follows with `save` of 2.5 KB each while another
process locks the SQLite database for a minute: the master's memory.
"""

import argparse
import itertools
import shutil
import sqlite3
import tempfile
import threading
import time
from pathlib import Path

import msgspec
import psutil
from tests.support.cluster import FAST, Cluster, Master, zspiderd
from tests.support.rogue import Rogue, success
from zspider.broker.codec import encode_outcome
from zspider.delivery import End, Follow
from zspider.task import ScriptInfo

MANY = """\
import time
from pyspider.libs.base_handler import *


class Handler(BaseHandler):
    def on_start(self):
        for page in range({pages}):
            self.crawl('data:,%d' % page, callback=self.links, save=page)

    def links(self, response):
        later = time.time() + 1e6
        for number in range({links}):
            self.crawl('http://h/%d/%d' % (response.save, number), callback=self.links, exetime=later{more})
"""
FEW = """\
from pyspider.libs.base_handler import *


class Handler(BaseHandler):
    def on_start(self):
        for page in range(4000):
            self.crawl('data:,few%d' % page, callback=self.page)

    def page(self, response):
        return {'url': response.url}

    def on_message(self, project, message):
        return None
"""
MIB = 1024 * 1024


class Memory(threading.Thread):
    """The largest resident memory of a process while the `with` block lasts, in MiB."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._process = psutil.Process(pid)
        self._is_over = threading.Event()
        self.before = self.most = self._now()

    def _now(self) -> float:
        return float(self._process.memory_info().rss) / MIB

    def run(self) -> None:
        while not self._is_over.wait(0.05):
            self.most = max(self.most, self._now())

    def __enter__(self) -> "Memory":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self.join()


def rows(master: Master) -> int:
    """How many tasks the master's SQLite database has."""
    with sqlite3.connect(f"file:{master.data_dir / 'zspider.db'}?mode=ro", uri=True) as db:
        return int(db.execute("SELECT count(*) FROM tasks").fetchone()[0])


def beside(cluster: Cluster, database: str, pages: int, links: int) -> str:
    """A project with 8 pages/s beside one with very many links."""
    master = cluster.master(database=database, settings={"log": {"level": "warning"}}).start()
    cluster.slave(master).start()
    master.wait_slaves(1)
    master.begin("few", FEW, rate=8, burst=1)
    time.sleep(5)
    began = time.time()
    master.begin("many", MANY.format(pages=pages, links=links, more=""))
    verbs: list[str] = []
    slowest = 0.0
    while time.time() - began < 300:
        asked = time.monotonic()
        code = master.run_verb("send-message", "few", "hello").code
        slowest = max(slowest, time.monotonic() - asked)
        verbs.append(f"{time.monotonic() - asked:.1f}" + (f" (exit {code})" if code else ""))
        time.sleep(1.0)
        if time.time() - began > 10 and code == 0 and master.counts("many").get("waiting", 0) >= pages * links:
            break
    ended = time.time()
    counts = master.counts("many")
    times = sorted(row["updatetime"] for row in master.results("few"))
    times = [began, *(one for one in times if began < one < ended), ended]
    gap = max(after - before for before, after in itertools.pairwise(times))
    return (
        f"{counts.get('waiting', 0)} links in {ended - began:.0f} s; longest gap {gap:.1f} s; "
        f"slowest send-message {slowest:.1f} s: {', '.join(verbs)}"
    )


def flood(cluster: Cluster, parts: int) -> str:
    """181 PARTs of 10,000 follows with 2 KB bodies for one grant."""
    master = cluster.master(master=FAST).start()
    with Rogue(master) as rogue:
        rogue.join(10)
        master.push("few", FEW)
        (info,) = rogue.until(lambda: rogue.grants("few"), "a grant")
        rogue.report(success(info, info=msgspec.msgpack.encode(ScriptInfo())))
        master.ask("project", "start", "few")
        grant = rogue.until(lambda: rogue.grants("few")[1:], "on_start")[0]
        with Memory(master.process.pid) as memory:
            began = time.monotonic()
            for part in range(parts):
                follows = [Follow(f"{part}-{number}", "http://h/", bytes(2000)) for number in range(10_000)]
                rogue.push(encode_outcome(success(grant, end=End.PART, follows=follows)))
            sent_s = time.monotonic() - began
            began = time.monotonic()
            zspiderd("token", "revoke", rogue.token.id, "--data-dir", master.data_dir)
            time.sleep(2.0)
            revoked = rows(master)
            asked = time.monotonic()
            code = master.run_verb("status").code
            verb_s = time.monotonic() - asked
            time.sleep(20.0)
            later = rows(master)
    return (
        f"{parts} parts sent in {sent_s:.0f} s; master {memory.before:.0f} -> {memory.most:.0f} MiB; "
        f"{revoked} rows 2 s after the revocation, {later} rows 20 s later; status: {verb_s:.1f} s, exit {code}"
    )


def locked(cluster: Cluster, lock_s: float) -> str:
    """A database that another process locks, and three slaves with much to deliver."""
    master = cluster.master(master=FAST, settings={"log": {"level": "error"}}).start()
    for _ in range(3):
        cluster.slave(master, slave={"processors": 1, "fetch_concurrency": 4}).start()
    master.wait_slaves(3)
    master.begin("many", MANY.format(pages=24, links=20_000, more=", save='x' * 2500"))
    time.sleep(1.0)
    lock = sqlite3.connect(master.data_dir / "zspider.db", timeout=60, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    with Memory(master.process.pid) as memory:
        time.sleep(lock_s)
        lock.execute("ROLLBACK")
        most = memory.most
        time.sleep(10.0)
    slaves = [slave["outbox"] for slave in master.slaves()]
    return f"master {memory.before:.0f} -> {most:.0f} MiB, {memory.most:.0f} MiB afterwards; outboxes {slaves}"


def main() -> None:
    """Run what is named, or all."""
    arguments = argparse.ArgumentParser(prog="benchmarks.large_outcomes", description="What large outcomes cost.")
    arguments.add_argument("what", nargs="*", choices=("beside", "flood", "locked", []))
    arguments.add_argument("--database", default="", help="for `beside`; must be empty")
    arguments.add_argument("--pages", type=int, default=24)
    arguments.add_argument("--links", type=int, default=50_000)
    arguments.add_argument("--parts", type=int, default=181)
    arguments.add_argument("--lock-s", type=float, default=60.0)
    given = arguments.parse_args()
    runs = {
        "beside": lambda cluster: beside(cluster, given.database, given.pages, given.links),
        "flood": lambda cluster: flood(cluster, given.parts),
        "locked": lambda cluster: locked(cluster, given.lock_s),
    }
    for what in given.what or runs:
        work = Path(tempfile.mkdtemp(prefix="zspider-large-"))
        try:
            with Cluster(work, prints_logs=False) as cluster:
                print(f"{what}: {runs[what](cluster)}", flush=True)
        finally:
            shutil.rmtree(work)


if __name__ == "__main__":
    main()
