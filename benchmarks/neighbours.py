"""What bad neighbours cost: a crawl alone, and beside a project whose script is broken and one whose host is dead.

python -m benchmarks.neighbours [--rounds 3] [--pages 11110]

The dead host accepts connections and never answers; its project has 5,000 waiting URLs. The broken script raises for
each of its pages. Prints the good project's pages/s in both cases, in alternating runs, and their ratio.
"""

import argparse
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import median

from tests.support.cluster import ARTICLE, Master
from tests.support.nginx import Nginx
from zspider.roles.demo_site import PAGES, export_site

BAD = """\
from pyspider.libs.base_handler import *


class Handler(BaseHandler):
    def on_start(self):
        for number in range({pages}):
            self.crawl('{site}/article/%d.html?{name}' % number, callback=self.page)

    def page(self, response):
        raise ValueError('broken')
"""
BAD_PAGES = 5000
DEADLINE_S = 300.0


@contextmanager
def dead_host() -> Iterator[str]:
    """The address of a server that never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def run(site: Path, pages: int, directory: Path, *, has_neighbours: bool) -> float:
    """Crawl once; pages per second of the good project by nginx's log."""
    directory.mkdir()
    with Nginx(site, directory / "nginx", buffered=True) as nginx, dead_host() as dead:
        master = Master(directory, master={"local_slave": True}, settings={"log": {"level": "error"}})
        with closing(master.start()):
            master.wait_slaves(1)
            if has_neighbours:
                master.begin("broken", BAD.format(pages=BAD_PAGES, site=nginx.url, name="broken"), rate=1e6, burst=1e6)
                master.begin("dead", BAD.format(pages=BAD_PAGES, site=dead, name="dead"), rate=1e6, burst=1e6)
            master.begin("article", ARTICLE.format(pages=pages, site=nginx.url), rate=1e6, burst=1e6)
            master.wait_done("article", pages, DEADLINE_S)
        nginx.stop()
        times = [request.time_s for request in nginx.requests() if "?" not in request.uri]
    return len(times) / max(times[-1] - times[0], 1e-3)


def main() -> None:
    """Alternate, and print the ratio of the medians."""
    arguments = argparse.ArgumentParser(prog="benchmarks.neighbours", description="What bad neighbours cost.")
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--pages", type=int, default=PAGES)
    given = arguments.parse_args()
    work = Path(tempfile.mkdtemp(prefix="zspider-neighbours-"))
    rates: dict[bool, list[float]] = {False: [], True: []}
    try:
        export_site(work / "site", given.pages)
        for number in range(given.rounds):
            for has_neighbours, measured in rates.items():
                rate = run(
                    work / "site", given.pages, work / f"{number}-{has_neighbours}", has_neighbours=has_neighbours
                )
                measured.append(rate)
                beside = "with bad neighbours" if has_neighbours else "alone"
                print(f"round {number + 1}  {beside:<20} {rate:>7,.0f} pages/s")
    finally:
        shutil.rmtree(work)
    print(f"with bad neighbours / alone: {median(rates[True]) / median(rates[False]):.2f}")


if __name__ == "__main__":
    main()
