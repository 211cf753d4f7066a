"""`python -m tests.fault.bench.restart`: the master is restarted, and killed, under two slaves at full speed.

With the timing that is the default for everybody. Nothing may be lost, and nothing fetched twice.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.fault.bench.full_speed import Watch, drawn, longest_pause_s
from tests.support.cluster import ARTICLE, Cluster, expected_article_urls, urls_of
from tests.support.nginx import Nginx
from tests.support.process import eventually
from zspider.roles.demo_site import export_site

PAGES = 11_110
EVERY_S = 0.5


def once(how: str, pages: Path, directory: Path) -> bool:
    """One crawl with one restart; prints what was seen, and says whether it kept the promise."""
    with Nginx(pages, directory / "nginx") as site, Cluster(directory, prints_logs=False) as cluster:
        master = cluster.master(master={}).start()
        slaves = [cluster.slave(master, slave={"fetch_concurrency": 100}).start() for _ in range(2)]
        master.wait_slaves(2)
        with Watch(site, [master, *slaves], EVERY_S).running() as watch:
            master.begin("article", ARTICLE.format(site=site.url, pages=PAGES))
            eventually(lambda: site.answered() > PAGES // 3, 60, "the crawl is under way")
            down_s = watch.now_s
            if how == "stopped":
                assert master.stop() == 0
            else:
                master.kill()
            master.start()
            up_s = watch.now_s
            counts = master.wait_done("article", PAGES, 120)
        lost = set(expected_article_urls(site.url, PAGES)) - set(urls_of(master.results("article")))
        twice = [uri for uri, number in site.counts().items() if number > 1]
        print(f"master {how} at {down_s:.1f} s, listens again at {up_s:.1f} s")
        print(drawn(watch.samples))
        print(
            f"master {how}: {len(lost)} lost, {len(twice)} fetched twice, {counts.get('failed', 0)} failed, "
            f"longest pause {longest_pause_s(watch.samples):.1f} s\n",
            flush=True,
        )
        return not lost and not twice and not counts.get("failed", 0)


def main() -> int:
    argparse.ArgumentParser(prog="python -m tests.fault.bench.restart", description=__doc__).parse_args()
    with tempfile.TemporaryDirectory(prefix="zspider-fault-") as name:
        export_site(Path(name) / "pages")
        kept = [once(how, Path(name) / "pages", Path(name) / how) for how in ("stopped", "killed")]
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
