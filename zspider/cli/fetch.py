"""`zspiderd fetch`: fetch one URL and show what a script would see."""

import sys
from pathlib import Path
from typing import Any

import click

from zspider.cli.config import trial_settings
from zspider.cli.output import json_option, print_json
from zspider.cli.page import as_json as page_as_json
from zspider.cli.page import failure_of, head_lines, header_lines, text_of
from zspider.errors import ConfigError, FetchError
from zspider.roles.trial.fetching import try_url
from zspider.script.trial import NO_SCRIPT, load_trial

TEXT_CHARS = 4000  # of the text that a terminal gets without --all


@click.command()
@click.argument("url")
@click.option("-H", "--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="A header; may be repeated.")
@click.option("--method", help="GET, POST, ...  [default: GET, with --data POST]")
@click.option("--data", help="The request's body.")
@click.option("--user-agent", help="The User-Agent header.")
@click.option("--proxy", metavar="[USER:PASSWORD@]HOST[:PORT]", help="Use this proxy.")
@click.option("--timeout", type=click.FloatRange(0, min_open=True), help="Seconds for the whole fetch.  [default: 120]")
@click.option("--no-redirects", is_flag=True, help="Show a redirect instead of following it.")
@click.option("--insecure", is_flag=True, help="Accept any certificate.")
@click.option(
    "--all", "show_all", is_flag=True, help=f"Show all text; without it a terminal gets {TEXT_CHARS} characters."
)
@click.option("--body", type=click.Path(path_type=Path), metavar="FILE", help="Save the body's bytes in this file.")
@json_option
def fetch(
    url: str,
    headers: tuple[str, ...],
    method: str | None,
    data: str | None,
    user_agent: str | None,
    proxy: str | None,
    timeout: float | None,
    no_redirects: bool,
    insecure: bool,
    show_all: bool,
    body: Path | None,
    as_json: bool,
) -> None:
    """Fetch URL as a crawl would, and show what a script would see.

    URL may be a whole curl command, as browsers copy it, in quotes. Settings come from the environment
    (ZSPIDER_FETCH__...), as for a slave. Exits with 1 if there is no answer; any HTTP status is a success.
    """
    given = {"method": method, "data": data, "user_agent": user_agent, "proxy": proxy, "timeout": timeout}
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if headers:
        options["headers"] = dict(_header(line) for line in headers)
    if no_redirects:
        options["allow_redirects"] = False
    if insecure:
        options["validate_cert"] = False
    page = try_url(load_trial("fetch", NO_SCRIPT), url, options, trial_settings().fetch)
    if body:
        _write(body, page.content)
    failure = failure_of(page)
    if as_json:
        print_json(page_as_json(page))
    elif not failure:
        for line in (*head_lines(page), "", *header_lines(page)):
            click.echo(line)
        if not body:
            click.echo(f"\n{text_of(page, TEXT_CHARS if sys.stdout.isatty() and not show_all else None)}")
    if failure:
        raise FetchError(f"{page.result['url']}: {failure}")


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or not name.strip():
        raise ConfigError(f"-H: 'NAME: VALUE' is wanted, got {line!r}")
    return name.strip(), value.strip()


def _write(file: Path, content: bytes) -> None:
    try:
        file.write_bytes(content)
    except OSError as exc:
        raise ConfigError(f"{file}: cannot be written: {exc.strerror}") from exc
