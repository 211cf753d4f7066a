"""The threads that work for the administration: reads, writes and compiling happen outside of the master's loop."""

from collections.abc import Callable
from typing import Any, TypeVar

from zspider.errors import ExitCode, ScriptError, ZspiderError
from zspider.roles.master.admin.request import Request
from zspider.roles.master.coordinator import Coordinator
from zspider.roles.master.helper_threads import HelperThreads
from zspider.roles.master.reader_thread import ReaderThread
from zspider.roles.master.writer_thread import WriterThread
from zspider.script.check.compiling import check_script
from zspider.storage import Reader

T = TypeVar("T")
COMPILERS = 2  # processes at once
SCRIPTS_MAX = 16  # that wait for them


class AdminThreads:
    """Does a part of a verb in a thread, and the rest in a later step of the loop, where it is guarded as well."""

    def __init__(
        self,
        coordinator: Coordinator,
        writer: WriterThread,
        reader: ReaderThread,
        compilers: HelperThreads["Compiler"],
    ) -> None:
        """writer: the master's writer thread, which is neither started nor stopped here."""
        self._coordinator = coordinator
        self._writer = writer
        self._reader = reader
        self._compilers = compilers

    def start(self) -> None:
        """Start the reader and the compilers."""
        self._reader.start()
        self._compilers.start()

    def finished(self) -> None:
        """Run the consequences of finished jobs; raises the error that ended a thread."""
        self._reader.finished()
        self._compilers.finished()

    def stop(self) -> None:
        """End both, after what they were asked for."""
        self._reader.stop()
        self._compilers.stop()

    def write(
        self,
        request: Request,
        work: Callable[[Any], T],
        then: Callable[[T], None],
        failed: Callable[[ZspiderError], None] | None = None,
    ) -> None:
        """Change the database by `work(storage)`, then call `then(its value)`.

        failed: called with the error instead of answering it. If `then` fails, the database is right and the memory may
        not be: the waiting tasks are read again.
        """
        self._writer.call(
            work,
            lambda value: request.attempt(lambda: then(value), broken=self._coordinator.reload_frontier),
            failed or request.fail,
        )

    def read(self, request: Request, work: Callable[[Reader], T], then: Callable[[T], None]) -> None:
        """Read from the database by `work(reader)`, then call `then(its value)`."""
        self._reader.call(work, lambda value: request.attempt(lambda: then(value)), request.fail)

    def compile(self, request: Request, name: str, text: str, then: Callable[[], None]) -> None:
        """Have a script compiled, and call `then` if it does. Raises TryAgain when too many wait for that."""
        if self._compilers.waiting >= SCRIPTS_MAX:
            raise TryAgain(f"{SCRIPTS_MAX} scripts are compiled already; try again in a moment")
        self._compilers.call(lambda compiler: compiler.check(name, text), lambda _: request.attempt(then), request.fail)


class Compiler:
    """Checks scripts, each in a process of its own with limits."""

    def check(self, name: str, text: str) -> None:
        """Raise ScriptError for a script that does not compile."""
        check_script(text, name)

    def close(self) -> None:
        """Nothing is kept."""


class TryAgain(ScriptError):
    """The master has no room for this just now."""

    exit_code = ExitCode.UNAVAILABLE


def compilers(wake: Callable[[], None]) -> HelperThreads[Compiler]:
    """Return the master's threads for scripts; not started."""
    return HelperThreads("compiler", Compiler, wake, COMPILERS)
