"""zspider, the bare machine, the reference and Scrapy, doing one job in alternating runs; see README.md here.

python -m benchmarks.bench [--job article|graph] [--rounds 3] [--pages N] [--name NAME] [SUBJECT ...]
"""

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import NamedTuple

from tests.support.nginx import Nginx
from tests.support.nginx import Request as Answered
from zspider.roles.demo_site import PAGES, Site, export_site

from benchmarks.subjects import GRAPH_SUBJECTS, SUBJECTS, Run, Subject

RESULTS = Path(__file__).resolve().parent / "results"


class Job(NamedTuple):
    """What all subjects do in one set of runs."""

    name: str
    articles: int  # of the demo site
    rounds: int
    subjects: tuple[Subject, ...]
    # subject, other, least ratio of the medians that the project set itself (None: only shown)
    ratios: tuple[tuple[str, str, float | None], ...]
    is_graph: bool = False
    rss_mb_max: int = 150  # of the master

    def pages(self, articles: int) -> int:
        """How many pages are to be stored, of a site with so many articles."""
        return len(Site(articles).paths()) - 1 if self.is_graph else articles  # no page links to robots.txt


ARTICLE_JOB = Job(
    "article",
    articles=PAGES,
    rounds=3,
    subjects=SUBJECTS,
    ratios=(
        ("zspider-sqlite", "scrapy", 4.0),
        ("zspider-mariadb", "scrapy", 3.0),
        ("zspider-sqlite", "reference", 0.35),
        ("zspider-sqlite", "scrapy-jobdir", None),
        ("zspider-sqlite", "bare", None),
        ("zspider-mariadb", "zspider-sqlite", None),
    ),
)
GRAPH_JOB = Job(
    "graph",
    articles=49_504,  # and 496 shelves: with the start page 50,001 pages of 30 links
    rounds=2,
    subjects=GRAPH_SUBJECTS,
    ratios=(
        ("zspider-sqlite", "scrapy", 8.0),
        ("zspider-sqlite", "reference", 0.4),
        ("zspider-mariadb", "zspider-sqlite", None),
    ),
    is_graph=True,
    rss_mb_max=300,
)
JOBS = {job.name: job for job in (ARTICLE_JOB, GRAPH_JOB)}


@dataclass
class Measured:
    """One run, as it is written to the results file. `error` is empty for a good one."""

    subject: str
    error: str = ""
    pages_per_s: float = 0.0  # between the first and the last request of the access log
    stored_per_s: float = 0.0  # from the first request until every result was known to be stored
    stored: int = 0
    requests: int = 0
    cpu_us_per_page: dict[str, float] = field(default_factory=dict)  # by role, from the first request on
    rss_mb: dict[str, float] = field(default_factory=dict)  # of the largest process of each role
    processes: dict[str, int] = field(default_factory=dict)

    @property
    def cpu_us(self) -> float:
        return sum(self.cpu_us_per_page.values())


def measure(subject: Subject, site: Path, pages: int, directory: Path) -> Measured:
    """Run a subject once against a fresh nginx. What goes wrong is in `error`, and nothing is hidden."""
    measured = Measured(subject.name)
    with Nginx(site, directory / "nginx", buffered=True) as nginx:
        try:
            run = subject.run(nginx.url, pages, directory / "subject")
        except Exception as exc:  # a benchmark of six goes on without one
            measured.error = f"{type(exc).__name__}: {exc}"
            return measured
        nginx.stop()
        _fill(measured, run, nginx.requests(), pages)
    return measured


def _fill(measured: Measured, run: Run, log: Sequence[Answered], pages: int) -> None:
    measured.stored, measured.requests = run.stored, len(log)
    distinct = len({request.uri for request in log})
    if run.stored != pages or distinct != pages:
        measured.error = f"stored {run.stored} results and fetched {distinct} URLs, wanted {pages}"
    if len(log) < 2:
        return
    first, last = log[0].time_s, log[-1].time_s
    measured.pages_per_s = len(log) / max(last - first, 1e-3)
    measured.stored_per_s = run.stored / max(run.ended_s - first, 1e-3)
    for cost in run.costs:
        used = cost.cpu_until(run.ended_s) - cost.cpu_until(first)
        before = measured.cpu_us_per_page.get(cost.name, 0.0)
        measured.cpu_us_per_page[cost.name] = before + used / pages * 1e6
        measured.rss_mb[cost.name] = max(measured.rss_mb.get(cost.name, 0.0), cost.rss_mb)
        measured.processes[cost.name] = measured.processes.get(cost.name, 0) + 1


def measure_all(job: Job, subjects: Sequence[Subject], rounds: int, articles: int, keep: bool) -> list[Measured]:
    """All subjects, round by round: what the machine does meanwhile meets each of them."""
    pages = job.pages(articles)
    work = Path(tempfile.mkdtemp(prefix="zspider-bench-"))
    runs = []
    try:
        export_site(work / "site", articles)
        for number in range(1, rounds + 1):
            for subject in subjects:
                directory = work / f"{number}-{subject.name}"
                (directory / "subject").mkdir(parents=True)
                measured = measure(subject, work / "site", pages, directory)
                runs.append(measured)
                print(f"round {number}  {_line(measured)}", flush=True)
                if not keep and not measured.error:
                    shutil.rmtree(directory)
    finally:
        if keep or any(run.error for run in runs):
            print(f"logs and databases are in {work}")
        else:
            shutil.rmtree(work)
    return runs


def _line(run: Measured) -> str:
    if run.error:
        return f"{run.subject:<16} FAILED: {run.error}"
    return f"{run.subject:<16} {run.pages_per_s:>8,.0f} pages/s  {run.cpu_us:>6,.0f} us/page  {run.stored} stored"


