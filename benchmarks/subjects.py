"""What is measured: how each subject is started, how its end is seen, and what it stored."""

import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from tests.support.cluster import ARTICLE, PORT, Master
from tests.support.mariadb import private_server
from tests.support.process import Process
from zspider.broker.address import Address
from zspider.broker.admin import AdminClient
from zspider.broker.token import Token

from benchmarks.measure import Meter, ProcessCost

HERE = Path(__file__).resolve().parent
DEADLINE_S = 900.0
POLL_S = 0.25  # how exactly the end is seen; each look costs the master some 0.3 ms
SCRAPY_VENV = HERE / ".venv-scrapy"
SCRAPY = ("scrapy>=2.13,<3", "uvloop")

GRAPH = """\
from pyspider.libs.base_handler import *


class Handler(BaseHandler):
    crawl_config = {{
    }}

    def on_start(self):
        self.crawl('{site}/article/1.html', callback=self.page)

    def page(self, response):
        for url in response.links():
            self.crawl(url, callback=self.page)
        return {{
            "url": response.url,
            "title": response.doc('title').text(),
        }}
"""


class Run:
    """What one run of a subject left behind."""

    def __init__(self, stored: int, ended_s: float, costs: list[ProcessCost]) -> None:
        self.stored = stored  # results found in its own store afterwards
        self.ended_s = ended_s  # Unix seconds at which all were known to be stored
        self.costs = costs


class Subject:
    """Something that crawls a demo site and stores url and title of every page.

    Of the article job it is told the URLs, BASE/article/1.html to N.html. In the graph job (`is_graph`) it is told
    BASE/article/1.html and follows every link: `pages` is how many there are to be found.
    """

    name = ""
    about = ""

    def __init__(self, *, is_graph: bool = False) -> None:
        self.is_graph = is_graph

    def prepare(self) -> None:
        """Once before the first run."""

    def run(self, base: str, pages: int, directory: Path) -> Run:
        """Crawl once, from nothing. Raises AssertionError or OSError when it cannot."""
        raise NotImplementedError


def command(argv: list[str], name_of: Callable[[list[str]], str]) -> tuple[str, float, list[ProcessCost]]:
    """Run a program that ends by itself; returns what it printed, when it ended, and what it cost."""
    with Process(argv, name=Path(argv[0]).name, cwd=HERE.parent) as process:
        meter = Meter([process.pid], name_of)
        try:
            code = process.wait(DEADLINE_S)
        finally:
            costs = meter.stop()
        ended = time.time()
        assert code == 0, f"exit code {code}: {process.tail()}"
        return process.output, ended, costs


class Bare(Subject):
    name = "bare"
    about = "pycurl + lxml in one process, nothing stored"

    def run(self, base: str, pages: int, directory: Path) -> Run:
        argv = [sys.executable, "-m", "benchmarks.bare", base, str(pages)]
        printed, ended, costs = command(argv, lambda words: "fetch+parse")
        return Run(int(printed.split()[-1]), ended, costs)


class Reference(Subject):
    name = "reference"
    about = "master + 2 fetch-and-parse processes over ZeroMQ, durable SQLite, nothing else"

    def run(self, base: str, pages: int, directory: Path) -> Run:
        database = directory / "reference.db"
        argv = [sys.executable, "-m", "benchmarks.reference", "master", base, str(pages), str(database)]
        if self.is_graph:
            argv.append("--graph")
        _, ended, costs = command(argv, lambda words: "worker" if "worker" in words else "master")
        return Run(_count(database, "json_extract(result, '$.title')"), ended, costs)


