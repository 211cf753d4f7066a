"""`zspiderd shell`: a Python prompt, or code from a pipe, with a fetched page."""

import logging
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import click
import msgspec

from zspider.cli.config import trial_settings
from zspider.cli.page import failure_of, head_lines, response_of
from zspider.cli.text import visible
from zspider.errors import ExitCode, FetchError, ScriptError
from zspider.roles.trial.fetching import try_url
from zspider.script.check.source import read_script
from zspider.script.collector import Collector
from zspider.script.errors import LoadError, user_traceback
from zspider.script.loader import LoadedScript
from zspider.script.page.response import Response
from zspider.script.pyspider import shim
from zspider.script.trial import NO_SCRIPT, load_trial
from zspider.settings import FetchSettings

HELP = """\
response        the page: .text .json .doc .etree .headers .url .status_code
doc             response.doc, a PyQuery: doc("title").text()
crawl(url, ...) fetch another page, with crawl()'s options; gives its Response
fetch(url, ...) the same, and makes it the response at hand"""
HELP_SCRIPT = """
handler         the script's Handler: handler.detail_page(response)
follows()       what its callbacks have submitted since the last call, as (callback, url)"""


@click.command()
@click.argument("url")
@click.option("--script", type=click.Path(path_type=Path), help="Load this script and provide its handler.")
def shell(url: str, script: Path | None) -> int:
    """Fetch URL and open a Python prompt with the page as `response` and `doc`.

    URL may be a whole curl command. Code may come from a pipe; an error in it exits with 1:
    echo 'print(doc("title").text())' | zspiderd shell URL
    """
    settings = trial_settings().fetch
    opened = Shell(_loaded(script) if script else load_trial("shell", NO_SCRIPT), settings)
    opened.fetch(url)
    names = opened.names
    if script:
        names |= {"handler": opened.handler, "follows": opened.follows}
    if not sys.stdin.isatty():
        return _run_piped(names, opened.failure)
    click.echo("\n".join([opened.about, "", HELP + (HELP_SCRIPT if script else "")]))
    _interact(names)
    return ExitCode.OK


def _loaded(script: Path) -> LoadedScript:
    file = read_script(script)
    shim.install()
    try:
        return load_trial(file.name, file.text)
    except LoadError as exc:
        raise ScriptError(f"{script}: {exc}") from exc


class Shell:
    """The names that a user types with, in `names`; `fetch` changes the page among them.

    `failure` says why the last page that was fetched could not be ("" if it could), `about` what it is.
    """

    def __init__(self, loaded: LoadedScript, settings: FetchSettings) -> None:
        self.handler = loaded.handler
        self.handler._run = Collector()  # so that callbacks can be called by hand
        self.handler.save = {}
        self.handler.logger.addHandler(logging.StreamHandler())
        self.names: dict[str, Any] = {"crawl": self.crawl, "fetch": self.fetch}
        self.failure = self.about = ""
        self._loaded = loaded
        self._settings = settings
        self._url = ""

    def crawl(self, url: str, **options: Any) -> Response:
        """Fetch a page as self.crawl(url, ...) would; a relative URL is joined with that of the page at hand."""
        if self._url and not url.startswith("curl "):
            url = urljoin(self._url, url)
        page = try_url(self._loaded, url, options, self._settings)
        failure = failure_of(page)
        self.failure = f"{visible(page.result['url'])}: {failure}" if failure else ""
        self.about = self.failure or "\n".join(head_lines(page))
        return response_of(page)

    def fetch(self, url: str, **options: Any) -> Response:
        """Fetch a page as `crawl` does, and make it `response` and `doc` from now on."""
        response = self.crawl(url, **options)
        self._url = response.url
        self.names |= {"response": response, "doc": response.doc}
        return response

    def follows(self) -> list[tuple[str, str]]:
        """Return what the handler's callbacks have submitted since the last call: (callback, url)."""
        submitted, self.handler._run = self.handler._run.follows, Collector()
        bodies = [msgspec.msgpack.decode(follow.body) for follow in submitted]
        return [
            (body["process"].get("callback", "__call__"), follow.url)
            for body, follow in zip(bodies, submitted, strict=True)
        ]


def _run_piped(names: dict[str, Any], failure: str) -> int:
    """Run what comes from standard input. Raises FetchError when there is no page to run it on."""
    if failure:
        raise FetchError(failure)
    try:
        exec(compile(sys.stdin.read(), "<stdin>", "exec", dont_inherit=True), names)  # noqa: S102 # the user's own
    except Exception as exc:
        told = user_traceback(exc)
        click.echo(visible(told, len(told), keep="\n\t"), err=True)
        return ExitCode.FAILED
    return ExitCode.OK


def _interact(names: dict[str, Any]) -> None:
    """Start IPython if it is installed, else Python's own prompt with history and completion."""
    try:
        from IPython import start_ipython
    except ImportError:
        pass
    else:
        start_ipython(argv=["--no-banner"], user_ns=names)
        return
    import code
    import readline
    import rlcompleter

    readline.set_completer(rlcompleter.Completer(names).complete)
    readline.parse_and_bind("tab: complete")
    code.interact(banner="", local=names, exitmsg="")
