"""What a crawler for this one job costs when it is nothing but durable: the yardstick for zspider.

A master and N fetch-and-parse processes over ZeroMQ (DEALER/ROUTER, tasks and answers in batches of 200); tasks
(by md5 of their URL, known ones are not added again) and results in SQLite, WAL with synchronous=FULL, one transaction
per received batch, and nothing is granted before that commit. Killed and started again it goes on where it was.
No retries, limits, scripts, leases or encryption: the difference to zspider is the price of those.

    python -m benchmarks.reference master BASE PAGES DATABASE [--workers 2] [--graph]

--graph: it is told one page and follows all links. The master remembers what it has inserted, so repeats cost no query.
"""

import argparse
import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterable
from hashlib import md5

import msgpack
import zmq

from benchmarks.curlloop import CurlLoop, title_and_links_of, title_of

BATCH = 200
FOLLOWS = 1000  # URLs in one message
START = "data:,start"  # the task that leads to all the others, as a script's on_start does
WAITING, DONE, FAILED = 1, 2, 3
IDLE_S = 60.0  # a master that hears nothing for so long has lost a worker

SCHEMA = """
CREATE TABLE IF NOT EXISTS task (
    id INTEGER PRIMARY KEY, taskid TEXT NOT NULL UNIQUE, url TEXT NOT NULL, status INTEGER NOT NULL,
    priority INTEGER NOT NULL DEFAULT 0, retries INTEGER NOT NULL DEFAULT 3, crawled_ms INTEGER, updated_ms INTEGER
);
CREATE INDEX IF NOT EXISTS task_next ON task (status, priority DESC, id);
CREATE TABLE IF NOT EXISTS result (
    taskid TEXT PRIMARY KEY, url TEXT NOT NULL, result TEXT NOT NULL, updated_ms INTEGER NOT NULL
) WITHOUT ROWID;
"""


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def taskid(url: str) -> str:
    return md5(url.encode(), usedforsecurity=False).hexdigest()


