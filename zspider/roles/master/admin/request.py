"""A request of the administration: its arguments, checked as they are asked for, and its answer.

What goes wrong between the two is answered in one line: no request ends the master.
"""

from collections.abc import Callable
from typing import Any

from zspider.broker import codec
from zspider.broker import messages as m
from zspider.broker.hub import Hub, Peer
from zspider.errors import ConfigError, ProtocolError, ZspiderError
from zspider.roles.master.unforeseen import unforeseen

PAGE_MAX = 500  # rows of one reply
VALUE_CHARS_MAX = 80  # of what was got, in an error
ERROR_CHARS_MAX = 4000


class Request:
    """A verb with its arguments, and the way back to the command that sent it."""

    def __init__(self, hub: Hub, peer: Peer, message: m.AdminRequest) -> None:
        self.args: dict[str, Any] = {}
        self.verb = message.verb
        self._hub = hub
        self._route = peer.route
        self._id = message.id

    def answer(self, value: object) -> None:
        """Send the answer. Raises ProtocolError, or another error, for a value that cannot be packed."""
        self._hub.send(self._route, m.AdminReply(self._id, codec.pack_answer(value)))

    def fail(self, error: ZspiderError) -> None:
        """Send an error as the answer, in one line."""
        text = " ".join(str(error).split()).encode("utf-8", "replace").decode()
        self._hub.send(self._route, m.AdminReply(self._id, error=text[:ERROR_CHARS_MAX], exit_code=error.exit_code))

    def attempt(self, work: Callable[[], None], *, broken: Callable[[], None] = lambda: None) -> None:
        """Do a part of the verb in the master's loop: what it raises is answered, and the loop lives.

        broken: called after an unforeseen error.
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
        """Return a required text argument. Raises ConfigError if it is missing."""
        value = self.args.get(name)
        if not isinstance(value, str) or not value:
            raise ConfigError(f"{name} is missing: a text is needed")
        return value

    def optional(self, name: str, kind: type | tuple[type, ...]) -> Any:
        """Return an optional argument of this kind, or None. Raises ConfigError for one of another kind."""
        value = self.args.get(name)
        if value is not None and (not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool)):
            raise ConfigError(f"{name}: {shortened(value)} is not allowed here")
        return value

    def flag(self, name: str) -> bool:
        """Return a switch; False if it is absent."""
        return bool(self.optional(name, bool))

    def limit(self) -> int:
        """Return how many rows are wanted, at most PAGE_MAX."""
        return min(PAGE_MAX, max(1, self.optional("limit", int) or PAGE_MAX))


def shortened(value: object) -> str:
    """Return a value as an error shows it."""
    text = repr(value)
    return text if len(text) <= VALUE_CHARS_MAX else f"{text[:VALUE_CHARS_MAX]}..."
