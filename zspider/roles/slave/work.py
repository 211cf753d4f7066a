"""What a slave does with its leases: fetch, have processed, put the outcome into the outbox.

It knows nothing of connections; what it has to say to the master goes through the `Voice` it is given.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Protocol

import msgspec
import structlog

from zspider.broker import messages as m
from zspider.broker.pipe import Pipe
from zspider.delivery import End, Grant
from zspider.errors import FetchError, ProtocolError
from zspider.fetch import Fetched, FetchPool, build_request, failure
from zspider.roles.slave import pages
from zspider.roles.slave.leases import HeldLeases, Lease, Stage
from zspider.roles.slave.outbox import Outbox
from zspider.roles.slave.pacing import Starts
from zspider.roles.slave.processors.processing import Customer, Processing
from zspider.roles.slave.relay_outbox import RelayPages
from zspider.settings import FetchSettings, SlaveFile
from zspider.task import GUARDED, INTERNAL, is_message

log = structlog.get_logger(__name__)
PAGES_BYTES_MAX = 256 * 1024 * 1024  # of pages in memory and being received; above it nothing more is fetched
BEGUN_PER_TURN = 32  # requests; a turn without an end would keep the master waiting for a heartbeat
NUMBERS_MAX = 10_000  # in one message
COMPLAIN_S = 5.0  # a shortage is told of for so long after it was met last: some heartbeats
REST_S = 1.0  # for which nothing is fetched when this process has no descriptor left
UNPACED = 0  # the "project" of tasks that no rate applies to; real ids begin at 1
CANNOT_LOAD = "script"  # GiveBack.reason by which the master gives us no more of that script


class Voice(Protocol):
    """The way to the master. Nothing waits, and False means that it was not sent."""

    @property
    def session(self) -> bytes: ...

    def say(self, message: m.AnyMessage) -> bool:
        """On control."""
        ...

    def push_page(self, page: m.Page) -> bool:
        """Into the relay."""
        ...


class Work:
    """All that is under way in this slave. `step` moves everything on; the other methods are told what came."""

    def __init__(
        self,
        settings: SlaveFile,
        voice: Voice,
        *,
        make_pool: Callable[[FetchSettings, int], FetchPool] = FetchPool,
        make_processing: Callable[[SlaveFile, HeldLeases, Customer], Processing] = Processing,
    ) -> None:
        slave = settings.slave
        self.outbox = Outbox(slave.outbox_items, slave.outbox_bytes)
        self.held = HeldLeases()
        self.fetched = 0  # pages, since the start
        self.processed = 0  # outcomes made, since the start
        self.is_quiet = True  # the leases may have run out: nothing of what is held is begun
        self.is_draining = False
        self.is_stuck = False  # what is made does not reach the master
        self._settings = settings
        self._voice = voice
        self._concurrency = slave.fetch_concurrency
        self._window = slave.window or 3 * slave.fetch_concurrency
        self._projects = pages.Projects()
        self._starts = Starts()
        self._pool = make_pool(settings.fetch, slave.fetch_concurrency) if "fetcher" in slave.roles else None
        self._processing = make_processing(settings, self.held, self) if "processor" in slave.roles else None
        self._relay = RelayPages()
        self._relay_has_room = True
        self._was_broken = False
        self._rests_until = -COMPLAIN_S  # no request is sent
        self._now = 0.0  # of this turn

    # --- what the loop asks ---------------------------------------------------------------------

    @property
    def takes_pages(self) -> bool:
        """Whether pages come from other slaves, through the relay."""
        return self._pool is None

    @property
    def sends_pages(self) -> bool:
        """Whether pages go to other slaves, through the relay."""
        return self._processing is None

    @property
    def window(self) -> int:
        """The most leases this slave wants to hold now."""
        return 0 if self.is_draining or not self.wants_pages or self.outbox.is_tight else self._window

    @property
    def wants_pages(self) -> bool:
        """Whether what comes would be processed and delivered, now or when there is room."""
        return not (self.is_stuck or (self._processing is not None and self._processing.is_broken))

    @property
    def complaint(self) -> str:
        """What keeps this slave from working, as the end of a sentence that begins with the slave; "": nothing."""
        if self._processing is not None and self._processing.is_broken:
            why = self._processing.why_broken
            return "cannot start its processors" + (f": {why}" if why else "")
        if self._now < self._rests_until + COMPLAIN_S:
            return "has no file descriptors left"
        return ""

    @property
    def has_page_room(self) -> bool:
        """Whether another slave's page is welcome."""
        capacity = self._processing.capacity if self._processing is not None else 0
        return self.held.count(Stage.FETCHED) < capacity and self.window > 0

    @property
    def running(self) -> int:
        """Leases that are begun and whose outcome is not made."""
        return sum(self.held.count(stage) for stage in (Stage.FETCHING, Stage.FETCHED, Stage.RELAYED))

    @property
    def fds(self) -> set[int]:
        """Descriptors to wait for."""
        fds = self._processing.fds if self._processing is not None else set()
        return fds if self._pool is None else fds | {self._pool.fileno()}

    @property
    def pipes(self) -> Collection[Pipe]:
        """Pipes to wait for: none while nobody may make more outcomes."""
        return () if self._processing is None or self.outbox.is_full else self._processing.pipes

    def wait_s(self, now: float) -> float:
        """Seconds until `step` has something to do though nothing is readable; at most one."""
        dues: list[float | None] = [self._rests_until - now] if now < self._rests_until else []
        if self._pool is not None:
            dues.append(self._pool.wait_s())
            if self._may_fetch():
                dues.append(self._starts.wait_s(now))
        if self._processing is not None:
            dues.append(self._processing.wait_s(now))
        elif self._relay_has_room:
            dues.append(self._relay.wait_s(now))
        return min((due for due in dues if due is not None), default=1.0)

    # --- what the master says -------------------------------------------------------------------

    def learn(self, info: m.ProjectInfo, now: float) -> None:
        """What is true for a project's tasks from now on."""
        self._projects.learn(info)
        self._starts.set_rate(info.project, info.rate, info.burst, now)

    def grant(self, grants: Sequence[Grant], now: float) -> None:
        """Tasks are ours; they are begun when their time comes."""
        waiting: dict[int, list[tuple[int, float]]] = {}
        unwanted: dict[tuple[str, str], list[int]] = {}
        for grant in grants:
            info = self._projects.get(grant.project, grant.script)
            if (refusal := self._refusal(grant, info)) is not None or info is None:
                self.held.seen = max(self.held.seen, grant.number)
                unwanted.setdefault(refusal or ("", ""), []).append(grant.number)
                continue
            lease = self.held.take(grant, info)
            if lease is None:
                continue
            line = UNPACED if grant.taskid in INTERNAL or is_message(grant.taskid) else grant.project
            waiting.setdefault(line, []).append((lease.serial, grant.start_ms / 1000))
            if self._processing is not None:
                self._processing.scripts.want(grant.script, now)
        for project, tasks in waiting.items():
            self._starts.add(project, tasks, now)
        for (reason, error), numbers in unwanted.items():
            self._say_given_back(numbers, reason, error)

    def recall(self, numbers: Iterable[int]) -> None:
        """Give back those that are not begun."""
        self.give_back([lease for lease in self.held.by_number(numbers) if lease.stage is Stage.WAITING])

    def release(self, numbers: Iterable[int], now: float) -> None:
        """These runs ended without us."""
        for lease in self.held.by_number(numbers):
            self.outbox.forget(lease.serial, now)
            self._let_go(lease)

    def taken(self, numbers: Iterable[int]) -> None:
        """Another slave processes these pages."""
        for lease in self.held.by_number(numbers):
            self._relay.taken(lease.serial)

    def resend(self, numbers: Iterable[int]) -> None:
        """Who had these pages is gone."""
        for lease in self.held.by_number(numbers):
            self._relay.send_again(lease.serial)

    def relay_has_room(self) -> None:
        """A page that could not be sent can be now."""
        self._relay_has_room = True

    def acknowledge(self, ids: Iterable[int], known: Sequence[int], now: float) -> None:
        """These outcomes are committed, and the follows of those in `known` have rows."""
        if known and self._processing is not None:
            self._processing.known(self._acknowledged(known, now))
        self._acknowledged(ids, now)

    def _acknowledged(self, ids: Iterable[int], now: float) -> list[Lease]:
        """Let go of those that are done with this; returns them."""
        done = [lease for serial in self.outbox.acknowledge(ids, now) if (lease := self.held.get(serial)) is not None]
        for lease in done:
            self._let_go(lease)
        return done

    def script_came(self, script: bytes, text: str) -> None:
        """A script's text."""
        if self._processing is not None:
            self._processing.script_came(script, text)

    def project_came(self, answer: m.ProjectScript, now: float) -> None:
        """What the master knows of a project that a script imports."""
        if self._processing is not None:
            self._processing.project_came(answer, now)

    def page_came(self, page: m.Page, now: float) -> None:
        """Another slave's page is ours to process. It may come twice: then the first claim was not heard."""
        if self._processing is None:
            return
        took = m.Took(self._voice.session, page.project, page.taskid, page.run, page.attempt, page.proof)
        self._voice.say(took)
        lease = self.held.take_page(page)
        if lease is None:
            return
        lease.page = msgspec.structs.replace(page, number=lease.serial)
        if page.script in self._processing.scripts.barred:
            self.on_unloadable(lease, self._processing.scripts.barred[page.script])
        else:
            self._processing.put(lease, now)

    # --- how it goes with the master --------------------------------------------------------------

    def rejoined(self, now: float) -> None:
        """A master knows us, perhaps a new one: what it may have missed is said again."""
        self.outbox.resend_all(now)
        self._relay.rejoined(now)
        if self._processing is not None:
            self._processing.scripts.ask_again()

    def drop_leases(self) -> int:
        """They belong to another session, or to nobody; their outcomes are kept. Returns how many were not done."""
        leases = self.held.where(lambda lease: lease.is_granted)
        undone = sum(lease.stage is not Stage.OUTBOX for lease in leases)
        for lease in leases:
            self._let_go(lease)
        self.held.seen = 0
        self.outbox.disown()
        return undone

    def drop_everything(self) -> tuple[int, int]:
        """Another cluster knows nothing of what we have. Returns how many leases and outcomes are lost."""
        outcomes = len(self.outbox)
        leases = self.drop_leases()
        for lease in self.held:
            self._let_go(lease)
        self.outbox.clear()
        self._projects.clear()
        if self._processing is not None:
            self._processing.scripts.clear()
        return leases, outcomes

    def give_back(self, leases: Sequence[Lease], reason: str = "", error: str = "") -> None:
        """Let these leases go and say so, if somebody listens; else the next heartbeat does not name them."""
        for lease in leases:
            self._let_go(lease)
        self._say_given_back([lease.number for lease in leases if lease.is_granted], reason, error)

    def drain(self) -> None:
        """Begin nothing more, and give back what is not begun."""
        self.is_draining = True
        self.give_back(self.held.where(lambda lease: lease.stage is Stage.WAITING))

    def stuck(self, is_stuck: bool) -> None:
        """What is made does not reach the master: take on nothing and give back what is not begun. Or it does again.

        What is begun goes on, and its outcomes wait: whoever is first counts.
        """
        self.is_stuck = is_stuck
        if is_stuck:
            self.give_back(self.held.where(lambda lease: lease.stage is Stage.WAITING))

    def abandon(self) -> None:
        """Give back all whose outcome is not made."""
        self.give_back(self.held.where(lambda lease: lease.stage is not Stage.OUTBOX))

    # --- a turn ---------------------------------------------------------------------------------

    def read(self, ready_fds: set[int], ready_pipes: Iterable[Pipe], now: float) -> None:
        """Take in what processors and servers have sent."""
        self._now = now
        if self._processing is not None:
            self._processing.read(ready_fds, ready_pipes, now)
        if self._pool is None:
            return
        self._pool.set_pages_bytes(self.held.page_bytes)
        if self._pool.fileno() in ready_fds or self._pool.wait_s() == 0.0:
            for fetched in self._pool.step():
                self._on_fetched(fetched)

    def step(self, now: float) -> None:
        """Begin and pass on what can be."""
        self._now = now
        for _ in range(BEGUN_PER_TURN):
            if not self._may_fetch() or (serial := self._starts.pop(now)) is None:
                break
            self._begin(serial)
        if self._processing is not None:
            self._processing.step(now, may_run=not self.outbox.is_full)
            for script in self._processing.scripts.to_ask(now):
                self._voice.say(m.NeedScript(self._voice.session, script))
            for name in self._processing.projects.to_ask(now):
                self._voice.say(m.NeedProject(self._voice.session, name))
            self._look_for_breakage(self._processing.is_broken)
        else:
            self._relay_pages(now)

    def close(self) -> None:
        """End everything that runs."""
        if self._pool is not None:
            self._pool.close()
        if self._processing is not None:
            self._processing.close()

    # --- outcomes (Processing's customer) -----------------------------------------------------------

    def on_part(self, lease: Lease, packed: bytes) -> None:
        """Follows that are sent ahead of their page's outcome."""
        if self._fits(lease, packed):
            self.outbox.add(lease.serial, lease.number, packed, self._now, is_final=False)

    def on_outcome(self, lease: Lease, packed: bytes) -> None:
        """A page's outcome is made: the page is not needed any more."""
        if not self._fits(lease, packed):
            return
        self.processed += 1
        self.outbox.add(lease.serial, lease.number, packed, self._now, is_final=True)
        self.held.drop_page(lease)
        lease.grant = lease.info = None
        lease.task = {}
        self.held.move(lease, Stage.OUTBOX)

    def on_unloadable(self, lease: Lease, error: str) -> None:
        """All that is held of a script goes back when this machine cannot load it."""
        if not lease.is_granted:  # nobody to give it back to
            self.on_outcome(lease, pages.failed(lease, End.FAILURE, f"cannot load the script: {error}"))
            return
        self.give_back(self.held.where(lambda other: self._is_useless(other, lease.script)), CANNOT_LOAD, error)

    def on_no_script(self, lease: Lease) -> None:
        """The master does not have the script any more, or does not answer."""
        if lease.is_granted:
            self.give_back([lease])
        else:
            self.on_outcome(lease, pages.failed(lease, End.FAILURE, "the master did not send the script"))

    # --- inside ---------------------------------------------------------------------------------

    def _refusal(self, grant: Grant, info: m.ProjectInfo | None) -> tuple[str, str] | None:
        """Reason and error by which a grant goes back at once; None: it does not."""
        if self._processing is not None and (error := self._processing.scripts.barred.get(grant.script)) is not None:
            return CANNOT_LOAD, error
        if info is None:
            log.warning("grant_without_project", project=grant.project, number=grant.number)
            return "", ""
        return ("", "") if self.is_draining or not self.wants_pages or self._pool is None else None

    def _is_useless(self, lease: Lease, script: bytes) -> bool:
        if lease.script != script or not lease.is_granted or lease.stage is Stage.OUTBOX:
            return False
        return self._processing is None or not self._processing.is_running(lease)

    def _may_fetch(self) -> bool:
        return (
            len(self._starts) > 0
            and not self.is_quiet
            and self._now >= self._rests_until
            and self.held.count(Stage.FETCHING) < self._concurrency
            and self._pool is not None
            and self.held.page_bytes + self._pool.held_bytes < PAGES_BYTES_MAX
            and not self.outbox.is_full
        )

    def _begin(self, serial: int) -> None:
        """Send a task's request."""
        lease = self.held.get(serial)
        if lease is None or lease.grant is None or lease.info is None or self._pool is None:
            return
        try:
            lease.task = pages.task_of(lease.grant, lease.info, self._projects.config(lease.info))
        except pages.BadTask as exc:
            self.on_outcome(lease, pages.failed(lease, End.FATAL, str(exc)))
            return
        url, lease.grant = lease.grant.url, None
        if is_message(lease.taskid):
            self._pass_on(lease, pages.message_page(serial, url))
            return
        self.held.move(lease, Stage.FETCHING)
        try:
            task = lease.task
            request = build_request(
                serial, url, task["fetch"], task["track"], self._settings.fetch, private_ok=GUARDED not in task
            )
        except FetchError as exc:
            self._on_fetched(failure(serial, url, str(exc)))
        else:
            self._pool.start(request)

    def _on_fetched(self, fetched: Fetched) -> None:
        """A page, or why there is none; both are for the script."""
        lease = self.held.get(fetched.tag)
        if lease is None:
            return
        if fetched.is_ours:
            if self._now >= self._rests_until + REST_S:  # the first time, or it had some meanwhile
                log.error("no_descriptors_left", advice="see `ulimit -n`; less is fetched until then")
            self._rests_until = self._now + REST_S
            self.give_back([lease])
            return
        if fetched.was_held:
            log.info("page_given_back", task=lease.taskid, reason="no memory for it in time")
            self.give_back([lease])
            return
        self.fetched += 1
        self._pass_on(lease, fetched)

    def _pass_on(self, lease: Lease, fetched: Fetched) -> None:
        """To a processor, here or in another slave."""
        number = lease.number if self._processing is None else lease.serial
        self.held.keep_page(lease, pages.page_of(lease, number, fetched))
        lease.task = {}
        if self._processing is None:
            self.held.move(lease, Stage.RELAYED)
            self._relay.add(lease.serial)
        else:
            self.held.move(lease, Stage.FETCHED)
            self._processing.put(lease, self._now)

    def _relay_pages(self, now: float) -> None:
        while self._relay_has_room and (serial := self._relay.next(now)) is not None:
            lease = self.held.get(serial)
            if lease is None or lease.page is None:
                self._relay.remove(serial)
                continue
            try:
                self._relay_has_room = self._voice.push_page(lease.page)
            except ProtocolError as exc:
                self._relay.remove(serial)
                self.on_outcome(lease, pages.failed(lease, End.FATAL, str(exc)))
            else:
                if self._relay_has_room:
                    self._relay.sent(now)

    def _fits(self, lease: Lease, packed: bytes) -> bool:
        """False: it is over the limit, and the lease has ended with another outcome that says so."""
        limit = self._settings.limits.outcome_bytes
        if len(packed) <= limit:
            return True
        reason = f"an outcome of {len(packed)} bytes, the limit is {limit} (limits.outcome_bytes)"
        self.on_outcome(lease, pages.failed(lease, End.FATAL, reason))
        return False

    def _let_go(self, lease: Lease) -> None:
        """Forget a lease, and stop what is done for it."""
        if lease.stage is Stage.WAITING:
            self._starts.remove(lease.serial, self._now)
        self._relay.remove(lease.serial)
        if lease.stage is Stage.FETCHING and self._pool is not None:
            self._pool.abort((lease.serial,))
        if self._processing is not None and lease.stage is Stage.FETCHED:
            self._processing.drop(lease)
        self.held.end(lease)

    def _say_given_back(self, numbers: Sequence[int], reason: str, error: str) -> None:
        for at in range(0, len(numbers), NUMBERS_MAX):
            self._voice.say(m.GiveBack(self._voice.session, list(numbers[at : at + NUMBERS_MAX]), reason, error))

    def _look_for_breakage(self, is_broken: bool) -> None:
        """When no processor starts, others shall have the work."""
        if is_broken and not self._was_broken:
            log.error("processors_do_not_start", advice="see processor_output above; until then no work is taken")
            self.abandon()
        self._was_broken = is_broken
