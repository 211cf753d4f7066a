"""The schema's versions: which one a database has (a cheap look), and how it comes to ours (Alembic)."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import sqlalchemy as sa

SchemaState = Literal["empty", "current", "older", "newer"]
# All versions, oldest first, as in versions/. Known here so that a start need not import Alembic (a third of a second).
REVISIONS = ("0001", "0002", "0003", "0004")
FOLDERS = [Path(__file__).parent / "versions"]
_VERSION = sa.text("SELECT version_num FROM alembic_version")


def state_of(conn: sa.Connection) -> SchemaState:
    """Compare the tables with ours."""
    with conn.begin():
        if not sa.inspect(conn).has_table("alembic_version"):
            return "empty"
        found = conn.execute(_VERSION).scalar()
    if found is None:
        return "empty"
    if found == REVISIONS[-1]:
        return "current"
    return "older" if found in REVISIONS else "newer"


def migrate(conn: sa.Connection, progress: Callable[[str], None] = lambda _: None) -> None:
    """Bring the tables to our version; what an interrupted run did is kept and completed.

    progress: told in a few words what is being done; what it raises ends the run, as a kill would.
    """
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", _escaped(Path(__file__).parent))
    config.set_main_option("version_locations", os.pathsep.join(map(_escaped, FOLDERS)))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = conn
    config.attributes["progress"] = progress
    command.upgrade(config, "head")


def _escaped(path: Path) -> str:
    return str(path).replace("%", "%%")
