"""Tables of projects' activity in the last minutes, hour and day."""

from collections.abc import Iterable
from typing import Any

import click

from zspider.cli.output import print_table

COLUMNS = {
    "name": "PROJECT",
    "window": "LAST",
    "new": "NEW",
    "success": "SUCCESS",
    "retry": "RETRY",
    "failed": "FAILED",
    "fetch_ms": "FETCH MS",
    "process_ms": "PROCESS MS",
}


def print_windows(projects: Iterable[dict[str, Any]]) -> None:
    """Print the activity of these projects below an empty line; idle windows are left out."""
    rows = [
        {"name": project["name"], "window": window, **activity}
        for project in projects
        for window, activity in project["windows"].items()
        if any(activity.values())
    ]
    if rows:
        click.echo()
        print_table(rows, COLUMNS)
