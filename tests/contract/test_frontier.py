"""The two orders of waiting tasks, page by page, against a sorted list."""

from collections.abc import Callable
from itertools import count

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.storage import Crawl, follow
from zspider.task import Task

Page = Callable[[int, tuple[int, int] | None, int], list[Task]]
SETTINGS = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)
FOLLOWS = st.lists(
    st.tuples(st.sampled_from([-(2**31), -1, 0, 0, 1, 2**31 - 1]), st.sampled_from([0, 0, 60_000, 60_001, 90_000])),
    max_size=40,
)
_projects = count()


def read_all(page: Page, project: int, limit: int, place: Callable[[Task], tuple[int, int]]) -> list[Task]:
    found: list[Task] = []
    after = None
    while got := page(project, after, limit):
        assert len(got) <= limit
        found += got
        after = place(got[-1])
    return found


@SETTINGS
@given(follows=FOLLOWS, limit=st.integers(1, 12))
def test_pages_give_every_task_once_in_order(crawl: Crawl, follows: list[tuple[int, int]], limit: int) -> None:
    project = crawl.storage.push(f"p{next(_projects)}", "x", now_ms=crawl.now_ms).id
    entered = []
    for number, (priority, delay_ms) in enumerate(follows):
        one = follow(f"t{number}", priority=priority, exetime_ms=crawl.now_ms + delay_ms if delay_ms else 0)
        entered += crawl.storage.submit(project, [one], crawl.now_ms).entered
    ready = sorted((task for task in entered if not task.due_ms), key=lambda task: (-task.priority, task.seq))
    later = sorted((task for task in entered if task.due_ms), key=lambda task: (task.due_ms, task.seq))
    assert read_all(crawl.storage.ready, project, limit, lambda task: (-task.priority, task.seq)) == ready
    assert read_all(crawl.storage.delayed, project, limit, lambda task: (task.due_ms, task.seq)) == later


def test_the_numbers_of_arrival_only_grow_even_when_the_clock_goes_back_and_the_master_restarts(crawl: Crawl) -> None:
    first = crawl.task("a")
    crawl.storage.renew()
    crawl.close()
    crawl.now_ms -= 24 * 3600 * 1000
    crawl.open()
    second, third = crawl.tasks("b", "c")
    assert first.seq < second.seq < third.seq
