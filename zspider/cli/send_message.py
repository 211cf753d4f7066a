"""`zspiderd send-message`: send a message to a project from outside."""

import json
from typing import Any

import click

from zspider.cli.client import Target, target_options
from zspider.errors import ConfigError
from zspider.script.plain import plain
from zspider.task import ProjectStatus


@click.command()
@click.argument("project")
@click.argument("message")
@click.option("--json", "is_json", is_flag=True, help="MESSAGE is JSON; send the value it stands for.")
@target_options
def send_message(project: str, message: str, is_json: bool, target: Target) -> None:
    """Send MESSAGE to the on_message of PROJECT; the sender it sees is `__command__`."""
    value = _checked(message) if is_json else plain(message)
    with target.connect() as admin:
        row = admin.call("message.send", project=project, message=value)
    is_waiting = not ProjectStatus(row["status"]).is_active
    click.echo(f"{project}: message sent" + (f", waits while the project is {row['status']}" if is_waiting else ""))


def _checked(message: str) -> Any:
    try:
        return plain(json.loads(message))
    except (ValueError, RecursionError) as exc:
        raise ConfigError(f"MESSAGE is no JSON that can be sent: {exc}") from exc
