"""The master's one writer: the thread that owns the storage, and with it the order of all changes.

Outcomes are committed in groups; everything else is a call that runs between two groups, in the order that
`writer_queue` tells. What a call or a commit led to comes back to the master's loop in the order of the transactions,
so the loop sees one history.
"""

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Protocol, TypeVar

import structlog

from zspider.delivery import Outcome
from zspider.errors import StorageUnavailable, ZspiderError, reason_of
from zspider.roles.machine.clock import SYSTEM_CLOCK, Clock
from zspider.roles.master.backlog import Backlog
from zspider.roles.master.consequences import Consequences, reraise
from zspider.roles.master.received import ReceivedOutcome
from zspider.roles.master.unforeseen import unforeseen
from zspider.roles.master.writer_queue import Call, Drop, Group, Job, Last, WriterQueue
from zspider.settings import StorageSettings

log = structlog.get_logger(__name__)
T = TypeVar("T")
RETRY_S = (0.1, 5.0)  # back-off while the database is away: first and longest pause


class OutcomeStore(Protocol):
    """The methods that the writer thread itself needs of a storage."""

    def commit(self, outcomes: Sequence[Outcome], now_ms: int) -> Any:
        """Write these outcomes in one transaction, and return its report."""

    def close(self) -> None:
        """Give the connection back."""


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
        self.waiting = Backlog()  # what was given and is not committed yet
        self._open = open_storage
        self._settings = settings
        self._clock = clock
        self._on_repeat: Callable[[], None] = lambda: None
        self._jobs: SimpleQueue[Job | Drop] = SimpleQueue()
        self._queue = WriterQueue(settings.commit_rows)
        self._consequences = Consequences(wake)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)

    @property
    def backlog(self) -> int:
        """How many outcomes were given and are not committed yet."""
        return self.waiting.outcomes

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
        """Commit these outcomes, then call `then(a group of them, its report)` in the master's loop.

        Hand outcomes over together: each call wakes the thread. then: the same function in each call, since calls share
        a group. Those of a project are committed in this order; of a large one a group may have a piece.
        """
        if received:
            self.waiting.add(received)
            self._jobs.put(Group(received, then))

    def drop(
        self,
        is_unwanted: Callable[[ReceivedOutcome], bool],
        then: Callable[[Sequence[ReceivedOutcome]], None],
    ) -> None:
        """Take back what was given and waits, and call `then` with it in the master's loop; it is not committed.

        is_unwanted: called in the thread. A group that is being committed is committed.
        """
        self._jobs.put(Drop(is_unwanted, then))

    def call(
        self,
        work: Callable[[Any], T],
        then: Callable[[T], None] = lambda _: None,
        failed: Callable[[ZspiderError], None] | None = None,
        *,
        project: int = 0,
    ) -> None:
        """Run `work(storage)` between two groups, then `then(its value)` in the master's loop.

        project: it comes after the outcomes of this project that were given before; 0: it may overtake all outcomes.

        While the database is away the call is repeated. Any other error goes to `failed` (nothing was written then);
        without one it ends the master. An error that nobody foresaw is logged, and is an InternalError there.
        """
        self._jobs.put(Call(work, then, failed, project))

    def finished(self) -> None:
        """Run the consequences of finished jobs in the master's loop; raises the error that ended the thread."""
        self._consequences.run()

    def stop(self, wait_s: float, last: Callable[[Any], Any] | None = None) -> bool:
        """Finish what was given, close the storage and end; return False if that takes longer than `wait_s`.

        last: work on the storage that comes after everything else.
        """
        if last is not None:
            self._jobs.put(Last(Call(last, lambda _: None, None)))
        self._jobs.put(Last(None))
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
        while True:
            job = self._next()
            if isinstance(job, Last):
                if job.call is None:
                    break
                job = job.call
            if isinstance(job, Group):
                self._commit(storage, job)
            else:
                self._run_call(storage, job)

    def _next(self) -> Job:
        """Wait for something to do, and a little more for a group to grow."""
        while not self._jobs.empty() or not self._queue:
            self._put(self._jobs.get())
        until = time.monotonic() + self._settings.commit_ms / 1000
        while self._queue.wants_company:
            try:
                self._put(self._jobs.get(timeout=max(0.0, until - time.monotonic())))
            except Empty:
                break
        job = self._queue.next()
        assert job is not None
        return job

    def _put(self, job: Job | Drop) -> None:
        """Sort in what the loop gave."""
        if not isinstance(job, Drop):
            self._queue.put(job)
        elif dropped := self._queue.drop(job.is_unwanted):
            self._post(partial(self._dropped, dropped, job.then))

    def _commit(self, storage: OutcomeStore, group: Group) -> None:
        outcomes = [one.outcome for one in group.received]
        report = self._patiently(lambda: storage.commit(outcomes, self._clock.wall_ms()))
        self._post(partial(self._done, group, report))

    def _done(self, group: Group, report: Any) -> None:
        self.waiting.remove(group.received)
        self.committed += sum(one.is_last for one in group.received)
        group.then(group.received, report)

    def _dropped(self, dropped: Sequence[ReceivedOutcome], then: Callable[[Sequence[ReceivedOutcome]], None]) -> None:
        self.waiting.remove(dropped)
        then(dropped)

    def _run_call(self, storage: OutcomeStore, call: Call) -> None:
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
