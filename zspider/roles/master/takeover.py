"""How a master makes a database its own, and by which name the database knows it."""

import re
import secrets
from pathlib import Path

import msgspec
import structlog

from zspider.activity import WindowSlot
from zspider.broker.private_files import write_private
from zspider.data_dir import OWNER_ID
from zspider.errors import ConfigError
from zspider.storage import Storage
from zspider.task import Project

log = structlog.get_logger(__name__)
_OWNER = re.compile(rb"[0-9a-f]{32}\n?")


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


def owner_id(data_dir: Path) -> str:
    """Return the name of this master for the database; it is the same at each start in this directory.

    So a master re-enters its own database at once.

    A file that does not hold one (empty after a power cut, say) is replaced: then the database's last owner is watched
    before it is taken over. Raises ConfigError when the file cannot be read or written.
    """
    path = data_dir / OWNER_ID
    try:
        found = path.read_bytes() if path.exists() else None
        if found is not None and _OWNER.fullmatch(found):
            return found.decode().strip()
        fresh = secrets.token_hex(16)
        write_private(path, fresh.encode() + b"\n")
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read or written: {exc.strerror}") from exc
    if found is not None:
        log.warning("owner_id_replaced", file=str(path), reason=f"it held no owner id, but {len(found)} bytes")
    return fresh
