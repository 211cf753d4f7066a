"""Each task knows its host: the column `host`, filled for the tasks that are there, and the frontier's index with it.

Whatever an interrupted run did is kept; what it filled is not filled again.
"""

from collections.abc import Iterator

import sqlalchemy as sa
from alembic import op
from zspider.task import MESSAGE_PREFIX, host_hash, host_of

revision = "0002"
down_revision = "0001"

BATCH = 1000  # rows of a transaction: some 20 ms
INDEX = ("project_id", "status", "due_ms", "rank", "seq", "key", "host")
_FILL = {
    "sqlite": "UPDATE tasks SET host = ? WHERE project_id = ? AND key = ?",
    # In this form the driver sends all rows as one statement; taskid and url of the row stay.
    "mysql": "INSERT INTO tasks (host, project_id, `key`, taskid, url) VALUES (%s, %s, %s, '', '') "
    "ON DUPLICATE KEY UPDATE host = VALUES(host)",
}
_tasks = sa.table("tasks", *map(sa.column, ("project_id", "key", "taskid", "url", "host")))
_NEXT_PROJECT = sa.select(sa.func.min(_tasks.c.project_id)).where(_tasks.c.project_id > sa.bindparam("after"))
_PAGE = (
    sa.select(_tasks.c.key, _tasks.c.taskid, _tasks.c.url)
    .where(_tasks.c.project_id == sa.bindparam("project"), _tasks.c.key > sa.bindparam("after"), _tasks.c.host == 0)
    .order_by(_tasks.c.key)
    .limit(BATCH)
)


def upgrade() -> None:
    """Add the column, fill it in batches, and make the index anew."""
    conn = op.get_bind()
    if all(column["name"] != "host" for column in sa.inspect(conn).get_columns("tasks")):
        op.add_column("tasks", sa.Column("host", sa.Integer, nullable=False, server_default="0"))
    for rows in _unfilled(conn):
        conn.exec_driver_sql(_FILL[conn.dialect.name], rows)
        conn.exec_driver_sql("COMMIT")  # under Alembic, which would keep all of them in one transaction
        conn.exec_driver_sql("BEGIN")
    known = {index["name"]: tuple(index["column_names"]) for index in sa.inspect(conn).get_indexes("tasks")}
    if known.get("frontier") != INDEX:
        if "frontier" in known:
            op.drop_index("frontier", "tasks")
        op.create_index("frontier", "tasks", list(INDEX))


def _unfilled(conn: sa.Connection) -> Iterator[list[tuple[int, int, bytes]]]:
    """(host, project, key) of the tasks, in batches."""
    project = conn.execute(_NEXT_PROJECT, {"after": 0}).scalar()
    while project is not None:
        after = b""
        while page := conn.execute(_PAGE, {"project": project, "after": after}).all():
            yield [(_host(taskid, url), project, key) for key, taskid, url in page]
            after = page[-1].key
        project = conn.execute(_NEXT_PROJECT, {"after": project}).scalar()


def _host(taskid: bytes, url: bytes) -> int:
    return 0 if taskid.startswith(MESSAGE_PREFIX.encode()) else host_hash(host_of(url.decode()))
