"""`python -m tests.fault.bench.soak --minutes 30`: full speed with faults, and nothing grows.

A crawl without an end on a master with MariaDB and two slaves, of whom one is killed, stopped or restarted every while.
"""

import argparse
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import median

from tests.fault.bench.full_speed import Sample, Watch
from tests.support.cluster import Cluster, Daemon, Master, Slave
from tests.support.mariadb import MariaDb, private_server
from tests.support.nginx import Nginx
from tests.support.process import eventually
from zspider.roles.demo_site import export_site

EVERY_S = 5.0
FAULT_EVERY_S = (8.0, 20.0)
WARM_MIN = 5  # after so many minutes memory and descriptors shall be flat
GROWTH_MIB_MAX = 20.0  # from then to the end
GROWTH_DESCRIPTORS_MAX = 10
PROJECT = "endless"
CHAINS = 1000

SCRIPT = """\
from pyspider.libs.base_handler import *


class Handler(BaseHandler):
    def on_start(self):
        for number in range(1, {chains} + 1):
            self.crawl("{site}/article/%d.html?round=0" % number, callback=self.page)

    def page(self, response):
        url, _, at = response.url.partition("?round=")
        self.crawl("%s?round=%d" % (url, int(at) + 1), callback=self.page)
        return {{"title": response.doc("title").text(), "round": int(at)}}
"""


def kill_master(master: Master, slave: Slave, server: MariaDb) -> None:
    master.kill()
    master.start()


def restart_master(master: Master, slave: Slave, server: MariaDb) -> None:
    assert master.stop() == 0
    master.start()


def kill_slave(master: Master, slave: Slave, server: MariaDb) -> None:
    slave.kill()
    slave.start()


def stop_slave(master: Master, slave: Slave, server: MariaDb) -> None:
    slave.process.signal(signal.SIGSTOP)
    time.sleep(3)
    slave.process.signal(signal.SIGCONT)


def kill_processor(master: Master, slave: Slave, server: MariaDb) -> None:
    for one in slave.process.family():
        if "zspider.roles.processor" in one.cmdline():
            one.kill()


def kill_database(master: Master, slave: Slave, server: MariaDb) -> None:
    server.kill()
    time.sleep(2)
    server.start()


FAULTS: list[Callable[[Master, Slave, MariaDb], None]] = [
    kill_master,
    restart_master,
    kill_slave,
    stop_slave,
    kill_processor,
    kill_database,
]


def by_minute(samples: list[Sample]) -> dict[int, tuple[Counter[str], Counter[str]]]:
    """Medians of RSS (MiB) and of descriptors, by minute and process."""
    minutes: dict[int, list[Sample]] = {}
    for sample in samples:
        minutes.setdefault(int(sample.at_s // 60), []).append(sample)
    names = sorted({name for sample in samples for name in sample.rss_mib})
    found = {}
    for minute, some in minutes.items():
        rss: Counter[str] = Counter()
        descriptors: Counter[str] = Counter()
        for name in names:
            if seen := [one for one in some if name in one.rss_mib]:
                rss[name] = round(median(one.rss_mib[name] for one in seen))
                descriptors[name] = round(median(one.descriptors[name] for one in seen))
        found[minute] = rss, descriptors
    return found


def growth(minutes: dict[int, tuple[Counter[str], Counter[str]]]) -> list[str]:
    """What grew too much after the warm-up, in words; empty when the time was too short to tell."""
    later = sorted(minute for minute in minutes if minute >= WARM_MIN)
    if len(later) < 2:
        return []
    wrong = []
    first, last = minutes[later[0]], minutes[later[-1]]
    for name in first[0].keys() & last[0].keys():
        mib, descriptors = last[0][name] - first[0][name], last[1][name] - first[1][name]
        if mib > GROWTH_MIB_MAX or descriptors > GROWTH_DESCRIPTORS_MAX:
            wrong.append(f"{name} grew by {mib} MiB and {descriptors} descriptors")
    return wrong


def finish(master: Master, server: MariaDb, database: str) -> list[str]:
    """Stop the crawl; what is wrong with its rows."""
    master.ask("project", "stop", PROJECT)
    eventually(lambda: not master.counts(PROJECT)["leased"], 120, "nothing is leased any more")
    counts = master.counts(PROJECT)
    by_status = dict(server.query("SELECT status, COUNT(*) FROM tasks GROUP BY status", database))
    results = server.query("SELECT COUNT(*) FROM results", database)[0][0]
    chains = server.query("SELECT COUNT(DISTINCT SUBSTRING_INDEX(url, '?', 1)) FROM tasks WHERE status = 1", database)
    wrong = []
    if by_status.get(3, 0):
        wrong.append(f"{by_status[3]} tasks failed")
    if chains[0][0] != CHAINS:
        wrong.append(f"{chains[0][0]} chains go on, {CHAINS} began")
    if results != by_status[2] - 1 or counts["results"] != results or counts["done"] != by_status[2]:
        wrong.append(f"{by_status} tasks by status, {results} results, the counters say {counts}")
    return wrong


def main() -> int:
    words = argparse.ArgumentParser(prog="python -m tests.fault.bench.soak", description=__doc__)
    words.add_argument("--minutes", type=float, default=30.0)
    words.add_argument("--seed", type=int, default=0)
    asked = words.parse_args()
    chance, done = random.Random(asked.seed), Counter[str]()
    with tempfile.TemporaryDirectory(prefix="zspider-fault-") as name, private_server() as server:
        directory = Path(name)
        export_site(directory / "pages")
        with Nginx(directory / "pages", directory / "nginx") as site, Cluster(directory, prints_logs=False) as cluster:
            database = server.new_database()
            master = cluster.master(master={"adopt_s": 5.0}, database=server.address(database)).start()
            slaves = [cluster.slave(master).start() for _ in range(2)]
            master.wait_slaves(2)
            daemons: list[Daemon] = [master, *slaves]
            with Watch(site, daemons, EVERY_S).running() as watch:
                master.begin(PROJECT, SCRIPT.format(site=site.url, chains=CHAINS))
                while watch.now_s < asked.minutes * 60:
                    time.sleep(min(chance.uniform(*FAULT_EVERY_S), max(0.0, asked.minutes * 60 - watch.now_s)))
                    fault = chance.choice(FAULTS)
                    print(f"{watch.now_s:7.1f} s {fault.__name__}, {site.answered()} pages", flush=True)
                    fault(master, chance.choice(slaves), server)
                    done[fault.__name__] += 1
            minutes = by_minute(watch.samples)
            for minute, (rss, fds) in minutes.items():
                print(f"minute {minute:3}: " + ", ".join(f"{name} {rss[name]} MiB {fds[name]} fds" for name in rss))
            wrong = finish(master, server, database)
    wrong += growth(minutes)
    print(f"{watch.samples[-1].pages} pages in {watch.samples[-1].at_s:.0f} s; faults: {dict(done)}")
    print("\n".join(f"! {one}" for one in wrong) or "nothing lost, nothing grew")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
