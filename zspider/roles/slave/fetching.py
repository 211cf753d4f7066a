"""A slave's fetches: held tasks start at their pace, and their pages are passed on."""

from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet

import structlog

from zspider.delivery import End
from zspider.errors import FetchError
from zspider.fetch import Fetched, FetchPool, build_request, failure
from zspider.roles.slave.endings import Endings
from zspider.roles.slave.leases import Lease, SlaveLeases, Stage
from zspider.roles.slave.outbox import Outbox
from zspider.roles.slave.pacing import Pacer
from zspider.roles.slave.pages import BadTask, Projects, message_page, task_of
from zspider.settings import FetchSettings, SlaveFile
from zspider.task import GUARDED, is_message

log = structlog.get_logger(__name__)
PAGES_BYTES_MAX = 256 * 1024 * 1024  # of pages in memory and being received; above it nothing more is fetched
BEGUN_PER_STEP = 32  # requests; a step without an end would keep the master waiting for a heartbeat
COMPLAIN_S = 5.0  # a shortage is told of for so long after it was met last: some heartbeats
REST_S = 1.0  # for which nothing is fetched when this process has no descriptor left

PassOn = Callable[[Lease, Fetched], None]
MakePool = Callable[[FetchSettings, int], FetchPool]


class Fetching:
    """Begins each lease that is added when its time has come, and passes its page on, unless it is dropped before."""

    def __init__(
        self,
        settings: SlaveFile,
        held: SlaveLeases,
        outbox: Outbox,
        projects: Projects,
        endings: Endings,
        pass_on: PassOn,
        make_pool: MakePool = FetchPool,
    ) -> None:
        """pass_on: called with each lease whose page is here."""
        self.fetched = 0  # pages, since the start
        self.pacer = Pacer()
        self.pool = make_pool(settings.fetch, settings.slave.fetch_concurrency)
        self._settings = settings.fetch
        self._concurrency = settings.slave.fetch_concurrency
        self._held = held
        self._outbox = outbox
        self._projects = projects
        self._endings = endings
        self._pass_on = pass_on
        self._rests_until = -COMPLAIN_S  # no request is sent

    @property
    def fds(self) -> set[int]:
        """Descriptors to wait for."""
        return {self.pool.fileno()}

    @property
    def complaint(self) -> str:
        """What keeps this slave from fetching, as the end of a sentence that begins with the slave; "": nothing."""
        return "has no file descriptors left" if self._endings.now < self._rests_until + COMPLAIN_S else ""

    def wait_s(self, now: float, *, may_begin: bool) -> float | None:
        """Seconds until `read` or `step` has something to do though nothing is readable."""
        dues = [self._rests_until - now] if now < self._rests_until else []
        if (due := self.pool.wait_s()) is not None:
            dues.append(due)
        if may_begin and self._may_fetch() and (due := self.pacer.wait_s(now)) is not None:
            dues.append(due)
        return min(dues, default=None)

    def set_rate(self, project: int, rate: float, burst: float, now: float) -> None:
        """Start at most `rate * t + burst` tasks of this project in any t seconds."""
        self.pacer.set_rate(project, rate, burst, now)

    def forget_projects(self) -> None:
        """Forget the rates of all projects; no lease waits any more."""
        self.pacer.clear()

    def add(self, project: int, tasks: Iterable[tuple[int, float]], now: float) -> None:
        """Take the leases of one message: (serial, seconds from now before which the task does not start)."""
        self.pacer.add(project, tasks, now)

    def drop(self, lease: Lease) -> None:
        """Stop the fetch of a lease that is not wanted any more."""
        if lease.stage is Stage.WAITING:
            self.pacer.remove(lease.serial, self._endings.now)
        else:
            self.pool.abort((lease.serial,))

    def read(self, ready_fds: AbstractSet[int]) -> None:
        """Take in what servers have sent."""
        self.pool.set_pages_bytes(self._held.page_bytes)
        if self.pool.fileno() in ready_fds or self.pool.wait_s() == 0.0:
            for fetched in self.pool.step():
                self._on_fetched(fetched)

    def step(self, now: float, *, may_begin: bool) -> None:
        """Begin the fetches that are due. may_begin: the leases have not run out."""
        for _ in range(BEGUN_PER_STEP if may_begin else 0):
            if not self._may_fetch() or (serial := self.pacer.pop(now)) is None:
                break
            self._begin(serial)

    def close(self) -> None:
        """End everything that runs."""
        self.pool.close()

    def _may_fetch(self) -> bool:
        return (
            len(self.pacer) > 0
            and self._endings.now >= self._rests_until
            and self._held.count(Stage.FETCHING) < self._concurrency
            and self._held.page_bytes + self.pool.held_bytes < PAGES_BYTES_MAX
            and not self._outbox.is_full
        )

    def _begin(self, serial: int) -> None:
        """Send a task's request."""
        lease = self._held.get(serial)
        if lease is None or lease.grant is None or lease.info is None:
            return
        try:
            lease.task = task = task_of(lease.grant, lease.info, self._projects.config(lease.info))
        except BadTask as exc:
            self._endings.fail(lease, End.FATAL, str(exc))
            return
        url, lease.grant = lease.grant.url, None
        if is_message(lease.taskid):
            self._pass_on(lease, message_page(serial, url))
            return
        self._held.move(lease, Stage.FETCHING)
        is_private_ok = GUARDED not in task
        try:
            request = build_request(serial, url, task["fetch"], task["track"], self._settings, private_ok=is_private_ok)
        except FetchError as exc:
            self._on_fetched(failure(serial, url, str(exc)))
        else:
            self.pool.start(request)

    def _on_fetched(self, fetched: Fetched) -> None:
        """Pass on a page, or why there is none: both are for the script."""
        lease = self._held.get(fetched.tag)
        if lease is None:
            return
        if fetched.is_ours:
            self._rest(lease)
            return
        if fetched.was_held:
            log.info("page_given_back", task=lease.taskid, reason="no memory for it in time")
            self._endings.give_back([lease])
            return
        self.fetched += 1
        self._pass_on(lease, fetched)

    def _rest(self, lease: Lease) -> None:
        """Fetch nothing for a while: this process has no descriptor left."""
        now = self._endings.now
        if now >= self._rests_until + REST_S:  # the first time, or it had some meanwhile
            log.error("no_descriptors_left", advice="see `ulimit -n`; less is fetched until then")
        self._rests_until = now + REST_S
        self._endings.give_back([lease])


class NoFetching:
    """The fetching of a slave that only processes: there is none."""

    fetched = 0
    complaint = ""
    fds: AbstractSet[int] = frozenset()

    def wait_s(self, now: float, *, may_begin: bool) -> float | None:
        """Return None: nothing is ever due."""
        return None

    def set_rate(self, project: int, rate: float, burst: float, now: float) -> None:
        """Do nothing."""

    def forget_projects(self) -> None:
        """Do nothing."""

    def add(self, project: int, tasks: Iterable[tuple[int, float]], now: float) -> None:
        """Do nothing: grants are refused."""

    def drop(self, lease: Lease) -> None:
        """Do nothing."""

    def read(self, ready_fds: AbstractSet[int]) -> None:
        """Do nothing."""

    def step(self, now: float, *, may_begin: bool) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""
