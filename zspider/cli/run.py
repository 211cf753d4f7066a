"""`zspiderd run`."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import click

from zspider.cli.display import shown, speed
from zspider.cli.exports import Checked
from zspider.cli.output import moment, print_json
from zspider.cli.text import visible
from zspider.errors import ConfigError, ExitCode
from zspider.roles.run.progress import Summary
from zspider.script.check.source import read_script

RESULT_CHARS_MAX = 160  # of one of the first results
FILE = click.Path(path_type=Path)
positive = click.FloatRange(0, min_open=True)


@click.command()
@click.argument("script", type=FILE)
@click.option("--rate", type=positive, help="Tasks per second.  [default: the script's `# rate:` line, else 1]")
@click.option("--burst", type=positive, help="Tasks at once.  [default: the script's `# burst:` line, else 3 or rate]")
@click.option("--fresh", is_flag=True, help="Delete the state of earlier runs and start over.")
@click.option("--data-dir", type=FILE, help="Where state and results are kept.  [default: SCRIPT.zspider]")
@click.option("--database", metavar="URL", help="mysql+pymysql://...  [default: SQLite in the data directory]")
@click.option(
    "--wait",
    default=60.0,
    show_default=True,
    type=click.FloatRange(0),
    help="Wait for tasks that are due within so many seconds.",
)
@click.option("--strict", is_flag=True, help="Exit with 1 if any task failed.")
@click.option("--processors", type=click.IntRange(1), help="Processes that run the script.  [default: one per core]")
@click.option("--fetch-concurrency", type=click.IntRange(1), help="Most requests in flight.  [default: 100]")
@click.option("--demo-site", is_flag=True, help="Serve the demo site during this run, unless it is served already.")
@click.option(
    "--demo-port", default=8000, show_default=True, type=click.IntRange(1, 65535), help="Port of the demo site."
)
@click.option("--task", metavar="URL|on_start", help="Run only this task, show what it leads to, and store nothing.")
@click.option("--callback", metavar="NAME", help="With --task: method that gets the page.")
@click.option("--save", metavar="JSON", help="With --task: value of `response.save`.")
@click.option("--options", metavar="JSON", help="With --task: more options of crawl(), as an object.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def run(
    script: Path,
    rate: float | None,
    burst: float | None,
    fresh: bool,
    data_dir: Path | None,
    database: str | None,
    wait: float,
    strict: bool,
    processors: int | None,
    fetch_concurrency: int | None,
    demo_site: bool,
    demo_port: int,
    task: str | None,
    callback: str | None,
    save: str | None,
    options: str | None,
    as_json: bool,
) -> int:
    """Crawl with one SCRIPT on this machine: start a master and a slave, and exit when the crawl is done.

    Runs on_start, shows the progress, and ends when nothing is left but tasks due in more than --wait seconds.
    The next run continues from there. @every and auto_recrawl are for daemons and are skipped here.

    \b
    With --task, one step for debugging:
    zspiderd run script.py --task on_start
    zspiderd run script.py --task http://site/page --callback detail_page
    """
    if task is not None:
        from zspider.cli.step import show_step

        show_step(script, task, callback, save, options, as_json=as_json)
        return int(ExitCode.OK)
    if callback or save or options:
        raise ConfigError("--callback, --save and --options are for one step: give --task URL")
    from zspider.roles.run.crawl import Plan
    from zspider.roles.run.crawl import run as crawl

    plan = Plan(
        script=read_script(script),
        data_dir=data_dir or script.with_name(f"{script.name}.zspider"),
        database=database,
        rate=rate,
        burst=burst,
        fresh=fresh,
        wait_s=wait,
        processors=processors,
        fetch_concurrency=fetch_concurrency,
        demo_port=demo_port if demo_site else None,
    )
    with shown(sys.stderr) as view:
        summary = crawl(plan, view)
    code = _exit_code(summary, strict)
    if as_json:
        print_json({**dataclasses.asdict(summary), "first": _parsed(summary), "exit_code": code})
    else:
        again = f"{script} --data-dir {data_dir}" if data_dir else str(script)
        for line in report(summary, f"--demo-site {again}" if demo_site else again):
            click.echo(line)
    return code


def _exit_code(summary: Summary, strict: bool) -> int:
    if summary.signal:
        return 128 + summary.signal  # as shells count; not 0, for the crawl is not done
    return int(ExitCode.FAILED if strict and summary.failed else ExitCode.OK)


def _parsed(summary: Summary) -> list[dict[str, Any]]:
    return [{**row, "result": json.loads(row["result"])} for row in Checked(summary.first)]


def report(summary: Summary, again: str) -> list[str]:
    """Return how a run ended, as lines for people. again: what stands behind `zspiderd run` to go on with it."""
    counts = f"{summary.done:,} done, {summary.failed:,} failed, {summary.results:,} results"
    match summary.ended:
        case "stopped":
            lines = [f"stopped: {counts}, {summary.waiting:,} waiting; go on with: zspiderd run {again}"]
        case "nothing_left":
            lines = [f"all is done already: {counts}; start anew with: zspiderd run --fresh {again}"]
        case _:
            lines = [f"done in {summary.seconds:.1f} s: {counts} ({speed(summary.pages_per_s)} pages/s)"]
    if summary.ended != "stopped" and summary.waiting:
        due = f", the next at {moment(summary.next_due_ms)}" if summary.next_due_ms else ""
        lines.append(f"{summary.waiting:,} tasks are due later{due}; the same command goes on with them")
    if summary.failed:
        lines.append(f"see why tasks failed: zspiderd tasks {summary.project} --status failed{_where(summary)}")
    lines.append(f"results: {summary.database}")
    lines.append(f"export them: zspiderd results {summary.project}{_where(summary)} -o {summary.project}.csv")
    for row in summary.first:
        lines.append(f"  {visible(row['url'], RESULT_CHARS_MAX)}  {visible(row['result'], RESULT_CHARS_MAX)}")
    return lines


def _where(summary: Summary) -> str:
    return " --database URL" if "://" in summary.database else f" --data-dir {summary.data_dir}"
