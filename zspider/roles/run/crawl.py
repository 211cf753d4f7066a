"""`zspiderd run`: a master, a slave and a script on this machine, from start to nothing left to do.

The directory beside the script holds all state, so the next run goes on where this one stopped. Nothing is
printed here: what happens is told to a View.
"""

import json
import os
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from zspider.broker.admin import AdminClient, remove_project
from zspider.data_dir import DATABASE, PORTS, log_file_name, token_file_name
from zspider.errors import ExitCode, MasterUnavailable, ScriptError, ZspiderError
from zspider.roles.demo_site import is_demo_site
from zspider.roles.machine.signals import CommandSignals
from zspider.roles.run.directory import opened
from zspider.roles.run.progress import Progress, Speed, Summary, View, is_nothing_left
from zspider.roles.run.verb_process import VerbProcess
from zspider.script.check.source import ScriptFile
from zspider.settings import MasterFile
from zspider.task import ON_START

POLL_S = 0.5
START_S = 60.0  # how long a master may take to listen; an old database may need recovery
DRAIN_S = 20.0  # longer than the slave's own drain_s
CALM_POLLS = 2  # nothing left must be seen twice: counters and leases are not read at one instant
FIRST_RESULTS = 5
ENVIRONMENT = {  # of master and slave, whatever was set for others
    "ZSPIDER_MASTER__SECURITY": "curve",
    "ZSPIDER_SLAVE__ROLES": "fetcher,processor",
    "ZSPIDER_FETCH__PRIVATE_NETWORKS": "allow",  # a script is often tried on a site at home
    "ZSPIDER_MASTER__ADOPT_S": "0",  # the directory's lock says that no slave of an earlier run lives
    "ZSPIDER_SCHEDULER__FAIL_PAUSE_NUM": "0",  # whoever waits for the end sees failures
    "ZSPIDER_SLAVE__DRAIN_S": "10",  # somebody sits before the screen
}


@dataclass(frozen=True, slots=True)
class Plan:
    """The options of one `zspiderd run`."""

    script: ScriptFile
    data_dir: Path
    database: str | None = None  # None: SQLite in data_dir
    rate: float | None = None
    burst: float | None = None
    fresh: bool = False
    wait_s: float = 60.0  # tasks due later than this are not waited for
    processors: int | None = None
    fetch_concurrency: int | None = None
    demo_port: int | None = None  # None: no demo site
    log_level: str = "info"


class Admin(Protocol):
    """The part of the master's admin protocol that a run needs."""

    def call(self, verb: str, **args: Any) -> Any:
        """Return the master's answer to a verb."""
        ...


def run(plan: Plan, view: View) -> Summary:
    """Crawl until nothing is left or a signal came.

    Raises ScriptError when the script cannot run, ConfigError and the like when something else is wrong.
    """
    with CommandSignals() as stop, ExitStack() as stack:
        directory = opened(plan.data_dir, plan.script.path, fresh=plan.fresh, wait=stop.wait, say=view.say)
        lock = stack.enter_context(directory)
        return _Run(plan, view, stop, lock).run()


