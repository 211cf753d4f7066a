"""The real storage on SQLite in memory, with a server that may be away and a connection that may break at any call.

One history has one database; a master opens it anew at each start. Statements are compiled once for all histories.
"""

import random
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool
from tests.simulation.site import PROJECT, SCRIPT
from tests.simulation.timeline import START_MS
from zspider.errors import StorageUnavailable
from zspider.scheduler.internal_tasks import entry_follow
from zspider.scheduler.rules import SchedulerRules
from zspider.storage import Storage
from zspider.storage.database import Database, Transaction
from zspider.storage.engine import Sqlite, Upsert
from zspider.storage.migrations import migrate
from zspider.task import ON_START

KNOWN = 60  # URLs that the storage remembers: fewer than there are
FAST = 1e6  # tasks per second: politeness is somebody else's test


class MasterKilled(BaseException):
    """kill -9, at this very place."""


class MemorySqlite(Sqlite):
    """SQLite without a file: the database of the history that runs."""

    def __init__(self) -> None:
        super().__init__(make_url("sqlite:///simulated"))
        self.uri = ""
        self._engine: sa.Engine | None = None
        self._upserts: dict[Any, Upsert] = {}

    def open(self, *, writes: bool, patient: bool = False) -> sa.Engine:
        if self._engine is None:
            self._engine = sa.create_engine("sqlite://", creator=self._connect, poolclass=NullPool)
            event.listen(self._engine, "begin", lambda conn: conn.exec_driver_sql("BEGIN IMMEDIATE"))
        return self._engine

    def upsert(self, table: sa.Table, columns: Sequence[str], update: Mapping[str, str]) -> Upsert:
        key = (table.name, tuple(columns), tuple(update.items()))
        if key not in self._upserts:
            self._upserts[key] = super().upsert(table, columns, update)
        return self._upserts[key]

    def lock(self) -> None:
        """As on MySQL: the epoch is all there is."""

    def unlock(self) -> None:
        """Nothing is locked."""

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.uri, uri=True, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA synchronous = OFF")  # nobody pulls the plug of this machine's memory
        return connection


ENGINE = MemorySqlite()


@cache
def _template() -> sqlite3.Connection:
    """A database with its tables and a project that has to begin with on_start."""
    ENGINE.uri = "file:simulation-template?mode=memory&cache=shared"
    keeper = sqlite3.connect(ENGINE.uri, uri=True)
    db = Database(ENGINE, writes=True)
    with db.connection() as conn:
        migrate(conn)
    storage = Storage(db, SchedulerRules(), KNOWN)
    storage.take_over("template", START_MS)
    project = storage.push(PROJECT, SCRIPT, now_ms=START_MS, rate=FAST, burst=FAST)
    storage.submit(project.id, [entry_follow(ON_START)], START_MS)
    storage.release()
    storage.close()
    return keeper


class Server:
    """The database of one history, as it is whoever writes to it; and what goes wrong there."""

    def __init__(self, chance: random.Random) -> None:
        template = _template()
        ENGINE.uri = f"file:simulation-{id(self)}?mode=memory&cache=shared"
        self._db = sqlite3.connect(ENGINE.uri, uri=True)
        template.backup(self._db)
        self.chance = chance
        self.is_away = False
        self.slow = 1.0  # how much longer everything takes

    def rows(self, sql: str, *params: Any) -> list[Any]:
        """What a bystander reads."""
        return self._db.execute(sql, params).fetchall()

    def close(self) -> None:
        self._db.close()

    def epoch(self) -> int:
        return int(self.rows("SELECT epoch FROM master")[0][0])


class Plan:
    """What goes wrong for one master: counted down from the moment it is set."""

    def __init__(self) -> None:
        self.kill_in_calls: int | None = None  # database calls: BEGIN, each statement, COMMIT
        self.kill_in_commits: int | None = None  # right after this COMMIT, before anybody hears of it
        self.kill_in_acks: int | None = None  # right after this acknowledgement is sent
        self.break_in_calls: int | None = None  # the connection to the database breaks
        self.doubt_in_commits: int | None = None  # ... before the answer to this COMMIT

    def is_due(self, name: str) -> bool:
        """Count one; whether it is time. It is only once."""
        left = getattr(self, name)
        if left is None:
            return False
        setattr(self, name, left - 1 if left > 1 else None)
        return bool(left <= 1)


class _Watched(Transaction):
    """A transaction whose every statement may be the last."""

    def __init__(self, tx: Transaction, step: Callable[[], None]) -> None:
        super().__init__(tx._conn, tx._engine)
        self.has_written = False
        self._step = step

    def rows(self, statement: Any, params: Any = None) -> Sequence[Any]:
        self._step()
        return super().rows(statement, params)

    def one(self, statement: Any, params: Any = None) -> Any:
        self._step()
        return super().one(statement, params)

    def change(self, statement: Any, params: Any = None) -> int:
        self._step()
        self.has_written = True
        return super().change(statement, params)

    def upsert(self, upsert: Upsert, rows: Sequence[tuple[Any, ...]]) -> None:
        self._step()
        self.has_written |= bool(rows)
        super().upsert(upsert, rows)


class FaultyDatabase(Database):
    """A master's connection. `wrote` is told of each COMMIT of a transaction that wrote."""

    def __init__(self, server: Server, plan: Plan, wrote: Callable[[], None]) -> None:
        super().__init__(ENGINE, writes=True)
        self._server = server
        self._plan = plan
        self._wrote = wrote

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        if self._server.is_away:
            self.close()
            raise StorageUnavailable("the server is away")
        if self._plan.is_due("kill_in_calls"):
            raise MasterKilled
        with super().transaction() as tx:
            watched = _Watched(tx, self._step)
            yield watched
            self._step()
        if watched.has_written:
            self._wrote()
            if self._plan.is_due("kill_in_commits"):
                raise MasterKilled
            if self._plan.is_due("doubt_in_commits"):
                self.close()
                raise StorageUnavailable("no answer to COMMIT")

    def _step(self) -> None:
        if self._plan.is_due("kill_in_calls"):
            raise MasterKilled
        if self._plan.is_due("break_in_calls"):
            broken = sqlite3.OperationalError("the connection broke")
            broken.sqlite_errorcode = sqlite3.SQLITE_IOERR
            raise broken
