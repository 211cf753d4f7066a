"""Bugs to be found: each takes one of the promises' mechanisms out of our code, for as long as a test lasts."""

from collections.abc import Callable, Sequence

import msgspec
import pytest
from zspider.broker import messages as m
from zspider.delivery import End, Follow, Outcome
from zspider.roles.master.commits import Commits
from zspider.roles.processor.repeats import Repeats
from zspider.roles.slave.delivering import Delivering
from zspider.scheduler.leases import LeaseTable
from zspider.scheduler.membership import Membership
from zspider.scheduler.slaves import Slaves
from zspider.script.known import Known
from zspider.storage.batch import Batch, refs_of
from zspider.storage.commit import Committer
from zspider.storage.ownership import EpochGuard
from zspider.storage.report import Committed
from zspider.storage.rows import TaskRow
from zspider.storage.runs import Runs
from zspider.task import Ref, Status, Task, task_key

Plant = Callable[[pytest.MonkeyPatch], None]


def no_outbox(patch: pytest.MonkeyPatch) -> None:
    """A slave forgets an outcome once it has sent it."""
    real = Delivering.push

    def push(self: Delivering, link: object, now: float) -> None:
        real(self, link, now)  # type: ignore[arg-type]
        sent = [item for queue in self._work.outbox._sent for item in queue]
        self._work.acknowledge(sent, [], [], now)

    patch.setattr(Delivering, "push", push)


def no_adopt_wait(patch: pytest.MonkeyPatch) -> None:
    """A restarted master grants at once."""
    patch.setattr(Membership, "is_adopting", lambda self, now: False)


def split_commit(patch: pytest.MonkeyPatch) -> None:
    """That a run has ended is committed apart from what it led to."""
    real = Committer._write

    def write(self: Committer, outcomes: Sequence[Outcome], first: int, now_ms: int) -> Committed:
        bare = [msgspec.structs.replace(one, follows=[]) for one in outcomes]
        report = real(self, bare, first, now_ms)
        late = {(end.ref, end.run) for end in report.ended if end.late}
        for one in outcomes:
            ref = Ref(one.project, task_key(one.taskid))
            if one.follows and (ref, one.run) not in late:
                report.add(self.submit(one.project, one.follows, now_ms))
        return report

    patch.setattr(Committer, "_write", write)


def no_idempotence_check(patch: pytest.MonkeyPatch) -> None:
    """An outcome that comes late is applied again."""
    real = Batch.end

    def end(self: Batch, outcome: Outcome, is_project: bool) -> bool:
        for ref in refs_of([outcome]):
            if (row := self.rows.get(ref)) is not None and outcome.run < row.stored.run:
                row.stored.status = Status.ACTIVE
                outcome = msgspec.structs.replace(outcome, run=row.stored.run)
        return real(self, outcome, is_project)

    patch.setattr(Batch, "end", end)


def ack_before_commit(patch: pytest.MonkeyPatch) -> None:
    """Outcomes are acknowledged when they arrive."""
    real = Commits.receive

    def arrive(self: Commits, peer: object, message: m.Outcomes, now: float) -> None:
        real(self, peer, message, now)  # type: ignore[arg-type]
        if (session := self._core.sessions.get(message.session)) is not None:
            self._hub.send(session.route, m.Ack(self._coordinator.epoch, [item.id for item in message.items]))

    patch.setattr(Commits, "receive", arrive)


def no_epoch_check(patch: pytest.MonkeyPatch) -> None:
    """Whoever was a master writes on."""
    patch.setattr(EpochGuard, "enter", lambda self, tx: None)


def run_not_grown_on_retry(patch: pytest.MonkeyPatch) -> None:
    """A run that failed and the next one have the same number."""
    real = Runs.finish

    def finish(self: Runs, row: object, end: End, *rest: object) -> None:
        real(self, row, end, *rest)  # type: ignore[arg-type]
        if row.stored.status is Status.ACTIVE and end is End.FAILURE:  # type: ignore[attr-defined]
            row.stored.run -= 1  # type: ignore[attr-defined]

    patch.setattr(Runs, "finish", finish)


def grants_lost_by_an_early_beat(patch: pytest.MonkeyPatch) -> None:
    """What a heartbeat does not name is lost, also what had not arrived when it was sent."""
    real = LeaseTable.lost

    def lost(self: LeaseTable, session: object, seen: int, *rest: object) -> list[object]:
        return real(self, session, session.next_number, *rest)  # type: ignore[arg-type,attr-defined,return-value]

    patch.setattr(LeaseTable, "lost", lost)


def learned_too_early(patch: pytest.MonkeyPatch) -> None:
    """A processor leaves out what it has submitted before the master says that it is there."""
    real = Repeats.ran

    def ran(self: Repeats, page: m.Page, known: Known, follows: Sequence[Follow]) -> None:
        real(self, page, known, follows)
        self.confirmed([page.number])

    patch.setattr(Repeats, "ran", ran)


def replaced_runs_are_void(patch: pytest.MonkeyPatch) -> None:
    """What a run leads to does not count when its task was submitted again meanwhile."""
    real = Runs.replace

    def replace(self: Runs, row: TaskRow, status: Status) -> None:
        real(self, row, status)
        row.open_runs = 0

    patch.setattr(Runs, "replace", replace)


def newest_run_goes_out_at_once(patch: pytest.MonkeyPatch) -> None:
    """It does not wait for the end of the one under way."""

    def is_leased(self: LeaseTable, task: Task) -> bool:
        lease = self.get(task.ref)
        return lease is not None and lease.task.run == task.run

    patch.setattr(LeaseTable, "is_leased", is_leased)
    patch.setattr(LeaseTable, "hold_back", is_leased)


def lost_lease_forgets_the_newest_run(patch: pytest.MonkeyPatch) -> None:
    """When a slave is gone, nobody remembers that its task was submitted again."""
    patch.setattr(Slaves, "let_wait", lambda self, task: None)


BUGS: dict[str, Plant] = {
    plant.__name__.replace("_", " "): plant
    for plant in (
        no_outbox,
        no_adopt_wait,
        split_commit,
        no_idempotence_check,
        ack_before_commit,
        no_epoch_check,
        run_not_grown_on_retry,
        grants_lost_by_an_early_beat,
        learned_too_early,
        replaced_runs_are_void,
        newest_run_goes_out_at_once,
        lost_lease_forgets_the_newest_run,
    )
}
