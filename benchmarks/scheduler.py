"""What the master's decisions cost and whether they are fair, on a simulated clock; see README.md here.

python -m benchmarks.scheduler [--seconds 3600] [--name NAME]
"""

import argparse
import gc
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.support.core_simulation import Figures, Plan, Simulation
from zspider.roles.machine import gc_tuning

RESULTS = Path(__file__).resolve().parent / "results"
SHARE_OFF = 0.05  # how far a slave's or project's share may be from the mean
FLAT = 1.5  # how much more a decision may cost with a million waiting tasks than with a thousand
COSTS_S = 6.0  # simulated seconds of each run that looks at costs only

# Name, plan, simulated seconds before and while it is measured (None: as long as was asked for).
CLUSTERS: tuple[tuple[str, Plan, float, float | None], ...] = (
    (
        "hour",
        Plan(slaves=1000, projects=20, waiting=100_000, rate=25, burst=50, churn_s=20, stop_s=30),
        60.0,
        None,
    ),
    ("10,000/s", Plan(slaves=1000, projects=10, waiting=1_000_000, rate=1000, burst=500), 20.0, 60.0),
    ("no rates", Plan(slaves=100, projects=10, waiting=100_000, window=20, concurrency=20), 10.0, 240.0),
)
SLAVES = (10, 100, 1000)
WAITING = (1_000, 10_000, 100_000, 1_000_000)
PROJECTS = (1, 10, 100, 1000)
HEAD = (
    f"{'cluster':<9} {'slaves':>6} {'time':>8} {'tasks':>10} {'tasks/s':>7} {'slaves differ':>15} "
    f"{'projects differ':>15} {'>burst':>7} {'wait':>9} {'gap':>8} {'lost':>6} {'us':>6}"
)


class Run(NamedTuple):
    """One simulation."""

    name: str
    plan: Plan
    seconds: float
    figures: Figures
    took_s: float  # of this machine's time


def measure(name: str, plan: Plan, before_s: float, seconds: float) -> Run:
    """Simulate; the first seconds, in which slaves join and windows fill, do not count."""
    began = time.monotonic()
    simulation = Simulation(plan)
    simulation.run(before_s)
    simulation.forget()
    gc.collect()
    simulation.run(seconds)
    return Run(name, plan, seconds, simulation.figures(), time.monotonic() - began)


def idle_us(number: int) -> float:
    """A step of the core with this many slaves and projects, when nothing has happened."""
    simulation = Simulation(Plan(slaves=number, projects=number, waiting=0))
    simulation.run(3)
    return simulation.idle_step_us()


def cluster_line(run: Run) -> str:
    """One line of the first table."""
    plan, got = run.plan, run.figures
    shares = [
        f"{100 * (least - 1):+.1f}..{100 * (most - 1):+.1f} %" for least, most in (got.slave_shares, got.project_shares)
    ]
    over = "-" if plan.rate >= 1e6 else f"{got.over_burst:+.2f}"
    return (
        f"{run.name:<9} {plan.slaves:>6,} {run.seconds:>6,.0f} s {got.tasks:>10,} {got.tasks / run.seconds:>7,.0f} "
        f"{shares[0]:>15} {shares[1]:>15} {over:>7} {got.longest_wait_s:>7.0f} s {got.longest_gap_s:>6.2f} s "
        f"{got.lost:>6,} {got.core_us:>6.1f}"
    )


def missed(runs: Sequence[Run], costs: Sequence[Run]) -> list[str]:
    """What is not as the project wants it."""
    found = []
    for run in runs:
        got, plan = run.figures, run.plan
        if plan.rate < 1e6 and max(abs(share - 1) for share in got.slave_shares) > SHARE_OFF:
            found.append(f"{run.name}: shares of slaves {got.slave_shares}")
        if max(abs(share - 1) for share in got.project_shares) > SHARE_OFF:
            found.append(f"{run.name}: shares of projects {got.project_shares}")
        if got.over_burst > 0.001 * plan.rate + 1e-6:  # the start of a grant is told in whole milliseconds
            found.append(f"{run.name}: {got.over_burst} tasks too many in the worst window")
        if got.longest_wait_s > 2 * plan.waiting * run.seconds / got.tasks:
            found.append(f"{run.name}: a task waited for {got.longest_wait_s:.0f} s")
    for slaves in SLAVES:
        us = [run.figures.core_us for run in costs if run.plan.slaves == slaves and run.plan.projects == 10]
        if max(us) > FLAT * us[0]:
            found.append(
                f"{slaves} slaves: {us[0]:.0f} us with {WAITING[0]:,} waiting tasks, up to {max(us):.0f} with more"
            )
    return found


