"""The real writer without its thread: one job after the other, each in a turn of its own, in simulated time."""

from collections.abc import Callable
from functools import partial
from typing import Any

from tests.simulation.database import MasterKilled, Server
from tests.simulation.timeline import Machine
from zspider.errors import StorageUnavailable
from zspider.roles.master.consequences import reraise
from zspider.roles.master.writer_queue import Call, Drop, Group, Job
from zspider.roles.master.writer_thread import RETRY_S, WriterThread

COMMIT_S = (0.001, 0.03)  # what a job takes


class _Jobs:
    """Sorts in what `commit`, `call` and `drop` give, as the thread does."""

    def __init__(self, given: Callable[[Job | Drop], None]) -> None:
        self.put = given


class SimulatedWriter(WriterThread):
    """`commit`, `call`, `finished` and what a job does are the real ones. A job waits while the database is away."""

    def __init__(self, machine: Machine, server: Server, killed: Callable[[], None], *args: Any) -> None:
        super().__init__(*args)
        self._machine = machine
        self._server = server
        self._killed = killed
        self._jobs: Any = _Jobs(self._given)
        self._job: Job | None = None  # that is being done
        self._storage: Any = None
        self._is_coming = False
        self._pause_s = RETRY_S[0]
        self._has_ended = False
        self._free_at = 0.0
        self._posted = 0  # on their way to the loop

    @property
    def is_idle(self) -> bool:
        """Everything is written and heard of."""
        return not (self._queue or self._job or self._posted or self._consequences or self._is_coming)

    def turn(self) -> None:
        """Do one job, as the thread would; what it led to is posted when the time has passed."""
        self._is_coming = False
        if self._has_ended:
            return
        if self._machine.is_stopped:
            self._come(self._machine.stopped_until - self._machine.timeline.now)
            return
        took_s = self._server.chance.uniform(*COMMIT_S) * self._server.slow
        self._free_at = self._machine.timeline.now + took_s
        try:
            self._work_once()
        except _Later:
            self._come(self._pause_s)
            self._pause_s = min(2 * self._pause_s, RETRY_S[1])
            return
        except MasterKilled:
            self._killed()
            return
        except Exception as exc:  # as at the top of the thread: the loop raises it again
            self._has_ended = True
            self._post(partial(reraise, exc))
            return
        self._pause_s = RETRY_S[0]
        if self._queue:
            self._come(self._company_s())

    def end(self) -> None:
        """The process is gone, and with it what nobody has heard of."""
        self._has_ended = True
        if self._storage is not None:
            self._storage.close()
            self._storage = None

    def _work_once(self) -> None:
        if self._storage is None:
            self._storage = self._patiently(self._open)
        self._job = self._job or self._queue.next()
        if isinstance(self._job, Group):
            self._commit(self._storage, self._job)
        elif isinstance(self._job, Call):
            self._run_call(self._storage, self._job)
        self._job = None

    def _patiently(self, work: Callable[[], Any]) -> Any:
        try:
            return self._once(work)
        except StorageUnavailable:
            raise _Later from None

    def _post(self, consequence: Callable[[], None]) -> None:
        self._posted += 1
        self._machine.timeline.at(self._free_at, lambda: self._tell(consequence))

    def _tell(self, consequence: Callable[[], None]) -> None:
        self._posted -= 1
        self._consequences.post(consequence)

    def _given(self, job: Job | Drop) -> None:
        self._put(job)
        self._come(self._company_s())

    def _company_s(self) -> float:
        return self._settings.commit_ms / 1000 if self._queue.wants_company else 0.002

    def _come(self, seconds: float) -> None:
        if not self._is_coming and not self._has_ended:
            self._is_coming = True
            self._machine.timeline.at(max(self._free_at, self._machine.timeline.now + seconds), self.turn)


class _Later(BaseException):
    """The database is away: the same job is done again."""