class _Run:
    """One run, from the master's start to its end."""

    def __init__(self, plan: Plan, view: View, stop: CommandSignals, lock: int) -> None:
        self._plan = plan
        self._view = view
        self._stop = stop
        self._lock = lock
        self._name = plan.script.name
        self._began = time.monotonic()
        self._ended_before = 0  # tasks that an earlier run had done
        self._summary = Summary(
            project=self._name,
            data_dir=str(plan.data_dir),
            database=_shown(plan),
        )

    def run(self) -> Summary:
        """Start master and slave, crawl, and end them."""
        with ExitStack() as stack:
            master = stack.enter_context(closing(self._start_master()))
            port = self._wait_for_port(master)
            admin = stack.enter_context(AdminClient.local(self._plan.data_dir, port))
            self._start(admin, self._push(admin))
            if self._summary.ended != "nothing_left":
                if self._plan.demo_port is not None:
                    self._open_demo_site(stack, self._plan.demo_port)
                slave = stack.enter_context(closing(self._start_slave(port)))
                self._watch(admin, master, slave)
                self._hand_in(slave)
            self._read_summary(admin)
            master.terminate()
            master.wait(DRAIN_S)
        return self._summary

    # --- the children -----------------------------------------------------------------------------

    def _start_master(self) -> VerbProcess:
        plan = self._plan
        (plan.data_dir / PORTS).unlink(missing_ok=True)
        arguments = ["master", "--data-dir", plan.data_dir, "--bind", "127.0.0.1", "--port", 0, "--no-local-slave"]
        arguments += ["--oneshot", "--parent", os.getpid(), "--log-level", plan.log_level]
        arguments += ["--database", plan.database or f"sqlite:///{(plan.data_dir / DATABASE).absolute()}"]
        return self._spawn("master", arguments)

    def _start_slave(self, port: int) -> VerbProcess:
        plan = self._plan
        arguments = ["slave", "--master", f"127.0.0.1:{port}", "--data-dir", plan.data_dir]
        arguments += ["--token-file", plan.data_dir / token_file_name("join"), "--parent", os.getpid()]
        arguments += ["--log-level", plan.log_level]
        if plan.processors is not None:
            arguments += ["--processors", plan.processors]
        if plan.fetch_concurrency is not None:
            arguments += ["--fetch-concurrency", plan.fetch_concurrency]
        return self._spawn("slave", arguments)

    def _spawn(self, name: str, arguments: list[object]) -> VerbProcess:
        return VerbProcess(
            name,
            [str(word) for word in arguments],
            self._plan.data_dir / log_file_name(name),
            extra_environment=ENVIRONMENT,
            keep_fds=[self._lock],  # the directory is in use until the last of us has ended
        )

    def _open_demo_site(self, stack: ExitStack, port: int) -> None:
        """Serve the demo site for this run, or use one of ours that serves already."""
        if is_demo_site(port):
            self._view.say(f"using the demo site at http://127.0.0.1:{port}/")
            return
        arguments: list[object] = ["demo-site", "--port", port, "--parent", os.getpid()]
        site = stack.enter_context(closing(self._spawn("demo-site", arguments)))
        end = time.monotonic() + START_S
        while not is_demo_site(port):
            _check(site)
            if self._stop.wait(0.02, site.pidfd):
                raise KeyboardInterrupt
            if time.monotonic() > end:
                raise MasterUnavailable(f"the demo site did not start within {START_S:g} s; its log is {site.log}")
        self._view.say(f"demo site: http://127.0.0.1:{port}/")

    def _wait_for_port(self, master: VerbProcess) -> int:
        file = self._plan.data_dir / PORTS
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            if file.exists():
                return int(json.loads(file.read_text())["control"])
            if self._stop.wait(0.02):
                raise KeyboardInterrupt
            _check(master)
        why = f": {said}" if (said := master.complaint()) else ""
        raise MasterUnavailable(f"the master did not start within {START_S:g} s{why} (its log is {master.log})")

    # --- the project ------------------------------------------------------------------------------

    def _push(self, admin: Admin) -> dict[str, Any]:
        """Bring the script to the master; rates that are not named stay as they are."""
        if self._plan.fresh and self._plan.database:
            self._remove(admin)
        script = self._plan.script
        rate, burst = script.rates(self._plan.rate, self._plan.burst)
        row: dict[str, Any] = admin.call(
            "project.push", name=self._name, script=script.text, status="RUNNING", rate=rate, burst=burst, group=None
        )
        if row["status"] != "RUNNING":  # pushing keeps a known project's status
            row |= admin.call("project.set", name=self._name, status="RUNNING")
        return row

    def _remove(self, admin: Admin) -> None:
        rows = admin.call("project.list")["rows"]
        if any(row["name"] == self._name for row in rows):
            remove_project(admin, self._name, keep_results=False)

    def _start(self, admin: Admin, row: dict[str, Any]) -> None:
        """Run on_start unless an earlier run's was done; then go on with what it left."""
        self._summary.resumed = not row["created"]
        if row["created"] or not self._is_started(admin):
            admin.call("project.start", name=self._name)
            return
        counts = row["counts"]
        self._ended_before = counts.get("done", 0) + counts.get("failed", 0)
        if is_nothing_left(row, _now_ms(), self._plan.wait_s):
            self._summary.ended = "nothing_left"
            return
        self._view.say(
            f"going on where the last run stopped: {counts.get('done', 0):,} done, "
            f"{counts.get('waiting', 0):,} waiting (--fresh starts anew)"
        )

    def _is_started(self, admin: Admin) -> bool:
        try:
            return bool(admin.call("task", project=self._name, taskid=ON_START)["status"] == "done")
        except MasterUnavailable:
            raise
        except ZspiderError:
            return False  # no such task: never started

    # --- the crawl --------------------------------------------------------------------------------

    def _watch(self, admin: Admin, master: VerbProcess, slave: VerbProcess) -> None:
        """Watch the crawl until nothing is left or we are stopped."""
        speed = Speed()
        calm = 0
        is_started = False
        while not self._stop.wait(POLL_S if calm == 0 else POLL_S / 2, master.pidfd, slave.pidfd):
            _check(master)
            _check(slave)
            row = self._row(admin)
            if row["script_error"]:
                raise ScriptError(f"{self._plan.script.path}: {row['script_error']}")
            is_started = is_started or self._check_on_start(admin)
            self._show(row, speed)
            calm = calm + 1 if is_nothing_left(row, _now_ms(), self._plan.wait_s) else 0
            if calm >= CALM_POLLS:
                return
        self._summary.ended = "stopped"
        self._summary.signal = self._stop.stop_number

    def _check_on_start(self, admin: Admin) -> bool:
        """Return whether on_start is done. Raises ScriptError when it raised: all else would come to nothing."""
        task = admin.call("task", project=self._name, taskid=ON_START)
        if task["reason"] and task["status"] != "done":
            raise ScriptError(f"{self._plan.script.path}: on_start: {task['reason']}")
        return bool(task["status"] == "done")

    def _row(self, admin: Admin) -> dict[str, Any]:
        rows = admin.call("status")["projects"]
        row = next((row for row in rows if row["name"] == self._name), None)
        if row is None:
            raise ZspiderError(f"project {self._name} was removed while it ran")
        return dict(row)

    def _show(self, row: dict[str, Any], speed: Speed) -> None:
        counts = row["counts"]
        now = time.monotonic()
        ended = counts.get("success", 0) + counts.get("failed", 0) + counts.get("retry", 0)
        self._view.update(
            Progress(
                elapsed_s=now - self._began,
                done=counts.get("done", 0),
                waiting=counts.get("waiting", 0),
                failed=counts.get("failed", 0),
                results=counts.get("results", 0),
                pages_per_s=speed.of(now, ended),
                limited_by=row["rate"] if row["limited"] else None,
            )
        )

    # --- the end ----------------------------------------------------------------------------------

    def _hand_in(self, slave: VerbProcess) -> None:
        """Let the slave finish what is under way and give back the rest."""
        if self._summary.ended == "stopped":
            self._view.say("stopping: finishing what is under way (once more to stop at once)")
        slave.terminate()
        slave.wait(DRAIN_S)

    def _read_summary(self, admin: Admin) -> None:
        row = self._row(admin)
        counts = row["counts"]
        summary = self._summary
        summary.done = counts.get("done", 0)
        summary.failed = counts.get("failed", 0)
        summary.waiting = counts.get("waiting", 0)
        summary.results = counts.get("results", 0)
        summary.next_due_ms = row["next_due_ms"] if summary.waiting else None
        summary.seconds = round(time.monotonic() - self._began, 3)
        summary.pages_per_s = round(max(0, summary.done + summary.failed - self._ended_before) / summary.seconds, 1)
        summary.first = admin.call("results", project=self._name, after=None, limit=FIRST_RESULTS)["rows"]


def _check(child: VerbProcess) -> None:
    """Raise what a child has died of, in its own words."""
    code = child.exit_code
    if code is None:
        return
    text = child.complaint() or f"ended with exit code {code}"
    error = ZspiderError(f"the {child.name} ended: {text} (its log is {child.log})")
    if code in set(ExitCode):
        error.exit_code = ExitCode(code)
    raise error


def _shown(plan: Plan) -> str:
    """Return where results are, for people: SQLite's file, or the URL without its password."""
    if plan.database is None:
        return str(plan.data_dir / DATABASE)
    return MasterFile(data_dir=plan.data_dir, database=plan.database).database_shown


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
