"""Processes of ours that `zspiderd run` starts: each writes its log to a file and ends when its parent does."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from zspider.errors import ConfigError, ShortageError, is_shortage
from zspider.roles.machine.limits import daemon_environment

_TAIL_BYTES = 64 * 1024
PREFIX = "zspiderd: "  # of the one line in which a verb says why it failed


class Child:
    """One `zspiderd` verb in a process of its own, out of reach of the terminal's Ctrl-C."""

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        log: Path,
        *,
        extra_environment: Mapping[str, str] | None = None,
        keep_fds: Sequence[int] = (),
    ) -> None:
        """arguments: the verb and its flags. keep_fds: descriptors that stay open in the child.

        Raises ConfigError when its log cannot be written, ShortageError when it cannot be started now.
        """
        self.name = name
        self.log = log
        try:
            out = log.open("wb")
        except OSError as exc:
            kind = ShortageError if is_shortage(exc) else ConfigError
            raise kind(f"{log}: cannot be written: {exc.strerror}") from exc
        try:
            with out:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "zspider.cli", *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    env={**daemon_environment(), **(extra_environment or {})},
                    pass_fds=keep_fds,
                    start_new_session=True,
                )
            self.pidfd = self._watched()
        except OSError as exc:
            raise ShortageError(f"the {name} cannot be started: {exc.strerror}") from exc

    def _watched(self) -> int:
        """A descriptor that tells of its end; without one, it is ended at once."""
        try:
            return os.pidfd_open(self._process.pid)
        except OSError:
            self._process.kill()
            self._process.wait()
            raise

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative for a signal."""
        return self._process.poll()

    def terminate(self) -> None:
        """Ask it to drain and end."""
        if self.exit_code is None:
            self._process.send_signal(signal.SIGTERM)

    def wait(self, timeout_s: float) -> bool:
        """Whether it ended in time."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def close(self) -> None:
        """End it now if it still runs."""
        if self.exit_code is None:
            self._process.kill()
            self._process.wait()
        os.close(self.pidfd)

    def last_words(self) -> str:
        """Why it ended: the line that a failing verb prints, else the last line of its log, else nothing."""
        with self.log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
            lines = log.read().decode("utf-8", "replace").splitlines()
        lines = [line for line in lines if line.strip()]
        said = [line.removeprefix(PREFIX) for line in lines if line.startswith(PREFIX)]
        return (said or lines or [""])[-1]
