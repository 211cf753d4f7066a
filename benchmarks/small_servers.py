"""How long small servers take to be crawled: Python's `http.server`, whose accept queue has room for five connections.

python -m benchmarks.small_servers [--rounds 3] [--pages 400] [zspider | scrapy ...]

Three servers: HTTP/1.1 with a thread for each connection, HTTP/1.0 (a connection for each page), and one that accepts a
connection each 50 ms. zspider is master and local slave with all defaults, Scrapy runs at the same concurrency, in
alternating runs. Printed: seconds from the first answer to the last, connections, and pages asked for more than once.
"""

import argparse
import shutil
import tempfile
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import NamedTuple

from tests.support.cluster import ARTICLE, Master
from tests.support.hostile import SmallServer

from benchmarks.subjects import Scrapy

DEADLINE_S = 300.0


class Kind(NamedTuple):
    """A server."""

    name: str
    protocol: str
    accept_s: float


KINDS = (
    Kind("threads, HTTP/1.1", "HTTP/1.1", 0.0),
    Kind("threads, HTTP/1.0", "HTTP/1.0", 0.0),
    Kind("one accept in 50 ms", "HTTP/1.1", 0.05),
)


class Crawled(NamedTuple):
    """One run."""

    seconds: float
    connections: int
    repeated: int  # requests beyond the first for a page


def by_zspider(url: str, pages: int, directory: Path) -> None:
    """Crawl with every default."""
    master = Master(directory, master={"local_slave": True}, settings={"log": {"level": "error"}})
    with closing(master.start()):
        master.wait_slaves(1)
        master.begin("article", ARTICLE.format(pages=pages, site=url), rate=100_000, burst=100_000)
        master.wait_done("article", pages, DEADLINE_S)


def by_scrapy(url: str, pages: int, directory: Path) -> None:
    """Crawl with the benchmark's spider."""
    scrapy = Scrapy()
    scrapy.prepare()
    scrapy.run(url, pages, directory)


CRAWLERS = {"zspider": by_zspider, "scrapy": by_scrapy}


def run(crawler: str, kind: Kind, pages: int, directory: Path) -> Crawled:
    """Crawl once. Raises AssertionError when a page was not asked for."""
    with SmallServer(protocol=kind.protocol, accept_s=kind.accept_s) as server:
        CRAWLERS[crawler](server.url(""), pages, directory)
        found = {path for path in server.asked if path.startswith("/article/")}
        assert len(found) == pages, f"{len(found)} of {pages} pages asked for"
        return Crawled(server.times[-1] - server.times[0], server.accepted, len(server.asked) - pages)


def main() -> None:
    """Alternate, and print the table."""
    arguments = argparse.ArgumentParser(prog="benchmarks.small_servers", description="Crawl small servers.")
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--pages", type=int, default=400)
    arguments.add_argument("crawlers", nargs="*", default=list(CRAWLERS))
    given = arguments.parse_args()
    work = Path(tempfile.mkdtemp(prefix="zspider-small-"))
    try:
        for place, kind in enumerate(KINDS):
            runs: dict[str, list[Crawled]] = {crawler: [] for crawler in given.crawlers}
            for number in range(given.rounds):
                for crawler, crawled in runs.items():
                    directory = work / f"{place}-{number}-{crawler}"
                    directory.mkdir()
                    crawled.append(run(crawler, kind, given.pages, directory))
            for crawler, crawled in runs.items():
                seconds = sorted(one.seconds for one in crawled)
                print(
                    f"{kind.name:<22} {crawler:<8} {median(seconds):>7.2f} s ({seconds[0]:.2f}-{seconds[-1]:.2f})  "
                    f"{median(one.connections for one in crawled):>4.0f} connections  "
                    f"{median(one.repeated for one in crawled):>3.0f} asked again",
                    flush=True,
                )
    finally:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
