"""Answers of verbs: a table for people, aligned plain lines in a pipe, or JSON. Text from the web is made harmless."""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import click

from zspider.cli.text import visible
from zspider.json_text import finite

Row = Mapping[str, Any]
CELL_CHARS_MAX = 200

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def print_json(value: object) -> None:
    """Print a value as it came; bytes as hex, NaN and Infinity as null."""
    try:
        text = json.dumps(value, ensure_ascii=False, indent=2, default=_bare, allow_nan=False)
    except ValueError:
        text = json.dumps(finite(value), ensure_ascii=False, indent=2, default=_bare)
    # JSON may hold C1 controls and lone surrogates as they are; escaped they mean the same.
    click.echo("".join(c if c == "\n" or visible(c) == c else json.dumps(c)[1:-1] for c in text))


def print_table(rows: Sequence[Row], columns: Mapping[str, str], *, title: str = "") -> None:
    """Print rows. columns: key -> heading; a key that a row lacks is an empty cell."""
    cells = [[cell(row.get(key)) for key in columns] for row in rows]
    if sys.stdout.isatty():
        _print_rich(cells, rows, columns, title)
        return
    lines = [list(columns.values()), *cells]
    widths = [max(len(line[at]) for line in lines) for at in range(len(columns))]
    for line in lines:
        click.echo("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def _print_rich(cells: list[list[str]], rows: Sequence[Row], columns: Mapping[str, str], title: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, title_justify="left", box=None, header_style="bold", pad_edge=False)
    for key, heading in columns.items():
        numeric = any(isinstance(row.get(key), int | float) for row in rows)
        table.add_column(heading, justify="right" if numeric else "left", overflow="fold")
    for line in cells:
        table.add_row(*(Text(text) for text in line))  # Text: what looks like markup in a URL is none
    Console().print(table)


def print_fields(row: Row) -> None:
    """Print one thing, a field a line; long text below its name."""
    width = max((len(key) for key in row), default=0)
    for key, value in row.items():
        text = value if isinstance(value, str) else cell(value)
        if "\n" in text:
            click.echo(f"{key}:")
            click.echo(visible(text, len(text), keep="\n\t"))
        else:
            click.echo(f"{key.ljust(width)}  {visible(text, len(text))}".rstrip())


def cell(value: object) -> str:
    """Return one value as a table shows it."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.1f}".removesuffix(".0")
        case list() | tuple():
            return visible(",".join(str(part) for part in value), CELL_CHARS_MAX)
        case dict():
            return visible(json.dumps(value, ensure_ascii=False, default=_bare), CELL_CHARS_MAX)
        case bytes():
            return value.hex()
    return visible(str(value), CELL_CHARS_MAX)


def moment(ms: int | None) -> str:
    """Wall-clock milliseconds as local time; empty for none."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(ms / 1000)) if ms else ""


def span(seconds: float) -> str:
    """Return a length of time as people read it: 42 s, 3 min 5 s, 2 h 10 min, 3 d 4 h."""
    minutes, second = divmod(max(0, round(seconds)), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days} d {hour} h"
    if hours:
        return f"{hours} h {minute} min"
    return f"{minutes} min {second} s" if minutes else f"{second} s"


def _bare(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
