"""The differences between SQLite and MySQL (MariaDB): opening, sessions, upserts, locks, errors. No other module
knows them.

`engine_of(url)` checks an address and gives its Engine; the rest of storage is the same on both.
"""

import fcntl
import os
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymysql
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from zspider.data_dir import lock_file_name
from zspider.errors import ConfigError, OwnedElsewhere, StorageError, StorageUnavailable, ZspiderError
from zspider.storage.mysql_session import LOCK_WAIT_S, set_up

ADDRESS_HELP = "use sqlite:///PATH or mysql+pymysql://USER:PASSWORD@HOST/NAME"
CONNECT_S = 5
ANSWER_S = 60  # a statement without an answer for longer: the server hangs or the network is cut
PACKET_BYTES_MIN = 4 * 1024 * 1024
PACKET_SLACK_BYTES = 64 * 1024  # the statement around a row's long columns

_LONG = frozenset({"body", "track", "result", "text", "info"})  # columns
_FOREIGN = (SQLAlchemyError, sqlite3.Error, pymysql.err.MySQLError, UnicodeError, OverflowError)


class BadDatum(StorageError):
    """One of the values cannot be stored; the same call without it may succeed."""


@dataclass(frozen=True, slots=True)
class Upsert:
    """INSERT that updates the row when its key exists; rows are tuples in the order of the columns it was made with."""

    sql: str
    long: tuple[int, ...]  # positions of columns that may be megabytes


class Engine(ABC):
    """One kind of database at one address. Its text form never shows a password."""

    locked = False  # True: no other master can have this database open
    lags = False  # True: what was written on another node of its cluster may be seen here a moment later
    foreign = _FOREIGN  # exceptions that `translated` understands

    def __init__(self, url: URL) -> None:
        self.url = url

    def __str__(self) -> str:
        return self.url.render_as_string(hide_password=True)

    @abstractmethod
    def open(self, *, writes: bool, patient: bool = False) -> sa.Engine:
        """Return an SQLAlchemy engine without a pool.

        writes: transactions may write. patient: wait for an answer without a time limit.
        """

    @abstractmethod
    def create(self) -> None:
        """Make an empty database where there is none; ConfigError when that is not allowed."""

    @abstractmethod
    def is_missing(self, exc: Exception) -> bool:
        """Return whether this says that there is no such database; `create` may help then."""

    @abstractmethod
    def upsert(
        self,
        table: sa.Table,
        columns: Sequence[str],
        update: Mapping[str, str],
    ) -> Upsert:
        """Prepare an Upsert. `update`: column -> SQL, where {new} is the offered and {old} the stored value."""

    @abstractmethod
    def translated(self, exc: Exception) -> ZspiderError:
        """Return our error for a foreign exception."""

    @abstractmethod
    def check(self, upsert: Upsert, rows: Sequence[tuple[Any, ...]]) -> None:
        """Raise BadDatum for a row that the server would answer by closing the connection."""

    @abstractmethod
    def lock(self) -> None:
        """Keep other masters out for as long as this process lives, where the database can do that."""

    @abstractmethod
    def unlock(self) -> None:
        """Undo `lock`."""

    def _split(self, table: sa.Table, columns: Sequence[str]) -> tuple[str, str, tuple[int, ...]]:
        quote = self.url.get_dialect()().identifier_preparer.quote_identifier
        names = ", ".join(quote(name) for name in columns)
        return quote(table.name), names, tuple(at for at, name in enumerate(columns) if name in _LONG)


def engine_of(address: str) -> Engine:
    """Return the Engine for a database address; ConfigError when it is malformed or of an unknown kind."""
    try:
        url = make_url(address)
    except (ArgumentError, ValueError) as exc:
        # The reason is not repeated: it may quote the address, and with it the password.
        raise ConfigError(f"database: this is not an address; {ADDRESS_HELP}") from exc
    if url.drivername == "sqlite":
        return Sqlite(url)
    if url.drivername == "mysql+pymysql":
        return Mysql(url)
    raise ConfigError(f"database: unknown kind {url.drivername!r}; {ADDRESS_HELP}")


def _driver_error(exc: Exception) -> Exception:
    """The driver's own exception within SQLAlchemy's."""
    if isinstance(exc, DBAPIError) and isinstance(exc.orig, Exception):
        return exc.orig
    return exc


