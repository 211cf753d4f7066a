"""`zspiderd status`: the master, its slaves and its projects at a glance."""

import sys
import time
from typing import Any

import click

from zspider.cli.client import Target, target_options
from zspider.cli.display import speed
from zspider.cli.output import json_option, print_json, print_table, span
from zspider.cli.project import COLUMNS, flat
from zspider.cli.windows import print_windows

WATCH_S = 2.0
SLAVE_COLUMNS = {
    "session": "SLAVE",
    "host": "HOST",
    "roles": "ROLES",
    "window": "WINDOW",
    "leased": "LEASED",
    "outbox": "OUTBOX",
    "fetched": "FETCHED",
    "processed": "PROCESSED",
    "rate": "PAGES/S",
    "silent_s": "SILENT S",
    "note": "NOTE",
}
HOSTS = 20
HOST_COLUMNS = {
    "host": "HOST, LAST 5 MINUTES",
    "pages": "PAGES",
    "rate": "PAGES/S",
    "failed": "FAILED",
    "fetch_ms": "FETCH MS",
}


@click.command()
@click.option("--watch", is_flag=True, help=f"Refresh every {WATCH_S:g} s, until Ctrl-C.")
@click.option(
    "--hosts", is_flag=True, help=f"Also show the {HOSTS} hosts with the most pages in the last five minutes."
)
@target_options
@json_option
def status(watch: bool, hosts: bool, target: Target, as_json: bool) -> None:
    """Show slaves, rates and projects, with their activity in the last five minutes, hour and day, and in total."""
    with target.connect() as admin:
        while True:
            answer = admin.call("status", hosts=HOSTS if hosts else 0)
            if watch and sys.stdout.isatty():
                click.clear()
            print_json(answer) if as_json else _show(answer)
            if not watch:
                return
            sys.stdout.flush()
            time.sleep(WATCH_S)


def _show(answer: dict[str, Any]) -> None:
    click.echo(headline(answer))
    if answer["slaves"]:
        click.echo()
        print_table(answer["slaves"], _columns(answer["slaves"]))
    if answer["projects"]:
        click.echo()
        print_table([flat(row) for row in answer["projects"]], COLUMNS)
        print_windows(answer["projects"])
    if answer["hosts"]:
        click.echo()
        print_table([{**row, "host": row["host"] or "(other hosts)"} for row in answer["hosts"]], HOST_COLUMNS)


def _columns(slaves: list[dict[str, Any]]) -> dict[str, str]:
    """Return the columns to show: NOTE only if there are notes."""
    has_notes = any(slave.get("note") for slave in slaves)
    return {key: title for key, title in SLAVE_COLUMNS.items() if key != "note" or has_notes}


def headline(answer: dict[str, Any]) -> str:
    """Return the master in one line."""
    slaves = len(answer["slaves"])
    parts = [
        f"master up {span(answer['uptime_s'])}",
        f"{slaves} slave{'' if slaves == 1 else 's'}",
        f"{speed(answer['rate'])} pages/s",
        f"database {answer['database']}" + (" (away: trying again)" if answer.get("database_away") else ""),
    ]
    if answer["adopting"]:
        parts.append("waiting for slaves that were connected before the restart")
    return ", ".join(parts)
