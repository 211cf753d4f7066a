"""The master's one writer: the thread that owns the storage, and with it the order of all changes.

Outcomes are committed in groups; everything else is a call that runs between two groups. What a call or a
commit led to comes back to the master's loop in the same order, so the loop sees one history.
"""

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, Protocol, TypeVar

import structlog

from zspider.delivery import Outcome
from zspider.errors import StorageUnavailable, ZspiderError, reason_of
from zspider.roles.machine.clock import SYSTEM_CLOCK, Clock
from zspider.roles.master.consequences import Consequences, reraise
from zspider.roles.master.unforeseen import unforeseen
from zspider.settings import StorageSettings

log = structlog.get_logger(__name__)
T = TypeVar("T")
RETRY_S = (0.1, 5.0)  # back-off while the database is away: first and longest pause


class ReceivedOutcome(NamedTuple):
    """An outcome, and the item of its session's outbox to acknowledge when it is committed."""

    session: bytes
    id: int
    outcome: Outcome


class OutcomeStore(Protocol):
    """The methods that the writer thread itself needs of a storage."""

    def commit(self, outcomes: Sequence[Outcome], now_ms: int) -> Any:
        """Write these outcomes in one transaction, and return its report."""

    def close(self) -> None:
        """Give the connection back."""


class _Group(NamedTuple):
    """Outcomes that are committed together, and what is done in the loop then."""

    received: list[ReceivedOutcome]
    then: Callable[[Sequence[ReceivedOutcome], Any], None]


class _Call(NamedTuple):
    work: Callable[[Any], Any]
    then: Callable[[Any], None]
    failed: Callable[[ZspiderError], None] | None


class WriterThread:
    """Runs storage calls in a thread of its own; `finished` gives their consequences to the master's loop.

    `wake` is called from the thread whenever there is something in `finished`.
    """

    def __init__(
        self,
        open_storage: Callable[[], OutcomeStore],
        settings: StorageSettings,
        wake: Callable[[], None],
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.is_away = False  # the database cannot be reached
        self.committed = 0  # outcomes, since the start
        self._open = open_storage
        self._settings = settings
        self._clock = clock
        self._on_repeat: Callable[[], None] = lambda: None
        self._jobs: SimpleQueue[_Group | _Call | None] = SimpleQueue()
        self._consequences = Consequences(wake)
        self._waiting = 0  # outcomes given and not finished
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)

    @property
    def backlog(self) -> int:
        """How many outcomes were given and are not committed yet."""
        return self._waiting

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start the thread, which opens the storage."""
        self._thread.start()

    def on_repeat(self, then: Callable[[], None]) -> None:
        """Have `then` called in the master's loop after a call that had to be repeated.

        A repeated call may have been written the first time, and then its report does not tell all.
        """
        self._on_repeat = then

    def commit(self, received: list[ReceivedOutcome], then: Callable[[Sequence[ReceivedOutcome], Any], None]) -> None:
        """Commit these outcomes with the next group, then call `then(the group, its report)` in the master's loop.

        Hand outcomes over together: each call wakes the thread. then: the same function in each call, since calls share
        a group.
        """
        if received:
            self._waiting += len(received)
            self._jobs.put(_Group(received, then))

    def call(
        self,
        work: Callable[[Any], T],
        then: Callable[[T], None] = lambda _: None,
        failed: Callable[[ZspiderError], None] | None = None,
    ) -> None:
        """Run `work(storage)` after everything given before, then `then(its value)` in the master's loop.

        While the database is away the call is repeated. Any other error goes to `failed` (nothing was written then);
        without one it ends the master. An error that nobody foresaw is logged, and is an InternalError there.
        """
        self._jobs.put(_Call(work, then, failed))

    def finished(self) -> None:
        """Run the consequences of finished jobs in the master's loop; raises the error that ended the thread."""
        self._consequences.run()

    def stop(self, wait_s: float) -> bool:
        """Finish what was given, close the storage and end; return False if that takes longer than `wait_s`."""
        self._jobs.put(None)
        self._thread.join(wait_s)
        self._stop.set()
        return not self._thread.is_alive()

    # --- in the thread --------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            storage = self._patiently(self._open)
            try:
                self._work(storage)
            finally:
                storage.close()
        except _Stopped:
            pass
        except BaseException as exc:  # the top of a thread: the loop raises it again
            self._post(partial(reraise, exc))

    def _work(self, storage: OutcomeStore) -> None:
        while (job := self._jobs.get()) is not None:
            if isinstance(job, _Group):
                group, job = self._gather(job)
                self._commit(storage, group)
            if isinstance(job, _Call):
                self._run_call(storage, job)
            elif job is None:
                break

    def _gather(self, first: _Group) -> tuple[_Group, _Group | _Call | None]:
        """Return the group that begins with these, and what ended it: another job, or itself (full, or time is up)."""
        group = _Group(first.received.copy(), first.then)
        until = time.monotonic() + self._settings.commit_ms / 1000
        while len(group.received) < self._settings.commit_rows:
            try:
                job = self._jobs.get(timeout=max(0.0, until - time.monotonic()))
            except Empty:
                break
            if not isinstance(job, _Group):
                return group, job
            group.received.extend(job.received)
        return group, group

    def _commit(self, storage: OutcomeStore, group: _Group) -> None:
        outcomes = [one.outcome for one in group.received]
        report = self._patiently(lambda: storage.commit(outcomes, self._clock.wall_ms()))
        self._post(partial(self._done, group, report))

    def _done(self, group: _Group, report: Any) -> None:
        self._waiting -= len(group.received)
        self.committed += len(group.received)
        group.then(group.received, report)

    def _run_call(self, storage: OutcomeStore, call: _Call) -> None:
        try:
            value = self._patiently(lambda: call.work(storage))
        except _Stopped:
            raise
        except ZspiderError as exc:
            if call.failed is None:
                raise
            self._post(partial(call.failed, exc))
        except Exception as exc:
            if call.failed is None:
                raise
            self._post(partial(call.failed, unforeseen(exc, "the writer thread")))
        else:
            self._post(partial(call.then, value))

    def _patiently(self, work: Callable[[], T]) -> T:
        """Run `work` until the database is there, and return its value."""
        pause_s = RETRY_S[0]
        while True:
            try:
                return self._once(work)
            except (StorageUnavailable, MemoryError):  # the transaction was rolled back: it may be made again
                if self._stop.wait(pause_s):
                    raise _Stopped from None
            pause_s = min(2 * pause_s, RETRY_S[1])

    def _once(self, work: Callable[[], T]) -> T:
        """Run `work`, and note whether the database is there."""
        try:
            value = work()
        except (StorageUnavailable, MemoryError) as exc:
            if not self.is_away:
                log.error("database_away", reason=reason_of(exc))
            self.is_away = True
            raise
        if self.is_away:
            log.info("database_back")
            self._post(lambda: self._on_repeat())
        self.is_away = False
        return value

    def _post(self, consequence: Callable[[], None]) -> None:
        self._consequences.post(consequence)


class _Stopped(Exception):
    """The master ends while the database is away."""
