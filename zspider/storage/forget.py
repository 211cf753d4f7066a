"""The steps that the deletion of tasks' rows needs, so that neither a cache nor a slave can bring them back."""

from collections.abc import MutableMapping, Sequence

from zspider.storage.counter_names import FIRST_RUN
from zspider.storage.counters import CounterTable
from zspider.storage.database import Transaction
from zspider.storage.report import Committed
from zspider.storage.seen import SeenKeys
from zspider.task import Ref


class Forgetting:
    """Keeps `seen` and `first_runs` true: by project, the run with which new tasks begin."""

    def __init__(self, seen: SeenKeys, first_runs: MutableMapping[int, int]) -> None:
        self._seen = seen
        self._first_runs = first_runs

    def forget(self, tx: Transaction, refs: Sequence[Ref], last_run: int, report: Committed) -> None:
        """Forget these tasks of one project, before the COMMIT that deletes them. last_run: the highest of their runs.

        Their URLs are known no more, neither here nor, as FIRST_RUN grows, to slaves. When one is submitted again, no
        outcome of an earlier run is taken for one of the new task's. Safe to repeat, whether the COMMIT comes through
        or not.
        """
        self._seen.discard(refs)
        project = refs[0].project
        stored = CounterTable.value(tx, project, FIRST_RUN)
        report.counts[project][FIRST_RUN] += max(1, last_run + 1 - stored)
        self._first_runs[project] = max(last_run + 1, stored + 1, self._first_runs[project])