def measure_costs() -> list[Run]:
    """500 tasks/s in all: by waiting tasks and slaves, then by projects. The least of three short runs counts."""
    plans = [Plan(slaves, 10, waiting, rate=50, burst=50) for slaves in SLAVES for waiting in WAITING]
    plans += [Plan(1000, projects, 100_000, rate=500 / projects, burst=50) for projects in PROJECTS if projects != 10]
    costs = []
    for plan in plans:
        runs = [measure("cost", plan, 4.0, COSTS_S) for _ in range(3)]
        costs.append(min(runs, key=lambda run: run.figures.core_us))
        print(f"cost  {plan.slaves:>5,} slaves {plan.projects:>5,} projects {plan.waiting:>9,} waiting  "
              f"{costs[-1].figures.core_us:>6.1f} us", flush=True)  # fmt: skip
    return costs


def cost_tables(costs: Sequence[Run]) -> str:
    """CPU microseconds of the core per granted task: everything it was told (heartbeats, too) and every step."""
    us = {(run.plan.slaves, run.plan.projects, run.plan.waiting): run.figures.core_us for run in costs}
    lines = [
        "us per task at 500 tasks/s of 10 projects, by waiting tasks",
        f"{'slaves':>8}" + "".join(f"{n:>11,}" for n in WAITING),
    ]
    lines += [f"{slaves:>8,}" + "".join(f"{us[slaves, 10, n]:>11.1f}" for n in WAITING) for slaves in SLAVES]
    lines += [
        "",
        "the same with 1,000 slaves and 100,000 waiting tasks, by projects",
        " " * 8 + "".join(f"{n:>11,}" for n in PROJECTS),
    ]
    lines.append(" " * 8 + "".join(f"{us[1000, n, 100_000]:>11.1f}" for n in PROJECTS))
    return "\n".join(lines)


def save(runs: Sequence[Run], idle: dict[int, float], name: str) -> Path:
    """Write everything that was measured to results/NAME.json."""
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{name}.json"
    content = {
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "kernel": platform.release()},
        "idle_step_us": idle,
        "runs": [
            {"name": run.name, "seconds": run.seconds, "took_s": round(run.took_s, 1)}
            | {"plan": run.plan._asdict(), "figures": run.figures._asdict()}
            for run in runs
        ],
    }
    file.write_text(json.dumps(content, indent=1) + "\n")
    return file


def main() -> int:
    """Exit code 1 when something is not as it is wanted."""
    arguments = argparse.ArgumentParser(prog="benchmarks.scheduler", description="Simulate large clusters.")
    arguments.add_argument("--seconds", type=float, default=3600, help="simulated, of the first cluster")
    arguments.add_argument("--name", default=time.strftime("scheduler-%Y-%m-%d"), help="of the file in results/")
    given = arguments.parse_args()
    gc_tuning.collect_rarely()  # as a master does

    print(HEAD)
    runs = []
    for name, plan, before_s, seconds in CLUSTERS:
        runs.append(measure(name, plan, before_s, given.seconds if seconds is None else seconds))
        print(f"{cluster_line(runs[-1])}   ({runs[-1].took_s:.0f} s)", flush=True)
    costs = measure_costs()
    idle = {number: idle_us(number) for number in (10, 100, 1000)}
    print(f"\n{cost_tables(costs)}\n")
    print(
        "us of a step with nothing to do: "
        + ", ".join(f"{us:.0f} with {n:,} slaves and projects" for n, us in idle.items())
    )
    problems = missed(runs, costs)
    print("\n".join(f"MISSED  {problem}" for problem in problems) or "all as wanted")
    print(f"written to {save([*runs, *costs], idle, given.name)}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
