"""Processes that a script has started and left behind, found by their environment in whatever session they are."""

import os
import secrets
import signal
from pathlib import Path

from zspider.errors import is_shortage
from zspider.roles.machine.limits import script_environment

VARIABLE = "_ZSPIDER_PROCESSOR"
PASSES_MAX = 5  # what forks while we look is found by the next pass


class ProcessMark:
    """The mark of one processor: a variable in the environment of everything that descends from it."""

    def __init__(self) -> None:
        self._entry = f"{VARIABLE}={secrets.token_hex(16)}"

    @property
    def environment(self) -> dict[str, str]:
        """The environment to start the processor with: what scripts may see of ours, and the mark."""
        name, _, value = self._entry.partition("=")
        return {**script_environment(), name: value}

    def kill_all(self) -> bool:
        """Kill every process that has the mark. Safe to repeat.

        False: they could not all be looked at, as when no descriptor is left; call it again later.
        """
        try:
            for _ in range(PASSES_MAX):
                if not [pid for pid in _pids() if self._kill(pid)]:
                    break
        except OSError as exc:
            if not is_shortage(exc):
                raise
            return False
        return True

    def _kill(self, pid: int) -> bool:
        try:
            pidfd = os.pidfd_open(pid)  # first: what is read and killed after it is the same process
        except OSError as exc:
            return _is_gone(exc)
        try:
            if self._entry.encode() not in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                return False
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        except OSError as exc:
            return _is_gone(exc)
        finally:
            os.close(pidfd)
        return True


def _is_gone(error: OSError) -> bool:
    """Return False: not killed, for it has ended or is another user's. Raises a shortage, which says nothing of it."""
    if is_shortage(error):
        raise error
    return False


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
