"""Threads that do slow work for the master's loop, each with a resource of its own."""

import threading
import time
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from zspider.errors import ZspiderError
from zspider.roles.master.consequences import Consequences, reraise
from zspider.roles.master.unforeseen import unforeseen

T = TypeVar("T")
STOP_S = 5.0


class Closable(Protocol):
    """A resource of a thread."""

    def close(self) -> None:
        """Give back what it holds."""


R = TypeVar("R", bound=Closable)


class _Job(NamedTuple):
    work: Callable[[Any], object]
    then: Callable[[Any], None]
    failed: Callable[[ZspiderError], None]


class HelperThreads(Generic[R]):
    """Runs jobs, in order if there is one thread; `finished` runs their consequences in the master's loop.

    An error of a job is its answer, and the thread lives. If a thread ends all the same, `finished` raises the error
    that ended it.
    """

    def __init__(self, name: str, open_resource: Callable[[], R], wake: Callable[[], None], number: int = 1) -> None:
        """wake: wakes the loop; called from the threads whenever `finished` has something to run."""
        self._name = name
        self._open = open_resource
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._consequences = Consequences(wake)
        self._waiting = 0
        self._threads = [threading.Thread(target=self._run, name=name, daemon=True) for _ in range(number)]

    @property
    def waiting(self) -> int:
        """How many jobs were given and are not finished."""
        return self._waiting

    @property
    def is_alive(self) -> bool:
        """Whether all threads run."""
        return all(thread.is_alive() for thread in self._threads)

    def start(self) -> None:
        """Start the threads; each opens its resource with its first job."""
        for thread in self._threads:
            thread.start()

    def call(self, work: Callable[[R], T], then: Callable[[T], None], failed: Callable[[ZspiderError], None]) -> None:
        """Run `work(resource)` in a thread, then `then(its value)` or `failed(its error)` in the master's loop."""
        self._waiting += 1
        self._jobs.put(_Job(work, then, failed))

    def finished(self) -> None:
        """Run the consequences of finished jobs, in the master's loop; raises the error that ended a thread."""
        self._consequences.run()

    def stop(self) -> None:
        """End the threads after the jobs they were given; those that take longer than STOP_S are left behind."""
        for _ in self._threads:
            self._jobs.put(None)
        end = time.monotonic() + STOP_S
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, end - time.monotonic()))

    # --- in a thread ----------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as exc:  # the top of a thread: the loop raises it again
            self._consequences.post(partial(reraise, exc))

    def _work(self) -> None:
        resource: R | None = None
        while (job := self._jobs.get()) is not None:
            try:
                resource = self._open() if resource is None else resource
                value = job.work(resource)
            except ZspiderError as exc:
                self._consequences.post(partial(self._done, partial(job.failed, exc)))
            except Exception as exc:
                error = unforeseen(exc, f"the {self._name} thread")
                self._consequences.post(partial(self._done, partial(job.failed, error)))
                if resource is not None:  # it may be in any state
                    resource.close()
                    resource = None
            else:
                self._consequences.post(partial(self._done, partial(job.then, value)))
        if resource is not None:
            resource.close()

    def _done(self, consequence: Callable[[], None]) -> None:
        self._waiting -= 1
        consequence()
