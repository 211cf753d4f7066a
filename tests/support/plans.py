"""How a database answers the statements that some code sends: which index it uses, and whether it sorts."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import event
from zspider.storage.engine import engine_of


class Plan(NamedTuple):
    """A statement and its plan. index: None when the whole table is read."""

    sql: str
    index: str | None
    sorts: bool


@contextmanager
def plans(address: str, begins: str) -> Iterator[list[Plan]]:
    """Collect the plans of the statements that begin so, sent within the `with` block by anybody; there at its end."""
    sent: dict[str, Any] = {}
    found: list[Plan] = []

    def note(conn: object, cursor: object, statement: str, parameters: Any, context: object, many: bool) -> None:
        if statement.startswith(begins) and not many:
            sent[f"{len(sent)} {statement}"] = parameters

    event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(sa.Engine, "before_cursor_execute", note)
    engine = engine_of(address).open(writes=True)
    is_sqlite = engine.dialect.name == "sqlite"
    with engine.connect() as conn:
        conn.exec_driver_sql("ANALYZE" if is_sqlite else "ANALYZE TABLE tasks, results")
        for numbered, parameters in sent.items():
            sql = numbered.partition(" ")[2]
            explain = "EXPLAIN QUERY PLAN " if is_sqlite else "EXPLAIN "
            rows = conn.exec_driver_sql(explain + sql, parameters).mappings().all()
            found.append((_of_sqlite if is_sqlite else _of_mysql)(sql, rows))


def _of_sqlite(sql: str, rows: Any) -> Plan:
    text = " ".join(row["detail"] for row in rows)
    words = text.split()
    index = words[words.index("INDEX") + 1] if text.startswith("SEARCH") and "INDEX" in words else None
    return Plan(sql, index, "TEMP B-TREE" in text)


def _of_mysql(sql: str, rows: Any) -> Plan:
    (row,) = rows
    extra = row["Extra"] or ""
    is_search = row["type"] in ("ref", "range", "const", "eq_ref")
    return Plan(sql, row["key"] if is_search else None, "filesort" in extra)
