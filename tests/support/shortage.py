"""A system that is short of something: calls of a running process fail at places that a test names.

`shortage.c` is built when it is needed first, and preloaded into the processes of a test. Each of them can then be told
to count the calls that it makes, by place, and to fail those of one place.
"""

import ctypes
import errno
import mmap
import os
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

import psutil
from tests.support.process import eventually

SOURCE = Path(__file__).with_name("shortage.c")
PLACES, TEXT = 2000, 240
_OFF, _RECORD, _FAIL = range(3)
_ATTACH_S = 20.0  # from a process's start to its constructors, on a busy machine


class Place(NamedTuple):
    """Where a process calls the system."""

    call: str  # "open", "socket", "fork"
    caller: str  # the binary that makes it: "libzmq-....so", "python3.11"
    innermost: str  # Python's innermost frame, or the offset in the library for a thread without Python
    ours: str  # zspider's innermost frame; "" for none
    key: int

    @property
    def where(self) -> str:
        """The place in one word or two."""
        caller = "" if self.caller.startswith("python") else f"{self.caller.split('-')[0].split('.')[0]} "
        return f"{caller}{self.ours or self.innermost}"


class _PlaceRow(ctypes.Structure):
    _fields_ = [
        ("key", ctypes.c_uint64),
        ("count", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
        ("text", ctypes.c_char * TEXT),
    ]


class _Control(ctypes.Structure):
    _fields_ = [
        ("mode", ctypes.c_uint32),
        ("error", ctypes.c_int32),
        ("key", ctypes.c_uint64),
        ("left", ctypes.c_int32),
        ("failed", ctypes.c_uint32),
        ("lock", ctypes.c_uint32),
        ("places", ctypes.c_uint32),
        ("calls", ctypes.c_char * 256),
        ("place", _PlaceRow * PLACES),
    ]


@cache
def preloadable() -> Path | None:
    """The library to preload; None where there is no compiler."""
    compiler = shutil.which("gcc")
    if compiler is None:
        return None
    path = Path(tempfile.mkdtemp(prefix="zspider-shortage-")) / "shortage.so"
    flags = ["-O2", "-Wall", "-Wextra", "-Werror", "-Wno-nonnull-compare", "-shared", "-fPIC"]
    subprocess.run([compiler, *flags, "-o", str(path), str(SOURCE), "-ldl", "-lpthread"], check=True)
    return path


def preloaded(directory: Path) -> dict[str, str]:
    """The environment for processes that can be short. directory: where each leaves its control file."""
    found = preloadable()
    assert found is not None, "no gcc on this machine"
    directory.mkdir(exist_ok=True)
    return {"LD_PRELOAD": str(found), "SHORTAGE_DIR": str(directory)}


def recorded() -> dict[str, str]:
    """More environment: calls are counted from the start, in the first process alone."""
    return {"SHORTAGE_AT_ONCE": "record"}


def failing_at_once(place: Place, error: int, most: int) -> dict[str, str]:
    """More environment: the first `most` calls of this place fail, in the first process alone."""
    return {"SHORTAGE_AT_ONCE": f"{place.call} {place.key} {error} {most}"}


class Victim:
    """One process that runs with `preloaded`, as seen from the test."""

    def __init__(self, directory: Path, pid: int) -> None:
        self.pid = pid
        path = directory / str(pid)
        eventually(lambda: path.exists() and path.stat().st_size, _ATTACH_S, f"process {pid} has loaded the library")
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), ctypes.sizeof(_Control))
        self._control = _Control.from_buffer(self._memory)

    @property
    def is_alive(self) -> bool:
        """Whether it runs; one that has ended and was not waited for does not."""
        try:
            return psutil.Process(self.pid).status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def counts(self) -> dict[Place, int]:
        """How often each place was passed while it was recorded."""
        rows = self._control.place[: self._control.places]
        return {Place(*_words(row.text), row.key): row.count for row in rows}

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Calls are counted meanwhile."""
        self._control.mode = _RECORD
        try:
            yield
        finally:
            self._control.mode = _OFF

    @property
    def failed(self) -> int:
        """How many calls have failed since the last `failing` began."""
        return int(self._control.failed)

    @contextmanager
    def failing(
        self, error: int, *, place: Place | None = None, calls: Sequence[str] = (), most: int = 2**30
    ) -> Iterator[None]:
        """The next `most` calls of this place, or all of these names, fail with this error meanwhile."""
        control = self._control
        control.error, control.left, control.failed = error, most, 0
        control.key = place.key if place else 0
        control.calls = f" {' '.join((place.call,) if place else calls)} ".encode()
        control.mode = _FAIL
        try:
            yield
        finally:
            control.mode = _OFF


# What each call can fail with when something is short. (The kernel's manual pages; memory may be short everywhere.)
DESCRIPTORS = (errno.EMFILE, errno.ENFILE)
ERRORS: dict[str, tuple[int, ...]] = {
    "open": (*DESCRIPTORS, errno.ENOMEM, errno.ENOSPC),
    "opendir": (*DESCRIPTORS, errno.ENOMEM),
    "socket": (*DESCRIPTORS, errno.ENOMEM),
    "socketpair": (*DESCRIPTORS, errno.ENOMEM),
    "accept": (*DESCRIPTORS, errno.ENOMEM),
    "pipe": DESCRIPTORS,
    "eventfd": (*DESCRIPTORS, errno.ENOMEM),
    "epoll_create": (*DESCRIPTORS, errno.ENOMEM),
    "epoll_ctl": (errno.ENOMEM, errno.ENOSPC),
    "dup": (errno.EMFILE,),
    "memfd_create": (*DESCRIPTORS, errno.ENOMEM),
    "pidfd_open": (*DESCRIPTORS, errno.ENOMEM),
    "fork": (errno.EAGAIN, errno.ENOMEM),
    "pthread_create": (errno.EAGAIN,),
    "mmap": (errno.ENOMEM, errno.EAGAIN),
    "arena": (errno.ENOMEM,),
    "write": (errno.ENOSPC, errno.ENOMEM, errno.EAGAIN),
    "pwrite": (errno.ENOSPC, errno.ENOMEM),
    "fsync": (errno.ENOSPC,),
    "ftruncate": (errno.ENOSPC,),
    "rename": (errno.ENOSPC, errno.ENOMEM),
    "mkdir": (errno.ENOSPC, errno.ENOMEM),
    "unlink": (errno.ENOMEM,),
    "bind": (errno.ENOMEM,),
    "listen": (errno.ENOMEM,),
    "connect": (errno.EAGAIN, errno.ENOMEM),
    "send": (errno.ENOMEM, errno.ENOBUFS),
    "recv": (errno.ENOMEM,),
    "poll": (errno.ENOMEM,),
    "getaddrinfo": (errno.ENOMEM, errno.EMFILE),
}


def _words(text: bytes) -> tuple[str, str, str, str]:
    call, caller, innermost, ours = text.decode("utf-8", "replace").split("\t")
    return call, caller, innermost, ours


def open_files(pid: int) -> int:
    """How many descriptors a process has."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


@contextmanager
def without_descriptors() -> Iterator[None]:
    """This process gets no more descriptors meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def limited(pid: int, limit: int, value: int) -> Iterator[None]:
    """Another process has this limit (RLIMIT_NOFILE, ...) meanwhile; what it has already it keeps."""
    before = resource.prlimit(pid, limit)
    resource.prlimit(pid, limit, (value, before[1]))
    try:
        yield
    finally:
        if psutil.pid_exists(pid):
            resource.prlimit(pid, limit, before)
