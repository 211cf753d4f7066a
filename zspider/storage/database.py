"""One connection and its transactions: connected when needed, rolled back on every error, errors translated once."""

import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from zspider.errors import ConfigError, StorageUnavailable, ZspiderError
from zspider.storage.engine import Engine, Upsert

# A connection that rested longer is asked whether it lives before it is trusted with a transaction. Less than a server
# lets it rest: mysql_session.IDLE_CONNECTION_S.
IDLE_S = 30.0
NEW_S = 10.0  # for which another node, behind the same address, may not know a database that was just made
NEW_STEP_S = 0.2


class Transaction:
    """The statements that can be run between BEGIN and COMMIT."""

    def __init__(self, conn: sa.Connection, engine: Engine) -> None:
        self._conn = conn
        self._engine = engine

    def rows(self, statement: sa.Executable, params: Mapping[str, Any] | None = None) -> Sequence[Any]:
        """Return all rows of a SELECT."""
        return self._conn.execute(statement, params).all()

    def one(self, statement: sa.Executable, params: Mapping[str, Any] | None = None) -> Any:
        """Return the first row of a SELECT, or None."""
        return self._conn.execute(statement, params).first()

    def change(self, statement: sa.Insert | sa.Update | sa.Delete, params: Mapping[str, Any] | None = None) -> int:
        """Run an UPDATE or DELETE; returns the number of rows that matched."""
        return self._conn.execute(statement, params).rowcount

    def upsert(self, upsert: Upsert, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert or update rows, in one statement where the driver can; sort them by key.

        Past SQLAlchemy's own parameter handling, which would double the cost of a row.
        """
        if rows:
            self._engine.check(upsert, rows)
            self._conn.exec_driver_sql(upsert.sql, list(rows))


class Database:
    """A connection of its own to the database, for one thread."""

    def __init__(self, engine: Engine, *, writes: bool, patient: bool = False) -> None:
        """patient: wait for an answer without a time limit, as ALTER TABLE needs."""
        self.engine = engine
        self._source = engine.open(writes=writes, patient=patient)
        self._conn: sa.Connection | None = None
        self._used_s = 0.0

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Open a transaction that ends in COMMIT; any exception rolls it back.

        Raises StorageUnavailable when nothing is written or (COMMIT got no answer) that is not known: the connection
        is dropped then, and the next call makes another.
        """
        try:
            conn = self._connected()
            with conn.begin():
                yield Transaction(conn, self.engine)
            self._used_s = time.monotonic()
        except self.engine.foreign as exc:
            error = self._translated(exc)
            if isinstance(error, StorageUnavailable):
                self.close()
            raise error from exc

    @contextmanager
    def connection(self) -> Iterator[sa.Connection]:
        """Return the bare connection, for migrations."""
        try:
            yield self._connected()
        except self.engine.foreign as exc:
            raise self._translated(exc) from exc

    def connect(self, *, create: bool) -> None:
        """Connect now; `create`: make the database when there is none.

        Raises ConfigError (address, password, rights) and StorageUnavailable (not reachable).
        """
        try:
            self._connected()
        except self.engine.foreign as exc:
            if not (create and self.engine.is_missing(exc)):
                raise self._translated(exc) from exc
            self._make()

    def _make(self) -> None:
        """Make the database and connect to it. It may be there already, and this node of a cluster not know it yet."""
        refusal: ConfigError | None = None
        try:
            self.engine.create()
        except ConfigError as exc:
            refusal = exc
        end = time.monotonic() + NEW_S
        while True:
            try:
                self._connected()
            except self.engine.foreign as exc:
                if self.engine.lags and self.engine.is_missing(exc) and time.monotonic() < end:
                    time.sleep(NEW_STEP_S)
                    continue
                raise refusal or self._translated(exc) from exc
            return

    def close(self) -> None:
        """Drop the connection, with whatever is open in it."""
        conn, self._conn = self._conn, None
        if conn is None:
            return
        try:
            conn.invalidate()  # no farewell to a server that may be gone
            conn.close()
        except self.engine.foreign:
            pass  # it was broken already

    def _translated(self, exc: Exception) -> ZspiderError:
        """Our error, and nothing in memory beside it.

        A frame of PyMySQL holds the error that holds the frame, and a connection with a TLS context of 0.8 MiB: that
        much for each try to connect, until the garbage collector comes, which it rarely does in a waiting master.
        """
        error = self.engine.translated(exc)
        held: BaseException | None = exc
        while held is not None:
            traceback.clear_frames(held.__traceback__)
            held = held.__cause__ or held.__context__
        return error

    def _connected(self) -> sa.Connection:
        if self._conn is not None and time.monotonic() - self._used_s > IDLE_S and not self._is_alive(self._conn):
            self.close()
        if self._conn is None:
            try:
                self._conn = self._source.connect()
            except (TypeError, RuntimeError) as exc:  # an option that the driver lacks, or a package for a login method
                raise ConfigError(f"database: {exc}") from exc
            self._used_s = time.monotonic()
        return self._conn

    def _is_alive(self, conn: sa.Connection) -> bool:
        try:
            with conn.begin():
                conn.execute(sa.select(1))
        except self.engine.foreign:
            return False
        return True
