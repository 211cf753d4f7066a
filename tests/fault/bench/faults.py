"""How each kind of fault is done: a context manager that begins it, and ends it when it is left."""

import json
import random
import resource
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pymysql
from tests.fault.bench.plan import Fault, Kind
from tests.fault.bench.stage import PORTS, PROJECT, ROLES, MariaDatabase, Stage
from tests.support.cluster import PORT, Daemon
from tests.support.netns import Host
from tests.support.process import eventually
from tests.support.ways import Ways

SLOW_S = 0.1  # a slow database: so long it hangs, and so long it works, in turn
RIVAL_S = 0.02  # between two transactions of a rival
OLD_SLAVE_S = 20.0
SAYS_S = 12.0  # a slave whose outcomes are cut off for so long complains ...
SAID_S = 15.0  # ... before so much more is over
ENDLESS = 8  # pages of tiny chunks
VERB_S = 90.0  # for a verb to succeed, though the master may be away just now
STOP_S = 60.0  # a daemon's own end, with its drain

Doing = Callable[[Stage, Fault], AbstractContextManager[None]]
DOINGS: dict[Kind, Doing] = {}


def at(*kinds: Kind) -> Callable[[Doing], Doing]:
    def register(doing: Doing) -> Doing:
        DOINGS.update(dict.fromkeys(kinds, doing))
        return doing

    return register


def begin(stage: Stage, fault: Fault) -> AbstractContextManager[None]:
    """The fault, to be entered when it is time."""
    return DOINGS[fault.kind](stage, fault)


def _daemon(stage: Stage, fault: Fault) -> Daemon:
    return stage.master if fault.target == "master" else stage.slaves[fault.target]


# --- processes ------------------------------------------------------------------------------------


@at(Kind.KILL_MASTER, Kind.KILL_SLAVE)
@contextmanager
def _kill(stage: Stage, fault: Fault) -> Iterator[None]:
    daemon = _daemon(stage, fault)
    daemon.kill()
    yield
    daemon.spawn()


@at(Kind.RESTART_MASTER, Kind.RESTART_SLAVE)
@contextmanager
def _restart(stage: Stage, fault: Fault) -> Iterator[None]:
    daemon = _daemon(stage, fault)
    daemon.process.signal(signal.SIGTERM)
    yield
    code = daemon.process.wait(STOP_S)
    assert code == 0, f"{daemon.name} ended with {code} after SIGTERM"
    daemon.spawn()


@at(Kind.STOP_MASTER, Kind.STOP_SLAVE, Kind.SUSPEND_SLAVE)
@contextmanager
def _stop(stage: Stage, fault: Fault) -> Iterator[None]:
    with _stopped(_daemon(stage, fault).process.family()):
        yield


@at(Kind.KILL_PROCESSOR)
@contextmanager
def _kill_processor(stage: Stage, fault: Fault) -> Iterator[None]:
    for processor in _processors(stage, fault):
        processor.kill()
    yield


@at(Kind.STOP_PROCESSOR)
@contextmanager
def _stop_processor(stage: Stage, fault: Fault) -> Iterator[None]:
    with _stopped(_processors(stage, fault)):
        yield


@contextmanager
def _stopped(processes: list[psutil.Process]) -> Iterator[None]:
    for one in processes:
        one.suspend()
    try:
        yield
    finally:
        for one in processes:
            if one.is_running():
                one.resume()


def _processors(stage: Stage, fault: Fault) -> list[psutil.Process]:
    """Of this slave; none when it has not begun to process."""
    return [one for one in _daemon(stage, fault).process.family() if "zspider.roles.processor" in one.cmdline()]


@at(Kind.CLONE_SLAVE)
@contextmanager
def _clone(stage: Stage, fault: Fault) -> Iterator[None]:
    original = stage.slaves["slave1"]
    host = stage.network.host(fault.target)
    clone = stage.add_slave(fault.target, host, stage.upstream["slave1"], ROLES[stage.plan.is_split][0])
    if original.data_dir.exists():
        shutil.copytree(original.data_dir, clone.data_dir, dirs_exist_ok=True)
    clone.start()
    yield


@at(Kind.OLD_SLAVE)
@contextmanager
def _old_slave(stage: Stage, fault: Fault) -> Iterator[None]:
    address, token = f"{stage.master.address}:{PORT}", stage.master.join_token
    process = stage.hosts["slave1"].spawn(sys.executable, "-m", "tests.fault.bench.old_slave", address, token)
    with process:
        yield
        process.wait_for("^refused protocol$", OLD_SLAVE_S)


