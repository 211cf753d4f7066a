"""A `zspiderd` verb in a process of its own, which writes its log to a file."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from zspider.errors import ConfigError, ShortageError, is_shortage
from zspider.roles.machine.child_process import ChildProcess
from zspider.roles.machine.limits import daemon_environment

_TAIL_BYTES = 64 * 1024
PREFIX = "zspiderd: "  # of the one line in which a verb says why it failed


class VerbProcess(ChildProcess):
    """One verb at work. It ends when we do, if it is told our pid."""

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

        Raises ConfigError when the log cannot be written, ShortageError when no process can be started now.
        """
        self.name = name
        self.log = log
        try:
            out = log.open("wb")
        except OSError as exc:
            kind = ShortageError if is_shortage(exc) else ConfigError
            raise kind(f"{log}: cannot be written: {exc.strerror}") from exc
        environment = {**daemon_environment(), **(extra_environment or {})}
        try:
            with out:
                command = [sys.executable, "-m", "zspider.cli", *arguments]
                super().__init__(command, environment=environment, keep_fds=keep_fds, log=out)
        except OSError as exc:
            raise ShortageError(f"the {name} cannot be started: {exc.strerror}") from exc

    def complaint(self) -> str:
        """Return why it ended: the line that a failing verb prints, else the last line of its log, else nothing."""
        with self.log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
            lines = log.read().decode("utf-8", "replace").splitlines()
        lines = [line for line in lines if line.strip()]
        said = [line.removeprefix(PREFIX) for line in lines if line.startswith(PREFIX)]
        return (said or lines or [""])[-1]
