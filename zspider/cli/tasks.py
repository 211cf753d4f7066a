"""`zspiderd tasks` and `zspiderd task`."""

from itertools import chain, islice
from typing import Any

import click

from zspider.cli.add_tasks import add
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


class Tasks(click.Group):
    """`tasks PROJECT` is short for `tasks list PROJECT`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, *self.get_help_option_names(ctx)):
            args = ["list", *args]
        return super().parse_args(ctx, args)


@click.group(cls=Tasks)
def tasks() -> None:
    """List a project's tasks, or add some.

    `zspiderd tasks PROJECT` is short for `zspiderd tasks list PROJECT`.
    """


@tasks.command("list")
@click.argument("project")
@click.option("--status", type=click.Choice([status.word for status in Status]), help="Only these.")
@click.option("--limit", default=LIMIT, show_default=True, type=click.IntRange(1), help="How many at most.")
@source_options
@json_option
def list_tasks(project: str, status: str | None, limit: int, target: Target, as_json: bool) -> None:
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


tasks.add_command(add)


def _readable(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "due": moment(row["due_ms"]), "lastcrawl": moment(row["lastcrawl_ms"])}
