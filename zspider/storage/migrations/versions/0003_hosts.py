"""Each task knows its host: the column `host`, filled for the tasks there are, and the frontier's index with it."""

from typing import Any

import sqlalchemy as sa
from zspider.hosts import host_hash, host_of
from zspider.storage.migrations import online
from zspider.task import MESSAGE_PREFIX

revision = "0003"
down_revision = "0002"

INDEX = ("project_id", "status", "due_ms", "rank", "seq", "key", "host")


def upgrade() -> None:
    """Add the column, fill it in batches, and make the index anew."""
    online.add_column("tasks", sa.Column("host", sa.Integer, nullable=False, server_default="0"))
    online.fill_tasks(["host"], ["taskid", "url"], sa.column("host") == 0, _host)
    online.set_index("tasks", "frontier", INDEX)


def _host(row: Any) -> tuple[int]:
    is_message = row.taskid.startswith(MESSAGE_PREFIX.encode())
    return (0 if is_message else host_hash(host_of(row.url.decode())),)
