"""How a master makes a database its own, and by which name the database knows it."""

import fcntl
import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import structlog

from zspider.activity import WindowSlot
from zspider.broker.private_files import locked, write_private
from zspider.data_dir import OWNER_ID
from zspider.errors import ConfigError, OwnedElsewhere, ShortageError, is_shortage
from zspider.storage import Storage
from zspider.task import Project

log = structlog.get_logger(__name__)
_OWNER = re.compile(rb"[0-9a-f]{32}\n?")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")  # random(4): another one after each start of the system
MACHINE_ID = Path("/etc/machine-id")  # machine-id(5): to be hashed, not shown; copies of a machine may share it


class Boot(msgspec.Struct):
    """The state that the database had when this master took it over."""

    cluster: bytes
    epoch: int
    projects: list[Project]
    sessions: list[bytes]
    windows: list[WindowSlot]


def take_over(storage: Storage, owner: str, now_ms: int) -> Boot:
    """Make the database ours, and return what a master begins with. now_ms: wall-clock milliseconds."""
    ownership = storage.take_over(owner, now_ms)
    slots = storage.windows(now_ms)
    return Boot(ownership.cluster, ownership.epoch, storage.projects(), storage.sessions(), slots)


@contextmanager
def sole_owner(data_dir: Path) -> Iterator[str]:
    """Keep other masters out of this directory, and yield the name by which the database knows the one in it.

    A master re-enters its own database at once, so no two that live may have one name. It is of this very file on this
    start of the system: a copy of the directory has another one, and so has the directory itself after a reboot. Both
    then watch the last owner like any other master. Raises OwnedElsewhere while a master works in this directory,
    ConfigError when the file cannot be read or written, ShortageError when no descriptor is left.
    """
    path = data_dir / OWNER_ID
    try:
        with locked(data_dir):
            name = owner_id(data_dir)
            handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as exc:
        raise _unusable(path, exc) from exc
    try:
        yield f"{name}.{_place(handle)}" if _lock(handle, path) else f"{name}.{secrets.token_hex(16)}"
    finally:
        os.close(handle)


def owner_id(data_dir: Path) -> str:
    """Return the content of `owner.id`; it is the same at each start in this directory, and in copies of it.

    A file that does not hold one (empty after a power cut, say) is replaced: then the database's last owner is watched
    before it is taken over. Raises as `sole_owner` does.
    """
    path = data_dir / OWNER_ID
    try:
        found = path.read_bytes() if path.exists() else None
        if found is not None and _OWNER.fullmatch(found):
            return found.decode().strip()
        fresh = secrets.token_hex(16)
        write_private(path, fresh.encode() + b"\n")
    except OSError as exc:
        raise _unusable(path, exc) from exc
    if found is not None:
        log.warning("owner_id_replaced", file=str(path), reason=f"it held no owner id, but {len(found)} bytes")
    return fresh


def _lock(handle: int, path: Path) -> bool:
    """Lock the file for as long as it is open; False: its file system cannot."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        raise OwnedElsewhere(f"another master works in {path.parent}") from exc
    except OSError:
        return False
    return True


def _place(handle: int) -> str:
    """Return what an open file has in common with no other one, here or elsewhere, and keeps until the next reboot."""
    file = os.fstat(handle)
    try:
        boot = BOOT_ID.read_text()
    except OSError:  # nothing tells one start of the system from another
        return secrets.token_hex(16)
    try:
        machine = MACHINE_ID.read_text()
    except OSError:
        machine = ""
    told = f"{boot} {machine} {file.st_dev} {file.st_ino}"
    return hashlib.sha256(told.encode()).hexdigest()[:32]


def _unusable(path: Path, exc: OSError) -> ConfigError | ShortageError:
    kind = ShortageError if is_shortage(exc) else ConfigError
    return kind(f"{path}: cannot be read or written: {exc.strerror}")
