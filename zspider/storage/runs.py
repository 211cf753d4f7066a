"""The ends of runs, and new runs in their places: a task's row, the counters and the report, in memory. It knows no
database.
"""

from msgspec.structs import replace

from zspider.activity import SINCE_FINISHED
from zspider.decisions import Finish, Rules
from zspider.delivery import End, NewSchedule, Outcome
from zspider.storage.counter_names import ENDS, GAUGES, MESSAGES
from zspider.storage.report import Committed, Ended
from zspider.storage.rows import TaskRow, storable
from zspider.task import ON_FINISHED, Status, Stored

_ON_FINISHED = ON_FINISHED.encode()


class Runs:
    """Changes the rows of one batch, and notes that in its report."""

    def __init__(self, rules: Rules, report: Committed) -> None:
        self.rescheduled: list[TaskRow] = []  # their `schedule` is to be written
        self._rules = rules
        self._report = report

    def finish(self, row: TaskRow, end: End, reason: str, schedule: NewSchedule | None = None) -> None:
        """End the current run as the rules say. schedule: what its callback left, if that is another one."""
        stored = row.stored if schedule is None else _rescheduled(row.stored, schedule)
        finish = self._rules.finish(row.ref.project, stored, end, self._report.at_ms)
        if schedule is not None:
            self._reschedule(row, finish, stored, schedule)
            stored = row.stored
        if row.is_message and finish.status is Status.SUCCESS:
            row.is_to_delete = True
            self._report.counts[row.ref.project][GAUGES[Status.SUCCESS]] -= 1  # `_move` adds it: what is heard goes
        self._count_end(row, finish.counter)
        self._move(row, finish.status)
        stored.due_ms = finish.due_ms if finish.status is Status.ACTIVE else 0
        stored.retried = finish.retried
        stored.lastcrawl_ms = self._report.at_ms
        row.reason = "" if end is End.SUCCESS else storable(reason)
        is_success = None if row.is_message else end is End.SUCCESS
        self._report.ended.append(Ended(row.ref, stored.run - 1, finish.status, False, is_success, row.reason))

    def end_open(self, row: TaskRow, outcome: Outcome) -> None:
        """End a run that was replaced; the task stays as it was submitted since: to run again, or cancelled.

        A schedule that the callback has changed is overruled by that submission. Runs before this one are over, too.
        Source: docs/pyspider-behaviour.md 4.6.
        """
        stored, is_success = row.stored, outcome.end is End.SUCCESS
        failed = "retry" if stored.status is Status.ACTIVE else "failed"
        self._count_end(row, "success" if is_success else failed)
        row.open_runs = stored.run - 1 - outcome.run
        stored.lastcrawl_ms = self._report.at_ms
        row.is_settled = True
        error = "" if is_success else storable(outcome.reason)
        ended = Ended(row.ref, outcome.run, stored.status, False, None if row.is_message else is_success, error)
        self._report.ended.append(ended)

    def replace(self, row: TaskRow, status: Status) -> None:
        """Give the task a new status in a new run, without ending the one that a slave may be working on: it is open.

        Storage does not know what is leased: every run of a waiting task may be.
        """
        open_runs = row.open_runs + 1 if row.open_runs or row.stored.status is Status.ACTIVE else 0
        if open_runs:
            self._report.replaced.append(row.ref)
        self._move(row, status)
        row.open_runs = open_runs

    def _count_end(self, row: TaskRow, counter: str) -> None:
        """Count a run that ended. counter: "success", "retry" or "failed"."""
        counts = self._report.counts[row.ref.project]
        counts[MESSAGES if row.is_message and counter == "success" else ENDS[counter]] += 1
        if not row.is_message and row.taskid != _ON_FINISHED:
            counts[SINCE_FINISHED] += 1

    def _reschedule(self, row: TaskRow, finish: Finish, stored: Stored, schedule: NewSchedule) -> None:
        """Keep a schedule that the callback changed, and by which the end was decided, unless the task is done.

        Source: docs/pyspider-behaviour.md 3.5.
        """
        if finish.status is not Status.SUCCESS:
            row.stored, row.priority, row.schedule = stored, schedule.priority, schedule
            self.rescheduled.append(row)

    def _move(self, row: TaskRow, status: Status) -> None:
        """Give the task a new status in a new run; those before it are over."""
        counts = self._report.counts[row.ref.project]
        counts[GAUGES[row.stored.status]] -= 1
        counts[GAUGES[status]] += 1
        row.stored.status = status
        row.stored.run += 1
        row.attempt = row.open_runs = 0
        row.is_settled = True


def _rescheduled(stored: Stored, schedule: NewSchedule) -> Stored:
    """Return the task as the rules see it when its callback changed its schedule."""
    return replace(
        stored,
        retries=schedule.retries,
        retried=schedule.retried,
        age_ms=schedule.age_ms,
        itag=schedule.itag,
        auto_recrawl=schedule.auto_recrawl,
    )