class Store:
    """The tasks and results of the one job."""

    def __init__(self, path: str) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(SCHEMA)

    def commit(self, answers: Iterable[tuple[int, str, str | None]], follows: Iterable[str]) -> int:
        """Write what tasks led to, in one transaction: (id, url, title, or None for a failure), and new URLs.

        Returns how many of the URLs were new.
        """
        now = now_ms()
        self._db.execute("BEGIN IMMEDIATE")
        self._db.executemany(
            "UPDATE task SET status = ?, crawled_ms = ?, updated_ms = ? WHERE id = ? AND status = 1",
            ((FAILED if title is None else DONE, now, now, number) for number, _, title in answers),
        )
        self._db.executemany(
            "INSERT OR REPLACE INTO result (taskid, url, result, updated_ms) VALUES (?, ?, ?, ?)",
            sorted(
                (taskid(url), url, json.dumps({"url": url, "title": title}), now) for _, url, title in answers if title
            ),
        )
        before = self._db.total_changes
        self._db.executemany(
            "INSERT OR IGNORE INTO task (taskid, url, status, updated_ms) VALUES (?, ?, 1, ?)",
            ((taskid(url), url, now) for url in follows),
        )
        new = self._db.total_changes - before
        self._db.execute("COMMIT")
        return new

    def waiting_after(self, number: int, limit: int) -> list[tuple[int, str]]:
        rows = self._db.execute(
            "SELECT id, url FROM task WHERE status = 1 AND priority = 0 AND id > ? ORDER BY id LIMIT ?", (number, limit)
        )
        return rows.fetchall()

    def count(self, status: int) -> int:
        return int(self._db.execute("SELECT count(*) FROM task WHERE status = ?", (status,)).fetchone()[0])

    def results(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM result").fetchone()[0])


class Master:
    """Grants tasks and commits what comes back, until nothing is left."""

    def __init__(self, store: Store, router: "zmq.Socket[bytes]") -> None:
        self._store = store
        self._router = router
        self._left = store.count(WAITING)
        self._last = 0  # id of the last task that was granted
        self._granted: dict[int, str] = {}
        self._hungry: list[bytes] = []  # routes that wait for a batch
        self._known: set[str] = set()  # URLs that certainly have a row

    def run(self) -> None:
        while self._left:
            if not self._router.poll(IDLE_S * 1000):
                raise SystemExit(f"no worker said anything for {IDLE_S} s")
            route, frame = self._router.recv_multipart()
            is_hungry, answers, follows = msgpack.unpackb(frame)
            done = [(number, self._granted.pop(number), title) for number, title in answers]
            if done or follows:
                unknown = [url for url in dict.fromkeys(follows) if url not in self._known]
                self._left += self._store.commit(done, unknown) - len(done)
                self._known.update(unknown)
            if is_hungry:
                self._hungry.append(route)
            self._grant()

    def _grant(self) -> None:
        while self._hungry and (batch := self._store.waiting_after(self._last, BATCH)):
            self._last = batch[-1][0]
            self._granted.update(batch)
            self._router.send_multipart([self._hungry.pop(0), msgpack.packb(batch)])

    def dismiss(self) -> None:
        """Tell the workers that it is over."""
        for route in {*self._hungry}:
            self._router.send_multipart([route, b""])


def serve(base: str, pages: int, database: str, workers: int, *, is_graph: bool) -> None:
    """Run the job to its end."""
    store = Store(database)
    store.commit([], [START])
    context = zmq.Context()
    router = context.socket(zmq.ROUTER)
    port = router.bind_to_random_port("tcp://127.0.0.1")
    argv = [sys.executable, "-m", "benchmarks.reference", "worker", base, str(pages), f"tcp://127.0.0.1:{port}"]
    argv += ["--graph"] if is_graph else []
    processes = [subprocess.Popen(argv) for _ in range(workers)]
    master = Master(store, router)
    try:
        master.run()
    finally:
        master.dismiss()
        for process in processes:
            process.wait(20)
        context.destroy(linger=1000)
    print(f"stored {store.results()} failed {store.count(FAILED)}")


class Worker:
    """Fetches and parses what the master grants, and answers in batches."""

    def __init__(self, base: str, pages: int, address: str, *, is_graph: bool) -> None:
        self._seeds = [f"{base}/article/{number}.html" for number in range(1, 2 if is_graph else pages + 1)]
        self._is_graph = is_graph
        self._context = zmq.Context()
        self._dealer = self._context.socket(zmq.DEALER)
        self._dealer.connect(address)
        self._loop = CurlLoop(self._on_page)
        self._waiting: list[tuple[int, str]] = []
        self._answers: list[tuple[int, str | None]] = []
        self._urls: dict[int, str] = {}  # of pages in flight, when their links are wanted
        self._follows: list[str] = []
        self._held = 0  # granted and not answered

    def run(self) -> None:
        """Work until the master says that all is done."""
        self._say()
        self._say()  # two batches: one in work, one under way
        while self._receive():
            while self._waiting and self._loop.free:
                self._start(*self._waiting.pop())
            self._loop.step(0.005)
            is_idle = self._held == len(self._answers)  # nothing left to fetch: whatever is there must go
            if len(self._answers) >= BATCH or (is_idle and self._answers):
                self._say()
        self._context.destroy(linger=1000)

    def _start(self, number: int, url: str) -> None:
        if url != START:
            if self._is_graph:
                self._urls[number] = url
            self._loop.start(number, url)
            return
        for at in range(0, len(self._seeds), FOLLOWS):
            self._dealer.send(msgpack.packb((False, [], self._seeds[at : at + FOLLOWS])))
        self._answers.append((number, ""))

    def _say(self) -> None:
        """Answer what is done, and ask for a batch."""
        self._held -= len(self._answers)
        self._dealer.send(msgpack.packb((True, self._answers, self._follows)))
        self._answers, self._follows = [], []

    def _receive(self) -> bool:
        """Take the batches that came; False when the master said it is over. Blocks only without any work."""
        while self._dealer.poll(0 if self._held else int(IDLE_S * 1000)):
            frame = self._dealer.recv()
            if not frame:
                return False
            batch = msgpack.unpackb(frame)
            self._held += len(batch)
            self._waiting = [*((number, url) for number, url in reversed(batch)), *self._waiting]
        return True

    def _on_page(self, tag: int, status: int, body: bytes) -> None:
        if status == 200 and self._is_graph:
            title, links = title_and_links_of(body, self._urls.pop(tag))
            self._follows += links
            self._answers.append((tag, title))
        else:
            self._answers.append((tag, title_of(body) if status == 200 else None))


def main() -> None:
    """Run the master (which starts its workers), or one worker."""
    arguments = argparse.ArgumentParser(description=__doc__)
    roles = arguments.add_subparsers(dest="role", required=True)
    for name in ("master", "worker"):
        role = roles.add_parser(name)
        role.add_argument("base")
        role.add_argument("pages", type=int)
        role.add_argument("database" if name == "master" else "address")
        role.add_argument("--workers", type=int, default=2)
        role.add_argument("--graph", action="store_true")
    given = arguments.parse_args()
    if given.role == "master":
        serve(given.base, given.pages, given.database, given.workers, is_graph=given.graph)
    else:
        Worker(given.base, given.pages, given.address, is_graph=given.graph).run()


if __name__ == "__main__":
    main()
