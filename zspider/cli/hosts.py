"""`zspiderd hosts`: what is remembered of hosts."""

import click

from zspider.cli.client import Target, target_options
from zspider.cli.output import json_option, print_json


@click.group()
def hosts() -> None:
    """Ask hosts again that are left alone."""


@hosts.command()
@click.argument("host")
@target_options
@json_option
def resume(host: str, target: Target, as_json: bool) -> None:
    """Forget the pauses and delays that HOST has asked for, or that a slave has reported.

    HOST is named as in `why`: with its port, unless that is the scheme's.
    """
    with target.connect() as admin:
        answer = admin.call("host.resume", host=host)
    if as_json:
        print_json(answer)
    else:
        click.echo(f"{answer['host']}: " + ("may be asked" if answer["was_known"] else "nothing held it back"))
