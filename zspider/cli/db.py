"""`zspiderd db`: the schema of the master's database."""

from pathlib import Path

import click

from zspider.cli.config import load
from zspider.cli.options import config_option, data_dir_option
from zspider.errors import ExitCode
from zspider.settings import MasterFile

database_option = click.option(
    "--database", metavar="URL", help="sqlite:///PATH or mysql+pymysql://USER:PASSWORD@HOST/NAME."
)


@click.group()
def db() -> None:
    """Upgrade or check the database's schema. No master may run on it meanwhile."""


@db.command()
@config_option
@data_dir_option
@database_option
def upgrade(file: Path | None, data_dir: Path | None, database: str | None) -> None:
    """Make the tables, or bring them to this version."""
    from zspider import storage

    settings = _settings(file, data_dir, database)
    storage.upgrade(settings.database_url)
    click.echo(f"{settings.database_shown}: up to date")


@db.command()
@config_option
@data_dir_option
@database_option
def check(file: Path | None, data_dir: Path | None, database: str | None) -> int:
    """Say whether the tables are of this version; exit code 1 if they are not."""
    from zspider import storage

    settings = _settings(file, data_dir, database)
    state = storage.schema_state(settings.database_url)
    advice = {
        "empty": "no tables yet: run `zspiderd db upgrade`, or start a master",
        "older": "of an older zspider: run `zspiderd db upgrade`",
        "newer": "of a newer zspider: upgrade zspider on this machine",
    }
    click.echo(f"{settings.database_shown}: {advice.get(state, 'up to date')}")
    return int(ExitCode.FAILED if state in advice else ExitCode.OK)


def _settings(file: Path | None, data_dir: Path | None, database: str | None) -> MasterFile:
    return load(MasterFile, file, {"data_dir": data_dir, "database": database})
