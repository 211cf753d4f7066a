"""Each hot statement, as storage sends it, is answered by a range of the index it was made for: no scan, no sort.

8,000 rows wait, more than `FEW_ROWS`; SQLite is asked with and without statistics, which it has only after ANALYZE.
"""

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.support.mariadb import MariaDb
from tests.support.plans import Planner, Recorder, Sent
from tests.support.storage import Crawl, follow, outcome
from zspider.delivery import Message
from zspider.storage import Cursor, Cutoffs, Place, Selection
from zspider.storage.retention import Table
from zspider.storage.tasks import FEW_ROWS
from zspider.task import MESSAGE_PREFIX, Status, Task

WAITING, LATER, DONE = FEW_ROWS + 3000, 500, 2000
_names = count()


class Filled(NamedTuple):
    """A database with enough rows for its planner to choose."""

    crawl: Crawl
    planner: Planner
    recorder: Recorder

    def task(self) -> Task:
        return self.crawl.task(f"new{next(_names)}")

    def sent(self, work: Callable[[], object], table: str, *verbs: str) -> list[Sent]:
        """What `work` sends to a table, of these verbs."""
        self.crawl.storage._forget()  # what is in memory needs no statement
        found = [sent for sent in self.recorder.of(work, table) if sent.verb in verbs]
        assert found, f"no {'/'.join(verbs)} of {table} was sent"
        return found


@pytest.fixture(scope="module", params=["sqlite", "sqlite-analyzed", "mariadb"])
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    address = _address(request, tmp_path_factory.mktemp("plans"))
    with Recorder().open() as recorder, Crawl(address) as crawl:
        _fill(crawl)
        planner = Planner(address)
        try:
            if request.param != "sqlite":
                planner.analyze()
            yield Filled(crawl, planner, recorder)
        finally:
            planner.close()


def _address(request: pytest.FixtureRequest, directory: Path) -> str:
    if request.param != "mariadb":
        return f"sqlite:///{directory}/zspider.db"
    server: MariaDb = request.getfixturevalue("mariadb")
    return server.address(server.new_database())


def _fill(crawl: Crawl) -> None:
    """Tasks of all kinds in the project "shop", and as many again in another."""
    for project in (crawl.storage.push("other", "x", now_ms=crawl.now_ms), crawl.project):
        crawl.project = project
        done = [
            task for at in range(0, DONE, 1000) for task in crawl.tasks(*(f"done{n}" for n in range(at, at + 1000)))
        ]
        for at in range(0, DONE, 200):
            crawl.commit(*(outcome(task, results=[b"1"]) for task in done[at : at + 200]))
        for at in range(0, WAITING, 1000):
            crawl.submit(*(follow(f"page{n}", priority=n % 3) for n in range(at, at + 1000)))
        crawl.submit(*(follow(f"later{n}", exetime_ms=crawl.now_ms + 60_000 + n) for n in range(LATER)))


READS: dict[str, tuple[Callable[[Filled], object], str, str]] = {
    "rows of outcomes": (lambda on: on.crawl.commit(outcome(on.task())), "tasks", "PRIMARY"),
    "rows of follows": (lambda on: on.crawl.submit(*(follow(f"page{n}") for n in range(500))), "tasks", "PRIMARY"),
    "content of charged tasks": (
        lambda on: on.crawl.storage.charge([(task.ref, task.run, 1) for task in [on.task()]], on.crawl.now_ms),
        "tasks",
        "PRIMARY",
    ),
    "earlier results": (lambda on: on.crawl.commit(outcome(on.task(), results=[b"1", b"2"])), "results", "PRIMARY"),
    "ready from the beginning": (
        lambda on: on.crawl.storage.ready(on.crawl.project.id, None, 2000),
        "tasks",
        "frontier",
    ),
    "ready after an edge": (lambda on: on.crawl.storage.ready(on.crawl.project.id, (-1, 5), 2000), "tasks", "frontier"),
    "delayed from the beginning": (
        lambda on: on.crawl.storage.delayed(on.crawl.project.id, None, 2000),
        "tasks",
        "frontier",
    ),
    "delayed after an edge": (
        lambda on: on.crawl.storage.delayed(on.crawl.project.id, (on.crawl.now_ms + 60_000, 5), 2000),
        "tasks",
        "frontier",
    ),
    "a page of tasks": (lambda on: on.crawl.reader.tasks(on.crawl.project.id, after=b"\x80"), "tasks", "PRIMARY"),
    "a page of finished tasks": (
        lambda on: on.crawl.reader.tasks(on.crawl.project.id, Status.SUCCESS, after=b"\x80"),
        "tasks",
        "frontier",
    ),
    "a page of results": (lambda on: on.crawl.reader.results(on.crawl.project.id, b"\x80"), "results", "PRIMARY"),
    "one task": (lambda on: on.crawl.reader.task(on.crawl.project.id, "page7"), "tasks", "PRIMARY"),
}


@pytest.mark.parametrize("name", READS)
def test_a_read_meets_a_range_of_its_index_only(filled: Filled, name: str) -> None:
    work, table, index = READS[name]
    for sent in filled.sent(lambda: work(filled), table, "SELECT"):
        for step in filled.planner.steps(sent):
            assert step == (table, index, False, False), sent.sql