# --- the database ---------------------------------------------------------------------------------


def _maria(stage: Stage) -> MariaDatabase:
    assert isinstance(stage.database, MariaDatabase)
    return stage.database


@at(Kind.KILL_DATABASE)
@contextmanager
def _kill_database(stage: Stage, fault: Fault) -> Iterator[None]:
    server = _maria(stage).server
    server.kill()
    yield
    server.start()


@at(Kind.STOP_DATABASE)
@contextmanager
def _stop_database(stage: Stage, fault: Fault) -> Iterator[None]:
    server = _maria(stage).server
    server.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        server.send_signal(signal.SIGCONT)


@at(Kind.SLOW_DATABASE)
@contextmanager
def _slow_database(stage: Stage, fault: Fault) -> Iterator[None]:
    server = _maria(stage).server
    number = {True: signal.SIGSTOP, False: signal.SIGCONT}
    is_stopped = False

    def change() -> None:
        nonlocal is_stopped
        is_stopped = not is_stopped
        server.send_signal(number[is_stopped])

    try:
        with _repeated(change, SLOW_S):
            yield
    finally:
        server.send_signal(signal.SIGCONT)


@at(Kind.END_CONNECTIONS)
@contextmanager
def _end_connections(stage: Stage, fault: Fault) -> Iterator[None]:
    maria = _maria(stage)
    own = "id <> CONNECTION_ID() AND db = '" + maria.name + "'"
    for (number,) in maria.server.query(f"SELECT id FROM information_schema.processlist WHERE {own}"):
        try:
            maria.server.query(f"KILL {number}")
        except pymysql.err.OperationalError:
            pass  # it ended meanwhile
    yield


@at(Kind.LOCK_ROWS)
@contextmanager
def _lock_rows(stage: Stage, fault: Fault) -> Iterator[None]:
    """MariaDB: all tasks that are open now; SQLite: whoever writes, locks everything."""
    rival = stage.database.rival()
    try:
        if isinstance(rival, pymysql.Connection):
            with rival.cursor() as cursor:
                cursor.execute("SELECT 1 FROM tasks WHERE status = 1 FOR UPDATE")
        else:
            rival.execute("BEGIN IMMEDIATE")
        yield
        rival.rollback()
    finally:
        rival.close()


@at(Kind.DEADLOCKS)
@contextmanager
def _deadlocks(stage: Stage, fault: Fault) -> Iterator[None]:
    """Transactions that lock open tasks in the order of their keys turned round."""
    rival = _maria(stage).rival()

    def change() -> None:
        with rival.cursor() as cursor:
            cursor.execute("SELECT `key` FROM tasks WHERE status = 1 ORDER BY `key` DESC LIMIT 20")
            try:
                for (key,) in cursor.fetchall():
                    cursor.execute("UPDATE tasks SET updated_ms = updated_ms + 1 WHERE `key` = %s", (key,))
                rival.commit()
            except pymysql.err.OperationalError:
                rival.rollback()  # it was the victim itself

    with rival, _repeated(change, RIVAL_S):
        yield


# --- the network ----------------------------------------------------------------------------------


@at(Kind.CUT, Kind.CUT_TO_SLAVE, Kind.CUT_FROM_SLAVE, Kind.LOSS)
@contextmanager
def _cut(stage: Stage, fault: Fault) -> Iterator[None]:
    host, peer = stage.hosts[fault.target], stage.upstream[fault.target].address
    what = ["-j", "DROP"]
    if fault.kind is Kind.LOSS:
        what = ["-m", "statistic", "--mode", "random", "--probability", f"{fault.amount:.2f}", *what]
    rules = [["INPUT", "-s", peer, *what], ["OUTPUT", "-d", peer, *what]]
    chosen = {Kind.CUT_TO_SLAVE: rules[:1], Kind.CUT_FROM_SLAVE: rules[1:]}.get(fault.kind, rules)
    for rule in chosen:
        _must(host, "iptables", "-w", "10", "-A", *rule)
    try:
        yield
    finally:
        for rule in chosen:
            _must(host, "iptables", "-w", "10", "-D", *rule)


