"""What happened in each project lately, by slots of time."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

SUMS = ("new", "success", "retry", "failed", "fetch_ms", "fetched", "process_ms", "processed")


def upgrade() -> None:
    """Create the table. Its second key is part of the one statement: MySQL cannot be interrupted between the two."""
    op.create_table(
        "windows",
        sa.Column("step_s", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("slot", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("project_id", sa.Integer, primary_key=True, autoincrement=False),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in SUMS),
        sa.UniqueConstraint("project_id", "step_s", "slot", name="windows_of_project"),
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_row_format="DYNAMIC",
        if_not_exists=True,
    )
