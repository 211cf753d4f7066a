"""A crawl as fast as this machine can, watched: pages over time, memory and descriptors of every process."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import psutil
from tests.support.cluster import Daemon
from tests.support.nginx import Nginx

MIB = 1024 * 1024


class Sample(NamedTuple):
    """What was seen at one moment."""

    at_s: float  # since the watch began
    pages: int  # asked for so far
    rss_mib: dict[str, float]  # by process; of a slave's processors the largest
    descriptors: dict[str, int]


class Watch:
    """Takes a sample each `every_s`, in a thread of its own, while it is entered."""

    def __init__(self, site: Nginx, daemons: list[Daemon], every_s: float) -> None:
        self.samples: list[Sample] = []
        self._site = site
        self._daemons = daemons
        self._every_s = every_s
        self._is_over = threading.Event()
        self._began = time.monotonic()
        self._pages = _LineCount(site.directory / "access.log")

    @contextmanager
    def running(self) -> Iterator["Watch"]:
        self._began = time.monotonic()
        thread = threading.Thread(target=self._run, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._is_over.set()
            thread.join()

    @property
    def now_s(self) -> float:
        return time.monotonic() - self._began

    def _run(self) -> None:
        due = time.monotonic()
        while not self._is_over.wait(max(0.0, due - time.monotonic())):
            self.samples.append(self._sample())
            due += self._every_s

    def _sample(self) -> Sample:
        rss: dict[str, float] = {}
        descriptors: dict[str, int] = {}
        for daemon in self._daemons:
            for process in daemon.process.family():
                name = daemon.name if process.pid == daemon.process.pid else f"{daemon.name}'s processors"
                try:
                    rss[name] = max(rss.get(name, 0.0), process.memory_info().rss / MIB)
                    descriptors[name] = max(descriptors.get(name, 0), process.num_fds())
                except psutil.NoSuchProcess:
                    pass  # it was killed just now
        return Sample(self.now_s, self._pages.count(), rss, descriptors)


class _LineCount:
    """Counts the lines of a growing file without reading it again."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._at = 0
        self._lines = 0

    def count(self) -> int:
        with self._file.open("rb") as file:
            file.seek(self._at)
            fresh = file.read()
        self._at += len(fresh)
        self._lines += fresh.count(b"\n")
        return self._lines


def speeds(samples: list[Sample]) -> list[tuple[float, float]]:
    """(second, pages per second since the sample before)."""
    return [(one.at_s, (one.pages - before.pages) / (one.at_s - before.at_s)) for before, one in pairwise(samples)]


def drawn(samples: list[Sample], width: int = 50) -> str:
    """Pages per second over time, a line each."""
    lines = speeds(samples)
    most = max((speed for _, speed in lines), default=0) or 1
    return "\n".join(f"{at_s:7.1f} s {speed:7.0f} pages/s {'#' * round(width * speed / most)}" for at_s, speed in lines)


def longest_pause_s(samples: list[Sample]) -> float:
    """The longest time without a page, between the first and the last page; as exact as the samples."""
    longest = 0.0
    since = None
    pages = samples[-1].pages
    for before, one in pairwise(samples):
        if one.pages > before.pages or one.pages == 0 or one.pages == pages:
            since = None
        else:
            since = before.at_s if since is None else since
            longest = max(longest, one.at_s - since)
    return longest
