"""Many histories, and what they have in common."""

import gc
import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import structlog
from tests.simulation.world import Told, World

GARBAGE_OBJECTS = 50_000  # histories make no cycles worth looking for more often


class Failure(Exception):
    """A history that did not hold. Raised with its seed and mode, so that it can be played again."""

    def __init__(self, seed: int, mode: str, reason: str) -> None:
        super().__init__(seed, mode, reason)  # as arguments: it may travel between processes
        self.seed, self.mode, self.reason = seed, mode, reason

    def __str__(self) -> str:
        again = f"python -m tests.simulation --replay {self.seed} --mode {self.mode!r}"
        return f"seed {self.seed} ({self.mode}): {self.reason}; {again}"


def quiet() -> None:
    """The loops log as in production; histories are too many for that."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    gc.set_threshold(GARBAGE_OBJECTS, 20, 20)


def history(seed: int, mode: str | None = None) -> Told:
    """One history; raises Failure."""
    world = World(seed, mode)
    try:
        return world.run()
    except Exception as exc:
        raise Failure(seed, world.mode, f"{type(exc).__name__}: {exc}") from exc


def histories(seeds: Iterable[int], mode: str | None = None, jobs: int = 1) -> Iterator[Told]:
    """Many of them, in `jobs` processes; the first that does not hold raises Failure."""
    if jobs == 1:
        yield from (history(seed, mode) for seed in seeds)
        return
    with ProcessPoolExecutor(jobs, initializer=quiet) as pool:
        try:
            yield from pool.map(partial(history, mode=mode), seeds, chunksize=20)
        except Failure:
            pool.shutdown(cancel_futures=True)
            raise


class Summary:
    """What histories that held have in common."""

    def __init__(self) -> None:
        self.histories = 0
        self.faults: Counter[str] = Counter()
        self.modes: Counter[str] = Counter()
        self.refetches: Counter[str] = Counter()  # by mode
        self._tasks = 0
        self._simulated_s = 0.0
        self._began = time.perf_counter()

    def add(self, told: Told) -> None:
        self.histories += 1
        self.faults.update(told.faults)
        self.modes[told.mode] += 1
        self.refetches[told.mode] += told.refetches
        self._tasks += told.tasks
        self._simulated_s += told.simulated_s

    def lines(self) -> list[str]:
        """For people."""
        seconds = time.perf_counter() - self._began
        each_ms = 1000 * seconds / max(1, self.histories)
        return [
            f"{self.histories} histories held in {seconds:.1f} s ({each_ms:.0f} ms each): {self._tasks} pages, "
            f"{self._simulated_s / 3600:.1f} simulated hours, {self.faults.total()} faults",
            *(f"{number:>9} {name}" for name, number in self.faults.most_common()),
            "fetched again, by what went wrong:",
            *(f"{self.refetches[mode]:>9} {mode} ({number} histories)" for mode, number in self.modes.most_common()),
        ]
