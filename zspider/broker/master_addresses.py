"""The addresses that a master's name stands for, each tried in its turn."""

import socket
import threading
from collections.abc import Callable, Sequence

from zspider.broker.address import Address
from zspider.broker.tcp import numeric

LookUp = Callable[[str, int], Sequence[str]]


def look_up(host: str, port: int) -> list[str]:
    """Return the numeric addresses of a name, the best first; none when it is not known. May take many seconds."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(numeric(where) for *_, where in found))


class MasterAddresses:
    """Says where the next connection goes: to the address whose last turn was the longest ago.

    A name is looked up at each turn, by a thread; the answer serves the next turn, so nobody waits for it. A name with
    one address is left to ZeroMQ, which looks it up at each try by itself.
    """

    def __init__(self, address: Address, look_up: LookUp = look_up) -> None:
        """look_up: called in a thread; returns numeric addresses."""
        self.host = address.host  # to connect to: a number, or the name
        self.is_ipv6 = not address.is_name and ":" in address.host
        self._address = address
        self._look_up = look_up
        self._found: Sequence[str] = ()  # by the last look-up that found any
        self._turns: dict[str, int] = {}  # of each address, the last one
        self._turn = 0
        self._thread: threading.Thread | None = None
        self._ask()

    @property
    def is_name(self) -> bool:
        """Whether `host` is a name."""
        return self._address.is_name and self.host == self._address.host

    @property
    def has_other(self) -> bool:
        """Whether the name has an address besides the present one."""
        return any(host != self._present for host in self._found)

    def next(self) -> None:
        """Take the next turn: `host` and `is_ipv6` change."""
        self._turn += 1
        if (present := self._present) is not None:
            self._turns[present] = self._turn
        found = self._found
        if found:
            self._turns = {host: turn for host, turn in self._turns.items() if host in found}
            host = min(found, key=lambda one: self._turns.get(one, 0))
            self.is_ipv6 = ":" in host
            self.host = host if len(found) > 1 else self._address.host
        self._ask()

    @property
    def _present(self) -> str | None:
        """The address in use; for a name the first of its kind, as ZeroMQ takes it."""
        if not self.is_name:
            return self.host
        return next((host for host in self._found if (":" in host) == self.is_ipv6), None)

    def _ask(self) -> None:
        if not self._address.is_name or (self._thread is not None and self._thread.is_alive()):
            return
        thread = threading.Thread(target=self._answer, name="look-up", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no more threads may be had: asked again at the next turn
            return
        self._thread = thread

    def _answer(self) -> None:
        if found := self._look_up(self._address.host, self._address.port):
            self._found = tuple(found)