class Sqlite(Engine):
    """A file on this machine; `flock` on FILE.lock keeps a second master out."""

    locked = True
    _UNAVAILABLE = frozenset(
        {
            sqlite3.SQLITE_BUSY,
            sqlite3.SQLITE_LOCKED,
            sqlite3.SQLITE_NOMEM,
            sqlite3.SQLITE_READONLY,
            sqlite3.SQLITE_INTERRUPT,
            sqlite3.SQLITE_IOERR,
            sqlite3.SQLITE_FULL,
            sqlite3.SQLITE_CANTOPEN,
            sqlite3.SQLITE_PROTOCOL,
        }
    )
    _BAD_DATUM = frozenset({sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH})

    def __init__(self, url: URL) -> None:
        super().__init__(url)
        if not url.database or url.database == ":memory:":
            raise ConfigError(f"database: SQLite needs a file; {ADDRESS_HELP}")
        self.path = Path(url.database)
        self._lock_fd: int | None = None

    def open(self, *, writes: bool, patient: bool = False) -> sa.Engine:
        """Return an engine for the file; ConfigError when it cannot be used. `patient` changes nothing."""
        self._check_place()
        if not writes and not self.path.exists():
            raise ConfigError(f"database: there is no file {self.path}")  # SQLite would make one
        engine = sa.create_engine(
            self.url,
            poolclass=NullPool,
            hide_parameters=True,
            connect_args={"timeout": LOCK_WAIT_S, "check_same_thread": False},
        )
        # A transaction that reads first and then writes gets SQLITE_BUSY_SNAPSHOT at once, whatever the timeout.
        begin = "BEGIN IMMEDIATE" if writes else "BEGIN"
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", lambda conn: conn.exec_driver_sql(begin))
        return engine

    def upsert(self, table: sa.Table, columns: Sequence[str], update: Mapping[str, str]) -> Upsert:
        """Prepare INSERT ... ON CONFLICT DO UPDATE."""
        name, names, long = self._split(table, columns)
        keys = ", ".join(f'"{column.name}"' for column in table.primary_key)
        sets = ", ".join(
            f'"{column}" = ' + text.format(new=f'excluded."{column}"', old=f'{name}."{column}"')
            for column, text in update.items()
        )
        marks = ", ".join("?" * len(columns))
        action = f"UPDATE SET {sets}" if sets else "NOTHING"
        return Upsert(f"INSERT INTO {name} ({names}) VALUES ({marks}) ON CONFLICT ({keys}) DO {action}", long)  # noqa: S608

    def create(self) -> None:
        """Check that the file can be made."""
        self._check_place()  # opening makes the file

    def is_missing(self, exc: Exception) -> bool:
        """Return False: SQLite makes the file itself."""
        return False

    def check(self, upsert: Upsert, rows: Sequence[tuple[Any, ...]]) -> None:
        """Check nothing: SQLite says itself what it does not take."""

    def translated(self, exc: Exception) -> ZspiderError:
        """Return our error for one of SQLite's, by its code."""
        cause = _driver_error(exc)
        text = f"SQLite {self.path}: {cause}"
        if isinstance(cause, (UnicodeError, OverflowError)):
            return BadDatum(f"cannot be stored: {type(cause).__name__}")
        code = getattr(cause, "sqlite_errorcode", 0) & 0xFF  # the low byte; the rest says more exactly
        if code == sqlite3.SQLITE_NOTADB:
            return ConfigError(f"database: {self.path} is not a SQLite database")
        if code in self._UNAVAILABLE:
            return StorageUnavailable(text)
        if code in self._BAD_DATUM or isinstance(cause, sqlite3.DataError):
            return BadDatum(text)
        return StorageError(text)

    def lock(self) -> None:
        """Lock a file beside the database; OwnedElsewhere when a master on this machine has it."""
        if self._lock_fd is not None:
            return
        self._check_place()
        path = lock_file_name(str(self.path))
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            raise ConfigError(f"database: cannot open {path}: {exc.strerror}") from exc
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            os.close(handle)
            raise OwnedElsewhere(f"another master on this machine uses {self.path}") from exc
        self._lock_fd = handle

    def unlock(self) -> None:
        """Let other masters open the database."""
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    def _check_place(self) -> None:
        if not self.path.parent.is_dir():
            raise ConfigError(f"database: there is no directory {self.path.parent}")
        if self.path.is_dir():
            raise ConfigError(f"database: {self.path} is a directory")
        if not os.access(self.path if self.path.exists() else self.path.parent, os.W_OK):
            raise ConfigError(f"database: {self.path} is not writable")


def _set_up_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")  # NORMAL may lose the last commits, and we acknowledge commits
    connection.execute("PRAGMA cache_size = -32768")  # KiB; keys arrive in random order
    connection.execute("PRAGMA wal_autocheckpoint = 8192")  # pages of 4 KiB: random keys touch the same ones again
    connection.execute("PRAGMA journal_size_limit = 67108864")