class Scrapy(Subject):
    name = "scrapy"
    about = "Scrapy, tuned, SQLite pipeline"
    has_jobdir = False

    def prepare(self) -> None:
        if (SCRAPY_VENV / ".ready").exists():
            return
        print(f"installing Scrapy into {SCRAPY_VENV}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(SCRAPY_VENV)], check=True)
        pip = [str(SCRAPY_VENV / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *SCRAPY], check=True, stdin=subprocess.DEVNULL)
        (SCRAPY_VENV / ".ready").touch()

    def run(self, base: str, pages: int, directory: Path) -> Run:
        database = directory / "scrapy.db"
        argv = [str(SCRAPY_VENV / "bin" / "python"), str(HERE / "scrapy_article.py"), base, str(pages), str(database)]
        if self.is_graph:
            argv.append("--graph")
        if self.has_jobdir:
            argv += ["--jobdir", str(directory / "jobdir")]
        _, ended, costs = command(argv, lambda words: "scrapy")
        return Run(_count(database, "title"), ended, costs)


class ScrapyJobdir(Scrapy):
    name = "scrapy-jobdir"
    about = "the same with JOBDIR (pauses and resumes, does not survive kill -9)"
    has_jobdir = True


class ZspiderSqlite(Subject):
    name = "zspider-sqlite"
    about = "master + local slave, SQLite synchronous=FULL, CURVE"
    master_class: type[Master] = Master

    def run(self, base: str, pages: int, directory: Path) -> Run:
        return self.crawl(base, pages, directory, "", [])

    def crawl(self, base: str, pages: int, directory: Path, database: str, others: list[int]) -> Run:
        """others: processes that belong to the subject and are not started by the master."""
        settings = {"log": {"level": "warning"}}
        master = self.master_class(directory, database=database, master={"local_slave": True}, settings=settings)
        with closing(master.start()), admin_of(master) as admin:
            meter = Meter([master.process.pid, *others], zspider_role)
            try:
                master.wait_slaves(1)
                script = (GRAPH if self.is_graph else ARTICLE).format(pages=pages, site=base)
                master.begin("article", script, rate=1_000_000, burst=1_000_000)
                ended = _wait_stored(admin, master, pages)
            finally:
                costs = meter.stop()
            stored = {row["url"] for row in master.results("article") if row["result"]["title"]}
            assert master.stop() == 0, master.process.tail()
        return Run(len(stored), ended, costs)


class ZspiderMariadb(ZspiderSqlite):
    name = "zspider-mariadb"
    about = "the same on MariaDB, whose CPU is counted too"

    def run(self, base: str, pages: int, directory: Path) -> Run:
        with private_server() as server:
            pid = int(Path(server.query("SELECT @@pid_file")[0][0]).read_text())
            return self.crawl(base, pages, directory, server.address(server.new_database()), [pid])


def admin_of(master: Master) -> AdminClient:
    """A connection that asks a master often and cheaply, as a command per question would not be."""
    return AdminClient(Address(master.address, PORT), Token.parse((master.data_dir / "admin.token").read_text()))


def _wait_stored(admin: AdminClient, master: Master, pages: int) -> float:
    """Wait until all results are committed; returns when, in Unix seconds."""
    end = time.monotonic() + DEADLINE_S
    while True:
        counts = admin.call("status")["projects"][0]["counts"]
        if counts.get("results", 0) >= pages:
            return time.time()
        master.check_alive()
        assert time.monotonic() < end, f"not done in {DEADLINE_S} s: {counts}\n{master.process.tail()}"
        time.sleep(POLL_S)


def zspider_role(words: list[str]) -> str:
    """A zspider process's role by its command line."""
    line = " ".join(words)
    for word, role in (
        ("mariadbd", "mariadb"),
        ("processor", "processor"),
        (" slave ", "slave"),
        (" master ", "master"),
    ):
        if word in line:
            return role
    return "other"


def _count(database: Path, title: str) -> int:
    """Results with a title; `title` is the SQL expression that gives it."""
    with closing(sqlite3.connect(database)) as db:
        rows = db.execute(f"SELECT count(*) FROM result WHERE {title} > ''").fetchone()
        return int(rows[0])


SUBJECTS: tuple[Subject, ...] = (
    ZspiderSqlite(),
    ZspiderMariadb(),
    Reference(),
    Bare(),
    Scrapy(),
    ScrapyJobdir(),
)
GRAPH_SUBJECTS: tuple[Subject, ...] = tuple(
    kind(is_graph=True) for kind in (ZspiderSqlite, ZspiderMariadb, Reference, Scrapy)
)
