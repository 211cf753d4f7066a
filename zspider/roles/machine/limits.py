"""The limits that the kernel enforces on our processes; those that run scripts get as few rights as possible without
root."""

import ctypes
import os
import resource
import signal
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # prctl(2)
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38
DESCRIPTORS_MAX = 1024  # of a process that runs scripts: select() can do no more, and the slave may have 65,536
UMASK = 0o077
ALLOCATION_PART = 8  # of all memory: what one ordinary allocation asks for at most; a list grows by so much at a time
# Variables that are not for scripts: settings and tokens of ours, and what systemd tells its service.
_FOR_THE_SERVICE_ALONE = ("NOTIFY_SOCKET", "WATCHDOG_", "LISTEN_")
_NOT_FOR_SCRIPTS = ("ZSPIDER_", "CREDENTIALS_DIRECTORY", "JOURNAL_STREAM", *_FOR_THE_SERVICE_ALONE)
_FOR_TESTS = ("ZSPIDER_TEST_", "ZSPIDER_BENCH_")


def end_with_parent(parent: int) -> None:
    """Have the kernel send SIGTERM to this process when its parent (the thread that started it) ends.

    Without it, a `zspiderd run` that is killed would leave its master and slave running. parent: its pid.
    """
    if not _is_signalled_with(parent, signal.SIGTERM):
        os.kill(os.getpid(), signal.SIGTERM)


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent (the thread that started it) ends.

    parent: the pid of the parent, as the parent itself has passed it on. Raises SystemExit when it is gone already.
    """
    if not _is_signalled_with(parent, signal.SIGKILL):
        raise SystemExit(0)


def _is_signalled_with(parent: int, number: signal.Signals) -> bool:
    """Have the kernel send a signal when the parent ends; False: it ended before that."""
    _prctl(_PR_SET_PDEATHSIG, number)
    return os.getppid() == parent


def become_script_runner(parent: int, *, nice: int = 0) -> None:
    """Hold this process to the limits of one that runs scripts, but for the memory: call `limit_memory` last.

    It dies with its parent, of this pid, is out of reach of the terminal, and gets no more rights than it has.
    nice: how much other processes go before it. Main thread only.
    """
    die_with_parent(parent)
    own_session()
    with suppress(OSError):  # a container's filter of system calls may refuse it; scripts run all the same
        os.nice(nice)
    give_up_rights()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the parent decides


def own_session() -> None:
    """Leave the parent's session and terminal; read from nowhere."""
    if os.getpid() != os.getsid(0):
        os.setsid()
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, 0)
    os.close(nowhere)


def script_environment() -> dict[str, str]:
    """Return our environment without tokens, settings (a database's password may be there) and systemd's sockets."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_NOT_FOR_SCRIPTS)}


def daemon_environment(*, settings: bool = True) -> dict[str, str]:
    """Return the environment for a daemon that we start: systemd listens to its service's own process alone.

    settings: False leaves out our settings and tokens, for a process whose configuration is complete without them.
    """
    ours = _FOR_THE_SERVICE_ALONE if settings else (*_FOR_THE_SERVICE_ALONE, "ZSPIDER_", "CREDENTIALS_DIRECTORY")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return kept | {name: value for name, value in os.environ.items() if name.startswith(_FOR_TESTS)}


def give_up_rights() -> None:
    """Let this process, and what it starts, get no rights that it has not, by no setuid program. Files that it makes
    are for its user alone, it leaves no core file, and its descriptors are limited.

    There is no limit on file sizes and on processes: the former is for the script to know, and the latter counts all
    processes of the user.
    """
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    os.umask(UMASK)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = DESCRIPTORS_MAX if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS_MAX)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def hide_memory() -> None:
    """Keep other processes of our user, such as those that run scripts, out of our memory and environment, where tokens
    are; and leave no core file, which would have them in it. Root still gets in.
    """
    _prctl(_PR_SET_DUMPABLE, 0)


def limit_memory(more_bytes: int) -> None:
    """Let the address space grow by this much from now on; above it, allocations fail."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + more_bytes
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))


def has_met_memory_limit() -> bool:
    """Return whether the address space was ever so large that an ordinary allocation may have failed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    if soft == resource.RLIM_INFINITY:
        return False
    lift_memory_limit()  # or there is no memory to look with
    try:
        return _status_bytes("VmPeak") >= soft - soft // ALLOCATION_PART
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def lift_memory_limit() -> None:
    """Undo `limit_memory`, for a process that has met its limit and shall say so before it ends."""
    memory_limit_lifter()()


def memory_limit_lifter() -> Callable[[], object]:
    """Return what lifts the limit without memory of its own: made beforehand, for the moment when there is none."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    return partial(resource.setrlimit, resource.RLIMIT_AS, (hard, hard))


def resident_bytes() -> int:
    """Return how many bytes of RAM this process has now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def peak_bytes() -> int:
    """Return the most bytes of RAM this process has had. (getrusage counts what its parent had before exec, too.)"""
    return _status_bytes("VmHWM")


def _status_bytes(name: str) -> int:
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{name}:")]
    return int(line.split()[1]) * 1024


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)
