"""Files that hold secrets: only their owner may read them, and they are written whole or not at all.

A secret is protected by its mode. Root may read any file, whoever owns it; but what root writes into another user's
directory must be owned by that user, or its daemon is locked out: `as_owner`.
"""

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zspider.data_dir import new_file_name
from zspider.errors import ConfigError, DeniedError

DIRECTORY_MODE = 0o700
FILE_MODE = 0o600
STRANGERS = 0o066  # group and others: read or write


def make_private_directory(path: Path) -> None:
    """Make `path` for its owner only, or check that it is. Raises DeniedError when others get in, or when it is neither
    ours nor root's: not even root keeps its secrets in another user's directory.
    """
    try:
        path.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
    except FileExistsError as exc:
        raise ConfigError(f"{path} is not a directory") from exc
    except OSError as exc:
        raise DeniedError(f"cannot make {path}: {exc.strerror}") from exc
    check_private(path, DIRECTORY_MODE)
    _check_owner(path.stat().st_uid, path, os.geteuid())


def check_private(path: Path, wanted: int, *, strangers: int = STRANGERS) -> None:
    """Raise DeniedError when `path` has any of the mode bits `strangers`, or another user's file is used.

    Root's files count as ours, and root may use files of all users.
    """
    found = path.stat()
    mode = stat.S_IMODE(found.st_mode)
    if mode & strangers:
        raise DeniedError(
            f"{path} has mode {mode:04o} and can be read or written by others; wanted {wanted:04o}: "
            f"chmod {wanted:o} {path}"
        )
    if os.geteuid() != 0:
        _check_owner(found.st_uid, path, os.geteuid())


def read_private(path: Path, *, strangers: int = STRANGERS) -> bytes:
    """Return the content of a secret file. Raises FileNotFoundError, or DeniedError as `check_private` does."""
    try:
        content = path.read_bytes()
        check_private(path, FILE_MODE, strangers=strangers)
    except (PermissionError, IsADirectoryError) as exc:
        raise DeniedError(f"cannot read {path} as user {os.geteuid()}: {exc.strerror}") from exc
    return content


def write_private(path: Path, content: bytes) -> None:
    """Replace a secret file, so that a crash leaves the old one or the new one, never a part."""
    fresh = path.with_name(new_file_name(path.name))
    fresh.unlink(missing_ok=True)  # left by a crash
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, FILE_MODE)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    _sync_directory(path.parent)


@contextmanager
def as_owner(path: Path) -> Iterator[None]:
    """When root runs this, do what is in the block as the owner of `path`, or of the directory for it.

    So root can do in a daemon's directory whatever the daemon's user can, and leaves no file there that is root's.
    Nothing changes for other users. Not for use beside other threads: the user of the whole process changes.
    """
    owner = _nearest(path).stat() if os.geteuid() == 0 else None
    if owner is None or owner.st_uid == 0:
        yield
        return
    group = os.getegid()
    os.setegid(owner.st_gid)
    os.seteuid(owner.st_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Lock `directory` against other processes that use this function."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)  # gives the lock back


def _check_owner(owner: int, path: Path, user: int) -> None:
    if owner not in (user, 0):
        raise DeniedError(f"{path} belongs to user {owner}; wanted user {user}, who runs this")


def _nearest(path: Path) -> Path:
    """Return the path itself, or the nearest directory above it that exists."""
    return next((place for place in (path, *path.absolute().parents) if place.exists()), path)


def _sync_directory(path: Path) -> None:
    """Make a rename survive a power cut."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
