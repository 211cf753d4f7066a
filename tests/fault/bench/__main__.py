"""`python -m tests.fault.bench`: live through many seeds, and keep a report that a later run goes on with."""

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue

import msgspec
from tests.fault.bench.history import Report, run
from tests.fault.bench.plan import TIMING, plan
from tests.support.mariadb import MariaDb, private_server

REPORT = "report.jsonl"


def read(report: Path) -> list[Report]:
    """The reports of earlier runs; a line that a killed run left unfinished is passed over."""
    lines = report.read_text().splitlines(keepends=True) if report.exists() else []
    return [msgspec.json.decode(line, type=Report) for line in lines if line.endswith("\n")]


def live(seeds: list[int], directory: Path, jobs: int) -> Iterator[Report]:
    """The reports of these seeds, `jobs` at a time, in the order in which they end."""
    servers: SimpleQueue[MariaDb] = SimpleQueue()
    ended: SimpleQueue[Report] = SimpleQueue()

    def one(seed: int) -> None:
        server = servers.get()
        try:
            ended.put(run(seed, directory / f"seed-{seed}", server))
        finally:
            servers.put(server)

    with ExitStack() as stack:
        for _ in range(jobs):
            servers.put(stack.enter_context(private_server()))
        pool = stack.enter_context(ThreadPoolExecutor(jobs))
        futures = [pool.submit(one, seed) for seed in seeds]
        try:
            for _ in seeds:
                yield ended.get()
        finally:
            for future in futures:
                future.cancel()


def main() -> int:
    words = argparse.ArgumentParser(prog="python -m tests.fault.bench", description=__doc__)
    words.add_argument("--seeds", type=int, default=100, help="how many, from --first on")
    words.add_argument("--first", type=int, default=0, help="the first one")
    words.add_argument("--jobs", type=int, default=2, help="histories at a time")
    words.add_argument("--report", type=Path, help="directory to keep the report in and to go on from")
    words.add_argument("--show", action="store_true", help="print the plans and do nothing")
    asked = words.parse_args()
    seeds = list(range(asked.first, asked.first + asked.seeds))
    if asked.show:
        print("\n".join(str(plan(seed)) for seed in seeds))
        return 0
    directory: Path = asked.report or Path(tempfile.mkdtemp(prefix="zspider-fault-"))
    directory.mkdir(parents=True, exist_ok=True)
    print("timing: " + ", ".join(f"{name} {value:g}" for name, value in TIMING.items()) + f"; report: {directory}")
    known = {one.seed: one for one in read(directory / REPORT) if one.seed in seeds}
    reports = list(known.values())
    for report in live([seed for seed in seeds if seed not in known], directory, asked.jobs):
        with (directory / REPORT).open("ab") as file:
            file.write(msgspec.json.encode(report) + b"\n")
        reports.append(report)
        tell(report)
    return sum_up(reports)


def tell(report: Report) -> None:
    """Print a history: the plan, and what was wrong."""
    verdict = "VIOLATED" if report.violations else "clean"
    print(f"{report.plan}\n  {verdict} in {report.took_s} s, {report.refetches} fetched again", flush=True)
    for violation in report.violations:
        print(f"  ! {violation}", flush=True)


def sum_up(reports: list[Report]) -> int:
    """Print the figures; the exit code: 1 when anything was violated."""
    kinds = Counter(kind for report in reports for kind in report.faults)
    wrong = sorted(report.seed for report in reports if report.violations)
    print(f"{len(reports)} histories, {kinds.total()} faults, {sum(one.refetches for one in reports)} fetched again")
    print("\n".join(f"  {number:5} {kind}" for kind, number in kinds.most_common()))
    print(f"violated: {len(wrong)}" + (f", seeds {wrong}; one alone: --first SEED --seeds 1" if wrong else ""))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
