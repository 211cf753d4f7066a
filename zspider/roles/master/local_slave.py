"""The slave that a master starts beside itself: the same code in a process of its own, started again when it ends."""

import fcntl
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import structlog
import yaml

from zspider.broker.keys import MasterKeys
from zspider.broker.private_files import write_private
from zspider.data_dir import LOCAL_SLAVE, LOCAL_SLAVE_CONFIG, LOCAL_SLAVE_LOCK
from zspider.errors import ZspiderError
from zspider.roles.machine.limits import daemon_environment
from zspider.settings import MasterFile, SlaveFile

log = structlog.get_logger(__name__)
RESTART_S = (1.0, 30.0)  # pause before it is started again: first and longest
HEALTHY_S = 60.0  # one that lived for so long did not end because of how it was started


class LocalSlave:
    """Keeps one `zspiderd slave` running.

    A start that fails, for want of a descriptor, a process or room on the disk, is tried again after a pause, and is no
    error of the master.

    A slave outlives a master that is killed: it holds an open, locked file, so the next master in this
    directory finds it, leaves it alone and gets it back with all that it holds.

    It joins with a token of its own, so neither a token in /etc/zspider that it cannot read nor the end of the first
    join token touches it. When its own is revoked it gets another; `master.local_slave: false` is how to be without it.
    """

    def __init__(self, settings: MasterFile, port: int, keys: MasterKeys | None) -> None:
        """port: the master's control port. keys: make the slave's token; None: the master has no security.

        Raises OSError when there is no descriptor for the lock.
        """
        self._settings = settings
        self._port = port
        self._keys = keys
        self._revocations = keys.revocations if keys is not None else 0
        self._process: subprocess.Popen[bytes] | None = None
        self._pause_s = RESTART_S[0]
        self._start_at = 0.0
        self._started_at = 0.0
        self._is_wanted = True
        # Kept open: whether a slave lives must be known also when no descriptor is left.
        self._lock_file = settings.data_dir / LOCAL_SLAVE_LOCK
        self._probe = os.open(self._lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if settings.master.port == 0:
            self._signal(signal.SIGTERM)  # one that dials a port of before would never come back

    @property
    def is_running(self) -> bool:
        """Whether a local slave lives: ours, or the one of the master before us."""
        if self._process is not None:
            return self._process.poll() is None
        if not _locked(self._probe):
            return True
        fcntl.flock(self._probe, fcntl.LOCK_UN)
        return False

    def step(self, now: float) -> None:
        """Start the slave when it is due, and renew its token. now: monotonic seconds."""
        if not self._is_wanted or now < self._start_at:
            return
        if self.is_running:
            self._renew_token(now)
        elif self._process is None:
            self._start(now)
        else:
            self._ended(now, self._process.returncode)

    def terminate(self) -> None:
        """Have the slave finish what runs and end; it is not started again."""
        self._is_wanted = False
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the slave, if it still runs."""
        self._is_wanted = False
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def _start(self, now: float) -> None:
        try:
            lock = os.open(self._lock_file, os.O_RDWR | os.O_CLOEXEC)
            try:
                if _locked(lock):
                    self._spawn(lock)
            finally:
                os.close(lock)
        except (OSError, subprocess.SubprocessError, ZspiderError) as exc:
            log.error("local_slave_not_started", reason=str(exc), again_in_s=self._pause_s)
            self._pause(now)
        else:
            self._started_at = now

    def _spawn(self, lock: int) -> None:
        """Start the slave with the lock, which it holds from then on."""
        command = [sys.executable, "-m", "zspider.cli", "slave", "-c", str(self._write_config())]
        command += ["--security", self._settings.master.security]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, env=daemon_environment(settings=False), pass_fds=[lock]
        )
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(self._process.pid).encode(), 0)

    def _ended(self, now: float, exit_code: int) -> None:
        self._process = None
        if now - self._started_at > HEALTHY_S:
            self._pause_s = RESTART_S[0]
        log.error("local_slave_ended", exit_code=exit_code, again_in_s=self._pause_s)
        self._pause(now)

    def _pause(self, now: float) -> None:
        self._start_at = now + self._pause_s
        self._pause_s = min(2 * self._pause_s, RESTART_S[1])

    def _renew_token(self, now: float) -> None:
        """Make the slave another token if its own was revoked; it reads the file again when it is refused."""
        if self._keys is None or self._keys.revocations == self._revocations:
            return
        try:
            self._keys.named_token(LOCAL_SLAVE)
        except (OSError, ZspiderError) as exc:
            log.error("local_slave_token_not_renewed", reason=str(exc), again_in_s=RESTART_S[1])
            self._start_at = now + RESTART_S[1]
        else:
            self._revocations = self._keys.revocations

    def _signal(self, number: int) -> None:
        if not self.is_running:
            return
        pid = self._process.pid if self._process is not None else int(os.pread(self._probe, 20, 0) or 0)
        if pid:
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(pid, number)

    def _write_config(self) -> Path:
        settings = self._settings
        bind = settings.master.bind
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(bind, f"[{bind}]" if ":" in bind else bind)  # noqa: S104
        config = SlaveFile(
            data_dir=settings.data_dir,
            token_file=self._keys.named_token(LOCAL_SLAVE).absolute() if self._keys is not None else None,
            slave=settings.slave.model_copy(update={"master": f"{host}:{self._port}"}),
            fetch=settings.fetch,
            processor=settings.processor,
            limits=settings.limits,
            log=settings.log,
        )
        path = settings.data_dir / LOCAL_SLAVE_CONFIG
        text = yaml.safe_dump(config.model_dump(mode="json", exclude_none=True))
        write_private(path, text.encode())  # a proxy's password may be in it
        return path


def _locked(lock: int) -> bool:
    """Take the lock, and return whether that went well; a slave that was started with this file may hold it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
