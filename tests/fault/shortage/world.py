"""The living cluster that is made short of something: a master with a slave of its own, another slave, and a crawl."""

import os
import resource
import signal
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import count
from pathlib import Path
from typing import Any

import psutil
from tests.support.cluster import FAST, PORT, Cluster, Daemon
from tests.support.process import eventually
from tests.support.shortage import Victim, limited, preloaded
from tests.support.site import Site
from zspider.broker.address import Address
from zspider.broker.admin import AdminClient
from zspider.broker.keys import MasterKeys
from zspider.broker.token import find_token
from zspider.errors import ExitCode, ZspiderError

RATE = 40.0  # pages/s while places are tried: the cluster is never idle, and never in a hurry
RECYCLE_TASKS = 80  # pages of one processor: a new one is started every few seconds
RECOVERY_S = 60.0  # from the end of a shortage to pages again: longer than any back-off of a processor's start
SILENCE_S = FAST["rebuild_s"] + 2.0  # a stopped master: the slaves build their sockets anew

SCRIPT = """\
from zspider import BaseHandler

class Handler(BaseHandler):
    retry_delay = {{"": 0}}

    def on_start(self):
        for number in range({pages}):
            self.crawl("{site}/hello?%d" % number, callback=self.page, retries=50)

    def page(self, response):
        return {{"url": response.url}}
"""


