"""`zspiderd tasks` and `zspiderd task`."""

from itertools import chain, islice
from typing import Any

import click

from zspider.cli.client import Target, source_options
from zspider.cli.output import json_option, moment, print_fields, print_json, print_table
from zspider.task import Status

COLUMNS = {
    "taskid": "TASKID",
    "status": "STATUS",
    "priority": "PRIORITY",
    "retried": "RETRIED",
    "due": "DUE",
    "lastcrawl": "LAST CRAWLED",
    "url": "URL",
    "reason": "REASON",
}
LIMIT = 50
PAGE = 500


@click.command()
@click.argument("project")
@click.option("--status", type=click.Choice([status.word for status in Status]), help="Only these.")
@click.option("--limit", default=LIMIT, show_default=True, type=click.IntRange(1), help="How many at most.")
@source_options
@json_option
def tasks(project: str, status: str | None, limit: int, target: Target, as_json: bool) -> None:
    """List a project's tasks."""
    with target.source() as source:
        pages = source.pages("tasks", project=project, status=status, limit=min(limit, PAGE))
        rows = list(islice(chain.from_iterable(pages), limit))
    if as_json:
        print_json(rows)
    else:
        print_table([_readable(row) for row in rows], COLUMNS)


@click.command()
@click.argument("project")
@click.argument("taskid")
@source_options
@json_option
def task(project: str, taskid: str, target: Target, as_json: bool) -> None:
    """Show everything about one task."""
    with target.source() as source:
        row = source.call("task", project=project, taskid=taskid)
    if as_json:
        print_json(row)
    else:
        print_fields({key: moment(value) if key.endswith("_ms") and value else value for key, value in row.items()})


def _readable(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "due": moment(row["due_ms"]), "lastcrawl": moment(row["lastcrawl_ms"])}
