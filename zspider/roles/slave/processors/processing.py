"""Pages on their way through this slave's own processors, and the outcomes that come back."""

from collections.abc import Collection, Iterable
from collections.abc import Set as AbstractSet

import structlog

from zspider.broker.messages import (
    AnyMessage,
    Known,
    LoadFailed,
    Page,
    Processed,
    ProjectScript,
    Retired,
    Script,
    Up,
    WantProject,
)
from zspider.broker.pipe import Pipe
from zspider.delivery import End
from zspider.errors import ProtocolError
from zspider.roles.slave.leases import Lease, SlaveLeases, Stage
from zspider.roles.slave.pages import failed, time_limit_s
from zspider.roles.slave.processors.deaths import Deaths
from zspider.roles.slave.processors.dispatch import Dispatch
from zspider.roles.slave.processors.import_requests import ImportRequests
from zspider.roles.slave.processors.page_owner import PageOwner
from zspider.roles.slave.processors.pool import ProcessorPool
from zspider.roles.slave.processors.script_cache import ScriptCache
from zspider.settings import SlaveFile

log = structlog.get_logger(__name__)
MESSAGES_PER_STEP = 64  # of one processor
LOOK_S = 0.25  # how often slow and silent processors are looked for
GRACE_S = 5.0  # a processor stops a callback by itself; if it has not so long after the limit, it is killed
START_LIMIT_S = 30.0  # from a page's turn to the sight of it running
PAGES_EACH = 4  # of other slaves' pages, per processor: what this slave has, others cannot take


