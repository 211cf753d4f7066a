"""Whether a ZeroMQ peer listens at a port: told by the first bytes that such peers exchange (ZMTP 3, greeting)."""

import socket
import threading
from typing import Literal

Verdict = Literal["curve", "null", "foreign", "closed", "silent"]

WAIT_S = 3.0  # for each step
GREETING_BYTES = 64
_MECHANISM = slice(12, 32)
# Signature and version 3.0, for which the other side sends its whole greeting. Without our mechanism: one that it does
# not like would make it hang up, perhaps before its own is on its way.
_OURS = b"\xff" + bytes(8) + b"\x7f" + b"\x03\x00"


class Asking:
    """Asks in a thread of its own, which ends by itself; `verdict` is None until it is known."""

    def __init__(self, host: str, port: int) -> None:
        self.verdict: Verdict | None = None
        self._where = (host, port)
        try:
            threading.Thread(target=self._ask, name="greeting", daemon=True).start()
        except RuntimeError:  # no more threads may be had
            self.verdict = "silent"

    def _ask(self) -> None:
        self.verdict = ask(*self._where)


def ask(host: str, port: int, wait_s: float = WAIT_S) -> Verdict:
    """Connect and greet.

    "curve", "null": a ZeroMQ server that encrypts, or does not. "foreign": something else. "closed": it closed the
    connection before it had said anything. "silent": it said nothing, or could not be reached.
    """
    said = b""
    try:
        with socket.create_connection((host, port), wait_s) as connection:
            connection.sendall(_OURS)
            while len(said) < GREETING_BYTES and _may_be(said):
                more = connection.recv(GREETING_BYTES - len(said))
                if not more:
                    return "foreign" if said and not _may_be(said) else "closed"
                said += more
    except (ConnectionResetError, BrokenPipeError):
        return "closed" if _may_be(said) else "foreign"
    except OSError:  # among them: no descriptor is left, the name is not known
        return "silent"
    if not _may_be(said):
        return "foreign"
    return "curve" if said[_MECHANISM].rstrip(b"\0") == b"CURVE" else "null"


def _may_be(said: bytes) -> bool:
    """Return whether this can be the beginning of a greeting."""
    return said[:1] in (b"", b"\xff") and (len(said) < 10 or said[9] & 1 == 1) and (len(said) < 11 or said[10] >= 3)
