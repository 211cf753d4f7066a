"""One verb of the administration on its way: its arguments, checked as they are asked for, and its answer."""

from typing import Any

import msgpack

from zspider.broker import messages as m
from zspider.broker.hub import Hub, Peer
from zspider.errors import ConfigError, ZspiderError

PAGE_MAX = 500  # rows of one reply


class Request:
    """One verb in work: its arguments, and the way back."""

    def __init__(self, hub: Hub, peer: Peer, message: m.AdminRequest) -> None:
        self.args: dict[str, Any] = {}
        self._hub = hub
        self._route = peer.route
        self._id = message.id

    def answer(self, value: object) -> None:
        """It went well."""
        self._hub.send(self._route, m.AdminReply(self._id, msgpack.packb(value, default=str)))

    def fail(self, error: ZspiderError) -> None:
        """It did not."""
        self._hub.send(self._route, m.AdminReply(self._id, error=str(error)[:4000], exit_code=error.exit_code))

    def text(self, name: str) -> str:
        """A required text argument."""
        value = self.args.get(name)
        if not isinstance(value, str) or not value:
            raise ConfigError(f"{name} is missing: a text is needed")
        return value

    def optional(self, name: str, kind: type | tuple[type, ...]) -> Any:
        """An optional argument of this kind; None if absent."""
        value = self.args.get(name)
        if value is not None and not isinstance(value, kind):
            raise ConfigError(f"{name}: {value!r} is not allowed here")
        return value

    def limit(self) -> int:
        """Rows wanted, at most PAGE_MAX."""
        return min(PAGE_MAX, max(1, self.optional("limit", int) or PAGE_MAX))
