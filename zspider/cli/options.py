"""Options that several verbs have, declared once."""

from pathlib import Path

import click

FILE = click.Path(path_type=Path)

config_option = click.option("-c", "--config", "file", type=FILE, help="YAML file with settings.")
data_dir_option = click.option(
    "--data-dir",
    type=FILE,
    envvar="ZSPIDER_DATA_DIR",
    help="Where a master keeps its keys, tokens and SQLite database.",
)
parent_option = click.option("--parent", type=int, hidden=True, help="End when this process, which started us, ends.")
log_level_option = click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="Lowest level to log."
)
log_format_option = click.option(
    "--log-format",
    type=click.Choice(["auto", "console", "json"]),
    help="auto: console on a terminal, else plain lines.",
)
