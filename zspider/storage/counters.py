"""Numbers per project, kept with the rows they count, so that no table is ever counted."""

from collections.abc import Mapping

import sqlalchemy as sa

from zspider.storage.database import Transaction
from zspider.storage.engine import Engine
from zspider.storage.schema import counters


class CounterTable:
    """Adds to counters and reads them."""

    _READ = sa.select(counters.c.project_id, counters.c.name, counters.c.value)
    _VALUE = sa.select(counters.c.value).where(
        counters.c.project_id == sa.bindparam("project"), counters.c.name == sa.bindparam("name")
    )

    def __init__(self, engine: Engine) -> None:
        self._add = engine.upsert(counters, ("project_id", "name", "value"), {"value": "{old} + {new}"})

    def add(self, tx: Transaction, deltas: Mapping[int, Mapping[str, int]]) -> None:
        """Add the deltas, by project and name."""
        rows = sorted(
            (project, name, delta) for project, counts in deltas.items() for name, delta in counts.items() if delta
        )
        tx.upsert(self._add, rows)

    @classmethod
    def value(cls, tx: Transaction, project: int, name: str) -> int:
        """Return one counter."""
        row = tx.one(cls._VALUE, {"project": project, "name": name})
        return 0 if row is None else int(row.value)

    @classmethod
    def read(cls, tx: Transaction) -> dict[int, dict[str, int]]:
        """Return all counters, by project."""
        found: dict[int, dict[str, int]] = {}
        for project, name, value in tx.rows(cls._READ):
            found.setdefault(project, {})[name] = value
        return found