class World:
    """`with World(...)`: everything runs, and what is slow about it is done."""

    def __init__(self, directory: Path, pages: int) -> None:
        """pages: of the crawl that goes on meanwhile; enough for all that is tried."""
        self.pages = pages
        self._controls = directory / "control"
        self._cluster = Cluster(directory, prints_logs=False)
        self._site = Site()
        self._numbers = count(1)
        settings: dict[str, Any] = {"processor": {"recycle_tasks": RECYCLE_TASKS}}
        self.master = self._cluster.master(
            master={**FAST, "local_slave": True},
            settings={**settings, "slave": {"processors": 1, "fetch_concurrency": 20}},
        )
        self.slave = self._cluster.slave(self.master, slave={"processors": 2}, settings=settings)
        self.guest = self._cluster.slave(self.master, settings=settings)  # joins and leaves
        for daemon in (self.master, self.slave):
            daemon.env |= preloaded(self._controls)
        self.victims: dict[str, Victim] = {}
        self.ended: list[str] = []  # how daemons have ended

    def __enter__(self) -> "World":
        self._site.__enter__()
        self.master.start()
        self.slave.start()
        self.master.wait_slaves(2, RECOVERY_S)
        self._admin: AdminClient | None = None
        self.begin("steady", self.pages)
        for name in ("master", "slave"):
            self._attach(name)
        self.wait_progress("the crawl begins")
        return self

    def __exit__(self, *exc: object) -> None:
        if self._admin is not None:
            self._admin.close()
        self._cluster.__exit__(*exc)
        self._site.__exit__(*exc)

    # --- what a test looks at ---------------------------------------------------------------------

    def daemon(self, name: str) -> Daemon:
        """Of a victim."""
        return self.master if name == "master" else self.slave

    def logged(self) -> int:
        """How many lines all have logged."""
        return len(self.master.process.lines) + len(self.slave.process.lines)

    def call(self, verb: str, **args: Any) -> Any:
        """Ask the master, on a connection of our own; again when it did not answer."""
        try:
            return self._connection().call(verb, **args)
        except ZspiderError:
            self._disconnect()
        return self._connection().call(verb, **args)

    def wait_progress(self, what: str) -> float:
        """Wait until the master stores results and the slave makes some; returns the seconds it took."""
        began = time.monotonic()
        results, made = self._results(), self._made()
        eventually(lambda: self._results() > results and self._made() != made, RECOVERY_S, what)
        return time.monotonic() - began

    def finish(self) -> int:
        """Let the crawl go on at full speed to its end; returns how many pages have no result or more than one."""
        self.call("project.set", name="steady", rate=100_000.0, burst=100_000.0)
        self.master.wait_done("steady", self.pages, deadline_s=120 + self.pages / 50)
        urls = [row["url"] for row in self.master.results("steady")]
        wanted = {self._site.url(f"/hello?{number}") for number in range(self.pages)}
        return len(wanted ^ set(urls)) + len(urls) - len(set(urls))

    def restart(self, name: str) -> None:
        """Kill a daemon that hangs, and start it again."""
        self.daemon(name).kill()
        self.revive()

    def renew_master(self) -> None:
        """Start the master anew: it waits the longer with its slave, the oftener that has died."""
        self.master.stop()
        self._disconnect()
        self.master.start()
        self._attach("master")
        self.master.wait_slaves(2, RECOVERY_S)

    def out_of_descriptors(self, name: str) -> AbstractContextManager[None]:
        """This daemon gets no more descriptors meanwhile."""
        pid = self.daemon(name).process.pid
        used = {int(fd.name) for fd in Path(f"/proc/{pid}/fd").iterdir()}
        lowest = min(set(range(len(used) + 1)) - used)
        return limited(pid, resource.RLIMIT_NOFILE, lowest)

    def out_of_memory(self, name: str, more: int) -> AbstractContextManager[None]:
        """This daemon's address space grows by no more than so many bytes meanwhile."""
        pid = self.daemon(name).process.pid
        return limited(pid, resource.RLIMIT_AS, psutil.Process(pid).memory_info().vms + more)

    def revive(self) -> None:
        """Start what has ended, after noting it."""
        for name in ("master", "slave"):
            daemon = self.daemon(name)
            if (code := daemon.process.returncode) is not None:
                self.ended.append(f"{name}: exit code {code}: {daemon.process.tail(1)}")
                self._disconnect()
                daemon.spawn()
                if name == "master":
                    self.master.wait_listening()
                self._attach(name)

    # --- what a test does ---------------------------------------------------------------------------

    def begin(self, name: str, pages: int) -> None:
        """Push a project and start it."""
        text = SCRIPT.format(pages=pages, site=self._site.url("")) + f"# {name}\n"
        rates = {"rate": RATE, "burst": 10.0}
        self.call("project.push", name=name, script=text, status="RUNNING", group=None, **rates)
        self.call("project.start", name=name)

    def wait_a_while(self) -> None:
        """The crawl goes on."""
        time.sleep(1.0)

    def new_project(self) -> None:
        """A script is pushed, asked what it declares, sent to the slaves, run and logged; or the master cannot now."""
        try:
            self.begin(f"project{next(self._numbers)}", 3)
        except ZspiderError as exc:
            if exc.exit_code not in (ExitCode.UNAVAILABLE, ExitCode.SHORTAGE):
                raise
        time.sleep(0.5)

    def ask(self) -> None:
        """The verbs that read."""
        self.call("status")
        self.call("results", project="steady", after=None, limit=10)
        self.call("task", project="steady", taskid="on_start")

    def kill_processor(self) -> None:
        """One of the slave's."""
        for pid in self._processors()[:1]:
            os.kill(pid, signal.SIGKILL)
        time.sleep(1.0)

    def reload(self) -> None:
        """SIGHUP for both."""
        for daemon in (self.master, self.slave):
            daemon.process.signal(signal.SIGHUP)
        time.sleep(0.3)

    def turn_tokens(self) -> None:
        """A token is made and revoked: the relay listens anew."""
        keys = MasterKeys(self.master.data_dir)
        keys.add_token("join")
        self.master.process.signal(signal.SIGHUP)
        time.sleep(0.5)
        keys.revoke(keys.list_tokens()[-1].id)
        self.master.process.signal(signal.SIGHUP)
        time.sleep(1.5)

    def silence(self) -> None:
        """The master hangs, and the slaves build their sockets anew."""
        self.master.process.signal(signal.SIGSTOP)
        try:
            time.sleep(SILENCE_S)
        finally:
            self.master.process.signal(signal.SIGCONT)
        time.sleep(1.5)

    def visit(self) -> None:
        """Another slave joins and leaves."""
        self.guest.start()
        self.guest.process.wait_for(" joined ", 10.0)
        self.guest.stop()

    def kill_local_slave(self) -> None:
        """The master has to start another one."""
        for pid in _children(self.master, "slave"):
            os.kill(pid, signal.SIGKILL)
        time.sleep(2.0)

    # --- inside -------------------------------------------------------------------------------------

    def _attach(self, name: str) -> None:
        self.victims[name] = Victim(self._controls, self.daemon(name).process.pid)

    def _connection(self) -> AdminClient:
        if self._admin is None:
            found = find_token("admin", None, self.master.data_dir, {})
            assert found is not None
            self._admin = AdminClient(Address(self.master.address, PORT), found.token, timeout_s=20.0)
        return self._admin

    def _disconnect(self) -> None:
        if self._admin is not None:
            self._admin.close()
            self._admin = None

    def _results(self) -> int:
        rows = self.call("status")["projects"]
        return sum(int(row["counts"].get("success", 0)) for row in rows)

    def _made(self) -> int:
        """Outcomes that our slave has made."""
        rows = self.call("status")["slaves"]
        return sum(int(row["processed"]) for row in rows if row["pid"] == self.slave.process.pid)

    def _processors(self) -> list[int]:
        return _children(self.slave, "zspider.roles.processor")


def _children(daemon: Daemon, word: str) -> list[int]:
    """Processes of a daemon that have this word on their command line, and run."""
    found = []
    for one in psutil.Process(daemon.process.pid).children():
        try:
            if word in one.cmdline():
                found.append(one.pid)
        except psutil.NoSuchProcess:  # or it is a zombie
            pass
    return found


Event = Callable[[World], None]
EVENTS: dict[str, Event] = {
    "the crawl goes on": World.wait_a_while,
    "a new project": World.new_project,
    "a processor dies": World.kill_processor,
    "reload": World.reload,
    "the verbs": World.ask,
    "a slave comes and goes": World.visit,
    "the local slave dies": World.kill_local_slave,
    "tokens": World.turn_tokens,
    "the master hangs": World.silence,
}
