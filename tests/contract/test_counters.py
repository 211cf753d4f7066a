"""The counters are what counting would give, after whatever happened."""

from collections import Counter
from itertools import count

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.storage import Crawl, follow, outcome
from zspider.delivery import End, Message, Outcome
from zspider.task import Task, is_message

NAMES = st.sampled_from([f"t{number}" for number in range(8)])
FOLLOWS = st.lists(
    st.builds(
        follow,
        NAMES,
        age_ms=st.sampled_from([None, 0, 10]),
        itag=st.sampled_from([None, '"1"', '"2"']),
        force_update=st.booleans(),
        cancel=st.booleans(),
        auto_recrawl=st.booleans(),
        retries=st.integers(0, 1),
    ),
    max_size=5,
)
ENDINGS = st.lists(
    st.tuples(NAMES, st.sampled_from(End), FOLLOWS, st.integers(0, 3), st.booleans(), st.integers(0, 2)),
    min_size=1,
    max_size=6,
)
_projects = count()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(seeds=FOLLOWS, batches=st.lists(ENDINGS, max_size=5))
def test_counters_are_what_counting_would_give(crawl: Crawl, seeds: list, batches: list) -> None:
    crawl.project = crawl.storage.push(f"p{next(_projects)}", "x", now_ms=crawl.now_ms)
    held: dict[str, Task] = {}
    told: Counter[str] = Counter()

    def note(committed) -> None:
        held.update((task.taskid, task) for task in committed.entered)
        for name, delta in committed.counts.get(crawl.project.id, {}).items():
            told[name] += delta

    note(crawl.submit(*seeds))
    for batch in batches:
        crawl.now_ms += 100
        outcomes: list[Outcome] = [
            outcome(
                held[name],
                end,
                follows=[] if is_bad else follows,
                results=[b"\xff" if is_bad else b"1"] * results,
                messages=[Message(crawl.project.name, f"data:,{results}", b"\x80")] * messages,
            )
            for name, end, follows, results, is_bad, messages in batch
            if name in held
        ]
        heard = [task for name, task in held.items() if is_message(name)]
        outcomes += (outcome(task, batch[0][1], results=[b"2"] * batch[0][3]) for task in heard)
        note(crawl.commit(*outcomes))
    rows = crawl.reader.tasks(crawl.project.id)
    counted = Counter(row.status.word for row in rows)
    counted["results"] = sum(map(len, crawl.results().values()))
    counts = crawl.counts()
    words = ("waiting", "done", "failed", "cancelled", "results")
    assert {word: counts.get(word, 0) for word in words} == {word: counted[word] for word in words}
    assert counts.get("new", 0) == len(rows) + counts.get("messages", 0)
    assert {name: value for name, value in told.items() if value} == {
        name: value for name, value in crawl.all_counts().items() if value
    }
    waiting = {task.taskid: task for task in crawl.storage.ready(crawl.project.id, None, 100)}
    waiting |= {task.taskid: task for task in crawl.storage.delayed(crawl.project.id, None, 100)}
    assert {name: held[name] for name in waiting} == waiting  # the master was told every change
