"""Many histories: one after the other, and what they showed."""

import logging
import time
from collections import Counter
from collections.abc import Iterable

import structlog

from tests.simulation.world import Told, World


def quiet() -> None:
    """The loops log as in production; histories are too many for that."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def first_failure(seeds: Iterable[int], mode: str | None = None) -> tuple[int, BaseException] | None:
    """The first of these seeds whose history does not hold, and why; None when all hold."""
    for seed in seeds:
        try:
            World(seed, mode).run()
        except Exception as exc:
            return seed, exc
    return None


class Summary:
    """What histories that held have in common."""

    def __init__(self) -> None:
        self.histories = 0
        self.tasks = 0
        self.simulated_s = 0.0
        self.modes: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.refetches: Counter[str] = Counter()  # by mode
        self._began = time.perf_counter()

    def add(self, told: Told) -> None:
        self.histories += 1
        self.tasks += told.tasks
        self.simulated_s += told.simulated_s
        self.modes[told.mode] += 1
        self.faults.update(told.faults)
        self.refetches[told.mode] += told.refetches

    def lines(self) -> list[str]:
        seconds = time.perf_counter() - self._began
        yield_ = [
            f"{self.histories} histories held in {seconds:.1f} s ({1000 * seconds / max(1, self.histories):.0f} ms each)"
        ]
        yield_.append(
            f"{self.tasks} pages, {self.simulated_s / 3600:.1f} simulated hours, {self.faults.total()} faults:"
        )
        yield_ += [f"  {number:>7} {name}" for name, number in self.faults.most_common()]
        yield_.append("fetched twice, by mode:")
        yield_ += [
            f"  {self.refetches[mode]:>7} in {number} histories of {mode!r}"
            for mode, number in self.modes.most_common()
        ]
        return yield_
