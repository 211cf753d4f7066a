"""Verbs that change many tasks or results: run batch by batch, with a progress bar on a terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import click

from zspider.cli.client import Target
from zspider.cli.output import print_json
from zspider.task import ProjectStatus

dry_run_option = click.option("--dry-run", is_flag=True, help="Only show how many would be affected.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
url_option = click.option(
    "--url", metavar="PATTERN", help="Only URLs that match: * is any text, ? any character, [ab] one of these."
)
limit_option = click.option("--limit", type=click.IntRange(1), help="At most so many.  [default: all]")


class Verb(NamedTuple):
    """An admin verb, and the words for its result."""

    name: str
    thing: str  # one of them
    done: str  # what became of them
    waits: bool = False  # they wait now for their project


class _Admin(Protocol):
    def call(self, verb: str, **args: Any) -> Any: ...


class _Bar(Protocol):
    def step(self, answer: dict[str, Any]) -> None: ...


def confirm(text: str, *, yes: bool) -> None:
    """Ask on a terminal before something is deleted; ends the command if the answer is no."""
    if not yes and sys.stdin.isatty():
        click.confirm(text, abort=True)


def counted(number: int, thing: str) -> str:
    """Return a number with its noun: 1 task, 2,000 tasks."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def run_bulk(
    target: Target,
    verb: Verb,
    project: str,
    *,
    dry_run: bool,
    as_json: bool,
    limit: int | None = None,
    ask: str = "",
    yes: bool = True,
    **args: Any,
) -> None:
    """Run a verb to its end, or only count. ask: what to confirm, where {} stands for how many.

    Interrupted, it stops after the batch at work; what is done stays done.
    """
    with target.connect() as admin:
        if dry_run or (ask and not yes and sys.stdin.isatty()):
            number = _count(admin, verb, {"project": project, **args}, limit)
            if dry_run:
                _tell(verb, project, number, as_json=as_json, is_dry=True)
                return
            confirm(ask.format(counted(number, verb.thing)), yes=yes)
        number, status = _change(admin, verb, {"project": project, **args}, limit)
    _tell(verb, project, number, as_json=as_json, status=status)


def _count(admin: _Admin, verb: Verb, args: dict[str, Any], limit: int | None) -> int:
    number, after = 0, None
    while limit is None or number < limit:
        answer = admin.call(verb.name, dry_run=True, after=after, **args)
        number, after = number + answer["count"], answer["next"]
        if after is None:
            break
    return number if limit is None else min(limit, number)


def _change(admin: _Admin, verb: Verb, args: dict[str, Any], limit: int | None) -> tuple[int, str]:
    """Run the verb to its end; returns how many were changed, and the status of their project."""
    number, job, after = 0, None, None
    with _bar(verb) as bar:
        try:
            while True:
                left = None if limit is None else limit - number
                answer = admin.call(verb.name, job=job, after=after, limit=left, **args)
                number, job, after = number + answer["changed"], answer["job"], answer["next"]
                bar.step(answer)
                if after is None:
                    return number, answer["status"]
        except KeyboardInterrupt:
            click.echo(f"interrupted: {counted(number, verb.thing)} {verb.done}; the rest is as it was", err=True)
            raise


def _tell(
    verb: Verb, project: str, number: int, *, as_json: bool, is_dry: bool = False, status: str = "RUNNING"
) -> None:
    if as_json:
        print_json({"project": project, "verb": verb.name, "count": number, "dry_run": is_dry})
        return
    is_held = verb.waits and not ProjectStatus(status).is_active
    waits = f", waiting while the project is {status}" if is_held else ""
    click.echo(f"{project}: {counted(number, verb.thing)} {'would be ' * is_dry}{verb.done}{waits}")


class _NoBar:
    def step(self, answer: dict[str, Any]) -> None:
        """Show nothing: in a pipe only the result is printed."""


class _Live:
    def __init__(self, bar: Any, task: Any) -> None:
        self._bar = bar
        self._task = task
        self._total = 0

    def step(self, answer: dict[str, Any]) -> None:
        self._total = self._total or answer["total"]  # at the beginning
        self._bar.update(self._task, total=self._total, advance=answer["looked"])


@contextmanager
def _bar(verb: Verb) -> Iterator[_Bar]:
    """Show a progress bar on standard error, if that is a terminal."""
    if not sys.stderr.isatty():
        yield _NoBar()
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        yield _Live(bar, bar.add_task(verb.name, total=None))