class Mysql(Engine):
    """A MySQL or MariaDB server."""

    # Lost or refused connection, shutdown, deadlock, lock wait, full disk, read-only or joining server, killed query.
    _UNAVAILABLE = frozenset(
        {1021, 1040, 1041, 1047, 1053, 1077, 1079, 1080, 1114, 1129, 1158, 1159, 1160, 1161, 1180, 1203, 1205, 1213}
        | {1226, 1290, 1317, 1836, 1927, 1969, 2002, 2003, 2006, 2013, 2014, 2055, 3024, 3100, 3101, 4031}
    )  # fmt: skip
    _OPERATOR = frozenset({1044, 1045, 1049, 1130, 1227, 1251, 1524, 1698, 1820, 1862, 2054, 2059})
    # Too long, out of range, wrong text, NULL, duplicate, CHECK, packet, not JSON.
    _BAD_DATUM = frozenset({1048, 1062, 1153, 1264, 1265, 1292, 1300, 1301, 1366, 1406, 3140, 3819, 3988, 4025})
    _UNKNOWN_DATABASE = 1049

    def __init__(self, url: URL) -> None:
        super().__init__(url)
        if not url.host or not url.database:
            raise ConfigError(f"database: host or name is missing; {ADDRESS_HELP}")
        self._packet_bytes = PACKET_BYTES_MIN  # the server's own, once connected

    def open(self, *, writes: bool, patient: bool = False, database: bool = True) -> sa.Engine:
        """Return an engine for the server. database: False connects to none, to make one."""
        answer_s = None if patient else ANSWER_S
        engine = sa.create_engine(
            self.url if database else self.url.set(database=""),
            poolclass=NullPool,
            hide_parameters=True,
            isolation_level="READ COMMITTED",
            connect_args={
                "charset": "utf8mb4",
                "connect_timeout": CONNECT_S,
                "read_timeout": answer_s,
                "write_timeout": answer_s,
            },
        )
        event.listen(engine, "connect", lambda connection, _: self._set_up(connection, patient))
        return engine

    def create(self) -> None:
        """Make the database on the server; ConfigError when the user may not."""
        name = str(self.url.database).replace("`", "``")
        try:
            with self.open(writes=True, database=False).connect() as conn:
                conn.exec_driver_sql(
                    f"CREATE DATABASE IF NOT EXISTS `{name}` CHARACTER SET utf8mb4 COLLATE utf8mb4_bin".replace(
                        "%", "%%"
                    )
                )
        except _FOREIGN as exc:
            error = self.translated(exc)
            if isinstance(error, StorageUnavailable):
                raise error from exc
            raise ConfigError(f"database: {name!r} does not exist and {self._user} may not create it") from exc

    def is_missing(self, exc: Exception) -> bool:
        """Return whether the server says that it has no such database."""
        return _mysql_code(_driver_error(exc)) == self._UNKNOWN_DATABASE

    def upsert(self, table: sa.Table, columns: Sequence[str], update: Mapping[str, str]) -> Upsert:
        """Prepare INSERT ... ON DUPLICATE KEY UPDATE."""
        # PyMySQL sends all rows of this form as one statement of at most 1 MB; every version understands VALUES().
        name, names, long = self._split(table, columns)
        changes = update or {columns[0]: "{old}"}  # not INSERT IGNORE: it also swallows truncation
        sets = ", ".join(
            f"`{column}` = " + text.format(new=f"VALUES(`{column}`)", old=f"`{column}`")
            for column, text in changes.items()
        )
        marks = ", ".join(["%s"] * len(columns))
        return Upsert(f"INSERT INTO {name} ({names}) VALUES ({marks}) ON DUPLICATE KEY UPDATE {sets}", long)  # noqa: S608

    def check(self, upsert: Upsert, rows: Sequence[tuple[Any, ...]]) -> None:
        """Raise BadDatum for a row that may be larger than the server's max_allowed_packet."""
        if not upsert.long:
            return
        for row in rows:
            size = sum(len(row[at]) for at in upsert.long if row[at] is not None)
            # On the wire bytes are hexadecimal and text may be all quotes: twice the length at most.
            if 2 * size > self._packet_bytes - PACKET_SLACK_BYTES:
                raise BadDatum(f"{size} bytes in one row; the server's max_allowed_packet is {self._packet_bytes}")

    def translated(self, exc: Exception) -> ZspiderError:
        """Return our error for one of the server's, by its number."""
        cause = _driver_error(exc)
        if isinstance(cause, (UnicodeError, OverflowError)):
            return BadDatum(f"cannot be stored: {type(cause).__name__}")
        code = _mysql_code(cause)
        said = cause.args[1] if len(cause.args) > 1 else cause
        text = f"{self.url.host}/{self.url.database}: {said} ({code})"
        if code in self._OPERATOR:
            return ConfigError(f"database: {text}")
        if code in self._UNAVAILABLE or isinstance(cause, pymysql.err.InterfaceError):
            return StorageUnavailable(text)
        if code in self._BAD_DATUM or isinstance(cause, (pymysql.err.DataError, pymysql.err.IntegrityError)):
            return BadDatum(text)
        return StorageError(text)

    def lock(self) -> None:
        """Lock nothing: the epoch is all there is, since GET_LOCK would vanish with its connection."""

    def unlock(self) -> None:
        """Unlock nothing."""

    @property
    def _user(self) -> str:
        return f"the user {self.url.username!r}"

    def _set_up(self, connection: "pymysql.Connection[Any]", patient: bool) -> None:
        server = set_up(connection, patient=patient)
        self._packet_bytes, self.lags = server.packet_bytes, server.is_node
        if self._packet_bytes < PACKET_BYTES_MIN:
            raise ConfigError(
                f"database: max_allowed_packet is {self._packet_bytes}, at least {PACKET_BYTES_MIN} is needed"
            )


def _mysql_code(exc: Exception) -> int:
    code = exc.args[0] if isinstance(exc, pymysql.err.MySQLError) and exc.args else 0
    return code if isinstance(code, int) else 0
