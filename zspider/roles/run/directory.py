"""The directory of `zspiderd run`: made by us, used by one run at a time, emptied of what is ours only."""

import fcntl
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from zspider.data_dir import CHILD_LOCK, OF_A_CRAWL, RUN_LOCK, RUN_MARK
from zspider.errors import ConfigError, OwnedElsewhere, ShortageError, is_shortage

LOCKS = frozenset({RUN_LOCK, CHILD_LOCK})
WAIT_S = 40.0  # how long the children of a run that was killed may take to end; longer than a slave's drain_s


@contextmanager
def opened(
    directory: Path,
    script: Path,
    *,
    fresh: bool,
    wait: Callable[[float], bool] = lambda wait_s: bool(threading.Event().wait(wait_s)),
    say: Callable[[str], None] = lambda _: None,
) -> Iterator[int]:
    """Make or take over the directory; gives a descriptor that children are to inherit.

    fresh: delete the files of an earlier run. wait: sleeps so many seconds; if it returns true, we stop waiting for the
    children of a run that was killed. say: called with a line for people while we wait.
    Raises ConfigError for a directory that `zspiderd run` did not make, so that no other crawl is touched,
    OwnedElsewhere while another run uses it, and ShortageError when the disk is full or no descriptor is left.
    """
    with ExitStack() as stack:
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            names = {entry.name for entry in directory.iterdir()} - LOCKS
            if names and RUN_MARK not in names:
                raise ConfigError(f"{directory}: was not made by `zspiderd run`; name another --data-dir")
            run_lock = stack.enter_context((directory / RUN_LOCK).open("a"))
            child_lock = stack.enter_context((directory / CHILD_LOCK).open("a"))
        except OSError as exc:
            raise _refusal(directory, exc) from exc
        if not _is_locked(run_lock):
            raise OwnedElsewhere(f"{directory}: another `zspiderd run` works here")
        _wait_for_children(directory, child_lock, wait, say)
        try:
            (directory / RUN_MARK).write_text(json.dumps({"script": str(script.resolve())}) + "\n")
            for name in OF_A_CRAWL if fresh else ():
                (directory / name).unlink(missing_ok=True)
        except OSError as exc:
            raise _refusal(directory, exc) from exc
        yield child_lock.fileno()


def _refusal(directory: Path, error: OSError) -> ConfigError | ShortageError:
    kind = ShortageError if is_shortage(error) else ConfigError
    return kind(f"{directory}: {error.strerror}")


def _wait_for_children(
    directory: Path, lock: IO[str], wait: Callable[[float], bool], say: Callable[[str], None]
) -> None:
    end = time.monotonic() + WAIT_S
    is_said = False
    while not _is_locked(lock):
        if not is_said:
            say("waiting for what a run that was killed has left to stop")
            is_said = True
        if wait(0.1) or time.monotonic() > end:
            raise OwnedElsewhere(f"{directory}: what a run that was killed has left still works here")


def _is_locked(file: IO[str]) -> bool:
    """Try to take the lock; returns whether it is ours now."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
