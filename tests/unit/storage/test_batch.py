"""What a transaction writes, decided without a database: any outcomes, in any order, any number of times."""

from collections import Counter
from collections.abc import Iterable, Sequence
from copy import deepcopy

from hypothesis import given, settings
from hypothesis import strategies as st
from zspider.delivery import End, Follow, Message, Outcome
from zspider.scheduler.rules import SchedulerRules
from zspider.storage.batch import ArrivalNumbers, Batch, refs_of
from zspider.storage.counter_names import ENDS, GAUGES, LATE, MESSAGES, NEW
from zspider.storage.rows import TaskRow
from zspider.storage.seen import SeenKeys
from zspider.task import CRONJOB, GET_INFO, MESSAGE_PREFIX, MESSAGE_URL, Ref, Status

PROJECT, NAMES = 1, "abcde"
RESERVED = [GET_INFO, CRONJOB, f"{MESSAGE_PREFIX}1f2e", MESSAGE_PREFIX]
ENDINGS = [End.PART, End.SUCCESS, End.FAILURE, End.FATAL]
FOLLOWS = st.builds(
    lambda name, **asks: Follow(name, f"http://example.org/{name}", b"\x80", retries=1, **asks),
    st.sampled_from(NAMES),
    force_update=st.booleans(),
    cancel=st.booleans(),
    age_ms=st.sampled_from([None, 0, 10_000]),
    auto_recrawl=st.booleans(),
)
MESSAGES_SENT = st.lists(st.just(Message("project", MESSAGE_URL, b"\x80")), max_size=2)


class Tables:
    """Rows and counters as a database has them."""

    def __init__(self) -> None:
        self.rows: dict[Ref, TaskRow] = {}
        self.counts: Counter[str] = Counter()
        self.lent: set[tuple[Ref, int]] = set()  # runs that waited once: slaves may have had them
        self.now_ms = 1_000_000
        self._numbers = ArrivalNumbers()

    def submit(self, follows: Iterable[Follow]) -> Batch:
        batch = self._batch()
        batch.follow(PROJECT, follows)
        return self._write(batch)

    def commit(self, outcomes: Sequence[Outcome]) -> Batch:
        batch = self._batch()
        batch.rows = self._read(refs_of(outcomes))
        for outcome in outcomes:
            batch.end(outcome, is_project=True)
        batch.deliver({"project": PROJECT})
        return self._write(batch)

    def _batch(self) -> Batch:
        self.now_ms += 5_000
        return Batch(SchedulerRules(), SeenKeys(0), self._numbers, self.now_ms, {PROJECT: 0})

    def _read(self, refs: Iterable[Ref]) -> dict[Ref, TaskRow]:
        return {ref: deepcopy(self.rows[ref]) for ref in refs if ref in self.rows}

    def _write(self, batch: Batch) -> Batch:
        batch.rows |= self._read(batch.undecided())
        batch.accept()
        for row in batch.placed() + batch.settled():
            self.rows[row.ref] = deepcopy(row)
            self.rows[row.ref].is_placed = self.rows[row.ref].is_settled = False
        self.lent |= {(row.ref, row.stored.run) for row in batch.waiting()}
        for row in batch.to_delete():
            self.rows.pop(row.ref, None)
        for name, delta in batch.report.counts[PROJECT].items():
            self.counts[name] += delta
        return batch


@st.composite
def outcomes_of(draw: st.DrawFn, tables: Tables) -> list[Outcome]:
    """Outcomes of some of these tasks, of their current runs or earlier ones, perhaps twice."""
    found = []
    for row in draw(st.lists(st.sampled_from(list(tables.rows.values())), max_size=6)):
        run = max(0, row.stored.run - draw(st.integers(0, 2)))
        if (row.ref, run) not in tables.lent:
            continue
        end = draw(st.sampled_from(ENDINGS))
        follows, messages = draw(st.lists(FOLLOWS, max_size=4)), draw(MESSAGES_SENT)
        found.append(
            Outcome(PROJECT, row.taskid.decode(), run, 1, b"", end, follows=follows, messages=messages, reason="why")
        )
    return found


