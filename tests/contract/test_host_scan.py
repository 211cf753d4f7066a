"""The tasks of some hosts, or of all others, found in the frontier without reading the rest."""

from itertools import count

import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.storage import OPTIONS, Crawl, follow, outcome
from zspider.delivery import End, Message
from zspider.hosts import host_hash, host_of
from zspider.storage.host_scan import WALKS
from zspider.task import MESSAGE_PREFIX, Task

SETTINGS = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)
END = (1 << 62, 0)
HOSTS = ["a.example", "b.example", "c.example"]
FOLLOWS = st.lists(
    st.tuples(
        st.sampled_from(HOSTS),
        st.sampled_from([-(2**31), -1, 0, 0, 0, 0, 1, 2**31 - 1]),
        st.sampled_from([0, 0, 0, 60_000, 60_001, 90_000]),
    ),
    max_size=40,
)
_projects = count()


def place(task: Task) -> tuple[int, int]:
    return (task.due_ms, task.seq) if task.due_ms else (-task.priority, task.seq)


@SETTINGS
@given(
    follows=FOLLOWS,
    hosts=st.sets(st.sampled_from(HOSTS), min_size=1, max_size=2),
    is_others=st.booleans(),
    limit=st.integers(1, 8),
    entries=st.integers(1, 15),
    begin=st.integers(-1, 40),
    end=st.integers(0, 40),
)
def test_stretch_after_stretch_every_task_of_these_hosts_is_found_once(
    crawl: Crawl,
    follows: list[tuple[str, int, int]],
    hosts: set[str],
    is_others: bool,
    limit: int,
    entries: int,
    begin: int,
    end: int,
) -> None:
    project = crawl.storage.push(f"p{next(_projects)}", "x", now_ms=crawl.now_ms).id
    entered = []
    for number, (host, priority, delay_ms) in enumerate(follows):
        exetime_ms = crawl.now_ms + delay_ms if delay_ms else 0
        one = follow(f"t{number}", url=f"http://{host}/{number}", priority=priority, exetime_ms=exetime_ms)
        entered += crawl.storage.submit(project, [one], crawl.now_ms).entered
    for kind in ("ready", "delayed"):
        waiting = sorted((task for task in entered if bool(task.due_ms) == (kind == "delayed")), key=place)
        after = place(waiting[begin]) if 0 <= begin < len(waiting) else None
        until = place(waiting[end]) if end < len(waiting) else END
        expected = [
            task
            for task in waiting
            if (host_of(task.url) in hosts) != is_others and (after is None or place(task) > after)
        ]
        found, turns = [], 0
        while after is None or after < until:
            scanned = crawl.storage.tasks_of_hosts(
                project,
                kind,
                after,
                until,
                set(map(host_hash, hosts)),
                is_others=is_others,
                limit=limit,
                entries=entries,
            )
            assert len(scanned.tasks) <= limit
            assert after is None or scanned.reached > after
            found += scanned.tasks
            after = scanned.reached
            turns += 1
            assert turns <= len(waiting) + 1
        assert [task for task in found if place(task) <= until] == [task for task in expected if place(task) <= until]


def test_the_host_of_a_task_follows_its_url_when_it_is_submitted_anew(crawl: Crawl) -> None:
    crawl.task("page", url="http://a.example/")
    crawl.submit(follow("page", url="http://b.example/", force_update=True))

    def found(host: str) -> list[str]:
        scanned = crawl.storage.tasks_of_hosts(
            crawl.project.id, "ready", None, END, {host_hash(host)}, is_others=False, limit=10
        )
        assert scanned.reached == END
        return [task.url for task in scanned.tasks]

    assert found("a.example") == []
    assert found("b.example") == ["http://b.example/"]


def test_a_failed_task_that_waits_for_another_try_keeps_its_host(crawl: Crawl) -> None:
    task = crawl.task("page", url="http://a.example/")
    crawl.commit(outcome(task, End.FAILURE))
    scanned = crawl.storage.tasks_of_hosts(
        crawl.project.id, "delayed", None, END, {host_hash("a.example")}, is_others=False, limit=10
    )
    assert [(found.taskid, found.run) for found in scanned.tasks] == [("page", 1)]


def test_messages_and_tasks_without_a_page_have_no_host(crawl: Crawl) -> None:
    sender = crawl.task("on_start", url="data:,on_start")
    crawl.commit(outcome(sender, messages=[Message("shop", "http://a.example/", OPTIONS)], follows=[follow("x")]))
    crawl.submit(follow("y", url="data:,y"))
    others = crawl.storage.tasks_of_hosts(
        crawl.project.id,
        "ready",
        None,
        END,
        {host_hash("a.example"), host_hash("example.org")},
        is_others=True,
        limit=10,
    ).tasks
    assert [task.taskid[: len(MESSAGE_PREFIX)] for task in others] == [MESSAGE_PREFIX, "y"]


def explain(crawl: Crawl, statement: sa.Select, **values: int) -> list[str]:
    """How the database would run a statement, in its own words: the lines about the table."""
    engine = sa.create_engine(crawl.address, poolclass=sa.NullPool)
    is_sqlite = crawl.address.startswith("sqlite")
    values |= {"project": crawl.project.id, "seq": 0, "entries": 500, "skipped": 499, "limit": 100}
    with engine.begin() as conn:
        bound = statement.params(values, hosts=[1, 2])
        text = bound.compile(conn, compile_kwargs={"literal_binds": True})
        rows = conn.exec_driver_sql(f"EXPLAIN {'QUERY PLAN ' if is_sqlite else ''}{text}").mappings().all()
    if is_sqlite:
        return [row["detail"] for row in rows if "tasks" in row["detail"] or "PART" in row["detail"]]
    return [f"{row['type']} {row['key']} {row['Extra']}" for row in rows if row["table"] == "tasks"]


def test_a_walk_along_the_index_reads_nothing_but_the_index_and_sorts_no_tasks(crawl: Crawl) -> None:
    later_ms = crawl.now_ms + 3_600_000
    follows = [
        follow(f"t{n}", url=f"http://h{n % 50}.example/", priority=n % 7, exetime_ms=later_ms + n % 9 if n % 2 else 0)
        for n in range(3000)
    ]
    crawl.submit(*follows)
    analyze(crawl)
    for kind, first, until in (("ready", -4, 0), ("delayed", later_ms + 1, later_ms + 7)):
        for part in WALKS[kind].parts:
            for statement in part:
                plan = explain(crawl, statement, first=first, until=until)
                assert any("COVERING INDEX frontier" in line or "Using index" in line for line in plan), plan
                assert not any("filesort" in line or "RIGHT PART" in line for line in plan), plan


def analyze(crawl: Crawl) -> None:
    """Let the database count what it plans with."""
    with sa.create_engine(crawl.address, poolclass=sa.NullPool).begin() as conn:
        conn.exec_driver_sql("ANALYZE" if crawl.address.startswith("sqlite") else "ANALYZE TABLE tasks")
