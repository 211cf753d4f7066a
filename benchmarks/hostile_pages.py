"""What pages of tiny chunks do to good ones, to the slaves and to their memory.

python -m benchmarks.hostile_pages [pool | cluster | memory ...]

pool: 50 good requests a second for 4 s, alone and beside 8 and 50 pages of one-byte chunks, in one process.
cluster: 300 good pages alone, and beside 190 such pages, on a master and two slaves with all defaults; the longest
silence of a slave. memory: the peak of a process that receives 100 bodies of 33 MB at once, cut in different ways.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.support.cluster import Cluster, Master
from tests.support.process import ROOT, Process
from zspider.fetch import FetchPool, build_request
from zspider.settings import FetchSettings

GOOD_PER_S = 50
GOOD_S = 4.0
DEADLINE_S = 300.0
WATCHED_S = 40.0  # beside bad pages: a slave that is not heard for 30 s is gone
BODIES = (
    "/chunks?size=2&count=16700000",
    "/chunks?size=24&count=1390000",
    "/chunks?size=1000&count=33000",
    "/page?n=33000000",
    "/gzip?mb=31",
)
PAGES = """\
from pyspider.libs.base_handler import *


class Handler(BaseHandler):
    retry_delay = {{0: 3600, '': 3600}}

    def on_start(self):
        for number in range({pages}):
            self.crawl('{url}&number=%d' % number, callback=self.page, retries=0)

    def page(self, response):
        return {{'n': len(response.content)}}
"""


@contextmanager
def server() -> Iterator[str]:
    """The address of a server of its own process."""
    argv = [sys.executable, "-m", "tests.support.hostile", "hostile", "127.0.0.1", "0"]
    with Process(argv, name="hostile", cwd=ROOT) as process:
        yield f"http://127.0.0.1:{process.wait_for(r'listening ([0-9]+)')[1]}"


def beside(bad_pages: int) -> None:
    """Ask a good server at a steady rate, beside bad pages."""
    with server() as good, server() as bad:
        pool = FetchPool(FetchSettings(), 100 + bad_pages)
        for tag in range(bad_pages):
            pool.start(build_request(10_000 + tag, f"{bad}/chunks?size=1", {}, {}, pool.settings))
        started = time.monotonic()
        sent = answered = 0
        longest = longest_cpu = 0.0
        while answered < sent or sent < GOOD_PER_S * GOOD_S:
            if time.monotonic() - started > GOOD_S + 1:
                break
            while sent < min(GOOD_PER_S * GOOD_S, (time.monotonic() - started) * GOOD_PER_S):
                pool.start(build_request(sent, f"{good}/page?n=1000", {}, {}, pool.settings))
                sent += 1
            wait_s = pool.wait_s()
            time.sleep(0.0 if wait_s == 0 else 0.001)
            before, before_cpu = time.monotonic(), time.thread_time()
            answered += sum(fetched.tag < 10_000 for fetched in pool.step())
            longest = max(longest, time.monotonic() - before)
            longest_cpu = max(longest_cpu, time.thread_time() - before_cpu)
        pool.close()
    print(
        f"{bad_pages:>3} pages of tiny chunks: {answered} of {sent} good answers, longest step {longest:.3f} s "
        f"(CPU {longest_cpu:.3f} s)",
        flush=True,
    )


class Silence:
    """How long slaves have not been heard, as the master's `status` tells it."""

    def __init__(self, master: Master) -> None:
        self._master = master
        self.longest_s = 0.0

    def watch_until(self, is_over: Callable[[dict[str, Any]], bool]) -> None:
        """Ask again and again."""
        end = time.monotonic() + DEADLINE_S
        while True:
            status = self._master.status()
            self.longest_s = max(self.longest_s, *(slave["silent_s"] for slave in status["slaves"]))
            if is_over(status):
                return
            assert time.monotonic() < end, f"not done in {DEADLINE_S} s: {status['projects']}"


def _results(status: dict[str, Any], project: str) -> int:
    counts = next(row["counts"] for row in status["projects"] if row["name"] == project)
    return int(counts.get("results", 0))


def crawl(good_pages: int, bad_pages: int, directory: Path) -> None:
    """A master and two slaves."""
    with ExitStack() as stack:
        good, bad = stack.enter_context(server()), stack.enter_context(server())
        cluster = stack.enter_context(Cluster(directory, prints_logs=False))
        master = cluster.master(master={}).start()  # every default
        for _ in range(2):
            cluster.slave(master, slave={"processors": 0, "fetch_concurrency": 100}).start()
        master.wait_slaves(2)
        silence = Silence(master)
        if bad_pages:
            master.begin("bad", PAGES.format(pages=bad_pages, url=f"{bad}/chunks?size=1"), rate=1e6, burst=1e6)
        started = time.monotonic()
        master.begin("good", PAGES.format(pages=good_pages, url=f"{good}/page?n=1000"), rate=1e6, burst=1e6)
        silence.watch_until(lambda status: _results(status, "good") >= good_pages)
        seconds = time.monotonic() - started
        silence.watch_until(lambda _: not bad_pages or time.monotonic() - started > WATCHED_S)
        ended = "slave_gone" in master.log
    print(
        f"{good_pages} good pages beside {bad_pages:>3} of tiny chunks: {seconds:.1f} s, longest silence of a slave "
        f"{silence.longest_s:.1f} s{', A SLAVE WAS GONE' if ended else ''}",
        flush=True,
    )


MEMORY = """
import select, sys
from zspider.fetch import FetchPool, build_request
from zspider.settings import FetchSettings

pool = FetchPool(FetchSettings(), 100)
for tag in range(100):
    pool.start(build_request(tag, sys.argv[1], {"timeout": 600}, {}, pool.settings))
good = 0
while pool.in_flight:
    select.select([pool.fileno()], [], [], pool.wait_s())
    good += sum(fetched.result["status_code"] == 200 for fetched in pool.step())
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(f"{good} of 100 whole, peak {peak / 1024:.0f} MiB")
"""


def remember(path: str) -> None:
    """A hundred large bodies at once; pages are let go of when they are whole."""
    with server() as url:
        argv = [sys.executable, "-c", MEMORY, url + path]
        ran = subprocess.run(argv, capture_output=True, text=True, cwd=ROOT, check=True)
    print(f"100 x {path:<32} {ran.stdout.strip()}", flush=True)


def main() -> None:
    """Run what was asked for."""
    arguments = argparse.ArgumentParser(prog="benchmarks.hostile_pages", description="Pages of tiny chunks.")
    arguments.add_argument("parts", nargs="*", default=["pool", "cluster", "memory"])
    given = arguments.parse_args()
    if "pool" in given.parts:
        for bad_pages in (0, 1, 8, 50):
            beside(bad_pages)
    if "cluster" in given.parts:
        work = Path(tempfile.mkdtemp(prefix="zspider-hostile-"))
        try:
            crawl(300, 0, work / "alone")
            crawl(300, 190, work / "beside")
        finally:
            shutil.rmtree(work)
    if "memory" in given.parts:
        for path in BODIES:
            remember(path)


if __name__ == "__main__":
    main()
