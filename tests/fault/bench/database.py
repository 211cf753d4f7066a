"""`python -m tests.fault.bench.database`: the database dies in the middle of a crawl at full speed, for a minute.

The crawl has to wait without growing, and to go on without having lost anything.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.fault.bench.full_speed import Sample, Watch, drawn
from tests.support.cluster import ARTICLE, Cluster, expected_article_urls, urls_of
from tests.support.mariadb import private_server
from tests.support.nginx import Nginx
from tests.support.process import eventually
from zspider.roles.demo_site import export_site

PAGES = 11_110
EVERY_S = 1.0
SETTLE_S = 10.0  # after that long without its database nothing may grow any more
GROWTH_MIB_MAX = 2.0


def grown_mib(samples: list[Sample], from_s: float, to_s: float) -> dict[str, float]:
    """How much more each process held at the end of this time than at its beginning."""
    during = [one for one in samples if from_s <= one.at_s <= to_s]
    first, last = during[0].rss_mib, during[-1].rss_mib
    return {name: last[name] - first[name] for name in last if name in first}


def main() -> int:
    words = argparse.ArgumentParser(prog="python -m tests.fault.bench.database", description=__doc__)
    words.add_argument("--away", type=float, default=60.0, help="seconds without a database")
    away_s: float = words.parse_args().away
    with tempfile.TemporaryDirectory(prefix="zspider-fault-") as name, private_server() as server:
        directory = Path(name)
        export_site(directory / "pages")
        with Nginx(directory / "pages", directory / "nginx") as site, Cluster(directory, prints_logs=False) as cluster:
            master = cluster.master(master={}, database=server.address(server.new_database())).start()
            slaves = [cluster.slave(master, slave={"fetch_concurrency": 100}).start() for _ in range(2)]
            master.wait_slaves(2)
            with Watch(site, [master, *slaves], EVERY_S).running() as watch:
                master.begin("article", ARTICLE.format(site=site.url, pages=PAGES))
                eventually(lambda: site.answered() > PAGES // 3, 60, "the crawl is under way")
                server.kill()
                down_s = watch.now_s
                time.sleep(away_s)  # the fault itself
                up_s = watch.now_s
                server.start()
                counts = master.wait_done("article", PAGES, 120)
            lost = set(expected_article_urls(site.url, PAGES)) - set(urls_of(master.results("article")))
            twice = [uri for uri, number in site.counts().items() if number > 1]
    print(f"database away from {down_s:.1f} s to {up_s:.1f} s")
    print(drawn(watch.samples))
    print("master's MiB: " + " ".join(f"{one.rss_mib.get('master', 0):.1f}" for one in watch.samples))
    grown = grown_mib(watch.samples, down_s + min(SETTLE_S, away_s / 2), up_s)
    for process, mib in grown.items():
        before = [one.rss_mib.get(process, 0) for one in watch.samples if one.at_s < down_s][-1]
        after = watch.samples[-1].rss_mib.get(process, 0)
        print(f"{process}: {before:.1f} MiB before, {mib:+.2f} MiB while away, {after:.1f} MiB at the end")
    print(f"{len(lost)} lost, {len(twice)} fetched twice, {counts.get('failed', 0)} failed")
    is_flat = all(mib <= GROWTH_MIB_MAX for mib in grown.values())
    return 0 if is_flat and not lost and not twice and not counts.get("failed", 0) else 1


if __name__ == "__main__":
    sys.exit(main())
