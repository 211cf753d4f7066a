"""Messages of a daemon to systemd: sd_notify's datagrams (READY, STATUS, WATCHDOG, STOPPING)."""

import os
import socket
from collections.abc import Mapping

from zspider.errors import is_shortage


class Notifier:
    """Talks to the service manager when there is one; without, every call does nothing. No call raises or waits.

    One socket is opened at the start and kept, so that a shortage of descriptors does not make the daemon fall silent.
    A text that could not be sent goes with the next one.

    Call `watchdog` from the loop that does the work, and nowhere else: a stuck loop must fall silent.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        """environment: variables to read (NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID); os.environ when None."""
        env = os.environ if environment is None else environment
        address = env.get("NOTIFY_SOCKET", "")
        self._address = f"\0{address[1:]}" if address.startswith("@") else address  # @: Linux's abstract sockets
        self._period_s = _watchdog_s(env) / 2 if self._address else 0.0
        self._ping_at = float("-inf")
        self._status = ""
        self._unsaid: dict[str, str] = {}
        self._socket: socket.socket | None = None
        self._is_closed = False
        if self._address:
            self._open()

    def ready(self) -> None:
        """Say that the daemon has started."""
        self._say("READY", "1")

    def status(self, text: str) -> None:
        """Send one line for `systemctl status`; the same line again is not sent."""
        line = " ".join(text.split())
        if line != self._status:
            self._status = line
            self._say("STATUS", line)
        elif self._unsaid:
            self._send()

    def watchdog(self, now: float) -> None:
        """Ping, twice in the time that systemd allows: the loop is at work. now: monotonic seconds."""
        if self._period_s and now >= self._ping_at:
            self._ping_at = now + self._period_s
            self._say("WATCHDOG", "1")

    def stopping(self) -> None:
        """Say that the daemon is on its way to the end."""
        self._say("STOPPING", "1")

    def close(self) -> None:
        """Close the socket: nothing is said any more. Safe to repeat."""
        self._is_closed = True
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _say(self, name: str, value: str) -> None:
        if self._address and not self._is_closed:
            self._unsaid[name] = value
            self._send()

    def _send(self) -> None:
        """Send all that is not said, in one datagram."""
        text = "\n".join(f"{name}={value}" for name, value in self._unsaid.items())
        if self._socket is None and not self._open():
            return
        assert self._socket is not None
        try:
            self._socket.sendto(text.encode(errors="replace"), self._address)
        except OSError as exc:
            if is_shortage(exc):  # EAGAIN, too: the manager is busy
                return
        self._unsaid.clear()  # also what a manager that is away never hears

    def _open(self) -> bool:
        try:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        except OSError:
            return False
        self._socket.setblocking(False)
        return True


def _watchdog_s(env: Mapping[str, str]) -> float:
    """Return the watchdog's time limit; 0: none, or it is meant for another process."""
    text, pid = env.get("WATCHDOG_USEC", ""), env.get("WATCHDOG_PID", "")
    if not text.isdecimal() or (pid and pid != str(os.getpid())):
        return 0.0
    return int(text) / 1e6
