"""The slave that a master starts beside itself: the same code in a process of its own, started again when it ends."""

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TextIO

import structlog
import yaml

from zspider.broker.private import write_private
from zspider.settings import MasterFile, SlaveFile

log = structlog.get_logger(__name__)
RESTART_S = (1.0, 30.0)  # pause before it is started again: first and longest
CONFIG_FILE = "local-slave.yaml"
LOCK_FILE = "local-slave.lock"  # held by the slave; has its process id in it


class LocalSlave:
    """Keeps one `zspiderd slave` running.

    A slave outlives a master that is killed: it holds an open, locked file, so the next master in this
    directory finds it, leaves it alone and gets it back with all that it holds.
    """

    def __init__(self, settings: MasterFile, port: int) -> None:
        self._data_dir = settings.data_dir
        self._security = settings.master.security
        self._config = self._write_config(settings, port)
        self._process: subprocess.Popen[bytes] | None = None
        self._pause_s = RESTART_S[0]
        self._start_at = 0.0
        self._is_wanted = True
        self._lock = self._data_dir / LOCK_FILE
        if settings.master.port == 0:
            self._signal(signal.SIGTERM)  # one that dials a port of before would never come back

    @property
    def is_running(self) -> bool:
        """Whether a local slave lives: ours, or the one of the master before us."""
        if self._process is not None:
            return self._process.poll() is None
        with self._lock.open("a") as lock:
            return not _locked(lock)

    def step(self, now: float) -> None:
        """Start it when it is due."""
        if not self._is_wanted or now < self._start_at:
            return
        try:
            if self.is_running:
                return
            if self._process is None:
                self._start()
                return
        except OSError as exc:  # no descriptor or process is left, say
            log.error("local_slave_not_started", reason=str(exc), again_in_s=self._pause_s)
            self._start_at = now + self._pause_s
            return
        log.error("local_slave_ended", exit_code=self._process.returncode, again_in_s=self._pause_s)
        self._process = None
        self._start_at = now + self._pause_s
        self._pause_s = min(2 * self._pause_s, RESTART_S[1])

    def terminate(self) -> None:
        """Let it drain; it is not started again."""
        self._is_wanted = False
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it now, if it is still there."""
        self._is_wanted = False
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def _start(self) -> None:
        with self._lock.open("a+") as lock:
            if not _locked(lock):
                return
            command = [sys.executable, "-m", "zspider.cli", "slave", "-c", str(self._config)]
            command += ["--security", self._security]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[lock.fileno()])
            lock.truncate(0)
            lock.write(str(self._process.pid))

    def _signal(self, number: int) -> None:
        if self._lock.exists() and self.is_running:
            pid = self._process.pid if self._process is not None else int(self._lock.read_text() or 0)
            if pid:
                os.kill(pid, number)

    def _write_config(self, settings: MasterFile, port: int) -> Path:
        bind = settings.master.bind
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(bind, f"[{bind}]" if ":" in bind else bind)  # noqa: S104
        config = SlaveFile(
            data_dir=settings.data_dir,
            slave=settings.slave.model_copy(update={"master": f"{host}:{port}"}),
            fetch=settings.fetch,
            processor=settings.processor,
            limits=settings.limits,
            log=settings.log,
        )
        path = self._data_dir / CONFIG_FILE
        text = yaml.safe_dump(config.model_dump(mode="json", exclude_none=True))
        write_private(path, text.encode())  # a proxy's password may be in it
        return path


def _locked(lock: TextIO) -> bool:
    """Take the lock; False: a slave that was started with this file holds it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
