"""`zspiderd token`: the tokens in a master's data directory; the master need not run."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from zspider.cli.client import running_master
from zspider.cli.options import data_dir_option
from zspider.cli.output import json_option, moment, print_json, print_table
from zspider.data_dir import TOKENS, token_file_name
from zspider.errors import ConfigError
from zspider.settings import default_data_dir

if TYPE_CHECKING:
    from zspider.broker.keys import MasterKeys


@click.group()
def token() -> None:
    """Show, add, list and revoke tokens, which let a machine join as a slave or a person administer.

    They are kept in the master's data directory: run these commands on the master's machine, as root or its user.
    """


@token.command()
@data_dir_option
@click.option("--admin", is_flag=True, help="Print the admin token instead of the join token.")
def show(data_dir: Path | None, admin: bool) -> None:
    """Print the join token that was made at the master's first start."""
    from zspider.broker.keys import find_token

    directory = data_dir or default_data_dir()
    kind: Literal["join", "admin"] = "admin" if admin else "join"
    with _keys(directory):  # says what is wrong with the directory
        found = find_token(kind, directory / token_file_name(kind), directory, {})
    assert found is not None  # a named file is found or an error
    click.echo(found.token.text)


@token.command()
@data_dir_option
@click.option("--admin", is_flag=True, help="Make an admin token; without it, a join token for slaves.")
def add(data_dir: Path | None, admin: bool) -> None:
    """Make a token and print it. It is shown only once: the master keeps its public half only."""
    directory = data_dir or default_data_dir()
    with _keys(directory) as keys:
        made = keys.add_token("admin" if admin else "join")
    _tell_master(directory)
    click.echo(made.text)


@token.command("list")
@data_dir_option
@json_option
def list_tokens(data_dir: Path | None, as_json: bool) -> None:
    """List all tokens, also revoked ones."""
    with _keys(data_dir or default_data_dir()) as keys:
        entries = keys.list_tokens()
    rows = [
        {
            "id": entry.id,
            "kind": entry.kind,
            "name": entry.name,
            "created_ms": entry.created_ms,
            "revoked_ms": entry.revoked_ms,
            "created": moment(entry.created_ms),
            "revoked": moment(entry.revoked_ms),
        }
        for entry in entries
    ]
    if as_json:
        print_json([{key: row[key] for key in ("id", "kind", "name", "created_ms", "revoked_ms")} for row in rows])
    else:
        print_table(rows, {"id": "ID", "kind": "KIND", "name": "NAME", "created": "CREATED", "revoked": "REVOKED"})


@token.command()
@click.argument("token_id")
@data_dir_option
def revoke(token_id: str, data_dir: Path | None) -> None:
    """Revoke a token for good. Slaves and people that use it lose access at once."""
    directory = data_dir or default_data_dir()
    with _keys(directory) as keys:
        entry = keys.revoke(token_id)
    told = _tell_master(directory)
    click.echo(f"{entry.kind} token {entry.id} is revoked" + ("" if told else "; no master runs here now"))


@contextmanager
def _keys(directory: Path) -> Iterator["MasterKeys"]:
    """Open the keys as their owner, so that the master can read what root writes."""
    from zspider.broker.keys import MasterKeys
    from zspider.broker.private_files import as_owner
    from zspider.broker.token import is_missing

    with as_owner(directory):
        if os.access(directory, os.X_OK, effective_ids=True) and not (directory / TOKENS).exists():
            raise ConfigError(f"{directory}: holds no tokens; start the master once, or name its --data-dir")
        if is_missing(directory):
            raise ConfigError(f"{directory}: no such directory; start the master once, or name its --data-dir")
        yield MasterKeys(directory)


def _tell_master(directory: Path) -> bool:
    """Make a running master read its tokens again. Returns whether there is one."""
    ports = running_master(directory)
    if ports is None:
        return False
    try:
        os.kill(ports["pid"], signal.SIGHUP)
    except ProcessLookupError:
        return False
    return True