_WAYS = {  # how, which ports, and what a slave says of it
    Kind.DROP_OUTCOMES: (Ways.drop, PORTS[1:2]),
    Kind.RESET_OUTCOMES: (Ways.reset, PORTS[1:2]),
    Kind.FORGET_OUTCOMES: (Ways.forget, PORTS[1:2]),
    Kind.DROP_PAGES: (Ways.drop, PORTS[2:]),
    Kind.RESET_PAGES: (Ways.reset, PORTS[2:]),
}


@at(*_WAYS)
@contextmanager
def _ways(stage: Stage, fault: Fault) -> Iterator[None]:
    """Control lives. After a while a slave with outcomes that cannot leave has to say so."""
    do, ports = _WAYS[fault.kind]
    ways = Ways(stage.hosts[fault.target], stage.upstream[fault.target].address, ports)
    try:
        do(ways)
        yield
        if fault.kind in (Kind.DROP_OUTCOMES, Kind.RESET_OUTCOMES) and fault.lasts_s >= SAYS_S:
            eventually(lambda: _is_told(stage, fault.target), SAID_S, f"{fault.target} says what it cannot deliver")
    finally:
        ways.heal()


def _is_told(stage: Stage, name: str) -> bool:
    """It complains, or has nothing to complain of; also when just now nobody can tell."""
    answer = stage.master.run_verb("status", "--json")
    if answer.code != 0:
        return True
    rows = [row for row in json.loads(answer.out)["slaves"] if row["pid"] == stage.slaves[name].process.pid]
    return all(row.get("note") or not row["outbox"] for row in rows)


@at(Kind.SLOW_LINK)
@contextmanager
def _slow_link(stage: Stage, fault: Fault) -> Iterator[None]:
    host = stage.hosts[fault.target]
    place = ("dev", "eth0", "root")
    _must(
        host, "tc", "qdisc", "add", *place, "tbf", "rate", f"{fault.amount:.0f}kbit", "burst", "16kb", "limit", "64kb"
    )
    try:
        yield
    finally:
        _must(host, "tc", "qdisc", "del", *place)


def _must(host: Host, *argv: str) -> None:
    done = host.run(*argv)
    assert done.code == 0, str(done)


@at(Kind.RESETS)
@contextmanager
def _resets(stage: Stage, fault: Fault) -> Iterator[None]:
    with _repeated(lambda: stage.proxy.signal(signal.SIGUSR1), fault.amount):
        yield


@at(Kind.DELAY)
@contextmanager
def _delay(stage: Stage, fault: Fault) -> Iterator[None]:
    stage.proxy.signal(signal.SIGUSR2)
    try:
        yield
    finally:
        stage.proxy.signal(signal.SIGUSR2)


# --- the machine ----------------------------------------------------------------------------------


@at(Kind.FULL_DISK, Kind.FULL_TEMP)
@contextmanager
def _full(stage: Stage, fault: Fault) -> Iterator[None]:
    directory = stage.master.data_dir
    if fault.kind is Kind.FULL_TEMP:
        directory = Path(stage.slaves[fault.target].env["TMPDIR"])
    filler = directory / "filler"
    _fill(filler)
    try:
        yield
    finally:
        filler.unlink()


def _fill(file: Path) -> None:
    with file.open("wb", buffering=0) as disk:
        for size in (1 << 20, 1 << 12):
            try:
                while True:
                    disk.write(bytes(size))
            except OSError:
                pass  # no room for so much


@at(Kind.CLOCK_JUMP)
@contextmanager
def _clock_jump(stage: Stage, fault: Fault) -> Iterator[None]:
    stage.clock.write_text(f"{fault.amount:+.0f}\n")
    yield


@at(Kind.FEW_DESCRIPTORS_MASTER, Kind.FEW_DESCRIPTORS_SLAVE)
@contextmanager
def _few_descriptors(stage: Stage, fault: Fault) -> Iterator[None]:
    """It may open one more, and nothing beyond that."""
    process = psutil.Process(_daemon(stage, fault).process.pid)
    limits = process.rlimit(resource.RLIMIT_NOFILE)
    process.rlimit(resource.RLIMIT_NOFILE, (process.num_fds() + 1, limits[1]))
    try:
        if fault.kind is Kind.FEW_DESCRIPTORS_SLAVE:  # others have to be started just now
            for processor in _processors(stage, fault):
                processor.kill()
        yield
    finally:
        if process.is_running():
            process.rlimit(resource.RLIMIT_NOFILE, limits)


