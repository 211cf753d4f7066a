"""The times that runs took: sums by project for the counters, and by host for the report. It knows no database."""

from collections import defaultdict

from zspider.activity import FETCH_MS, FETCHED, PROCESS_MS, PROCESSED
from zspider.delivery import End, Outcome
from zspider.hosts import host_of
from zspider.storage.report import Committed
from zspider.storage.rows import TaskRow

_COSTS = (PROCESSED, PROCESS_MS, FETCHED, FETCH_MS)


class Costs:
    """The times that the runs of one batch took. They are kept apart until `count`, because that is twice as fast."""

    def __init__(self, report: Committed) -> None:
        """report: the batch's report; the sums are added to its `hosts` and `counts`."""
        self._report = report
        self._took: defaultdict[int, list[int]] = defaultdict(lambda: [0] * len(_COSTS))  # as _COSTS, by project

    def note(self, row: TaskRow, outcome: Outcome) -> None:
        """Add up what a run took; a failed one without any time was not timed, as when its processor died.

        Pages that were not fetched (messages, on_start and other data: URLs) are left out: they say nothing of the time
        that pages take.
        """
        took = self._took[row.ref.project]
        is_timed = outcome.end is End.SUCCESS or outcome.fetch_ms or outcome.process_ms
        if is_timed:
            took[0] += 1
            took[1] += outcome.process_ms
        host = host_of(row.url.decode())
        if not host or row.is_message:
            return
        if is_timed:
            took[2] += 1
            took[3] += outcome.fetch_ms
        runs = self._report.hosts[host]
        runs[0] += 1
        runs[1] += outcome.end is not End.SUCCESS
        runs[2] += outcome.fetch_ms

    def count(self) -> None:
        """Add the sums to the report's counters; call it once."""
        for project, took in self._took.items():
            self._report.counts[project].update(dict(zip(_COSTS, took, strict=True)))
