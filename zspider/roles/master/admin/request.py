"""One verb of the administration on its way: its arguments, checked as they are asked for, and its answer.

Whatever goes wrong between the two is answered in one line: no request ends the master.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from zspider.broker import codec
from zspider.broker import messages as m
from zspider.broker.hub import Hub, Peer
from zspider.errors import ConfigError, ExitCode, ProtocolError, ScriptError, ZspiderError
from zspider.roles.master.coordinator import Desk
from zspider.roles.master.helper_threads import HelperThreads
from zspider.roles.master.reader_thread import ReaderThread
from zspider.roles.master.unforeseen import unforeseen
from zspider.roles.master.writer_thread import Writer
from zspider.script.check.compiling import check_script
from zspider.storage import Reader

T = TypeVar("T")
PAGE_MAX = 500  # rows of one reply
VALUE_CHARS_MAX = 80  # of what was got, in an error
ERROR_CHARS_MAX = 4000
COMPILERS = 2  # processes at once
SCRIPTS_MAX = 16  # that wait for them


class Request:
    """One verb in work: its arguments, and the way back."""

    def __init__(self, hub: Hub, peer: Peer, message: m.AdminRequest) -> None:
        self.args: dict[str, Any] = {}
        self.verb = message.verb
        self._hub = hub
        self._route = peer.route
        self._id = message.id

    def answer(self, value: object) -> None:
        """It went well."""
        self._hub.send(self._route, m.AdminReply(self._id, codec.pack_answer(value)))

    def fail(self, error: ZspiderError) -> None:
        """It did not; said in one line."""
        text = " ".join(str(error).split()).encode("utf-8", "replace").decode()
        self._hub.send(self._route, m.AdminReply(self._id, error=text[:ERROR_CHARS_MAX], exit_code=error.exit_code))

    def attempt(self, work: Callable[[], None], *, broken: Callable[[], None] = lambda: None) -> None:
        """Do a part of the verb in the master's loop: what it raises is answered, and the loop lives.

        broken: called when nobody foresaw it.
        """
        try:
            work()
        except ProtocolError as exc:  # an answer that cannot travel, or arguments that nobody can read
            self.fail(ConfigError(f"{self.verb}: {exc}"))
        except ZspiderError as exc:
            self.fail(exc)
        except Exception as exc:
            self.fail(unforeseen(exc, shortened(self.verb), request=self._id))
            broken()

    def text(self, name: str) -> str:
        """A required text argument."""
        value = self.args.get(name)
        if not isinstance(value, str) or not value:
            raise ConfigError(f"{name} is missing: a text is needed")
        return value

    def optional(self, name: str, kind: type | tuple[type, ...]) -> Any:
        """An optional argument of this kind; None if absent."""
        value = self.args.get(name)
        if value is not None and (not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool)):
            raise ConfigError(f"{name}: {shortened(value)} is not allowed here")
        return value

    def flag(self, name: str) -> bool:
        """A switch; False if absent."""
        return bool(self.optional(name, bool))

    def limit(self) -> int:
        """Rows wanted, at most PAGE_MAX."""
        return min(PAGE_MAX, max(1, self.optional("limit", int) or PAGE_MAX))


class Elsewhere:
    """What verbs have done outside of the loop: the rest follows in a later turn, and is guarded as well."""

    def __init__(self, desk: Desk, writer: Writer, reader: ReaderThread, compilers: HelperThreads["Compiler"]) -> None:
        self._desk = desk
        self._writer = writer
        self._reader = reader
        self._compilers = compilers

    def write(
        self,
        request: Request,
        work: Callable[[Any], T],
        then: Callable[[T], None],
        failed: Callable[[ZspiderError], None] | None = None,
    ) -> None:
        """Change the database, then the rest. failed: instead of answering the error.

        If the rest fails, the database is right and the memory may not be: that is read again.
        """
        self._writer.call(
            work,
            lambda value: request.attempt(lambda: then(value), broken=self._desk.reload_frontier),
            failed or request.fail,
        )

    def read(self, request: Request, work: Callable[[Reader], T], then: Callable[[T], None]) -> None:
        """Read from the database, then the rest."""
        self._reader.call(work, lambda value: request.attempt(lambda: then(value)), request.fail)

    def compile(self, request: Request, name: str, text: str, then: Callable[[], None]) -> None:
        """Have a script compiled, then the rest if it does."""
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
    """The master's threads for this; not started."""
    return HelperThreads("compiler", Compiler, wake, COMPILERS)


def shortened(value: object) -> str:
    """A value as an error names it."""
    text = repr(value)
    return text if len(text) <= VALUE_CHARS_MAX else f"{text[:VALUE_CHARS_MAX]}..."