@at(Kind.TINY_CHUNKS)
@contextmanager
def _tiny_chunks(stage: Stage, fault: Fault) -> Iterator[None]:
    """Another project crawls a server whose pages never end; then the server dies, and the project is removed."""
    file = stage.directory / f"{NOISE}.py"
    with stage.endless_server() as url:
        file.write_text(NOISE_SCRIPT.format(url=url, pages=ENDLESS))
        _succeeds(stage, "project", "push", file, "--name", NOISE, "--rate", "1000", "--burst", "1000")
        _succeeds(stage, "project", "start", NOISE)
        yield
    _succeeds(stage, "project", "stop", NOISE)
    _remove(stage, NOISE)


NOISE = "endless"
NOISE_SCRIPT = """\
from zspider import BaseHandler


class Handler(BaseHandler):
    def on_start(self):
        self.crawl(["{url}/%d" % n for n in range({pages})], callback=self.page, retries=0)

    def page(self, response):
        pass
"""


@at(Kind.HUGE_OUTCOMES)
@contextmanager
def _huge_outcomes(stage: Stage, fault: Fault) -> Iterator[None]:
    """Another project's pages submit URLs for a far day: all of them get rows; then the project is removed."""
    file = stage.directory / f"{SITEMAP}.py"
    file.write_text(SITEMAP_SCRIPT)
    _succeeds(stage, "project", "push", file, "--name", SITEMAP, "--rate", "1000", "--burst", "1000")
    _succeeds(stage, "project", "start", SITEMAP)
    yield

    def found() -> int:
        rows = stage.database.rows("SELECT url FROM tasks")
        return sum(bytes(url).startswith(b"http://sitemap.example/") for (url,) in rows)

    eventually(lambda: found() == SITEMAPS * SITEMAP_LINKS, SITEMAP_S, "the URLs of the sitemaps have rows")
    _succeeds(stage, "project", "stop", SITEMAP)
    _remove(stage, SITEMAP)


SITEMAP, SITEMAPS, SITEMAP_LINKS, SITEMAP_S = "sitemap", 3, 7000, 120.0
SITEMAP_SCRIPT = f"""\
import time
from zspider import BaseHandler


class Handler(BaseHandler):
    retry_delay = {{0: 0.3, "": 0.5}}

    def on_start(self):
        for part in range({SITEMAPS}):
            self.crawl("data:,%d" % part, callback=self.sitemap, save=part, retries=20)

    def sitemap(self, response):
        far = time.time() + 1e9  # a clock that jumps does not reach it
        for number in range({SITEMAP_LINKS}):
            url = "http://sitemap.example/%d/%d" % (response.save, number)
            self.crawl(url, callback=self.sitemap, exetime=far)
"""


@at(Kind.CHANGED_SCRIPT)
@contextmanager
def _changed_script(stage: Stage, fault: Fault) -> Iterator[None]:
    """The crawl's script is pushed anew, with something that the first look for fails on each slave."""
    tried, file = stage.directory / "tried", stage.directory / "changed.py"
    tried.mkdir()
    file.write_text(FAILS_ONCE.format(tried=tried) + stage.world.script(stage.site_url))
    _succeeds(stage, "project", "push", file, "--name", PROJECT)
    yield


FAILS_ONCE = """\
import os

slave = os.path.basename(os.environ.get("TMPDIR", "elsewhere"))
try:
    os.close(os.open("{tried}/" + slave, os.O_CREAT | os.O_EXCL))
except FileExistsError:
    pass
else:
    raise ImportError("nothing can be imported just now")

"""


def _remove(stage: Stage, project: str) -> None:
    """An answer may be lost with its master, so that the project is gone at the next try."""

    def is_gone() -> bool:
        stage.master.run_verb("project", "rm", project, "--yes")
        said = stage.master.run_verb("project", "list", "--json")
        return said.code == 0 and project not in [row["name"] for row in json.loads(said.out)]

    eventually(is_gone, VERB_S, f"project {project} is removed")


def _succeeds(stage: Stage, *words: str | Path) -> None:
    eventually(lambda: stage.master.run_verb(*words).code == 0, VERB_S, " ".join(map(str, words)))


@contextmanager
def _repeated(change: Callable[[], Any], pause_s: float) -> Iterator[None]:
    """Do it again and again, by a thread; what it raises comes out at the end."""
    is_over = threading.Event()
    failures: list[Exception] = []

    def run() -> None:
        chance = random.Random()
        while not is_over.wait(chance.uniform(0.5, 1.5) * pause_s):
            try:
                change()
            except Exception as exc:
                failures.append(exc)
                return

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
    if failures:
        raise failures[0]
