"""Rows that are kept in memory between transactions are those of the database."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.storage import Crawl, follow, outcome
from zspider.delivery import ATTEMPTS_MAX, End
from zspider.storage.row_cache import RowCache
from zspider.storage.rows import TaskRow
from zspider.storage.storage import Storage
from zspider.task import Ref, Status, Task, task_key

NAMES = "abcde"
SETTINGS = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["submit", "again", "cancel", "end", "part", "bad", "charge", "refill"]),
        st.lists(st.sampled_from(NAMES), min_size=1, max_size=4),
        st.sampled_from([End.SUCCESS, End.FAILURE, End.FATAL]),
    ),
    max_size=12,
)


def kept_of(storage: Storage) -> dict[Ref, TaskRow]:
    return dict(storage._row_cache._rows)


def check(crawl: Crawl) -> None:
    """What is kept is what a transaction would read."""
    storage, kept = crawl.storage, kept_of(crawl.storage)
    with storage._db.transaction() as tx:
        assert storage._tasks.find(tx, list(kept)) == kept
    assert all(row.stored.status is Status.ACTIVE for row in kept.values())


def current(crawl: Crawl, name: str) -> Task | None:
    """The task as the frontier would hold it, if it waits."""
    ready = crawl.storage.ready(crawl.project.id, None, 100) + crawl.storage.delayed(crawl.project.id, None, 100)
    return next((task for task in ready if task.taskid == name), None)


@SETTINGS
@given(steps=STEPS)
def test_kept_rows_are_the_rows_of_the_database(crawl: Crawl, steps: list[tuple[str, list[str], End]]) -> None:
    for kind, names, end in steps:
        tasks = [task for name in names if (task := current(crawl, name)) is not None]
        match kind:
            case "submit":
                crawl.submit(*(follow(name, priority=len(names)) for name in names))
            case "again":
                crawl.submit(*(follow(name, age_ms=0, itag="new", force_update=True) for name in names))
            case "cancel":
                crawl.submit(*(follow(name, force_update=True, cancel=True) for name in names))
            case "end":
                crawl.commit(*(outcome(task, end, follows=[follow(name) for name in names]) for task in tasks))
            case "part":
                crawl.commit(*(outcome(task, End.PART, follows=[follow("a")]) for task in tasks))
            case "bad":  # refused as a whole, then in halves
                crawl.commit(*(outcome(task, end, results=[b"\xff"]) for task in tasks))
            case "charge":
                lost = [(task.ref, task.run, attempt) for task, attempt in zip(tasks, (1, ATTEMPTS_MAX), strict=False)]
                crawl.storage.charge(lost, crawl.now_ms)
            case "refill":
                crawl.storage._forget()
                crawl.storage.ready(crawl.project.id, None, 3)
        check(crawl)


def test_an_outcome_needs_no_row_to_be_read_and_nothing_is_kept_of_what_ended(crawl: Crawl) -> None:
    one, two = crawl.tasks("one", "two")
    assert set(kept_of(crawl.storage)) == {one.ref, two.ref}
    crawl.commit(outcome(one))
    assert set(kept_of(crawl.storage)) == {two.ref}


def test_nothing_is_kept_of_a_project_that_is_removed(crawl: Crawl) -> None:
    crawl.tasks("one", "two")
    crawl.storage.remove("shop")
    assert kept_of(crawl.storage) == {}


def test_the_oldest_rows_make_room_for_new_ones(crawl: Crawl) -> None:
    crawl.tasks(*NAMES)
    rows = kept_of(crawl.storage)
    kept = RowCache(3)
    kept.put(rows.values())
    found, missing = kept.take(Ref(crawl.project.id, task_key(name)) for name in NAMES)
    assert [row.taskid.decode() for row in found.values()] == ["c", "d", "e"]
    assert len(missing) == 2
    assert len(kept) == 0