def table(runs: Sequence[Measured]) -> str:
    """The medians of each subject, with the range of its rates."""
    lines = [f"{'subject':<16} {'pages/s':>8} {'range':>15} {'stored/s':>9} {'CPU us/page':>12}  by role; peak RSS MB"]
    for name in dict.fromkeys(run.subject for run in runs):
        good = [run for run in runs if run.subject == name and not run.error]
        failed = sum(1 for run in runs if run.subject == name and run.error)
        if good:
            rates = [run.pages_per_s for run in good]
            spread = f"{min(rates):,.0f}-{max(rates):,.0f}"
            stored, cpu = median(run.stored_per_s for run in good), median(run.cpu_us for run in good)
            lines.append(
                f"{name:<16} {median(rates):>8,.0f} {spread:>15} {stored:>9,.0f} {cpu:>12,.0f}  {_roles(good)}"
            )
        if failed:
            lines.append(f"{name:<16} FAILED in {failed} of {failed + len(good)} runs")
    return "\n".join(lines)


def _roles(runs: Sequence[Measured]) -> str:
    roles = dict.fromkeys(role for run in runs for role in run.cpu_us_per_page)
    parts = []
    for role in roles:
        cpu = median(run.cpu_us_per_page.get(role, 0.0) for run in runs)
        rss = median(run.rss_mb.get(role, 0.0) for run in runs)
        number = max(run.processes.get(role, 0) for run in runs)
        parts.append(f"{role}{f' x{number}' if number > 1 else ''} {cpu:.0f} us, {rss:.0f} MB")
    return "; ".join(parts)


def ratios(job: Job, runs: Sequence[Measured]) -> list[tuple[str, float, float | None]]:
    """(what, ratio of the medians, the least that is wanted) for every pair that was measured."""
    rates: dict[str, list[float]] = {}
    for run in runs:
        if not run.error:
            rates.setdefault(run.subject, []).append(run.pages_per_s)
    return [
        (f"{one} / {other}", median(rates[one]) / median(rates[other]), wanted)
        for one, other, wanted in job.ratios
        if one in rates and other in rates
    ]


def report(job: Job, runs: Sequence[Measured], rounds: int, pages: int) -> str:
    """Everything, as text."""
    lines = [
        "",
        f"{job.name} job: {pages:,} pages, medians of {rounds} alternating runs on {os.cpu_count()} cores",
        table(runs),
        "",
    ]
    for what, ratio, wanted in ratios(job, runs):
        verdict = "" if wanted is None else f"  (goal {wanted:g}: {'met' if ratio >= wanted else 'MISSED'})"
        lines.append(f"{what:<36} {ratio:>6.2f}{verdict}")
    masters = [run.rss_mb["master"] for run in runs if run.subject.startswith("zspider") and "master" in run.rss_mb]
    if masters:
        verdict = "met" if max(masters) < job.rss_mb_max else "MISSED"
        lines.append(f"{'peak RSS of the master':<36} {max(masters):>6.0f} MB  (goal < {job.rss_mb_max}: {verdict})")
    return "\n".join(lines)


def save(job: Job, runs: Sequence[Measured], rounds: int, pages: int, name: str) -> Path:
    """Write everything that was measured to results/NAME.json."""
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{name}.json"
    machine = {"cores": os.cpu_count(), "python": platform.python_version(), "kernel": platform.release()}
    content = {
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": machine,
        "job": job.name,
        "pages": pages,
        "rounds": rounds,
        "ratios": {what: round(ratio, 3) for what, ratio, _ in ratios(job, runs)},
        "runs": [asdict(run) for run in runs],
    }
    file.write_text(json.dumps(content, indent=1) + "\n")
    return file


def main() -> int:
    """Exit code 1 when any run failed; a missed goal is only said."""
    given = _arguments()
    job = JOBS[given.job]
    articles, rounds = given.pages or job.articles, given.rounds or job.rounds
    subjects = [subject for subject in job.subjects if not given.subjects or subject.name in given.subjects]
    for subject in subjects:
        subject.prepare()
    runs = measure_all(job, subjects, rounds, articles, given.keep)
    print(report(job, runs, rounds, job.pages(articles)))
    print(f"\nwritten to {save(job, runs, rounds, job.pages(articles), given.name or _name(job))}")
    return 1 if any(run.error for run in runs) else 0


def _name(job: Job) -> str:
    day = time.strftime("%Y-%m-%d")
    return f"{day}-graph" if job.is_graph else day


def _arguments() -> argparse.Namespace:
    arguments = argparse.ArgumentParser(prog="benchmarks.bench", description="Compare crawlers on one job.")
    arguments.add_argument("subjects", nargs="*", metavar="SUBJECT", help="see README.md (default: all of the job)")
    arguments.add_argument("--job", choices=JOBS, default="article", help="what is to be done")
    arguments.add_argument("--rounds", type=int, help="alternating runs of each subject")
    arguments.add_argument("--pages", type=int, help="articles of the site")
    arguments.add_argument("--name", help="of the file in benchmarks/results/ (default: the day)")
    arguments.add_argument("--keep", action="store_true", help="keep logs and databases of good runs too")
    given = arguments.parse_args()
    names = [subject.name for subject in JOBS[given.job].subjects]
    if unknown := set(given.subjects) - set(names):
        arguments.error(f"no such subject: {', '.join(sorted(unknown))}; there are: {', '.join(names)}")
    return given


if __name__ == "__main__":
    sys.exit(main())
