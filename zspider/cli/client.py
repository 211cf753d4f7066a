"""The master that an admin verb connects to; for reads also the database, when no master runs."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import click

from zspider.cli.options import FILE, data_dir_option
from zspider.data_dir import DATABASE, PORTS
from zspider.errors import DeniedError
from zspider.settings import CONTROL_PORT, default_data_dir

if TYPE_CHECKING:
    from zspider.broker.admin import AdminClient

Function = TypeVar("Function", bound=Callable[..., Any])


class Source(Protocol):
    """Anything that tasks and results can be read from."""

    def call(self, verb: str, **args: Any) -> Any:
        """Read one answer, by the admin verb for it."""
        ...

    def pages(self, verb: str, **args: Any) -> Iterator[list[Any]]:
        """Read the answer of a listing verb, page by page."""
        ...


@dataclass(frozen=True, slots=True)
class Target:
    """The master that a verb connects to. None: the one on this machine."""

    master: str | None
    token_file: Path | None
    data_dir: Path
    database: str | None = None  # read this one and ask no master

    def connect(self) -> "AdminClient":
        """Return a client with the admin token. Raises DeniedError without one."""
        from zspider.broker.address import Address
        from zspider.broker.admin import AdminClient
        from zspider.broker.keys import find_token

        local = running_master(self.data_dir) or {} if self.master is None else {}
        address = (
            Address.parse(self.master) if self.master else Address("127.0.0.1", local.get("control", CONTROL_PORT))
        )
        if local.get("security") == "none":
            return AdminClient(address, None)
        found = find_token("admin", self.token_file, self.data_dir, os.environ)
        if found is None:
            raise DeniedError(
                f"no admin token in {self.data_dir}: run this on the master's machine as root or its user, "
                "name its --data-dir, or bring the token: --token-file FILE"
            )
        return AdminClient(address, found.token)

    def source(self) -> AbstractContextManager[Source]:
        """Return where to read: the master, or the SQLite database in the data directory while no master runs."""
        from zspider.cli.offline import Offline

        if self.database:
            return Offline(self.database)
        file = self.data_dir / DATABASE
        if self.master is None and running_master(self.data_dir) is None and os.access(file, os.R_OK):
            return Offline(f"sqlite:///{file.absolute()}")
        return self.connect()


def running_master(data_dir: Path) -> dict[str, Any] | None:
    """Return what the running master of this data directory noted: pid and ports; None if none runs."""
    try:
        ports: dict[str, Any] = json.loads((data_dir / PORTS).read_text())
        # a killed master leaves its file behind, and its number may be another's now
        return ports if b"zspider" in Path(f"/proc/{ports['pid']}/cmdline").read_bytes() else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def target_options(function: Function) -> Function:
    """Add --master, --token-file and --data-dir, given to the verb as `target`."""
    return _with_target(function, has_database=False)


def source_options(function: Function) -> Function:
    """Add the options of `target_options` and --database, for verbs that only read."""
    return _with_target(function, has_database=True)


def _with_target(function: Function, *, has_database: bool) -> Function:
    @wraps(function)
    def verb(
        *args: Any,
        master: str | None,
        token_file: Path | None,
        data_dir: Path | None,
        database: str | None = None,
        **more: Any,
    ) -> Any:
        return function(*args, target=Target(master, token_file, data_dir or default_data_dir(), database), **more)

    decorated: Any = data_dir_option(verb)
    decorated = click.option("--token-file", type=FILE, help="File with the admin token.")(decorated)
    decorated = click.option("--master", metavar="HOST[:PORT]", help="Master to connect to.  [default: 127.0.0.1]")(
        decorated
    )
    if has_database:
        option = click.option("--database", metavar="URL", help="Read this database instead of asking a master.")
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]
