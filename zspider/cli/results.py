"""`zspiderd results`: write a project's results to a file or standard output, or delete them."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TextIO

import click

from zspider.cli import exports
from zspider.cli.bulk import Verb, dry_run_option, run_bulk, yes_option
from zspider.cli.client import Target, source_options, target_options
from zspider.cli.group import DefaultGroup
from zspider.cli.output import json_option
from zspider.cli.text import visible
from zspider.errors import ConfigError

HOW_DAMAGED = "NaN and Infinity became null, what cannot be read became a string"
CLEAR = Verb("results.clear", "result", "deleted")


@click.group(cls=DefaultGroup, default="export")
def results() -> None:
    """Export a project's results, or delete them; `zspiderd results PROJECT` exports."""


@results.command()
@click.argument("project")
@dry_run_option
@yes_option
@target_options
@json_option
def clear(project: str, dry_run: bool, yes: bool, target: Target, as_json: bool) -> None:
    """Delete a project's results, and keep its tasks.

    This is done in small batches while the crawl goes on; results that are stored meanwhile may be deleted, too.
    Ctrl-C stops it.
    """
    ask = f"Delete {{}} of {project}?"
    run_bulk(target, CLEAR, project, dry_run=dry_run, as_json=as_json, ask=ask, yes=yes)


@results.command()
@click.argument("project")
@click.option("--format", "form", type=click.Choice(exports.FORMATS), help="[default: by -o's ending, else jsonl]")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="File to write to.")
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@source_options
def export(project: str, form: str | None, output: Path | None, as_json: bool, target: Target) -> None:
    """Export a project's results.

    jsonl and json hold {taskid, url, result, updatetime} for each result; csv has a column for each key of the
    results, and puts a ' before texts that a spreadsheet would run as formulas. Works without a master if the
    SQLite database is on this machine (--data-dir).

    A stored result that is no JSON (an older version, a damaged database) is exported all the same: NaN and Infinity
    as null, what cannot be read as a string. The number of such results is told on standard error; the exit code is 0.
    """
    form = "json" if as_json else form or _form_of(output)
    with target.source() as source, _opened(output) as out:
        rows = exports.Checked(chain.from_iterable(source.pages("results", project=project)))
        count = exports.write(rows, form, out)
    if output:
        click.echo(f"{count} results in {output}", err=True)
    if rows.damaged:
        click.echo(f"{rows.damaged} of {count} results are stored as no JSON: {HOW_DAMAGED}", err=True)


def _form_of(output: Path | None) -> str:
    ending = output.suffix[1:].lower() if output else ""
    return ending if ending in exports.FORMATS else exports.FORMATS[0]


@contextmanager
def _opened(output: Path | None) -> Iterator[exports.Out]:
    if output is None:
        sys.stdout.reconfigure(encoding="utf-8", errors="replace", newline="")  # type: ignore[union-attr]
        yield _Terminal(sys.stdout) if sys.stdout.isatty() else sys.stdout
        return
    try:
        with output.open("w", encoding="utf-8", errors="replace", newline="") as out:
            yield out
    except OSError as exc:
        raise ConfigError(f"{output}: cannot be written: {exc.strerror}") from exc


class _Terminal:
    """Standard output on a terminal; text of pages is made harmless."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def write(self, text: str) -> int:
        return self._out.write(visible(text, len(text), keep="\n\t\r"))
