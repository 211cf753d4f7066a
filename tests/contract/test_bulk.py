"""What the operator does to many tasks: a batch at a time, safe to repeat, with counters that stay true."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.storage import Crawl, follow, outcome
from zspider.activity import SINCE_FINISHED
from zspider.delivery import End, Message
from zspider.errors import StorageError
from zspider.scheduler.internal_tasks import entry_follow
from zspider.storage import Change, Committed, Cursor, Cutoffs, Place, Selection, Step
from zspider.task import ON_FINISHED, Ref, Status, Task, task_key

RESTART, REMOVE = Change.RESTART, Change.REMOVE
ACTIVE, SUCCESS, FAILED, BAD = Status
_projects = count()


def steps(
    crawl: Crawl, change: Change, *statuses: Status, url: str = "", rows: int = 3, most: int | None = None
) -> Iterator[Step]:
    """The steps of one bulk verb, as the master makes them."""
    cursor: Cursor | None = None
    while True:
        crawl.now_ms += 1
        step = crawl.storage.change_tasks(
            change, crawl.project.id, Selection(statuses, url), cursor, now_ms=crawl.now_ms, rows=rows, most=most
        )
        yield step
        most = None if most is None else most - step.changed
        cursor = step.next
        if cursor is None:
            return


def changed(found: Iterator[Step]) -> int:
    return sum(step.changed for step in found)


def names(tasks: Sequence[Task]) -> list[str]:
    return sorted(task.taskid for task in tasks)


def statuses(crawl: Crawl) -> dict[str, Status]:
    return {row.taskid: row.status for row in crawl.reader.tasks(crawl.project.id)}


def a_mixed_project(crawl: Crawl) -> dict[str, Task]:
    """Ten tasks each: done, failed, cancelled, ready, and waiting for a time."""
    groups = ("done", "failed", "cancelled", "ready", "later")
    all_names = [f"{group}{number}" for group in groups for number in range(10)]
    tasks = {task.taskid: task for task in crawl.tasks(*all_names, retries=1, itag='"v1"')}
    crawl.commit(*(outcome(tasks[f"done{n}"], results=[b"1"]) for n in range(10)))
    crawl.commit(*(outcome(tasks[f"failed{n}"], End.FATAL, reason="no") for n in range(10)))
    crawl.commit(*(outcome(tasks[f"later{n}"], End.FAILURE, reason="wait") for n in range(10)))
    crawl.submit(*(follow(f"cancelled{n}", force_update=True, cancel=True) for n in range(10)))
    return tasks


def test_failed_tasks_wait_again_with_all_their_tries(crawl: Crawl) -> None:
    tasks = a_mixed_project(crawl)
    before = crawl.row("failed3")
    found = list(steps(crawl, RESTART, FAILED))
    assert [step.changed for step in found] == [3, 3, 3, 1]
    entered = [task for step in found for task in step.report.entered]
    assert names(entered) == [f"failed{n}" for n in range(10)]
    assert all(step.report.gone == step.report.replaced == [] for step in found)
    row = crawl.row("failed3")
    assert (row.status, row.run, row.retried, row.due_ms, row.reason) == (ACTIVE, before.run + 1, 0, 0, "")
    assert (row.url, row.body, row.itag, row.retries) == (before.url, before.body, before.itag, 1)
    assert {task.taskid for task in crawl.storage.ready(crawl.project.id, None, 100)} == {
        *(f"failed{n}" for n in range(10)),
        *(f"ready{n}" for n in range(10)),
    }
    assert min(task.seq for task in entered) > max(tasks[f"ready{n}"].seq for n in range(10))  # behind those
    assert crawl.gauges() == crawl.recounted() == {"waiting": 30, "done": 10, "cancelled": 10, "results": 10}
    assert changed(steps(crawl, RESTART, FAILED)) == 0  # once more is not too much


def test_a_restarted_task_can_fail_and_end_as_any_other(crawl: Crawl) -> None:
    crawl.commit(outcome(crawl.task("a", retries=1), End.FATAL))
    (task,) = next(steps(crawl, RESTART, FAILED)).report.entered
    (again,) = crawl.commit(outcome(task, End.FAILURE)).entered
    assert (again.run, again.retried) == (task.run + 1, 1)
    assert crawl.commit(outcome(again)).ended[0].status is SUCCESS


def test_done_and_failed_are_crawled_again_and_the_cancelled_stay(crawl: Crawl) -> None:
    a_mixed_project(crawl)
    assert changed(steps(crawl, RESTART, SUCCESS, FAILED, rows=7)) == 20
    assert crawl.gauges() == crawl.recounted() == {"waiting": 40, "cancelled": 10, "results": 10}
    assert crawl.row("done1").lastcrawl_ms > 0  # what is known of the last time stays


def test_waiting_tasks_are_dropped_and_their_leases_are_void(crawl: Crawl) -> None:
    tasks = a_mixed_project(crawl)
    found = list(steps(crawl, REMOVE, ACTIVE))
    assert sum(step.changed for step in found) == 20
    gone = {ref for step in found for ref in step.report.gone}
    assert gone == {tasks[f"{group}{n}"].ref for group in ("ready", "later") for n in range(10)}
    assert crawl.gauges() == crawl.recounted() == {"done": 10, "failed": 10, "cancelled": 10, "results": 10}
    assert not crawl.knows("ready1")
    late = crawl.commit(outcome(tasks["ready1"], results=[b"1"], follows=[follow("more")]))
    assert (late.ended[0].late, late.entered, late.ended[0].status) == (True, [], BAD)
    assert changed(steps(crawl, REMOVE, ACTIVE)) == 0


def test_a_dropped_url_is_new_when_it_is_found_again_and_no_old_outcome_counts_for_it(crawl: Crawl) -> None:
    old = crawl.task("page")
    assert changed(steps(crawl, REMOVE, ACTIVE)) == 1
    (new,) = crawl.submit(follow("page")).entered  # the cache of known URLs has forgotten it
    assert new.run > old.run
    assert crawl.commit(outcome(old, results=[b"1"])).ended[0].late
    assert crawl.results() == {}
    assert not crawl.commit(outcome(new)).ended[0].late


@pytest.mark.parametrize("way", ["drop", "rm", "project", "forget"])
def test_runs_go_on_above_those_of_deleted_tasks_whatever_restarts(crawl: Crawl, way: str) -> None:
    old = crawl.task("page", auto_recrawl=True, age_ms=0)
    for _ in range(3):
        (old,) = crawl.commit(outcome(old)).entered
    match way:
        case "drop":
            assert changed(steps(crawl, REMOVE, ACTIVE)) == 1
        case "rm":
            crawl.storage.remove_task(crawl.project.id, "page", crawl.now_ms)
        case "project":
            while crawl.storage.remove("shop", keep_results=True):
                pass
        case "forget":
            crawl.submit(follow("page", force_update=True, cancel=True))
            cutoffs = Cutoffs(0, crawl.now_ms + 1, 0)
            assert crawl.storage.retention_step(crawl.project.id, Place(), cutoffs).forgotten == 1
    assert not crawl.knows("page")
    crawl.close()
    crawl.open()
    (new,) = crawl.submit(follow("page")).entered
    assert new.run > old.run


def test_a_walk_does_not_meet_what_comes_after_its_beginning(crawl: Crawl) -> None:
    crawl.tasks(*(f"old{number}" for number in range(10)))
    walk = steps(crawl, REMOVE, ACTIVE, rows=4)
    assert next(walk).changed == 4
    crawl.tasks(*(f"new{number}" for number in range(10)), priority=-1)
    crawl.tasks(*(f"late{number}" for number in range(10)), exetime_ms=crawl.now_ms + 60_000)
    assert changed(walk) == 6
    assert set(statuses(crawl)) == {f"{name}{number}" for name in ("new", "late") for number in range(10)}


def test_a_restarted_task_is_not_met_again_when_it_fails_meanwhile(crawl: Crawl) -> None:
    crawl.commit(*(outcome(task, End.FATAL) for task in crawl.tasks(*(f"t{number}" for number in range(10)))))
    runs = 0
    for step in steps(crawl, RESTART, FAILED):
        runs += step.changed
        crawl.commit(*(outcome(task, End.FATAL) for task in step.report.entered))
    assert runs == 10


def test_a_pattern_and_a_number_narrow_the_choice(crawl: Crawl) -> None:
    a_mixed_project(crawl)
    assert changed(steps(crawl, RESTART, FAILED, url="http://example.org/*[0-2]")) == 3
    assert changed(steps(crawl, RESTART, FAILED, url="http://*/failed?", most=4)) == 4
    assert changed(steps(crawl, RESTART, FAILED, url="*/FAILED?")) == 0  # URLs differ by case
    assert crawl.gauges() == crawl.recounted()
    assert crawl.counts()["failed"] == 3


@pytest.mark.parametrize("which", [(ACTIVE,), (SUCCESS, FAILED), tuple(Status)])
def test_counting_finds_what_the_verb_will_change(crawl: Crawl, which: tuple[Status, ...]) -> None:
    a_mixed_project(crawl)
    selection, found = Selection(which, "*[13579]"), 0
    cursor: Cursor | None = None
    while True:
        number, cursor = crawl.reader.count(crawl.project.id, selection, cursor, 4)
        found += number
        if cursor is None:
            break
    assert found == changed(steps(crawl, REMOVE, *which, url=selection.url))


def test_on_finished_waits_for_the_others_when_it_is_to_run_again(crawl: Crawl) -> None:
    crawl.commit(outcome(crawl.task("page"), End.FATAL))
    (task,) = crawl.storage.finish(crawl.project.id, entry_follow(ON_FINISHED), crawl.now_ms).entered
    crawl.commit(outcome(task, End.FATAL))
    (step,) = steps(crawl, RESTART, FAILED)
    assert (step.changed, names(step.report.entered)) == (2, ["page"])
    assert crawl.all_counts()[SINCE_FINISHED] == 1
    assert crawl.storage.finish(crawl.project.id, entry_follow(ON_FINISHED), crawl.now_ms).entered == []
    crawl.commit(outcome(step.report.entered[0]))
    (again,) = crawl.storage.finish(crawl.project.id, entry_follow(ON_FINISHED), crawl.now_ms).entered
    assert again.run > task.run
    assert crawl.gauges() == crawl.recounted()


def test_a_message_that_failed_is_heard_once_it_is_retried(crawl: Crawl) -> None:
    (message,) = crawl.commit(outcome(crawl.task("page"), messages=[Message("shop", "data:,m", b"\x80")])).entered
    crawl.commit(outcome(message, End.FATAL))
    (again,) = next(steps(crawl, RESTART, FAILED)).report.entered
    assert again.taskid == message.taskid
    crawl.commit(outcome(again, results=[b"1"]))
    assert crawl.gauges() == crawl.recounted() == {"done": 1, "results": 1}


def test_one_task_runs_again_now_unless_it_is_to_run_anyway(crawl: Crawl) -> None:
    tasks = a_mixed_project(crawl)
    for name in ("done1", "failed1", "cancelled1", "later1"):
        crawl.now_ms += 1
        report = crawl.storage.restart_task(crawl.project.id, name, crawl.now_ms)
        assert names(report.entered) == [name]
        assert report.entered[0].due_ms == 0
        with pytest.raises(StorageError, match="is to run already"):
            crawl.storage.restart_task(crawl.project.id, name, crawl.now_ms)
    assert (report.gone, report.replaced) == ([], [tasks["later1"].ref])
    with pytest.raises(StorageError, match="no task 'nobody'"):
        crawl.storage.restart_task(crawl.project.id, "nobody", crawl.now_ms)
    assert crawl.gauges() == crawl.recounted()


def test_one_task_goes_with_its_results_or_without(crawl: Crawl) -> None:
    tasks = crawl.tasks("a", "b", "c")
    crawl.commit(*(outcome(task, results=[b"1", b"2"]) for task in tasks[:2]))
    crawl.storage.remove_task(crawl.project.id, "a", crawl.now_ms)
    crawl.storage.remove_task(crawl.project.id, "b", crawl.now_ms, keep_results=True)
    report = crawl.storage.remove_task(crawl.project.id, "c", crawl.now_ms)
    assert report.gone == [tasks[2].ref]
    assert statuses(crawl) == {}
    assert crawl.results() == {"b": ["1", "2"]}
    assert crawl.gauges() == crawl.recounted() == {"results": 2}
    with pytest.raises(StorageError, match="no task 'a'"):
        crawl.storage.remove_task(crawl.project.id, "a", crawl.now_ms)
    assert len(crawl.submit(follow("a")).entered) == 1  # not "known"


def test_results_are_cleared_in_batches_and_their_tasks_stay(crawl: Crawl) -> None:
    tasks = crawl.tasks(*(f"t{number}" for number in range(10)))
    crawl.commit(*(outcome(task, results=[b"1", b"2", b"3"]) for task in tasks))
    sizes: list[int] = []
    after: bytes | None = b""
    while after is not None:
        report, after = crawl.storage.clear_results(crawl.project.id, after, rows=7)
        sizes.append(-report.counts[crawl.project.id]["results"])
        assert crawl.gauges() == crawl.recounted()
    assert sizes == [9, 9, 9, 3, 0]  # a task's results go together
    assert crawl.gauges() == {"done": 10}


def test_a_project_that_is_being_removed_is_not_touched(crawl: Crawl) -> None:
    crawl.tasks("a", "b")
    crawl.storage.remove("shop", 1)
    for work in (
        lambda: next(steps(crawl, REMOVE, ACTIVE)),
        lambda: crawl.storage.restart_task(crawl.project.id, "a", crawl.now_ms),
        lambda: crawl.storage.remove_task(crawl.project.id, "a", crawl.now_ms),
    ):
        with pytest.raises(StorageError, match="being removed"):
            work()


ACTS = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), st.lists(st.integers(0, 11), max_size=8)),
        st.tuples(st.just("end"), st.lists(st.tuples(st.integers(0, 11), st.sampled_from(End)), max_size=8)),
        st.tuples(
            st.sampled_from([RESTART, REMOVE]),
            st.tuples(st.lists(st.sampled_from(Status), unique=True, min_size=1), st.integers(1, 5), st.integers(1, 9)),
        ),
        st.tuples(st.sampled_from(["retry", "rm", "clear"]), st.integers(0, 11)),
    ),
    max_size=12,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(acts=ACTS)
def test_counters_and_what_the_master_is_told_stay_true_whatever_is_done(crawl: Crawl, acts: list) -> None:
    crawl.project = crawl.storage.push(f"b{next(_projects)}", "x", now_ms=crawl.now_ms)
    held: dict[Ref, Task] = {}  # what waits, as the master was told
    granted: dict[str, Task] = {}  # the newest run of each that a slave may ever have had

    def note(report: Committed) -> None:
        for ref in (*(end.ref for end in report.ended if not end.late), *report.gone, *report.replaced):
            held.pop(ref, None)
        held.update((task.ref, task) for task in report.entered)
        granted.update((task.taskid, task) for task in report.entered)

    for act, what in acts:
        crawl.now_ms += 50
        match act:
            case "submit":
                note(crawl.submit(*(follow(f"t{number}", retries=1) for number in what)))
            case "end":
                note(
                    crawl.commit(
                        *(
                            outcome(granted[f"t{number}"], end, results=[b"1"] * (end is not End.PART))
                            for number, end in what
                            if f"t{number}" in granted
                        )
                    )
                )
            case "clear":
                crawl.storage.clear_results(crawl.project.id, task_key(f"t{what}"), 3)
            case "retry" | "rm":
                verb = crawl.storage.restart_task if act == "retry" else crawl.storage.remove_task
                with suppress(StorageError):  # there is none, or it waits
                    note(verb(crawl.project.id, f"t{what}", crawl.now_ms))
            case _:
                which, rows, most = what
                for step in steps(crawl, act, *which, rows=rows, most=most):
                    note(step.report)
    assert crawl.gauges() == crawl.recounted()
    waiting = crawl.storage.ready(crawl.project.id, None, 100) + crawl.storage.delayed(crawl.project.id, None, 100)
    assert {task.ref: task for task in waiting} == held
