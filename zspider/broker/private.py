"""Files that hold secrets: who may read them, and how they are written whole or not at all."""

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zspider.errors import ConfigError, DeniedError

DIRECTORY_MODE = 0o700
FILE_MODE = 0o600
STRANGERS = 0o066  # group and others: read or write


def make_private_directory(path: Path) -> None:
    """Make `path` for its owner only, or check that it is. Raises DeniedError when others get in."""
    try:
        path.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
    except FileExistsError as exc:
        raise ConfigError(f"{path} is not a directory") from exc
    except OSError as exc:
        raise DeniedError(f"cannot make {path}: {exc.strerror}") from exc
    check_private(path, DIRECTORY_MODE)


def check_private(path: Path, wanted: int, *, strangers: int = STRANGERS) -> None:
    """Raise DeniedError unless `path` is ours (or root's) and has none of the mode bits `strangers`."""
    found = path.stat()
    mode = stat.S_IMODE(found.st_mode)
    if mode & strangers:
        raise DeniedError(
            f"{path} has mode {mode:04o} and can be read or written by others; wanted {wanted:04o}: "
            f"chmod {wanted:o} {path}"
        )
    if found.st_uid not in (os.geteuid(), 0):
        raise DeniedError(f"{path} belongs to user {found.st_uid}; wanted user {os.geteuid()}, who runs this")


def read_private(path: Path, *, strangers: int = STRANGERS) -> bytes:
    """The content of a secret file. Raises FileNotFoundError, or DeniedError as `check_private` does."""
    try:
        content = path.read_bytes()
        check_private(path, FILE_MODE, strangers=strangers)
    except (PermissionError, IsADirectoryError) as exc:
        raise DeniedError(f"cannot read {path} as user {os.geteuid()}: {exc.strerror}") from exc
    return content


def write_private(path: Path, content: bytes) -> None:
    """Replace a secret file, so that a crash leaves the old one or the new one, never a part."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)  # left by a crash
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, FILE_MODE)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    _sync_directory(path.parent)


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Keep other processes that use this function out of `directory` meanwhile."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)  # gives the lock back


def _sync_directory(path: Path) -> None:
    """Make a rename survive a power cut."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
