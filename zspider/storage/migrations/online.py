"""What migrations are made of: steps on large tables that may be interrupted anywhere and run again.

MySQL commits each of its DDL statements by itself, and filling a column takes many transactions. So every step looks
first at what is there: what is done is left alone. While it works the tables can be read.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pymysql
import sqlalchemy as sa
from alembic import op
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateColumn

BATCH = 1000  # rows of one transaction: some 20 ms
# From what holds nobody up to what every server knows. 1800, 1845, 1846, 1221: this one does not do it in that way.
_WAYS = ("ALGORITHM=INSTANT", "ALGORITHM=INPLACE, LOCK=NONE", "ALGORITHM=DEFAULT")
_NOT_THAT_WAY = frozenset({1221, 1800, 1845, 1846})
_tasks = sa.table("tasks", sa.column("project_id"), sa.column("key"))  # not schema.py's, which is of today
_NEXT_PROJECT = sa.select(sa.func.min(_tasks.c.project_id)).where(_tasks.c.project_id > sa.bindparam("after"))


def add_column(table: str, column: sa.Column[Any]) -> None:
    """Add a column that has a default or may be NULL, unless the table has it."""
    conn = op.get_bind()
    if any(known["name"] == column.name for known in sa.inspect(conn).get_columns(table)):
        return
    _say(f"{table}: adding column {column.name}")
    if conn.dialect.name == "mysql":
        _alter(conn, table, f"ADD COLUMN {CreateColumn(column).compile(dialect=conn.dialect)}")
    else:
        op.add_column(table, column)


def set_index(table: str, name: str, columns: Sequence[str]) -> None:
    """Make an index, or make it anew when its columns are others."""
    conn = op.get_bind()
    known = {index["name"]: list(index["column_names"]) for index in sa.inspect(conn).get_indexes(table)}
    if known.get(name) == list(columns):
        return
    _say(f"{table}: making index {name}")
    if conn.dialect.name == "mysql":  # both at once: there is no moment without the index
        quote = conn.dialect.identifier_preparer.quote
        drop = f"DROP INDEX {quote(name)}, " if name in known else ""
        _alter(conn, table, f"{drop}ADD INDEX {quote(name)} ({', '.join(map(quote, columns))})")
        return
    if name in known:
        op.drop_index(name, table)
    op.create_index(name, table, list(columns))


def fill_tasks(
    write: Sequence[str],
    read: Sequence[str],
    pending: sa.ColumnElement[bool],
    values: Callable[[Any], tuple[Any, ...]],
) -> None:
    """Give the columns `write` of tasks their values, batch by batch along the keys, each batch committed.

    pending: which rows need it; those that are done must not fit it, so that a repeated run goes on where it was.
    values: the values of `write`, from a row that has the columns `read`.
    """
    conn, done = op.get_bind(), 0
    statement = _fill_statement(conn.dialect, write)
    for page in _pages(conn, read, pending):
        conn.exec_driver_sql(statement, [(*values(row), row.project_id, row.key) for row in page])
        _commit(conn)
        done += len(page)
        _say(f"tasks: {done:,} rows filled: {', '.join(write)}")


def _pages(conn: sa.Connection, read: Sequence[str], pending: sa.ColumnElement[bool]) -> Iterator[Sequence[Any]]:
    page = (
        sa.select(_tasks, *map(sa.column, read))
        .where(_tasks.c.project_id == sa.bindparam("project"), _tasks.c.key > sa.bindparam("after"), pending)
        .order_by(_tasks.c.key)
        .limit(BATCH)
    )
    project = conn.execute(_NEXT_PROJECT, {"after": 0}).scalar()
    while project is not None:
        after = b""
        while rows := conn.execute(page, {"project": project, "after": after}).all():
            yield rows
            after = rows[-1].key
        project = conn.execute(_NEXT_PROJECT, {"after": project}).scalar()


def _fill_statement(dialect: sa.Dialect, write: Sequence[str]) -> str:
    """For rows of (values, project_id, key)."""
    quote = dialect.identifier_preparer.quote
    if dialect.name == "mysql":  # the rows exist; in this form the driver sends all of them as one statement
        names, marks = ", ".join(map(quote, write)), "%s, " * len(write)
        sets = ", ".join(f"{quote(name)} = VALUES({quote(name)})" for name in write)
        return (
            f"INSERT INTO tasks ({names}, project_id, `key`, taskid, url) VALUES ({marks}%s, %s, '', '') "  # noqa: S608
            f"ON DUPLICATE KEY UPDATE {sets}"
        )
    sets = ", ".join(f"{quote(name)} = ?" for name in write)
    return f"UPDATE tasks SET {sets} WHERE project_id = ? AND key = ?"  # noqa: S608


def _alter(conn: sa.Connection, table: str, change: str) -> None:
    """ALTER TABLE in the first way that the server can."""
    for way in _WAYS:
        try:
            conn.exec_driver_sql(f"ALTER TABLE {table} {change}, {way}")
        except DBAPIError as exc:
            is_refusal = isinstance(exc.orig, pymysql.err.MySQLError) and exc.orig.args[0] in _NOT_THAT_WAY
            if not is_refusal or way == _WAYS[-1]:
                raise
        else:
            return


def _commit(conn: sa.Connection) -> None:
    """Beneath Alembic, which would keep a whole migration in one transaction."""
    conn.exec_driver_sql("COMMIT")
    conn.exec_driver_sql("BEGIN" if conn.dialect.name == "mysql" else "BEGIN IMMEDIATE")


def _say(text: str) -> None:
    op.get_context().opts["progress"](text)
