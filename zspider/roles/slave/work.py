"""A slave's work on its leases: fetch, have processed, put the outcome into the outbox.

It knows nothing of connections; its messages to the master go through the `MasterPort` that it is given.
"""

from collections.abc import Callable, Collection, Iterable, Sequence

import msgspec
import structlog

from zspider.broker import messages as m
from zspider.broker.pipe import Pipe
from zspider.delivery import Grant
from zspider.fetch import Fetched, FetchPool
from zspider.roles.slave.declarations import Declarations
from zspider.roles.slave.endings import CANNOT_LOAD, Endings
from zspider.roles.slave.fetching import Fetching, MakePool, NoFetching
from zspider.roles.slave.leases import Lease, SlaveLeases, Stage
from zspider.roles.slave.master_port import MasterPort
from zspider.roles.slave.outbox import Outbox
from zspider.roles.slave.pages import Projects, page_of
from zspider.roles.slave.processors.no_processing import NoProcessing
from zspider.roles.slave.processors.page_owner import PageOwner
from zspider.roles.slave.processors.processing import Processing
from zspider.roles.slave.relaying import Relaying
from zspider.settings import SlaveFile
from zspider.task import GET_INFO, INTERNAL, is_message

log = structlog.get_logger(__name__)
UNPACED = 0  # the "project" of tasks that no rate applies to; real ids begin at 1

MakeProcessing = Callable[[SlaveFile, SlaveLeases, PageOwner], Processing]


