"""Real masters and slaves for tests: each a `zspiderd` process with its own settings and directory.

They run on loopback, or on the hosts of a private network. Verbs run where their master runs.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from tests.support.addresses import loopback_address
from tests.support.netns import Host
from tests.support.process import Process, Ran, eventually, run

ZSPIDERD = (sys.executable, "-m", "zspider.cli")
PORT = 5570
START_S = 30.0

# The timing of `master:`, short enough for tests and long enough for two busy cores.
FAST = {"heartbeat_s": 0.5, "suspect_s": 2.0, "quiet_s": 4.0, "lease_s": 6.0, "rebuild_s": 2.5, "adopt_s": 8.0}

ARTICLE = """\
from pyspider.libs.base_handler import *


class Handler(BaseHandler):
    crawl_config = {{
    }}

    def on_start(self):
        for i in range(1, {pages} + 1):
            self.crawl('{site}/article/%d.html' % i, callback=self.detail_page)

    @config(priority=2)
    def detail_page(self, response):
        return {{
            "url": response.url,
            "title": response.doc('title').text(),
        }}
"""


def zspiderd(*words: str | Path, host: Host | None = None, env: Mapping[str, str] | None = None) -> Ran:
    """Run a verb to its end."""
    argv = [*ZSPIDERD, *map(str, words)]
    return run(host.argv(argv) if host else argv, env=env, deadline_s=90)


class Daemon:
    """A `zspiderd master` or `slave` with a settings file. `start` may follow `kill` or `stop`."""

    verb = ""
    program: Sequence[str] = ZSPIDERD

    def __init__(self, name: str, directory: Path, host: Host | None) -> None:
        self.name = name
        self.directory = directory
        self.host = host
        self.data_dir = directory / "data"
        self.config = directory / f"{self.verb}.yaml"
        self.env: dict[str, str] = {}
        self._process: Process | None = None
        self._ended: list[str] = []  # what earlier processes printed
        directory.mkdir(parents=True, exist_ok=True)

    def configure(self, settings: Mapping[str, Any]) -> None:
        self.config.write_text(yaml.safe_dump(dict(settings)))

    def add_settings(self, settings: Mapping[str, Any]) -> None:
        """Sections for the next start, beside those that it has."""
        self.configure({**yaml.safe_load(self.config.read_text()), **settings})

    @property
    def process(self) -> Process:
        assert self._process is not None, f"{self.name} was not started"
        return self._process

    @property
    def log(self) -> str:
        """All that it printed since the beginning."""
        return "\n".join([*self._ended, self.process.output])

    def spawn(self) -> Process:
        """Start the process and wait for nothing."""
        if self._process is not None:
            assert self._process.returncode is not None, f"{self.name} runs already"
            self._ended.append(self._process.output)
            self._process.close()
        argv = [*self.program, self.verb, "-c", str(self.config)]
        self._process = Process(self.host.argv(argv) if self.host else argv, name=self.name, env=self.env)
        return self._process

    def kill(self) -> None:
        """SIGKILL to the daemon alone."""
        self.process.kill()

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        return self.process.stop()

    def close(self) -> None:
        if self._process is not None:
            self._process.close()

    def check_alive(self) -> None:
        code = self.process.returncode
        assert code is None, f"{self.name} ended with {code}:\n{self.process.tail()}"


class Master(Daemon):
    """A master; on loopback it has an address of 127/8 for itself, so that its ports are always free."""

    verb = "master"

    def __init__(
        self,
        directory: Path,
        *,
        host: Host | None = None,
        database: str = "",
        master: Mapping[str, Any] = FAST,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """master: keys of the section of that name. settings: sections that are added to the usual ones."""
        super().__init__("master", directory, host)
        self.address = host.address if host else loopback_address()
        section = {"bind": self.address, "port": PORT, "local_slave": False, **master}
        self.configure(
            {"data_dir": str(self.data_dir), "database": database, "master": section}
            | {"fetch": {"private_networks": "allow"}, "log": {"level": "info"}}
            | dict(settings or {})
        )

    def start(self) -> "Master":
        """Start and wait until it listens."""
        self.spawn()
        self.wait_listening()
        return self

    def wait_listening(self) -> None:
        eventually(self._is_listening, START_S, "the master listens")

    def _is_listening(self) -> bool:
        self.check_alive()
        try:
            ports = json.loads((self.data_dir / "master.ports").read_text())
        except FileNotFoundError:
            return False
        return bool(ports["pid"] == self.process.pid)  # and not what a killed one left

    @property
    def join_token(self) -> Path:
        return self.data_dir / "join.token"

    def run_verb(self, *words: str | Path) -> Ran:
        """Run an admin verb against this master, whatever comes of it."""
        where = ("--master", f"{self.address}:{PORT}", "--data-dir", str(self.data_dir))
        return zspiderd(*words, *where, host=self.host)

    def ask(self, *words: str | Path) -> str:
        """Run an admin verb that must succeed; returns what it printed."""
        done = self.run_verb(*words)
        assert done.code == 0, str(done)
        return done.out

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ask("status", "--json"))
        return found

    def slaves(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.status()["slaves"]
        return found

    def wait_slaves(self, number: int, deadline_s: float = 30.0) -> None:
        eventually(lambda: len(self.slaves()) == number, deadline_s, f"{number} slaves have joined")

    def counts(self, project: str) -> dict[str, int]:
        """The counters of one project."""
        row = next(row for row in self.status()["projects"] if row["name"] == project)
        counts: dict[str, int] = row["counts"]
        return counts

    def push(self, project: str, script: str, *options: str, rate: float = 100_000, burst: float = 100_000) -> Path:
        """Write the script to a file and push it."""
        file = self.directory / f"{project}.py"
        file.write_text(script)
        speed = ("--rate", f"{rate:g}", "--burst", f"{burst:g}")
        self.ask("project", "push", file, "--name", project, *speed, *options)
        return file

    def begin(self, project: str, script: str, *, rate: float = 100_000, burst: float = 100_000) -> None:
        """Push a script and run its on_start."""
        self.push(project, script, rate=rate, burst=burst)
        self.ask("project", "start", project)

    def wait_done(self, project: str, results: int, deadline_s: float = 60.0) -> dict[str, int]:
        """Wait until `results` results are there and nothing waits; returns the counters."""
        seen: dict[str, int] = {}

        def is_done() -> bool:
            nonlocal seen
            self.check_alive()
            seen = self.counts(project)
            return seen.get("results", 0) >= results and not seen.get("waiting", 0) and not seen.get("leased", 0)

        try:
            eventually(is_done, deadline_s, f"{results} results of {project}")
        except AssertionError as exc:
            raise AssertionError(f"{exc}; counters: {seen}\nthe master's log:\n{self.process.tail()}") from None
        return seen

    def results(self, project: str) -> list[dict[str, Any]]:
        """All results, as the verb writes them."""
        return [json.loads(line) for line in self.ask("results", project, "--format", "jsonl").splitlines()]


class Slave(Daemon):
    """A slave of `master`, with its token unless another file is named."""

    verb = "slave"

    def __init__(
        self,
        name: str,
        directory: Path,
        master: Master,
        *,
        host: Host | None = None,
        token_file: Path | None = None,
        slave: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """slave: keys of the section of that name, added to the usual ones."""
        super().__init__(name, directory, host)
        section = {"master": f"{master.address}:{PORT}", "processors": 1, "fetch_concurrency": 50, **(slave or {})}
        self.configure(
            {"data_dir": str(self.data_dir), "token_file": str(token_file or master.join_token), "slave": section}
            | {"fetch": {"private_networks": "allow"}, "log": {"level": "info"}}
            | dict(settings or {})
        )

    def start(self) -> "Slave":
        """Start; it joins when it can, and `Master.wait_slaves` tells."""
        self.spawn()
        return self


class Cluster:
    """A master and its slaves. Leaving the `with` block ends all of them, and what they started."""

    def __init__(self, directory: Path, *, prints_logs: bool = True) -> None:
        self.directory = directory
        self._prints_logs = prints_logs
        self._daemons: list[Daemon] = []

    def master(self, **options: Any) -> Master:
        """A master that is not started yet; `options` as for Master."""
        made = Master(self.directory / "master", **options)
        self._daemons.append(made)
        return made

    def slave(self, master: Master, **options: Any) -> Slave:
        """A slave that is not started yet; `options` as for Slave."""
        name = f"slave{sum(isinstance(daemon, Slave) for daemon in self._daemons) + 1}"
        made = Slave(name, self.directory / name, master, **options)
        self._daemons.append(made)
        return made

    def logs(self) -> str:
        """What everybody printed last, for the text of a failure."""
        return "\n".join(f"--- {one.name}\n{one.process.tail()}" for one in self._daemons if one._process)

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(self, *exc: object) -> None:
        if self._prints_logs:
            print(self.logs())  # pytest shows it when the test failed
        for daemon in reversed(self._daemons):
            daemon.close()


def expected_article_urls(site: str, pages: int) -> list[str]:
    """The URLs that ARTICLE stores, sorted."""
    return sorted(f"{site}/article/{number}.html" for number in range(1, pages + 1))


def urls_of(results: Sequence[Mapping[str, Any]]) -> list[str]:
    return sorted(row["url"] for row in results)
