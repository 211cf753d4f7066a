"""A process that we start: watched, read from, and ended with all that it has started."""

import os
import select
import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import IO

from zspider.errors import is_shortage


class ChildProcess:
    """A child that leads a session and a group of its own, out of reach of the terminal's Ctrl-C; it reads nothing.

    `pidfd` is readable once it has ended, `out` when it has written something.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        keep_fds: Sequence[int] = (),
        log: IO[bytes] | None = None,
    ) -> None:
        """keep_fds: descriptors that stay open in the child.

        log: file for the child's output; None: `read_output` returns it.

        Raises OSError or MemoryError when a descriptor, process or memory cannot be had; nothing is left open then.
        """
        self.peak_bytes = 0  # the most memory that it had in RAM, once it is reaped
        self.out = -1  # no output to be read
        self._popen = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if log is None else log,
            stderr=subprocess.STDOUT,
            bufsize=0,
            env=environment,
            pass_fds=keep_fds,
            start_new_session=True,
        )
        try:
            self.pidfd = os.pidfd_open(self._popen.pid)
        except BaseException:  # it cannot be watched
            with self._popen:
                self.kill()
            raise
        if self._popen.stdout is not None:
            self.out = self._popen.stdout.fileno()
            os.set_blocking(self.out, False)

    @property
    def pid(self) -> int:
        """Its number, and that of its group."""
        return self._popen.pid

    @property
    def exit_code(self) -> int | None:
        """Its exit code: None while it runs, negative for a signal."""
        return self._popen.returncode if self.reap() else None

    def read_output(self, most: int) -> bytes | None:
        """Return what it has written, at most so many bytes; None: nothing now; b"": it will write no more."""
        try:
            return os.read(self.out, most)
        except OSError as exc:
            if is_shortage(exc):  # or there is nothing
                return None
            raise

    def terminate(self) -> None:
        """Ask it to end."""
        if not self.reap():
            signal.pidfd_send_signal(self.pidfd, signal.SIGTERM)

    def kill(self) -> None:
        """Kill it and all of its group, unless it is reaped already."""
        if self._popen.returncode is not None:
            return
        try:
            os.killpg(self._popen.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass  # it is gone

    def reap(self) -> bool:
        """Take note of its end, and kill what it leaves in its group; False while it runs."""
        if self._popen.returncode is not None:
            return True
        if os.waitid(os.P_PID, self._popen.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return False
        self.kill()  # while the dead process still keeps the number of the group
        _, status, usage = os.wait4(self._popen.pid, 0)
        self._popen.returncode = os.waitstatus_to_exitcode(status)
        self.peak_bytes = usage.ru_maxrss * 1024
        return True

    def wait(self, timeout_s: float | None) -> bool:
        """Wait for its end, for ever if None; returns whether it has ended, and reaps it."""
        if not self.reap():
            poller = select.poll()
            poller.register(self.pidfd, select.POLLIN)
            poller.poll(None if timeout_s is None else int(timeout_s * 1000))
        return self.reap()

    def close(self) -> None:
        """End it now if it still runs, and give its descriptors back. Call it once."""
        if not self.reap():
            self.kill()
            self.wait(None)
        os.close(self.pidfd)
        if self._popen.stdout is not None:
            self._popen.stdout.close()
