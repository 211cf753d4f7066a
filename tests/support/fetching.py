"""Drives a FetchPool in tests as a slave's loop does: waits for its descriptor, then steps it."""

import select
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from zspider.fetch import Fetched, FetchPool, build_request
from zspider.settings import FetchSettings


def turn(pool: FetchPool, longest_s: float = 0.1) -> list[Fetched]:
    """Wait until the pool has something to do, or for `longest_s`, and let it do it."""
    wait_s = pool.wait_s()
    with select.epoll() as outer:
        outer.register(pool.fileno(), select.EPOLLIN)
        outer.poll(longest_s if wait_s is None else min(wait_s, longest_s))
    return pool.step()


def finish(pool: FetchPool, deadline_s: float = 20.0) -> dict[int, Fetched]:
    """Step until nothing is in flight; the answers by tag."""
    answers: dict[int, Fetched] = {}
    end = time.monotonic() + deadline_s
    while pool.in_flight:
        assert time.monotonic() < end, f"{pool.in_flight} requests unanswered after {deadline_s} s"
        for fetched in turn(pool):
            assert fetched.tag not in answers, f"two answers for {fetched.tag}"
            answers[fetched.tag] = fetched
    return answers


@contextmanager
def fetch_pool(concurrency: int = 100, **settings: Any) -> Iterator[FetchPool]:
    """A pool with these settings, closed at the end."""
    pool = FetchPool(FetchSettings(**settings), concurrency)
    try:
        yield pool
    finally:
        pool.close()


def get(pool: FetchPool, url: str, track: dict[str, Any] | None = None, **options: Any) -> Fetched:
    """Fetch one URL with a task's options."""
    pool.start(build_request(1, url, options, track or {}, pool.settings))
    return finish(pool)[1]
