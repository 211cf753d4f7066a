"""What systemd is told of a daemon: sd_notify's datagrams (READY, STATUS, WATCHDOG, STOPPING)."""

import os
import socket
from collections.abc import Mapping


class Notifier:
    """Talks to the service manager when there is one; without, every call does nothing.

    Call `watchdog` from the loop that does the work, and nowhere else: a stuck loop must fall silent.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        """environment: os.environ when None (NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID)."""
        env = os.environ if environment is None else environment
        address = env.get("NOTIFY_SOCKET", "")
        self._address = f"\0{address[1:]}" if address.startswith("@") else address  # @: Linux's abstract sockets
        self._period_s = _watchdog_s(env) / 2 if self._address else 0.0
        self._ping_at = float("-inf")
        self._status = ""

    def ready(self) -> None:
        """The daemon has started."""
        self._send("READY=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`; the same line again is not sent."""
        line = " ".join(text.split())
        if line != self._status:
            self._status = line
            self._send(f"STATUS={line}")

    def watchdog(self, now: float) -> None:
        """The loop turns. now: monotonic seconds; twice in the time that systemd allows, a ping is sent."""
        if self._period_s and now >= self._ping_at:
            self._ping_at = now + self._period_s
            self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """The daemon is on its way to the end."""
        self._send("STOPPING=1")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.setblocking(False)
            try:
                sender.sendto(text.encode(), self._address)
            except OSError:
                pass  # the manager restarts or is busy; it learns the next time


def _watchdog_s(env: Mapping[str, str]) -> float:
    """The watchdog's time limit; 0: none, or it is meant for another process."""
    text, pid = env.get("WATCHDOG_USEC", ""), env.get("WATCHDOG_PID", "")
    if not text.isdecimal() or (pid and pid != str(os.getpid())):
        return 0.0
    return int(text) / 1e6
