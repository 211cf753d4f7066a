"""What the scripts of a slave's tasks declare, by this slave's own processors; tasks wait until it is known."""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import msgspec
import structlog

from zspider.broker.codec import decode_outcome
from zspider.broker.messages import Page, ProjectInfo
from zspider.roles.slave.endings import CANNOT_LOAD, Endings
from zspider.roles.slave.leases import Lease, SlaveLeases
from zspider.roles.slave.pages import Projects
from zspider.roles.slave.processors.script_cache import ScriptCache
from zspider.task import GET_INFO, ScriptInfo, info_run

log = structlog.get_logger(__name__)

Version = tuple[int, bytes]  # a project and its script
Start = Callable[[int, Iterable[tuple[int, float]], float], None]


class RunsPages(Protocol):
    """The processors of this slave."""

    scripts: ScriptCache

    def put(self, lease: Lease, now: float) -> None:
        """Have a page processed."""
        ...


class Declarations:
    """Asks its own processors once per project and script version, before the first fetch, and keeps tasks meanwhile.

    The word of another slave, which the master passes on, does not decide how this one fetches. It is the owner of
    pages for the processors, and passes on to the endings what is no answer to a question of its own.
    """

    def __init__(self, held: SlaveLeases, projects: Projects, endings: Endings, start: Start) -> None:
        """start: takes the tasks of a project whose script is known, as `Fetching.add` does."""
        self.on_part = endings.on_part
        self._held = held
        self._projects = projects
        self._endings = endings
        self._start = start
        self._scripts: ScriptCache | None = None  # of those that were asked
        self._asked: dict[Version, int] = {}  # the question's serial
        self._waiting: dict[Version, list[tuple[int, int, float]]] = {}  # project or UNPACED, serial, start in seconds

    def keep(self, lease: Lease, project: int, start_s: float) -> None:
        """Keep a task until its script's declarations are known; `ask` is to be called.

        project, start_s: for `start`.
        """
        self._waiting.setdefault((lease.project, lease.script), []).append((project, lease.serial, start_s))

    def ask(self, processing: RunsPages, now: float) -> None:
        """Ask for all that tasks wait for and that is not asked."""
        self._scripts = processing.scripts
        for version in self._waiting:
            if self._held.get(self._asked.get(version, 0)) is not None:
                continue
            info = self._projects.get(*version)
            lease = None if info is None else self._held.take_page(_question(info))
            if lease is not None and lease.page is not None:
                lease.page = msgspec.structs.replace(lease.page, number=lease.serial)
                self._asked[version] = lease.serial
                processing.put(lease, now)

    def clear(self) -> None:
        """Forget all: the master is another one."""
        self._asked.clear()
        self._waiting.clear()

    # --- what processors say ----------------------------------------------------------------------

    def on_outcome(self, lease: Lease, packed: bytes) -> None:
        """Take an outcome: an answer to a question, of this slave or of the master, is heard here, too."""
        if lease.taskid != GET_INFO:
            self._endings.on_outcome(lease, packed)
            return
        error = self._hear(lease, packed)
        if not self._is_own(lease):
            self._endings.on_outcome(lease, packed)
        elif error:
            self.on_unloadable([lease], error)
        else:
            self._held.end(lease)

    def on_unloadable(self, leases: Sequence[Lease], error: str) -> None:
        """Give back leases whose script this machine cannot load, and with a question those that wait for it."""
        for lease in leases:
            if self._is_own(lease):
                log.error("script_unloadable_here", script=lease.script.hex()[:12], error=error)
                if self._scripts is not None:
                    self._scripts.bar(lease.script, error, self._endings.now)
                self._give_back(lease, CANNOT_LOAD, error)
        self._endings.on_unloadable([lease for lease in leases if not self._is_own(lease)], error)

    def on_no_script(self, lease: Lease) -> None:
        """Give back a lease whose script the master does not send, and with a question those that wait for it."""
        if self._is_own(lease):
            self._give_back(lease)
        else:
            self._endings.on_no_script(lease)

    # --- inside -----------------------------------------------------------------------------------

    def _is_own(self, lease: Lease) -> bool:
        return self._asked.get((lease.project, lease.script)) == lease.serial

    def _hear(self, lease: Lease, packed: bytes) -> str:
        """Learn what a script declares, and start what waited for that; returns why it cannot be used, or ""."""
        outcome = decode_outcome(packed)
        if outcome.info is None:  # it ended its processor, or took too long
            return outcome.reason or "it was not loaded"
        info = msgspec.msgpack.decode(outcome.info, type=ScriptInfo)
        if info.error:
            return info.error
        self._projects.declare(lease.project, lease.script, info.crawl_config)
        by_project: dict[int, list[tuple[int, float]]] = {}
        for project, serial, start_s in self._waiting.pop((lease.project, lease.script), ()):
            if self._held.get(serial) is not None:
                by_project.setdefault(project, []).append((serial, start_s))
        for project, tasks in by_project.items():
            self._start(project, tasks, self._endings.now)
        return ""

    def _give_back(self, question: Lease, reason: str = "", error: str = "") -> None:
        """Give back the tasks that wait for this answer: it does not come."""
        version = (question.project, question.script)
        waiting = [self._held.get(serial) for _, serial, _ in self._waiting.pop(version, ())]
        self._held.end(question)
        self._endings.give_back([lease for lease in waiting if lease is not None], reason, error)


def _question(info: ProjectInfo) -> Page:
    """Return the page by which a processor is asked; no delivery of the master's has its attempt."""
    return Page(
        number=0,
        project=info.project,
        project_name=info.name,
        project_status=info.status,
        script=info.script,
        taskid=GET_INFO,
        run=info_run(info.script),
        attempt=0,
        proof=b"",
        task={"taskid": GET_INFO, "project": info.name, "url": f"data:,{GET_INFO}", "fetch": {}, "process": {}},
        fetch={},
        content=b"",
        group=info.group,
        rate=info.rate,
        burst=info.burst,
        updated_ms=info.updated_ms,
        generation=info.generation,
    )
