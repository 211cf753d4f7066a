"""`zspiderd master`, `zspiderd slave` and `zspiderd check-config`."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
import structlog

from zspider.cli import logs
from zspider.cli.config import kind_of, load
from zspider.cli.options import FILE, config_option, data_dir_option, log_format_option, log_level_option, parent_option
from zspider.errors import ConfigError, ZspiderError
from zspider.roles.machine.limits import end_with_parent, hide_memory
from zspider.settings import MasterFile, SlaveFile

if TYPE_CHECKING:
    from zspider.broker.token import Found

security_option = click.option(
    "--security",
    type=click.Choice(["curve", "none"]),
    default="curve",
    help="none: the master on this machine runs with security: none.",
)


@click.command()
@config_option
@data_dir_option
@click.option("--bind", help="Address to listen on; 0.0.0.0 or :: for slaves on other machines.")
@click.option("--port", help="Control port; the next three are used too. 0 picks free ones.")
@click.option("--database", metavar="URL", help="sqlite:///PATH or mysql+pymysql://USER:PASSWORD@HOST/NAME.")
@click.option("--local-slave/--no-local-slave", default=None, help="Whether to start a slave on this machine as well.")
@log_level_option
@log_format_option
@click.option("--oneshot", is_flag=True, hidden=True, help="Leave out @every and auto_recrawl.")
@parent_option
def master(
    file: Path | None,
    data_dir: Path | None,
    bind: str | None,
    port: str | None,
    database: str | None,
    local_slave: bool | None,
    log_level: str | None,
    log_format: str | None,
    oneshot: bool,
    parent: int | None,
) -> int:
    """Run the master: it owns the database, decides what is fetched, and answers these commands.

    On SIGTERM it commits what has arrived and ends; on SIGHUP it reads the tokens and the `politeness` settings again.
    """
    if parent:
        end_with_parent(parent)
    hide_memory()
    flags = {
        "data_dir": data_dir,
        "database": database,
        "master.bind": bind,
        "master.port": port,
        "master.local_slave": local_slave,
        "log.level": log_level,
        "log.format": log_format,
    }
    settings = load(MasterFile, file, flags)
    logs.set_up(settings.log)
    from zspider.roles.master.daemon import Master

    return int(Master(settings, is_oneshot=oneshot, reread=lambda: _reread(file, flags)).run())


def _reread(file: Path | None, flags: Mapping[str, object]) -> MasterFile | None:
    """Return the settings as they are now, at a SIGHUP; None if they are wrong."""
    try:
        _check_there(file)
        return load(MasterFile, file, flags)
    except Exception as exc:
        _refuse(exc)
        return None


@click.command()
@config_option
@click.option("--master", "address", metavar="HOST[:PORT]", help="Master to work for; [IPv6]:PORT is allowed.")
@click.option("--token-file", type=FILE, help="File with the join token.")
@click.option("--token", help="The join token itself. All users of this machine can see it in `ps`.")
@data_dir_option
@click.option("--roles", metavar="ROLE,...", help="Roles of this slave: fetcher, processor.  [default: both]")
@click.option("--fetch-concurrency", help="Most requests in flight.")
@click.option("--processors", help="Processes that run scripts; 0: one per core.")
@log_level_option
@log_format_option
@security_option
@parent_option
def slave(
    file: Path | None,
    address: str | None,
    token_file: Path | None,
    token: str | None,
    data_dir: Path | None,
    roles: str | None,
    fetch_concurrency: str | None,
    processors: str | None,
    log_level: str | None,
    log_format: str | None,
    security: Literal["curve", "none"],
    parent: int | None,
) -> int:
    """Run a slave: it fetches and processes for a master, and needs nothing but the master's address.

    Without --token-file the token is looked for in $CREDENTIALS_DIRECTORY/join-token, ZSPIDER_TOKEN,
    /etc/zspider/join.token and the data directory of a master on this machine. On SIGTERM the slave finishes
    what is under way and gives back the rest; a second SIGTERM ends it at once.
    """
    if parent:
        end_with_parent(parent)
    hide_memory()
    flags = {
        "data_dir": data_dir,
        "token_file": token_file,
        "slave.master": address,
        "slave.roles": roles,
        "slave.fetch_concurrency": fetch_concurrency,
        "slave.processors": processors,
        "log.level": log_level,
        "log.format": log_format,
    }
    settings = load(SlaveFile, file, flags)
    logs.set_up(settings.log)
    from zspider.roles.slave.daemon import Slave

    given = _given_token(token) if token is not None else None
    find_token = (lambda: given) if given is not None else None
    return int(Slave(settings, find_token, security=security, reload=lambda: _reload_log(file, flags)).run())


def _given_token(text: str) -> "Found":
    from zspider.broker.token import Found, Token

    structlog.get_logger(__name__).warning("token_on_command_line", advice="`ps` shows it: use --token-file")
    try:
        return Found(Token.parse(text), "--token")
    except ConfigError as exc:
        raise ConfigError(f"--token: {exc}") from exc


def _reload_log(file: Path | None, flags: Mapping[str, object]) -> None:
    """Read the log settings again, at a SIGHUP; the others need a restart."""
    try:
        _check_there(file)
        logs.set_up(load(SlaveFile, file, flags).log)
    except Exception as exc:
        _refuse(exc)


def _check_there(file: Path | None) -> None:
    """Raise ConfigError if a file is not fit for a reload: a pipe, which would block the loop, or an empty file."""
    try:
        if file is not None and (not file.is_file() or not file.stat().st_size):
            raise ConfigError(f"{file}: is no file, or empty")
    except OSError as exc:
        raise ConfigError(f"{file}: cannot be read: {exc.strerror}") from exc


def _refuse(error: Exception) -> None:
    """Log that the settings stay as they were; with a traceback if the error was not foreseen."""
    reason = "; ".join(str(error).splitlines()) or type(error).__name__
    unforeseen = None if isinstance(error, ZspiderError) else error
    structlog.get_logger(__name__).error(
        "reload_refused", reason=reason, kept="the settings as they were", exc_info=unforeseen
    )


@click.command()
@click.argument("file", type=FILE)
@click.option(
    "--as", "role", type=click.Choice(["master", "slave"]), help="The kind of file, if its name does not tell."
)
def check_config(file: Path, role: str | None) -> None:
    """Check a configuration file, together with the environment; each error is printed on a line."""
    kind = {"master": MasterFile, "slave": SlaveFile}[role] if role else kind_of(file)
    if kind is MasterFile:
        settings = load(MasterFile, file)
        from zspider.broker.keys import check_exposure

        try:
            check_exposure(settings.master.bind, settings.master.security, settings.master.i_know_this_is_open)
        except ConfigError as exc:
            raise ConfigError(f"{file}: {exc}") from exc
    else:
        from zspider.broker.address import Address

        address = load(SlaveFile, file).slave.master
        try:
            Address.parse(address)
        except ConfigError as exc:
            raise ConfigError(f"{file}: slave.master: {exc}") from exc
    click.echo(f"{file}: a valid configuration of a {'master' if kind is MasterFile else 'slave'}")