class Processing:
    """Runs each page given to `put`, and tells its owner the outcome once, unless the page is dropped."""

    def __init__(self, settings: SlaveFile, held: SlaveLeases, owner: PageOwner) -> None:
        self.scripts = ScriptCache()
        self.projects = ImportRequests()
        self._default_limit_s = settings.processor.process_time_limit_s
        self._held = held
        self._owner = owner
        self._pool = ProcessorPool(settings)
        self._dispatch = Dispatch()
        self._no_text: dict[bytes, list[int]] = {}  # script -> pages that wait for its text
        self._deaths = Deaths(held, self._dispatch, owner, settings.processor.memory_bytes)
        self._look_at = 0.0
        self._why_broken = ""  # what the last one wrote that died before it was up, or how it ended

    @property
    def fds(self) -> set[int]:
        """Descriptors to wait for."""
        return self._pool.fds

    @property
    def pipes(self) -> Collection[Pipe]:
        """Pipes to wait for."""
        return self._pool.pipes

    @property
    def is_broken(self) -> bool:
        """Whether processors do not even start on this machine."""
        return self._pool.is_broken

    @property
    def complaint(self) -> str:
        """What keeps pages from being processed, as the end of a sentence that begins with the slave; "": nothing."""
        if not self.is_broken:
            return ""
        return "cannot start its processors" + (f": {self._why_broken}" if self._why_broken else "")

    @property
    def capacity(self) -> int:
        """How many pages keep the processors busy."""
        return PAGES_EACH * self._pool.count

    def wait_s(self, now: float) -> float | None:
        """Seconds until `step` has something to do though nothing is readable."""
        dues = [due for due in (self._pool.wait_s(now),) if due is not None]
        if self._dispatch.assigned or self.scripts.is_waiting:
            dues.append(max(0.0, self._look_at - now))
        return min(dues, default=None)

    # --- pages ----------------------------------------------------------------------------------

    def expect(self, script: bytes, now: float) -> None:
        """Ask for a script's text, so that it is here when its first page is."""
        self.scripts.want(script, now)

    def put(self, lease: Lease, now: float) -> None:
        """Have a page processed, as soon as its script's text is here."""
        if self.scripts.get(lease.script) is None:
            self.scripts.want(lease.script, now)
            self._no_text.setdefault(lease.script, []).append(lease.serial)
        else:
            self._dispatch.put(lease.serial, _kind(lease))

    def drop(self, lease: Lease) -> None:
        """Forget a page: its outcome is not needed any more."""
        self._dispatch.drop(lease.serial)

    def script_came(self, script: bytes, text: str) -> None:
        """Take a script's text from the master."""
        self.scripts.put(script, text)
        for serial in self._no_text.pop(script, ()):
            if (lease := self._held.get(serial)) is not None:
                self._dispatch.put(serial, _kind(lease))

    def project_came(self, answer: ProjectScript, now: float) -> None:
        """Take the master's answer to an import of a project."""
        for index in self.projects.came(answer.name):
            self._pool.send(index, answer)
            self._dispatch.progress(index, now)

    def known(self, leases: Iterable[Lease]) -> None:
        """Tell processors that the follows of these pages have rows: they need not be submitted again."""
        serials: dict[int, list[int]] = {}
        for lease in leases:
            if lease.processor is not None:
                serials.setdefault(lease.processor, []).append(lease.serial)
        for index, numbers in serials.items():
            self._pool.send(index, Known(numbers))

    # --- a step ---------------------------------------------------------------------------------

    def read(self, ready_fds: AbstractSet[int], ready_pipes: Iterable[Pipe], now: float) -> None:
        """Take in what processors say, print and end with."""
        for pipe in ready_pipes:
            self._read_pipe(self._pool.index_of(pipe), now, MESSAGES_PER_STEP)
        self._pool.read(ready_fds, now)

    def step(self, now: float, *, may_run: bool) -> None:
        """Start and reap processors, and give pages to those that have room. may_run: more outcomes are welcome."""
        self._pool.step(now)
        for index in self._pool.ended:
            self._reap(index, now)
        if may_run:
            self._send_pages(now)
        self._pool.flush()
        if now >= self._look_at:
            self._look_at = now + LOOK_S
            self._look_around(now, may_run)

    def stop(self) -> None:
        """Let the processors end."""
        self._pool.stop()

    def close(self) -> None:
        """End all processors now."""
        self._pool.close()

    # --- inside ---------------------------------------------------------------------------------

    def _send_pages(self, now: float) -> None:
        while (taken := self._dispatch.take(now)) is not None:
            index, serial = taken
            lease = self._held.get(serial)
            if lease is None or lease.page is None:
                self._dispatch.finished(index, serial, now)
            elif not self._send_page(index, lease, lease.page, now):
                return

    def _send_page(self, index: int, lease: Lease, page: Page, now: float) -> bool:
        """False: this processor takes nothing now; the page waits again."""
        known = self._pool.scripts_of(index)
        if lease.script not in known:
            text = self.scripts.get(lease.script)
            if text is None:  # it was dropped for others meanwhile
                self._dispatch.finished(index, lease.serial, now)
                self.put(lease, now)
                return True
            if self._pool.send(index, Script(lease.script, text)):
                known.add(lease.script)
        try:
            is_sent = lease.script in known and self._pool.send(index, page)
        except ProtocolError as exc:
            self._dispatch.finished(index, lease.serial, now)
            self._owner.on_outcome(lease, failed(lease, End.FATAL, str(exc)))
            return True
        if not is_sent:  # it is dying
            self._dispatch.finished(index, lease.serial, now)
            self._dispatch.put(lease.serial, first=True, alone=lease.deaths > 0)
        return is_sent

    def _read_pipe(self, index: int, now: float, most: int) -> None:
        for _ in range(most):
            message = self._pool.receive(index, now)
            if message is None:
                return
            self._on_message(index, message, now)

    def _on_message(self, index: int, message: AnyMessage, now: float) -> None:
        match message:
            case Up():
                self._pool.came_up(index)
                self._dispatch.up(index)
            case Processed(number=serial, final=False, outcome=packed):
                self._dispatch.progress(index, now)
                if (lease := self._held.fetched(serial)) is not None:
                    self._owner.on_part(lease, packed)
            case Processed(number=serial, outcome=packed):
                self._dispatch.finished(index, serial, now, has_run=True)
                if (lease := self._held.fetched(serial)) is not None:
                    self._pool.loaded_by(index).add(lease.script)
                    self._dispatch.drop(serial)
                    lease.processor = index
                    self._owner.on_outcome(lease, packed)
            case WantProject(name=name):
                self.projects.want(index, name, now)
            case LoadFailed(number=serial, script=script, error=error):
                self._dispatch.finished(index, serial, now)
                if (lease := self._held.fetched(serial)) is not None:
                    self._see(now)
                    self._bar(lease, script, error, now)
            case Retired(reason=reason):
                log.info("processor_retired", processor=index, reason=reason)
                self._pool.retire(index, now)
                self._dispatch.retired(index)

    def _bar(self, lease: Lease, script: bytes, error: str, now: float) -> None:
        if not self.scripts.why_barred(script, now):
            name = lease.page.project_name if lease.page is not None else str(lease.project)
            log.error("script_unloadable_here", project=name, script=script.hex()[:12], error=error)
        self.scripts.bar(script, error, now)
        self._dispatch.drop(lease.serial)
        useless = self._held.where(lambda other: self._is_useless(other, script)) if lease.is_granted else [lease]
        self._owner.on_unloadable(useless, error)

    def _is_useless(self, lease: Lease, script: bytes) -> bool:
        """Whether a lease is to go back when this machine cannot load the script."""
        if lease.script != script or not lease.is_granted or lease.stage is Stage.OUTBOX:
            return False
        return not self._dispatch.is_running(lease.serial)

    def _see(self, now: float) -> None:
        """Look at what the processors run."""
        for index, serial in self._pool.running_pages():
            self._dispatch.saw(index, serial, now)

    def _look_around(self, now: float, may_run: bool) -> None:
        self._see(now)
        self._dispatch.move_waiting_pages(now)
        for running in self._dispatch.running_pages(now):
            if not may_run or self.projects.is_waiting(running.processor, now):  # it may wait for us, not we for it
                self._dispatch.progress(running.processor, now)
            elif running.seconds > self._limit_s(running.processor, running.page, running.had_started):
                if running.had_started:
                    self._deaths.expect(running.processor, running.page)
                log.warning(
                    "processor_killed", processor=running.processor, reason="no progress", seconds=running.seconds
                )
                self._pool.kill(running.processor)
        for script in self.scripts.overdue(now):
            log.error("script_not_sent", script=script.hex()[:12])
            for serial in self._no_text.pop(script, ()):
                if (lease := self._held.fetched(serial)) is not None:
                    self._owner.on_no_script(lease)

    def _limit_s(self, index: int, serial: int, had_started: bool) -> float:
        """How long a processor may be at this page; loading a script that it has not run yet takes its own time."""
        if not had_started:
            return START_LIMIT_S
        lease = self._held.get(serial)
        if lease is None or lease.page is None:
            return self._default_limit_s + GRACE_S
        limit_s = time_limit_s(lease.page, self._default_limit_s) + GRACE_S
        return limit_s if lease.script in self._pool.loaded_by(index) else limit_s + self._default_limit_s

    def _reap(self, index: int, now: float) -> None:
        """Receive what a dead processor had sent, then see whose fault its death was."""
        self._read_pipe(index, now, 10**6)
        self._see(now)
        self.projects.gone(index)
        death = self._pool.reap(index, now)
        if self._pool.is_broken:
            self._why_broken = death.output_tail.rpartition(" | ")[2] or death.how  # a traceback ends with its reason
        self._deaths.judge(index, death)


def _kind(lease: Lease) -> tuple[int, str]:
    """Return what tells how long a page takes: its project and callback."""
    process = lease.page.task.get("process") if lease.page is not None else None
    callback = process.get("callback") if isinstance(process, dict) else None
    return lease.project, callback if isinstance(callback, str) else ""
