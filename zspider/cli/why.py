"""`zspiderd why`: what a project, or one task, is waiting for."""

import click

from zspider.cli.client import Target, target_options
from zspider.cli.output import json_option, moment, print_json, print_table

COLUMNS = {"what": "WAITS FOR", "until": "UNTIL", "text": "WHY"}
DROP_COLUMNS = {"number": "DROPPED", "why": "WHY"}


@click.command()
@click.argument("what", metavar="PROJECT[:TASKID]")
@target_options
@json_option
def why(what: str, target: Target, as_json: bool) -> None:
    """Show what a project, or one of its tasks, is waiting for; the first line is the first obstacle.

    For a project, also show how many submitted URLs were rejected, and why.
    """
    project, _, taskid = what.partition(":")
    with target.connect() as admin:
        answer = admin.call("why", project=project, taskid=taskid or None)
    if as_json:
        print_json(answer)
        return
    print_table([{**wait, "until": moment(wait["until_ms"])} for wait in answer["waits"]], COLUMNS)
    if answer["dropped"]:
        click.echo()
        print_table([{"why": reason, "number": number} for reason, number in answer["dropped"].items()], DROP_COLUMNS)
