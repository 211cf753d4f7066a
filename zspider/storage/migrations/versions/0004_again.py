"""Each task knows how many of its earlier runs were replaced and have not ended: the column `open_runs`, 0 for all."""

import sqlalchemy as sa
from zspider.storage.migrations import online

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the column."""
    online.add_column("tasks", sa.Column("open_runs", sa.Integer, nullable=False, server_default="0"))
