"""The admin's reads: a thread with a database connection of its own, so that no export holds up a commit."""

import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import NamedTuple, TypeVar

from zspider.errors import ZspiderError
from zspider.storage import Reader

T = TypeVar("T")


class _Read(NamedTuple):
    work: Callable[[Reader], object]
    then: Callable[[object], None]
    failed: Callable[[ZspiderError], None]


class ReaderThread:
    """Runs reads in order; their consequences come back to the master's loop by `finished`."""

    def __init__(self, open_reader: Callable[[], Reader], wake: Callable[[], None]) -> None:
        self._open = open_reader
        self._wake = wake
        self._reads: SimpleQueue[_Read | None] = SimpleQueue()
        self._finished: deque[Callable[[], None]] = deque()
        self._thread = threading.Thread(target=self._run, name="reader", daemon=True)

    def start(self) -> None:
        """Begin; the connection is opened with the first read."""
        self._thread.start()

    def read(
        self, work: Callable[[Reader], T], then: Callable[[T], None], failed: Callable[[ZspiderError], None]
    ) -> None:
        """Run `work(reader)` in the thread, then one of the others in the master's loop."""
        self._reads.put(_Read(work, then, failed))  # type: ignore[arg-type]

    def finished(self) -> None:
        """Run what has come back, in the master's loop."""
        while self._finished:
            self._finished.popleft()()

    def stop(self) -> None:
        """End after what was asked for, within a few seconds."""
        if self._thread.is_alive():
            self._reads.put(None)
            self._thread.join(5.0)

    def _run(self) -> None:
        reader: Reader | None = None
        while (read := self._reads.get()) is not None:
            try:
                reader = reader or self._open()
                value = read.work(reader)
            except ZspiderError as exc:
                self._post(partial(read.failed, exc))
            else:
                self._post(partial(read.then, value))
        if reader is not None:
            reader.close()

    def _post(self, consequence: Callable[[], None]) -> None:
        self._finished.append(consequence)
        self._wake()