def test_a_page_of_many_waiting_tasks_first_counts_by_the_frontier_and_then_walks_along_the_keys(
    filled: Filled,
) -> None:
    sent = filled.sent(
        lambda: filled.crawl.reader.tasks(filled.crawl.project.id, Status.ACTIVE, after=b"\x80"), "tasks", "SELECT"
    )
    steps = [filled.planner.steps(one) for one in sent]
    assert steps == [[("tasks", "frontier", False, False)], [("tasks", "PRIMARY", False, False)]]


def test_rows_that_go_are_found_by_their_keys(filled: Filled) -> None:
    def replace_results() -> None:
        task = filled.task()
        filled.crawl.commit(outcome(task, results=[b"1", b"2", b"3"]))
        again = filled.crawl.submit(follow(task.taskid, force_update=True)).entered
        filled.crawl.commit(outcome(again[0], results=[b"1"]))

    def hear_a_message() -> None:
        told = Message("shop", "http://example.org/message", b"\x80").as_follow(f"{MESSAGE_PREFIX}{next(_names)}")
        (message,) = filled.crawl.submit(told).entered
        filled.crawl.commit(outcome(message))

    def remove_some() -> None:
        filled.crawl.storage.remove("other", 100)

    for work, table in ((replace_results, "results"), (hear_a_message, "tasks"), (remove_some, "tasks")):
        for sent in filled.sent(work, table, "SELECT", "DELETE"):
            for step in filled.planner.steps(sent):
                assert step == (table, "PRIMARY", False, False), sent.sql


@pytest.mark.parametrize("status", Status, ids=lambda status: status.word)
def test_a_verb_on_many_tasks_finds_them_by_the_frontier_and_reads_them_by_their_keys(
    filled: Filled, status: Status
) -> None:
    def walk() -> None:
        cursor: Cursor | None = None
        for _ in range(30):
            _, cursor = filled.crawl.reader.count(filled.crawl.project.id, Selection((status,), "*"), cursor, 300)
            if cursor is None:
                break

    sent = filled.sent(walk, "tasks", "SELECT")
    places = [one for one in sent if "url" not in one.sql]
    assert places
    for one in places:
        assert filled.planner.steps(one) == [("tasks", "frontier", False, False)], one.sql
    for one in sent:
        if one not in places:
            assert filled.planner.steps(one) == [("tasks", "PRIMARY", False, False)], one.sql


def test_retention_goes_along_the_keys(filled: Filled) -> None:
    def pass_along() -> None:
        for place in (Place(after=b"\x40"), Place(Table.RESULTS, b"\x40")):
            filled.crawl.storage.retention_step(filled.crawl.project.id, place, Cutoffs(filled.crawl.now_ms + 1, 1, 1))

    def forget() -> None:
        filled.crawl.storage.retention_step(
            filled.crawl.project.id, Place(after=b"\xf0"), Cutoffs(0, filled.crawl.now_ms + 1, 0)
        )

    crawl = filled.crawl
    crawl.commit(*(outcome(filled.task(), track=b"\x80") for _ in range(50)))
    for work, table in ((pass_along, "tasks"), (forget, "tasks"), (pass_along, "results")):
        for sent in filled.sent(work, table, "SELECT", "UPDATE", "DELETE"):
            for step in filled.planner.steps(sent):
                assert step == (table, "PRIMARY", False, False), sent.sql


def test_clearing_results_goes_along_the_keys(filled: Filled) -> None:
    sent = filled.sent(
        lambda: filled.crawl.storage.clear_results(filled.crawl.project.id, b"\xf0"), "results", "SELECT", "DELETE"
    )
    for one in sent:
        assert filled.planner.steps(one) == [("results", "PRIMARY", False, False)], one.sql


def test_a_write_touches_the_rows_it_names_and_no_others(filled: Filled) -> None:
    task, charged = filled.task(), filled.task()

    def write() -> list[Sent]:
        return [
            *filled.sent(lambda: filled.crawl.submit(*(follow(f"fresh{n}") for n in range(200))), "tasks", "INSERT"),
            *filled.sent(lambda: filled.crawl.commit(outcome(task, results=[b"1"])), "tasks", "INSERT"),
            *filled.sent(lambda: filled.crawl.storage.charge([(charged.ref, charged.run, 1)], 0), "tasks", "INSERT"),
            *filled.sent(lambda: filled.crawl.commit(outcome(filled.task())), "counters", "INSERT"),
            *filled.sent(lambda: filled.crawl.commit(outcome(filled.task(), results=[b"1"])), "results", "INSERT"),
        ]

    if _is_sqlite(filled):
        for sent in write():
            _writes_without_a_walk(filled, sent)
    else:
        assert _walked(filled, write) == _walked(filled, lambda: None)  # asking walks over its own answer


def _walked(filled: Filled, work: Callable[[], object]) -> dict[str, int]:
    before = filled.planner.rows_met()
    work()
    after = filled.planner.rows_met()
    return {name: after[name] - before[name] for name in after}


def _is_sqlite(filled: Filled) -> bool:
    return filled.crawl.address.startswith("sqlite")


def _writes_without_a_walk(filled: Filled, sent: Sent) -> None:
    """SQLite's program has no loop over a table or an index, and no sorter."""
    assert not filled.planner.opcodes(sent) & {"Rewind", "Last", "Sort", "SorterOpen"}, sent.sql
