"""`python -m tests.fault.bench`: live through many seeds, and keep a report that a later run goes on with."""

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from tests.fault.bench.campaign import add, live, read, summed_up, told
from tests.fault.bench.plan import TIMING, plan

REPORT = "report.jsonl"


def main() -> int:
    """Exit code 1 when anything was violated."""
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
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for report in live([seed for seed in seeds if seed not in known], directory, asked.jobs):
            add(directory / REPORT, report)
            reports.append(report)
            print(told(report), flush=True)
    except KeyboardInterrupt:
        print(f"stopped; the same command with --report {directory} goes on")
    print(summed_up(reports))
    return 1 if any(report.violations for report in reports) else 0


if __name__ == "__main__":
    sys.exit(main())
