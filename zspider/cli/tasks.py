"""`zspiderd tasks` and `zspiderd task`."""

from itertools import chain, islice
from typing import Any

import click

from zspider.cli.add_tasks import add
from zspider.cli.bulk import (
    Verb,
    confirm,
    dry_run_option,
    limit_option,
    run_bulk,
    url_option,
    yes_option,
)
from zspider.cli.client import Target, source_options, target_options
from zspider.cli.group import DefaultGroup
from zspider.cli.output import json_option, moment, print_fields, print_json, print_table
from zspider.task import ProjectStatus, Status

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
STORY_COLUMNS = {"at": "AT", "event": "EVENT", "session": "SLAVE", "attempt": "ATTEMPT", "detail": "DETAIL"}
LIMIT = 50
PAGE = 500
RETRY = Verb("tasks.retry", "failed task", "retried", waits=True)
RECRAWL = Verb("tasks.recrawl", "task", "restarted", waits=True)
DROP = Verb("tasks.drop", "waiting task", "dropped")


@click.group(cls=DefaultGroup, default="list")
def tasks() -> None:
    """List a project's tasks, add some, or change many.

    `zspiderd tasks PROJECT` is short for `zspiderd tasks list PROJECT`. retry, recrawl and drop work in small batches
    while the crawl goes on; Ctrl-C stops them, and what is done stays done. One at a time works on a project.
    """


@tasks.command("list")
@click.argument("project")
@click.option("--status", type=click.Choice([status.word for status in Status]), help="Only tasks with this status.")
@click.option("--limit", default=LIMIT, show_default=True, type=click.IntRange(1), help="At most so many.")
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


@tasks.command()
@click.argument("project")
@url_option
@limit_option
@dry_run_option
@target_options
@json_option
def retry(project: str, url: str | None, limit: int | None, dry_run: bool, target: Target, as_json: bool) -> None:
    """Retry failed tasks, with all their retries."""
    run_bulk(target, RETRY, project, url=url, limit=limit, dry_run=dry_run, as_json=as_json)


@tasks.command()
@click.argument("project")
@click.option(
    "--status",
    type=click.Choice(["done", "failed", "all"]),
    default="all",
    show_default=True,
    help="Only tasks with this status.",
)
@url_option
@limit_option
@dry_run_option
@target_options
@json_option
def recrawl(
    project: str,
    status: str,
    url: str | None,
    limit: int | None,
    dry_run: bool,
    target: Target,
    as_json: bool,
) -> None:
    """Crawl finished tasks again now, whatever their age.

    Their results stay until new ones replace them. Tasks that are due later, as with auto_recrawl, keep their time,
    and cancelled tasks stay cancelled.
    """
    run_bulk(target, RECRAWL, project, status=status, url=url, limit=limit, dry_run=dry_run, as_json=as_json)


@tasks.command()
@click.argument("project")
@url_option
@limit_option
@dry_run_option
@yes_option
@target_options
@json_option
def drop(
    project: str, url: str | None, limit: int | None, dry_run: bool, yes: bool, target: Target, as_json: bool
) -> None:
    """Delete waiting tasks.

    This includes tasks that a slave holds at the moment; results of earlier runs stay. It is as if they had never
    been submitted: a page that links to one of them puts it back in the queue. New tasks that come in meanwhile stay.
    """
    ask = f"Delete {{}} of {project}?"
    run_bulk(target, DROP, project, url=url, limit=limit, dry_run=dry_run, as_json=as_json, ask=ask, yes=yes)


@click.group(cls=DefaultGroup, default="show")
def task() -> None:
    """Show one task, run it again, or delete it; `zspiderd task PROJECT TASKID` shows it."""


@task.command()
@click.argument("project")
@click.argument("taskid")
@source_options
@json_option
def show(project: str, taskid: str, target: Target, as_json: bool) -> None:
    """Show everything about one task."""
    with target.source() as source:
        row = source.call("task", project=project, taskid=taskid)
    if as_json:
        print_json(row)
    else:
        story = row.pop("story", [])
        print_fields({key: moment(value) if key.endswith("_ms") and value else value for key, value in row.items()})
        if story:
            click.echo()
            print_table([{**step, "at": moment(step["at_ms"])} for step in story], STORY_COLUMNS)


tasks.add_command(add)


@task.command("retry")
@click.argument("project")
@click.argument("taskid")
@target_options
@json_option
def retry_one(project: str, taskid: str, target: Target, as_json: bool) -> None:
    """Run a task again now, whatever its status.

    This is refused if it waits to run already.
    """
    with target.connect() as admin:
        answer = admin.call("task.retry", project=project, taskid=taskid)
    _told(answer, taskid, "waits", as_json=as_json)


@task.command()
@click.argument("project")
@click.argument("taskid")
@click.option("--keep-results", is_flag=True, help="Delete the task only.")
@yes_option
@target_options
@json_option
def rm(project: str, taskid: str, keep_results: bool, yes: bool, target: Target, as_json: bool) -> None:
    """Delete a task, and its results unless --keep-results is given.

    Its URL counts as new when it is found again.
    """
    confirm(f"Delete task {taskid} of {project}{'' if keep_results else ' with its results'}?", yes=yes)
    with target.connect() as admin:
        answer = admin.call("task.rm", project=project, taskid=taskid, keep_results=keep_results)
    _told(answer, taskid, "removed", as_json=as_json)


def _told(answer: dict[str, Any], taskid: str, what: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"project": answer["project"], "taskid": taskid, "now": what})
        return
    status = answer["status"]
    held = "" if what == "removed" or ProjectStatus(status).is_active else f" while the project is {status}"
    click.echo(f"{answer['project']}: task {taskid} {what}{held}")


def _readable(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "due": moment(row["due_ms"]), "lastcrawl": moment(row["lastcrawl_ms"])}
