"""The tables. Wall-clock times are BIGINT milliseconds; what scripts wrote is bytes, or utf8mb4 in binary order.

Migrations create them (`migrations/`); a test holds the two descriptions together.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.types import TypeEngine

from zspider.activity import ACTIVITY
from zspider.delivery import REASON_CHARS_MAX
from zspider.task import TASKID_CHARS_MAX, URL_BYTES_MAX

MYSQL_OPTIONS: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",  # any other collation takes /X, /x and /é for one
    "mysql_row_format": "DYNAMIC",
}
NAME_CHARS_MAX = 64  # of a project
KEY_BYTES = 16


class RawBytes(LargeBinary):
    """Bytes that go to SQLite as they are: it takes them, and to wrap each costs 3 us."""

    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> None:
        """Return None: nothing is done to a value."""


def fixed_bytes(length: int) -> TypeEngine[bytes]:
    """Return the type BINARY(length)."""
    return RawBytes(length).with_variant(mysql.BINARY(length), "mysql")


def short_bytes(length: int) -> TypeEngine[bytes]:
    """Return the type VARBINARY(length)."""
    return RawBytes(length).with_variant(mysql.VARBINARY(length), "mysql")


def long_bytes() -> TypeEngine[bytes]:
    """Return the type MEDIUMBLOB: up to 16 MiB."""
    return RawBytes().with_variant(mysql.MEDIUMBLOB(), "mysql")


def long_text() -> TypeEngine[str]:
    """Return the type MEDIUMTEXT: up to 16 MiB."""
    return Text().with_variant(mysql.MEDIUMTEXT(), "mysql")


def tiny() -> TypeEngine[int]:
    """Return the type TINYINT."""
    return SmallInteger().with_variant(mysql.TINYINT(), "mysql")


def name_text() -> TypeEngine[str]:
    """Return the type of a project's name: ASCII, compared byte by byte."""
    return String(NAME_CHARS_MAX).with_variant(
        mysql.VARCHAR(NAME_CHARS_MAX, charset="ascii", collation="ascii_bin"), "mysql"
    )


metadata = MetaData()

# One row, id 1: whose database this is. Each write begins with a check of `epoch` (EpochGuard).
master = Table(
    "master",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("cluster", fixed_bytes(16), nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("owner", String(255), nullable=False),  # '' after a clean stop
    Column("renew_seq", BigInteger, nullable=False),  # moves while the owner lives
    Column("last_seq", BigInteger, nullable=False),  # tasks.seq at the last renewal
    Column("last_project", Integer, nullable=False),  # ids are never used again
    **MYSQL_OPTIONS,
)

# Immutable under their SHA-256.
scripts = Table(
    "scripts",
    metadata,
    Column("hash", fixed_bytes(32), primary_key=True),
    Column("text", long_text(), nullable=False),
    Column("info", long_bytes()),  # msgpack of task.ScriptInfo, once a slave has told it
    Column("created_ms", BigInteger, nullable=False),
    **MYSQL_OPTIONS,
)

projects = Table(
    "projects",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("name", name_text(), nullable=False, unique=True),
    Column("group", String(255), nullable=False),
    Column("status", String(16), nullable=False),
    Column("rate", Double, nullable=False),
    Column("burst", Double, nullable=False),
    Column("script", fixed_bytes(32), nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    **MYSQL_OPTIONS,
)

# `frontier` gives every order that is read. ACTIVE and ready: (due_ms = 0, rank = -priority, seq). ACTIVE and later:
# (due_ms, rank = 0, seq). Finished: due_ms, rank and seq are 0, which leaves the order of the keys. `host` orders
# nothing: with it a look for the tasks of some hosts reads no row of others.
tasks = Table(
    "tasks",
    metadata,
    Column("project_id", Integer, primary_key=True, autoincrement=False),
    Column("key", fixed_bytes(KEY_BYTES), primary_key=True),
    Column("taskid", short_bytes(4 * TASKID_CHARS_MAX), nullable=False),
    Column("url", short_bytes(URL_BYTES_MAX), nullable=False),
    Column("status", tiny(), nullable=False, server_default="1"),
    Column("run", Integer, nullable=False, server_default="0"),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("retried", Integer, nullable=False, server_default="0"),
    Column("retries", Integer, nullable=False, server_default="0"),
    Column("priority", Integer, nullable=False, server_default="0"),
    Column("rank", BigInteger, nullable=False, server_default="0"),
    Column("seq", BigInteger, nullable=False, server_default="0"),
    Column("due_ms", BigInteger, nullable=False, server_default="0"),
    Column("age_ms", BigInteger),
    Column("itag", String(1024)),
    Column("auto_recrawl", tiny(), nullable=False, server_default="0"),
    Column("lastcrawl_ms", BigInteger, nullable=False, server_default="0"),
    Column("updated_ms", BigInteger, nullable=False, server_default="0"),
    Column("reason", String(REASON_CHARS_MAX), nullable=False, server_default=text("''")),
    Column("body", long_bytes()),
    Column("track", long_bytes()),
    Column("host", Integer, nullable=False, server_default="0"),  # task.host_hash; 0: a message, or nobody's page
    Column("open_runs", Integer, nullable=False, server_default="0"),  # replaced, not ended: from run - open_runs on
    # MySQL holds a VARBINARY to its length by itself, SQLite only when told.
    CheckConstraint(f"length(url) <= {URL_BYTES_MAX}", name="url_length").ddl_if(dialect="sqlite"),
    Index("frontier", "project_id", "status", "due_ms", "rank", "seq", "key", "host"),
    **MYSQL_OPTIONS,
)

results = Table(
    "results",
    metadata,
    Column("project_id", Integer, primary_key=True, autoincrement=False),
    Column("key", fixed_bytes(KEY_BYTES), primary_key=True),
    Column("item", Integer, primary_key=True, autoincrement=False),
    Column("taskid", short_bytes(4 * TASKID_CHARS_MAX), nullable=False),
    Column("url", short_bytes(URL_BYTES_MAX), nullable=False),
    Column("result", long_text(), nullable=False),  # JSON
    Column("updated_ms", BigInteger, nullable=False),
    **MYSQL_OPTIONS,
)

counters = Table(
    "counters",
    metadata,
    Column("project_id", Integer, primary_key=True, autoincrement=False),
    Column("name", String(64), primary_key=True),
    Column("value", BigInteger, nullable=False),
    **MYSQL_OPTIONS,
)

# What happened lately, by slots of 10, 60 and 600 seconds. One row a project, step and slot, while it is in its window.
# The other order finds the rows of a project.
windows = Table(
    "windows",
    metadata,
    Column("step_s", Integer, primary_key=True, autoincrement=False),
    Column("slot", BigInteger, primary_key=True, autoincrement=False),  # epoch seconds of its begin
    Column("project_id", Integer, primary_key=True, autoincrement=False),
    *(Column(name, BigInteger, nullable=False) for name in ACTIVITY),
    UniqueConstraint("project_id", "step_s", "slot", name="windows_of_project"),
    **MYSQL_OPTIONS,
)

# Slaves that may still hold leases: a restarted master waits for them.
sessions = Table(
    "sessions",
    metadata,
    Column("session", fixed_bytes(16), primary_key=True),
    Column("host", String(256), nullable=False),
    Column("since_ms", BigInteger, nullable=False),
    **MYSQL_OPTIONS,
)
