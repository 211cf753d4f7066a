"""Numbers per project, kept with the rows they count: nobody ever counts a table."""

from collections.abc import Mapping

import sqlalchemy as sa

from zspider.storage.database import Transaction
from zspider.storage.engine import Engine
from zspider.storage.schema import counters
from zspider.task import Status

# Tasks now, by status.
GAUGES = {status: status.word for status in Status}
# Ends of runs since the project was made; rules.Finish.counter -> name.
ENDS = {"success": "success", "retry": "retry", "failed": "failed_total"}
NEW = "new"
LATE = "late"  # outcomes of runs that were over
RESULTS = "results"  # stored now
DROPPED = "dropped:"  # ... and why: follows and messages not accepted
MESSAGES = "messages"  # done, since the project was made
CRON_RUNS = "cron"  # of the @every methods, since the project was made
CRON_FAILED = "cron_failed"  # those that an error came out of
# Names that begin with "_" are for ourselves: nobody is shown them.
CRON_TICK = "_cron_tick"  # run of the last @every task that was counted
# Of new tasks: above every run of a task that was deleted, so that nothing of it is heard. Grows with every deletion.
FIRST_RUN = "_first_run"
REMOVING = "_removing"  # the project is being removed: one of the two below
ALL, ALL_BUT_RESULTS = 1, 2


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
        """One counter."""
        row = tx.one(cls._VALUE, {"project": project, "name": name})
        return 0 if row is None else int(row.value)

    @classmethod
    def read(cls, tx: Transaction) -> dict[int, dict[str, int]]:
        """All counters, by project."""
        found: dict[int, dict[str, int]] = {}
        for project, name, value in tx.rows(cls._READ):
            found.setdefault(project, {})[name] = value
        return found