@settings(max_examples=150, deadline=None, database=None)
@given(st.data())
def test_counters_are_those_of_the_rows_and_nothing_counts_twice(data):
    tables = Tables()
    tables.submit(data.draw(st.lists(FOLLOWS, min_size=1)))
    for _ in range(data.draw(st.integers(1, 5))):
        if not tables.rows:
            break
        before = {ref: row.stored.run for ref, row in tables.rows.items()}
        outcomes = data.draw(outcomes_of(tables))
        batch = tables.commit(outcomes)

        statuses = Counter(row.stored.status for row in tables.rows.values())
        assert {status: tables.counts[GAUGES[status]] for status in Status} == {s: statuses[s] for s in Status}
        assert tables.counts[NEW] - tables.counts[MESSAGES] == len(tables.rows)
        assert all(row.stored.run >= before.get(ref, 0) for ref, row in tables.rows.items())
        assert all(row.stored.status is Status.ACTIVE for row in batch.waiting())
        seqs = [row.seq for row in tables.rows.values() if row.stored.status is Status.ACTIVE]
        assert len(set(seqs)) == len(seqs)

        # Those that ended something do so once: sent again they are late, and change nothing.
        ended = [one for one in outcomes if one.end is not End.PART]
        rows, counts = deepcopy(tables.rows), Counter(tables.counts)
        again = tables.commit(ended)
        assert all(one.late for one in again.report.ended)
        assert len(again.report.ended) == len(ended)
        assert (tables.rows, tables.counts - counts) == (rows, Counter({LATE: len(ended)} if ended else {}))


@given(st.lists(st.sampled_from([End.SUCCESS, End.FAILURE, End.FATAL]), min_size=1, max_size=4))
def test_of_the_outcomes_of_one_run_the_first_counts(ends):
    tables = Tables()
    tables.submit([Follow("a", "http://example.org/a", b"\x80", retries=3)])
    batch = tables.commit([Outcome(PROJECT, "a", 0, n, b"", end) for n, end in enumerate(ends, 1)])
    assert [one.late for one in batch.report.ended] == [False] + [True] * (len(ends) - 1)
    word = {End.SUCCESS: "success", End.FAILURE: "retry", End.FATAL: "failed"}[ends[0]]
    assert {name: tables.counts[name] for name in ENDS.values() if tables.counts[name]} == {ENDS[word]: 1}
    (row,) = tables.rows.values()
    assert row.stored.run == 1


@given(st.lists(st.sampled_from(["a", "_", "__a", "_on_message", "on_start", *RESERVED]), min_size=1, max_size=6))
def test_a_page_cannot_lead_to_a_task_that_only_the_master_makes(names):
    tables = Tables()
    tables.submit([Follow("page", "http://example.org/", b"\x80")])
    follows = [Follow(name, "data:,x", b"\x80", force_update=True) for name in names]
    ends = [End.PART, End.SUCCESS]
    tables.commit([Outcome(PROJECT, "page", 0, 1, b"", end, follows=follows) for end in ends])
    assert {row.taskid.decode() for row in tables.rows.values()} == {"page", *names} - set(RESERVED)
    refused = len(ends) * sum(name in RESERVED for name in names)
    assert tables.counts["dropped:reserved taskid"] == refused


def test_a_page_cannot_change_a_message_that_waits():
    tables = Tables()
    tables.submit([Follow("page", "http://example.org/", b"\x80"), Follow(RESERVED[2], "data:,x", b"\x80")])
    cancel = Follow(RESERVED[2], "data:,x", b"\x80", force_update=True, cancel=True)
    tables.commit([Outcome(PROJECT, "page", 0, 1, b"", End.SUCCESS, follows=[cancel])])
    assert [row.stored.status for row in tables.rows.values() if row.is_message] == [Status.ACTIVE]
