"""The first schema. Nothing here may change any more; what comes later is a version of its own.

MySQL commits after every CREATE TABLE: IF NOT EXISTS lets an interrupted run be completed.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeEngine

revision = "0001"
down_revision = None

OPTIONS: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
    "mysql_row_format": "DYNAMIC",
    "if_not_exists": True,
}


def _bytes(kind: TypeEngine[bytes]) -> TypeEngine[bytes]:
    return sa.LargeBinary(getattr(kind, "length", None)).with_variant(kind, "mysql")


def upgrade() -> None:
    """Create the tables."""
    key16, taskid, url = _bytes(mysql.BINARY(16)), _bytes(mysql.VARBINARY(256)), _bytes(mysql.VARBINARY(8190))
    blob = _bytes(mysql.MEDIUMBLOB())
    text = sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql")
    tiny = sa.SmallInteger().with_variant(mysql.TINYINT(), "mysql")
    name = sa.String(64).with_variant(mysql.VARCHAR(64, charset="ascii", collation="ascii_bin"), "mysql")
    op.create_table(
        "master",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("cluster", key16, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("owner", sa.String(255), nullable=False),
        sa.Column("renew_seq", sa.BigInteger, nullable=False),
        sa.Column("last_seq", sa.BigInteger, nullable=False),
        sa.Column("last_project", sa.Integer, nullable=False),
        **OPTIONS,
    )
    op.create_table(
        "scripts",
        sa.Column("hash", _bytes(mysql.BINARY(32)), primary_key=True),
        sa.Column("text", text, nullable=False),
        sa.Column("info", blob),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        **OPTIONS,
    )
    op.create_table(
        "projects",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("name", name, nullable=False, unique=True),
        sa.Column("group", sa.String(255), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("rate", sa.Double, nullable=False),
        sa.Column("burst", sa.Double, nullable=False),
        sa.Column("script", _bytes(mysql.BINARY(32)), nullable=False),
        sa.Column("updated_ms", sa.BigInteger, nullable=False),
        **OPTIONS,
    )
    op.create_table(
        "tasks",
        sa.Column("project_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("key", key16, primary_key=True),
        sa.Column("taskid", taskid, nullable=False),
        sa.Column("url", url, nullable=False),
        sa.Column("status", tiny, nullable=False, server_default="1"),
        sa.Column("run", sa.Integer, nullable=False, server_default="0"),
        sa.Column("attempt", sa.Integer, nullable=False, server_default="0"),
        sa.Column("retried", sa.Integer, nullable=False, server_default="0"),
        sa.Column("retries", sa.Integer, nullable=False, server_default="0"),
        sa.Column("priority", sa.Integer, nullable=False, server_default="0"),
        sa.Column("rank", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("seq", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("due_ms", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("age_ms", sa.BigInteger),
        sa.Column("itag", sa.String(1024)),
        sa.Column("auto_recrawl", tiny, nullable=False, server_default="0"),
        sa.Column("lastcrawl_ms", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("updated_ms", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("reason", sa.String(2000), nullable=False, server_default=sa.text("''")),
        sa.Column("body", blob),
        sa.Column("track", blob),
        sa.CheckConstraint("length(url) <= 8190", name="url_length").ddl_if(dialect="sqlite"),
        sa.Index("frontier", "project_id", "status", "due_ms", "rank", "seq", "key"),
        **OPTIONS,
    )
    op.create_table(
        "results",
        sa.Column("project_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("key", key16, primary_key=True),
        sa.Column("item", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("taskid", taskid, nullable=False),
        sa.Column("url", url, nullable=False),
        sa.Column("result", text, nullable=False),
        sa.Column("updated_ms", sa.BigInteger, nullable=False),
        **OPTIONS,
    )
    op.create_table(
        "counters",
        sa.Column("project_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
        **OPTIONS,
    )
    op.create_table(
        "sessions",
        sa.Column("session", key16, primary_key=True),
        sa.Column("host", sa.String(256), nullable=False),
        sa.Column("since_ms", sa.BigInteger, nullable=False),
        **OPTIONS,
    )