class Work:
    """Moves on all leases of this slave with each `step`; the other methods take in messages.

    A lease is in the hands of one part at a time: `fetching` has it until its page is there, then `processing`, or
    `relaying` in a slave without processors. `endings` ends it.
    """

    def __init__(
        self,
        settings: SlaveFile,
        port: MasterPort,
        *,
        make_pool: MakePool = FetchPool,
        make_processing: MakeProcessing = Processing,
    ) -> None:
        slave = settings.slave
        self.roles: list[str] = list(slave.roles)
        self.takes_pages = "fetcher" not in slave.roles  # from other slaves, through the relay
        self.sends_pages = "processor" not in slave.roles  # to other slaves, through the relay
        self.is_quiet = True  # the leases may have run out: nothing of what is held is begun
        self.is_draining = False
        self.is_stuck = False  # what is made does not reach the master
        self.outbox = outbox = Outbox(slave.outbox_items, slave.outbox_bytes)
        self.held = held = SlaveLeases()
        self.endings = endings = Endings(settings, held, outbox, port, self._stop)
        self.fetching: Fetching | NoFetching = NoFetching()
        self.processing: Processing | NoProcessing = NoProcessing()
        self.relaying = Relaying(held, port, endings)
        self._port = port
        self._window = slave.window or 3 * slave.fetch_concurrency
        self._projects = projects = Projects(is_told_here=not self.sends_pages)
        self._was_broken = False
        if not self.takes_pages:
            self.fetching = Fetching(settings, held, outbox, projects, endings, self._pass_on, make_pool)
        self._declarations = Declarations(held, projects, endings, self.fetching.add)
        if not self.sends_pages:
            self.processing = make_processing(settings, held, self._declarations)

    # --- what the loop asks ---------------------------------------------------------------------

    @property
    def window(self) -> int:
        """The most leases this slave wants to hold now."""
        return 0 if self.is_draining or not self.wants_pages or self.outbox.is_tight else self._window

    @property
    def wants_pages(self) -> bool:
        """Whether pages that come would be processed and delivered, now or when there is room."""
        return not (self.is_stuck or self.processing.is_broken)

    @property
    def complaint(self) -> str:
        """What keeps this slave from working, as the end of a sentence that begins with the slave; "": nothing."""
        return self.processing.complaint or self.fetching.complaint

    @property
    def has_page_room(self) -> bool:
        """Whether another slave's page is welcome."""
        return self.held.count(Stage.FETCHED) < self.processing.capacity and self.window > 0

    @property
    def running(self) -> int:
        """Leases that are begun and whose outcome is not made."""
        return sum(self.held.count(stage) for stage in (Stage.FETCHING, Stage.FETCHED, Stage.RELAYED))

    @property
    def fds(self) -> set[int]:
        """Descriptors to wait for."""
        return {*self.processing.fds, *self.fetching.fds}

    @property
    def pipes(self) -> Collection[Pipe]:
        """Pipes to wait for: none while no more outcomes may be made."""
        return () if self.outbox.is_full else self.processing.pipes

    def wait_s(self, now: float) -> float:
        """Seconds until `step` has something to do though nothing is readable; at most one."""
        fetching_s = self.fetching.wait_s(now, may_begin=not self.is_quiet)
        dues = (fetching_s, self.processing.wait_s(now), self.relaying.wait_s(now))
        return min((due for due in dues if due is not None), default=1.0)

    # --- what the master says -------------------------------------------------------------------

    def learn(self, info: m.ProjectInfo, now: float) -> None:
        """Note what is true for a project's tasks from now on."""
        self._projects.learn(info)
        self.fetching.set_rate(info.project, info.rate, info.burst, now)

    def grant(self, grants: Sequence[Grant], now: float) -> None:
        """Take tasks that are ours now; they are begun when their time comes."""
        waiting: dict[int, list[tuple[int, float]]] = {}
        unwanted: dict[tuple[str, str], list[int]] = {}
        is_kept = False
        for grant in grants:
            info = self._projects.get(grant.project, grant.script)
            if (refusal := self._refusal(grant, info, now)) is not None or info is None:
                self.held.seen = max(self.held.seen, grant.number)
                unwanted.setdefault(refusal or ("", ""), []).append(grant.number)
                continue
            lease = self.held.take(grant, info)
            if lease is None:
                continue
            project = UNPACED if grant.taskid in INTERNAL or is_message(grant.taskid) else grant.project
            if grant.taskid == GET_INFO or self._projects.is_declared(grant.project, grant.script):
                waiting.setdefault(project, []).append((lease.serial, grant.start_ms / 1000))
            else:
                self._declarations.keep(lease, project, grant.start_ms / 1000)
                is_kept = True
            self.processing.expect(grant.script, now)
        for project, tasks in waiting.items():
            self.fetching.add(project, tasks, now)
        if is_kept:
            self._declarations.ask(self.processing, now)
        for (reason, error), numbers in unwanted.items():
            self.endings.say_given_back(numbers, reason, error)

    def _refusal(self, grant: Grant, info: m.ProjectInfo | None, now: float) -> tuple[str, str] | None:
        """Return reason and error with which a grant goes back at once; None: it does not."""
        if grant.taskid != GET_INFO and (error := self.processing.scripts.why_barred(grant.script, now)):
            return CANNOT_LOAD, error
        if info is None:
            log.warning("grant_without_project", project=grant.project, number=grant.number)
            return "", ""
        return ("", "") if self.is_draining or not self.wants_pages or self.takes_pages else None

    def recall(self, numbers: Iterable[int]) -> None:
        """Give back the leases among these numbers that are not begun."""
        self.endings.give_back([lease for lease in self.held.by_number(numbers) if lease.stage is Stage.WAITING])

    def release(self, numbers: Iterable[int], now: float) -> None:
        """Drop leases whose runs the master has ended."""
        for lease in self.held.by_number(numbers):
            self.outbox.forget(lease.serial, now)
            self.endings.let_go(lease)

    def acknowledge(self, ids: Iterable[int], known: Sequence[int], again: Iterable[int], now: float) -> None:
        """Drop outcomes that are committed, and send some again. known: whose follows all have rows."""
        if known and not self.sends_pages:
            self.processing.known(self._acknowledged(known, now))
        self._acknowledged(ids, now)
        self.outbox.send_again(again, now)

    def _acknowledged(self, ids: Iterable[int], now: float) -> list[Lease]:
        """Drop the leases whose final outcome is acknowledged with these ids; returns them."""
        done = [lease for serial in self.outbox.acknowledge(ids, now) if (lease := self.held.get(serial)) is not None]
        for lease in done:
            self.endings.let_go(lease)
        return done

    def page_came(self, page: m.Page, now: float) -> None:
        """Take a page of another slave. It may come twice: then the first claim was not heard."""
        if self.sends_pages:
            return
        took = m.Took(self._port.session, page.project, page.taskid, page.run, page.attempt, page.proof)
        self._port.say(took)
        lease = self.held.take_page(page)
        if lease is None:
            return
        lease.page = msgspec.structs.replace(page, number=lease.serial)
        if page.taskid != GET_INFO and (error := self.processing.scripts.why_barred(page.script, now)):
            self.endings.on_unloadable([lease], error)
        else:
            self.processing.put(lease, now)

    # --- how it goes with the master --------------------------------------------------------------

    def rejoined(self, now: float) -> None:
        """Say again what a master may have missed: it knows us, and is perhaps a new one."""
        self.outbox.resend_all(now)
        self.relaying.rejoined(now)
        self.processing.scripts.ask_again()

    def forget_cluster(self) -> tuple[int, int]:
        """Forget all: another cluster knows nothing of it. Returns how many undone leases and outcomes are lost."""
        lost = self.endings.drop_everything()
        self._projects.clear()
        self.fetching.forget_projects()
        self._declarations.clear()
        self.processing.scripts.clear()
        return lost

    def drain(self) -> None:
        """Begin nothing more, and give back what is not begun."""
        self.is_draining = True
        self.endings.give_back_waiting()

    def stuck(self, is_stuck: bool) -> None:
        """Take on nothing and give back what is not begun while what is made does not reach the master.

        What is begun goes on, and its outcomes wait: the first outcome of a run counts.
        """
        self.is_stuck = is_stuck
        if is_stuck:
            self.endings.give_back_waiting()

    # --- a step ---------------------------------------------------------------------------------

    def read(self, ready_fds: set[int], ready_pipes: Iterable[Pipe], now: float) -> None:
        """Take in what processors and servers have sent."""
        self.endings.now = now
        self.processing.read(ready_fds, ready_pipes, now)
        self.fetching.read(ready_fds)

    def step(self, now: float) -> None:
        """Begin and pass on the work that is due and has room."""
        self.endings.now = now
        self.fetching.step(now, may_begin=not self.is_quiet)
        self.processing.step(now, may_run=not self.outbox.is_full)
        for script in self.processing.scripts.to_ask(now):
            self._port.say(m.NeedScript(self._port.session, script))
        for name in self.processing.projects.to_ask(now):
            self._port.say(m.NeedProject(self._port.session, name))
        self._look_for_breakage()
        self.relaying.step(now)

    def close(self) -> None:
        """End everything that runs."""
        self.fetching.close()
        self.processing.close()

    def _pass_on(self, lease: Lease, fetched: Fetched) -> None:
        """Give a page to a processor, here or in another slave."""
        number = lease.number if self.sends_pages else lease.serial
        self.held.keep_page(lease, page_of(lease, number, fetched))
        lease.task = {}
        if self.sends_pages:
            self.relaying.put(lease)
        else:
            self.held.move(lease, Stage.FETCHED)
            self.processing.put(lease, self.endings.now)

    def _stop(self, lease: Lease) -> None:
        """Stop what is done for a lease."""
        stage = lease.stage
        if stage is Stage.OUTBOX:
            return
        if stage is Stage.FETCHED:
            self.processing.drop(lease)
        elif stage is Stage.RELAYED:
            self.relaying.drop(lease)
        else:
            self.fetching.drop(lease)

    def _look_for_breakage(self) -> None:
        """Give back the work when no processor starts: other slaves shall have it."""
        is_broken = self.processing.is_broken
        if is_broken and not self._was_broken:
            log.error("processors_do_not_start", advice="see processor_output above; until then no work is taken")
            self.endings.give_back_undone()
        self._was_broken = is_broken
