"""The errors zspider raises on purpose, as a tree by what the catcher will do, and the exit codes.

A foreign exception (ZeroMQ's, a database driver's, libcurl's) is translated once, where it enters.
"""

import errno
from enum import IntEnum

_SHORTAGES = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM, errno.ENOBUFS, errno.ENOSPC, errno.EDQUOT}
)


class ExitCode(IntEnum):
    """The exit codes of `zspiderd`; the numbers are sysexits.h's where it has one."""

    OK = 0
    FAILED = 1  # the crawl or the command failed; one line said why
    USAGE = 2  # wrong arguments or configuration
    UNAVAILABLE = 69  # master or database not reachable
    SHORTAGE = 71  # no descriptor, process, memory or disk space is left
    BUSY = 75  # another master owns the database
    DENIED = 77  # not allowed: token, or file modes


class ZspiderError(Exception):
    """The root of what zspider raises on purpose. `exit_code` is what a command ends with."""

    exit_code = ExitCode.FAILED


class ConfigError(ZspiderError):
    """The operator's mistake: said in one line."""

    exit_code = ExitCode.USAGE


class DeniedError(ZspiderError):
    """A token was refused, or a secret file can be read by others."""

    exit_code = ExitCode.DENIED


class ProtocolError(ZspiderError):
    """A peer's bad frame: drop it, count it, carry on."""


class InternalError(ZspiderError):
    """An unforeseen error; the log has its traceback."""


class MasterUnavailable(ZspiderError):
    """No master answered at this address in time."""

    exit_code = ExitCode.UNAVAILABLE


class ShortageError(ZspiderError):
    """This machine or this process's limits lack something just now: the same may succeed later."""

    exit_code = ExitCode.SHORTAGE


class StorageError(ZspiderError):
    """The database refused; the driver's error is `__cause__`."""


class StorageUnavailable(StorageError):
    """Nothing was written, and the same call may succeed later."""

    exit_code = ExitCode.UNAVAILABLE


class OwnedElsewhere(StorageError):
    """Another master owns this database, now or since our last commit."""

    exit_code = ExitCode.BUSY


class FetchError(ZspiderError):
    """A request that cannot be built or sent; its text is what the script sees as `response.error`."""


class ScriptError(ZspiderError):
    """The user's script raised or cannot be loaded; its text is for the user."""


class CompilerUnavailable(ZspiderError):
    """No process could be started to compile a script; the same call may succeed later."""

    exit_code = ExitCode.UNAVAILABLE


def is_shortage(error: BaseException) -> bool:
    """Return whether descriptors, processes, memory or disk space ran out, so that the same call may succeed later.

    error: an OSError, or another one with an `errno` (ZeroMQ's); MemoryError; and the RuntimeError of a thread that
    could not be started.
    """
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, RuntimeError):
        return "start new thread" in str(error)
    return getattr(error, "errno", None) in _SHORTAGES


def reason_of(error: BaseException) -> str:
    """Return what to say of an error of the system: its text, or its kind if it has none."""
    return str(error) or type(error).__name__
