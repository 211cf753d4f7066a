"""`zspiderd tasks add`: URLs from a file become waiting tasks, in batches, each committed before the next is sent."""

import sys
from collections.abc import Iterable, Iterator
from typing import Any, TextIO

import click
import msgspec

from zspider.cli.client import Target, target_options
from zspider.cli.output import json_option, print_json
from zspider.cli.text import visible
from zspider.errors import ConfigError, ExitCode
from zspider.script.crawl.follow import make_follow
from zspider.script.crawl.options import checked_url, make_task
from zspider.task import ADD_URLS_MAX

SHOWN = 5  # lines that are no URLs
BATCH_BYTES = 1024 * 1024  # a quarter of what a master takes
SCHEMES = ("http://", "https://", "data:")


@click.command()
@click.argument("project")
@click.option(
    "--file",
    "file",
    type=click.File("r", encoding="utf-8"),
    default="-",
    help="File with one URL per line; - is stdin.",
)
@click.option("--callback", required=True, metavar="NAME", help="Method that gets the pages.")
@click.option("--priority", type=int, default=0, show_default=True, help="Higher comes first.")
@click.option("--age", type=click.FloatRange(0), metavar="SECONDS", help="Fetch known pages again if they are older.")
@click.option("--force", is_flag=True, help="Fetch known pages again, whatever their age.")
@target_options
@json_option
def add(
    project: str,
    file: TextIO,
    callback: str,
    priority: int,
    age: float | None,
    force: bool,
    target: Target,
    as_json: bool,
) -> int:
    """Add URLs to a project; those that it knows already are dropped, as crawl() does.

    Each batch is committed before the next is sent, so after an interruption the same file can be given again.
    The script is not run: scheduling options of @config and crawl_config are not applied, and the task's id is the
    MD5 of its URL whatever get_taskid() does. Lines that are not URLs are skipped and counted; the exit code is 1 then.
    """
    like = _like(callback, {"priority": priority, "age": age, "force_update": force})
    lines = _Lines(file)
    added = dropped = 0
    with target.connect() as admin:
        for batch in _batches(lines.urls()):
            answer = admin.call("tasks.add", project=project, urls=batch, like=like)
            added, dropped = added + answer["added"], dropped + answer["dropped"]
            if sys.stderr.isatty():
                click.echo(f"\r{added + dropped:,} URLs", nl=False, err=True)
    if sys.stderr.isatty():
        click.echo(err=True)
    if as_json:
        print_json({"added": added, "dropped": dropped, "skipped": lines.skipped})
    else:
        click.echo(f"{project}: {added} added, {dropped} dropped, {lines.skipped} skipped")
    return int(ExitCode.FAILED if lines.skipped else ExitCode.OK)


def _like(callback: str, schedule: dict[str, Any]) -> Any:
    """Return what all the tasks have in common, packed as by `crawl()`."""
    options = {"callback": callback, **{name: value for name, value in schedule.items() if value}}
    task = {**make_task("http://example.org/", options), "taskid": "like"}
    return msgspec.to_builtins(make_follow(task), builtin_types=(bytes,))  # they travel as bytes


class _Lines:
    """The URLs of a text. Lines that are not URLs are counted, and the first few shown on standard error."""

    def __init__(self, file: TextIO) -> None:
        self.skipped = 0
        self._file = file

    def urls(self) -> Iterator[str]:
        try:
            for number, line in enumerate(self._file, 1):
                if text := line.strip():
                    yield from self._checked(number, text)
        except UnicodeDecodeError as exc:
            raise ConfigError(f"{self._file.name}: this is no text in UTF-8: {exc.reason}") from exc

    def _checked(self, number: int, text: str) -> Iterator[str]:
        try:
            url = checked_url(text)
            if not url.lower().startswith(SCHEMES):
                raise ValueError("it does not begin with http://, https:// or data:")
        except ValueError as exc:
            self.skipped += 1
            if self.skipped <= SHOWN:
                click.echo(f"line {number}, {visible(text, 100)}: {exc}", err=True)
        else:
            yield url


def _batches(urls: Iterable[str]) -> Iterator[list[str]]:
    """Yield lists of URLs that fit one request."""
    batch: list[str] = []
    size = 0
    for url in urls:
        if len(batch) == ADD_URLS_MAX or (batch and size + len(url) > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(url)
        size += len(url)
    if batch:
        yield batch
