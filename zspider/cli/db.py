"""`zspiderd db`: the schema of the master's database."""

import re
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import click

from zspider.cli.config import load
from zspider.cli.options import config_option, data_dir_option
from zspider.errors import ExitCode
from zspider.settings import MasterFile

TERMINAL_S, PIPE_S = 0.2, 10.0  # how often the progress of one step is shown

database_option = click.option(
    "--database", metavar="URL", help="sqlite:///PATH or mysql+pymysql://USER:PASSWORD@HOST/NAME."
)


@click.group()
def db() -> None:
    """Upgrade or check the database's schema. No master may be running on the database."""


@db.command()
@config_option
@data_dir_option
@database_option
def upgrade(file: Path | None, data_dir: Path | None, database: str | None) -> None:
    """Create the tables, or upgrade them to this version.

    The database can be read meanwhile, but no master may run on it. If it is interrupted, run it again: it continues.
    """
    from zspider import storage

    settings = _settings(file, data_dir, database)
    with _Progress() as progress, _as_owner(settings):
        storage.upgrade(settings.database_url, progress.say)
    click.echo(f"{settings.database_shown}: up to date")


@db.command()
@config_option
@data_dir_option
@database_option
def check(file: Path | None, data_dir: Path | None, database: str | None) -> int:
    """Check whether the tables are of this version; exit code 1 if they are not."""
    from zspider import storage

    settings = _settings(file, data_dir, database)
    with _as_owner(settings):
        state = storage.schema_state(settings.database_url)
    advice = {
        "empty": "no tables yet: run `zspiderd db upgrade`, or start a master",
        "older": "of an older zspider: run `zspiderd db upgrade`",
        "newer": "of a newer zspider: upgrade zspider on this machine",
    }
    click.echo(f"{settings.database_shown}: {advice.get(state, 'up to date')}")
    return int(ExitCode.FAILED if state in advice else ExitCode.OK)


class _Progress:
    """Progress on standard error: one line that changes on a terminal, else a line now and then."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._step = ""
        self._next_s = 0.0

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *exc: object) -> None:
        if self._is_terminal and self._step:
            click.echo(err=True)

    def say(self, text: str) -> None:
        """Show the step, unless it was shown a moment ago."""
        step, now = re.sub(r"[0-9,]+", "", text), time.monotonic()
        if step == self._step and now < self._next_s:
            return
        self._step, self._next_s = step, now + (TERMINAL_S if self._is_terminal else PIPE_S)
        click.echo(f"\r\x1b[K{text}" if self._is_terminal else text, nl=not self._is_terminal, err=True)


def _as_owner(settings: MasterFile) -> AbstractContextManager[None]:
    """Work on a SQLite file as its owner if we are root, so that files beside it do not become root's."""
    from zspider.broker.private_files import as_owner

    kind, _, path = settings.database_url.partition(":///")
    return as_owner(Path(path.partition("?")[0])) if kind == "sqlite" else nullcontext()


def _settings(file: Path | None, data_dir: Path | None, database: str | None) -> MasterFile:
    return load(MasterFile, file, {"data_dir": data_dir, "database": database})
