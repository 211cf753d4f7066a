"""Many histories, some at a time, and the report that keeps what came of them."""

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue

import msgspec
from tests.fault.bench.history import Report, run
from tests.support.mariadb import MariaDb, private_server


def live(seeds: Sequence[int], directory: Path, jobs: int) -> Iterator[Report]:
    """The reports of these seeds, `jobs` at a time, in the order in which they end.

    When it is left early, nothing more is begun, and what is under way is lived through to its end.
    """
    servers: SimpleQueue[MariaDb] = SimpleQueue()

    def one(seed: int) -> Report:
        server = servers.get()
        try:
            return run(seed, directory / f"seed-{seed}", server)
        finally:
            servers.put(server)

    with ExitStack() as stack:
        for _ in range(jobs):
            servers.put(stack.enter_context(private_server()))
        pool = ThreadPoolExecutor(jobs)
        stack.callback(pool.shutdown, cancel_futures=True)
        for future in as_completed([pool.submit(one, seed) for seed in seeds]):
            yield future.result()


def read(report: Path) -> list[Report]:
    """The reports of earlier runs; a line that a killed run left unfinished is passed over."""
    lines = report.read_text().splitlines(keepends=True) if report.exists() else []
    return [msgspec.json.decode(line, type=Report) for line in lines if line.endswith("\n")]


def add(report: Path, one: Report) -> None:
    """Keep a report, for `read`."""
    with report.open("ab") as file:
        file.write(msgspec.json.encode(one) + b"\n")


def told(report: Report) -> str:
    """A history in words: the plan, and what was wrong."""
    verdict = "VIOLATED" if report.violations else "clean"
    first = f"{report.plan}\n  {verdict} in {report.took_s} s, {report.refetches} fetched again"
    return "\n  ! ".join([first, *report.violations])


def summed_up(reports: Sequence[Report]) -> str:
    """The figures of all."""
    kinds = Counter(kind for report in reports for kind in report.faults)
    wrong = sorted(report.seed for report in reports if report.violations)
    fetched_again = sum(report.refetches for report in reports)
    return "\n".join(
        [
            f"{len(reports)} histories, {kinds.total()} faults, {fetched_again} pages fetched again",
            *(f"  {number:5} {kind}" for kind, number in kinds.most_common()),
            f"violated: {len(wrong)}" + (f", seeds {wrong}; one alone: --first SEED --seeds 1" if wrong else ""),
        ]
    )
