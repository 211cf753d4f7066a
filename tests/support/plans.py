"""How a database executes the statements that storage really sends: by which index, what it scans, what it sorts."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import event


class Sent(NamedTuple):
    """A statement as the driver got it; of many rows in one statement, the first."""

    sql: str
    params: Any

    @property
    def verb(self) -> str:
        return self.sql.split(None, 1)[0].upper()


class Step(NamedTuple):
    """How one table is read in one statement. `index` is PRIMARY for the primary key, "" for none."""

    table: str
    index: str
    scans: bool  # every row of the table or of the index is met, not a range of it
    sorts: bool  # rows are sorted after they were read


class Recorder:
    """Keeps what any engine of this process sends while it is open. Open it before the connections are made."""

    def __init__(self) -> None:
        self._sent: list[Sent] = []

    def _note(self, _conn: Any, _cursor: Any, sql: str, params: Any, _context: Any, many: bool) -> None:
        self._sent.append(Sent(sql, params[0] if many else params))

    @contextmanager
    def open(self) -> Iterator["Recorder"]:
        event.listen(sa.Engine, "before_cursor_execute", self._note)
        try:
            yield self
        finally:
            event.remove(sa.Engine, "before_cursor_execute", self._note)

    def of(self, work: Callable[[], object], table: str) -> list[Sent]:
        """The statements that `work` sends and that name this table."""
        del self._sent[:]
        work()
        return [sent for sent in self._sent if table in re.split(r"[\s`\"]+", sent.sql)]


class Planner:
    """Asks a database on a connection of its own."""

    def __init__(self, address: str) -> None:
        self._engine = sa.create_engine(address, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
        self._conn = self._engine.connect()
        self._is_sqlite = address.startswith("sqlite")

    def close(self) -> None:
        self._conn.close()

    def analyze(self) -> None:
        """Let the database look at its rows, as a server does by itself from time to time."""
        if self._is_sqlite:
            self._conn.exec_driver_sql("ANALYZE")
        else:
            self._conn.exec_driver_sql("ANALYZE TABLE tasks, results, counters")

    def steps(self, sent: Sent) -> list[Step]:
        """The plan of a SELECT, UPDATE or DELETE."""
        return self._sqlite(sent) if self._is_sqlite else self._mysql(sent)

    def opcodes(self, sent: Sent) -> set[str]:
        """The instructions that SQLite runs for a statement."""
        return {row[1] for row in self._rows("EXPLAIN ", sent)}

    def rows_met(self) -> dict[str, int]:
        """How many rows a server has walked over since it started, by way."""
        names = "'Handler_read_rnd_next', 'Handler_read_first', 'Handler_read_last', 'Sort_rows'"
        rows = self._conn.exec_driver_sql(f"SHOW GLOBAL STATUS WHERE Variable_name IN ({names})").all()
        return {name: int(value) for name, value in rows}

    def _rows(self, how: str, sent: Sent) -> Sequence[Any]:
        return self._conn.exec_driver_sql(how + sent.sql, sent.params).all()

    def _sqlite(self, sent: Sent) -> list[Step]:
        details = [row[3] for row in self._rows("EXPLAIN QUERY PLAN ", sent)]
        sorts = any("TEMP B-TREE" in detail for detail in details)
        return [_sqlite_step(detail, sorts) for detail in details if detail.startswith(("SEARCH", "SCAN"))]

    def _mysql(self, sent: Sent) -> list[Step]:
        rows = [row._mapping for row in self._rows("EXPLAIN ", sent)]
        return [
            Step(row["table"], row["key"] or "", row["type"] in ("ALL", "index"), "filesort" in (row["Extra"] or ""))
            for row in rows
            if row["table"]
        ]


def _sqlite_step(detail: str, sorts: bool) -> Step:
    how, table, *rest = detail.split()
    named = next((rest[at + 1] for at, word in enumerate(rest) if word == "INDEX"), "")
    primary = named.startswith("sqlite_autoindex_") or "PRIMARY" in rest
    return Step(table, "PRIMARY" if primary else named, how == "SCAN", sorts)
