"""The changes that a batch of outcomes makes to tasks, decided in memory: it knows no database.

A Batch is told the rows as the database has them, changes its copies in the order of the batch, and holds
at the end the rows to write and the report for the master.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from zspider.activity import SINCE_FINISHED
from zspider.decisions import Accept, Rules
from zspider.delivery import ATTEMPTS_MAX, End, Follow, Outcome
from zspider.storage.costs import Costs
from zspider.storage.counter_names import CRON_FAILED, CRON_RUNS, CRON_TICK, DROPPED, GAUGES, LATE, NEW
from zspider.storage.report import Committed, Ended
from zspider.storage.rows import ResultRow, TaskRow, result_rows
from zspider.storage.runs import Runs
from zspider.storage.seen import SeenKeys, packed
from zspider.storage.sent_messages import SentMessages
from zspider.task import CRONJOB, INTERNAL, ON_FINISHED, Ref, Status, Stored, is_reserved, task_key

SEQ_PER_MS = 1_000_000
_ON_FINISHED = ON_FINISHED.encode()


class ArrivalNumbers:
    """Numbers for `tasks.seq`: they only grow, and a restart continues above."""

    def __init__(self) -> None:
        self.last = 0

    def next(self, now_ms: int) -> int:
        """Return a number above all before; it tells the millisecond, when the clock did not go back."""
        self.last = max(self.last + 1, now_ms * SEQ_PER_MS)
        return self.last


class Batch:
    """One transaction's worth of decisions."""

    def __init__(
        self, rules: Rules, seen: SeenKeys, seq: ArrivalNumbers, now_ms: int, first_runs: Mapping[int, int]
    ) -> None:
        """first_runs: the run with which a new task begins, by project."""
        self._first_runs = first_runs
        self._rules = rules
        self._seen, self._seq = seen, seq
        self._now_ms = now_ms
        self._follows: list[tuple[Ref, Follow]] = []
        self._results: dict[Ref, list[ResultRow]] = {}
        self.rows: dict[Ref, TaskRow] = {}
        self.waited: dict[int, int] = {}  # how many waited before, of the projects submitted to; for a limit only
        self.cron_ticks: dict[int, int] = {}  # CRON_TICK as it is, of the projects of `cron_projects`
        self.report = Committed(now_ms)
        self._runs = Runs(rules, self.report)
        self.costs = Costs(self.report)
        self.messages = SentMessages(self.report)

    # --- outcomes

    def end(self, outcome: Outcome, is_project: bool) -> bool:
        """Apply how a delivery ended, and remember its follows; an outcome of a run that is over changes nothing.

        Returns whether there were follows and they are remembered.
        """
        ref = Ref(outcome.project, task_key(outcome.taskid))
        if is_project and outcome.taskid in INTERNAL:
            self._end_internal(ref, outcome)
            return bool(outcome.follows)
        row = self.rows.get(ref) if is_project else None
        if row is None or not (row.is_current(outcome.run) or row.is_open(outcome.run)):
            status = Status.BAD if row is None else row.stored.status
            self.report.ended.append(Ended(ref, outcome.run, status, late=True))
            if is_project:
                self.report.counts[ref.project][LATE] += 1
            return False
        if outcome.end is not End.PART:
            if outcome.results:
                results = result_rows(row, outcome.results, self._now_ms)
                self._results[results[0].ref] = results  # of two messages with one URL in a batch, the later one wins
            if row.is_open(outcome.run):
                self._runs.end_open(row, outcome)
            else:
                self._runs.finish(row, outcome.end, outcome.reason, outcome.schedule)
            self.costs.note(row, outcome)
            row.track = outcome.track
            self.messages.add(outcome)
        self._submit(outcome)
        return bool(outcome.follows)

    def charge(self, ref: Ref, run: int, attempt: int) -> TaskRow | None:
        """Count a delivery that came to nothing; returns the row if it waits again.

        A run that was replaced is not counted: the one that took its place goes out anyway.
        """
        row = self.rows.get(ref)
        if row is None or not row.is_current(run):
            return None
        if attempt >= ATTEMPTS_MAX:
            self._runs.finish(row, End.FATAL, f"gave up: {ATTEMPTS_MAX} deliveries came to nothing")
            return None
        row.attempt = max(row.attempt, attempt)
        return row

    def _end_internal(self, ref: Ref, outcome: Outcome) -> None:
        """GET_INFO and CRONJOB have no row; what they submit counts."""
        if outcome.end is not End.PART:
            status = Status.SUCCESS if outcome.end is End.SUCCESS else Status.FAILED
            self.report.ended.append(Ended(ref, outcome.run, status, late=False))
            if outcome.taskid == CRONJOB:
                self._end_cron(outcome)
        self._submit(outcome)

    def _end_cron(self, outcome: Outcome) -> None:
        """An @every task has no row that tells a second outcome of its run from the first: a counter does."""
        last = self.cron_ticks[outcome.project]
        if outcome.run > last:
            self.cron_ticks[outcome.project] = outcome.run
            counts = self.report.counts[outcome.project]
            counts[CRON_TICK] += outcome.run - last
            counts[CRON_RUNS] += 1
            counts[CRON_FAILED] += outcome.end is not End.SUCCESS
            self.messages.add(outcome)

    # --- follows

    def _submit(self, outcome: Outcome) -> None:
        self.follow(outcome.project, allowed := allowed_follows(outcome))
        if reserved := len(outcome.follows) - len(allowed):
            self._drop(outcome.project, Accept.RESERVED, reserved)
        if outcome.repeats:
            self._drop(outcome.project, Accept.KNOWN, outcome.repeats)

    def follow(self, project: int, follows: Iterable[Follow]) -> None:
        """Remember submitted URLs for `accept`, but for those that are certainly known and ask for nothing."""
        prefix, seen, repeats = packed(project), self._seen, 0
        for follow in follows:
            key = task_key(follow.taskid)
            if prefix + key in seen and follow.asks_nothing:
                repeats += 1
            else:
                self._follows.append((Ref(project, key), follow))
        if repeats:
            self._drop(project, Accept.KNOWN, repeats)

    def finish(self, project: int, follow: Follow, counts: Mapping[str, int]) -> None:
        """Submit on_finished, unless the counters say that it is not time. (How a task's run ends: `Rules.finish`.)"""
        if self._rules.is_finished(counts):
            self.report.counts[project][SINCE_FINISHED] -= counts[SINCE_FINISHED]
            self.follow(project, [follow])

    def deliver(self, projects: Mapping[str, int]) -> None:
        """Make the sent messages tasks of their receivers. projects: ids of the projects that may get some, by name."""
        self._follows += self.messages.delivered(projects)

    def undecided(self) -> set[Ref]:
        """Return the submitted tasks whose rows are not in `rows` yet."""
        return {ref for ref, _ in self._follows if ref not in self.rows}

    def accept(self) -> None:
        """Decide about all submitted URLs, in order; each sees what those before it did."""
        for ref, follow in self._follows:
            row = self.rows.get(ref)
            verdict = self._rules.accept(row.stored if row else None, follow, self._now_ms)
            if verdict is Accept.NEW and self._rules.waiting_max and not self._has_room(ref.project, follow):
                verdict = Accept.FULL
            if verdict is Accept.NEW:
                self._add(ref, follow)
            elif verdict.is_drop:
                self._drop(ref.project, verdict, 1)
            elif row is not None:
                self._replace(row, follow, verdict)

    def _has_room(self, project: int, follow: Follow) -> bool:
        waiting = self.waited[project] + self.report.counts[project][GAUGES[Status.ACTIVE]]
        return self._rules.has_room(waiting, follow)

    def _add(self, ref: Ref, follow: Follow) -> None:
        stored = Stored(Status.ACTIVE, self._first_runs[ref.project], 0, 0, 0, None, None, False, 0)
        row = self.rows[ref] = TaskRow(ref, follow.taskid.encode(), b"", stored)
        row.place(follow, self._seq.next(self._now_ms), self._now_ms)
        counts = self.report.counts[ref.project]
        counts[NEW] += 1
        counts[GAUGES[Status.ACTIVE]] += 1

    def _replace(self, row: TaskRow, follow: Follow, verdict: Accept) -> None:
        """Cancel or restart; a run that is under way ends first."""
        if verdict is Accept.RESTART:
            self._runs.replace(row, Status.ACTIVE)
            row.place(follow, self._seq.next(self._now_ms), self._now_ms)
        else:
            self._runs.replace(row, Status.BAD)
            row.stored.due_ms = 0
            row.reason = ""

    def _drop(self, project: int, verdict: Accept, number: int) -> None:
        self.report.dropped[verdict.value] += number
        self.report.counts[project][DROPPED + verdict.value] += number

    # --- what the operator wants

    def restart(self, row: TaskRow) -> None:
        """Let a task of `rows` run anew, with all its tries, behind what is ready already; a run under way ends first.

        on_finished runs when no task is left, as always.
        """
        if row.taskid == _ON_FINISHED:
            self.report.counts[row.ref.project][SINCE_FINISHED] += 1
            return
        self._runs.replace(row, Status.ACTIVE)
        row.stored.due_ms = row.stored.retried = 0
        row.seq = self._seq.next(self._now_ms)
        row.reason = ""

    def remove(self, row: TaskRow) -> None:
        """Take a task of `rows` out of the table; a lease of it is void."""
        self.report.counts[row.ref.project][GAUGES[row.stored.status]] -= 1
        if row.stored.status is Status.ACTIVE or row.open_runs:
            self.report.gone.append(row.ref)
        row.is_to_delete = True

    # --- what is to be written

    @property
    def rescheduled(self) -> list[TaskRow]:
        """Tasks whose `schedule` is to be written, before those that are `placed`."""
        return self._runs.rescheduled

    def settled(self) -> list[TaskRow]:
        """Return tasks with an ended, replaced or cancelled run; to be written after those that are `placed`."""
        return [row for row in self.rows.values() if row.is_settled and not row.is_to_delete]

    def to_delete(self) -> list[TaskRow]:
        """Return messages that were heard, and what was removed; to be deleted."""
        return [row for row in self.rows.values() if row.is_to_delete]

    def results(self) -> list[ResultRow]:
        """Return the results to be stored, each row once."""
        return [row for rows in self._results.values() for row in rows]

    def cacheable(self) -> Iterator[Ref]:
        """Return tasks that a script may submit again and whose rows stay: all but messages."""
        return (ref for ref, row in self.rows.items() if not row.is_message)

    def placed(self) -> list[TaskRow]:
        """Return new and restarted tasks."""
        return [row for row in self.rows.values() if row.is_placed]

    def waiting(self) -> list[TaskRow]:
        """Return tasks that this batch made wait, or wait again."""
        changed = (row for row in self.rows.values() if row.is_settled or row.is_placed)
        return [row for row in changed if row.stored.status is Status.ACTIVE]


def cron_projects(outcomes: Sequence[Outcome]) -> set[int]:
    """Return the projects whose @every tasks have ended."""
    return {outcome.project for outcome in outcomes if outcome.taskid == CRONJOB}


def allowed_follows(outcome: Outcome) -> list[Follow]:
    """Return the follows but for those with a name that only the master gives: a slave let its page submit them."""
    follows = outcome.follows
    if any([one.taskid[0] == "_" and is_reserved(one.taskid) for one in follows]):  # noqa: C419 - a list is faster
        return [one for one in follows if not is_reserved(one.taskid)]
    return follows


def refs_of(outcomes: Sequence[Outcome]) -> Iterator[Ref]:
    """Return the tasks of outcomes that have a row."""
    return (Ref(outcome.project, task_key(outcome.taskid)) for outcome in outcomes if outcome.taskid not in INTERNAL)
