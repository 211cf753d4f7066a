"""What goes by itself after some days, and what never does."""

import pytest
from tests.support.storage import Crawl, follow, outcome
from zspider.delivery import End
from zspider.errors import StorageError
from zspider.storage import Cutoffs, Place, RetentionStep
from zspider.task import Status

TRACK = b"\x80"


def whole_pass(
    crawl: Crawl, *, content_ms: int = 0, tasks_ms: int = 0, results_ms: int = 0, rows: int = 3
) -> list[RetentionStep]:
    """All steps of one pass."""
    place: Place | None = Place()
    found: list[RetentionStep] = []
    while place is not None:
        found.append(
            crawl.storage.retention_step(crawl.project.id, place, Cutoffs(content_ms, tasks_ms, results_ms), rows)
        )
        place = found[-1].next
        assert crawl.gauges() == crawl.recounted()
    return found


def totals(found: list[RetentionStep]) -> tuple[int, int, int]:
    return sum(one.trimmed for one in found), sum(one.forgotten for one in found), sum(one.results for one in found)


def a_year_of_tasks(crawl: Crawl) -> int:
    """Ten tasks that ended before the time that is returned and ten after it, and some that wait."""
    for group in ("old", "new"):
        tasks = crawl.tasks(*(f"{group}{number}" for number in range(10)))
        ends = [End.SUCCESS] * 6 + [End.FATAL] * 4
        crawl.commit(
            *(outcome(one, end, track=TRACK, results=[b"1", b"2"]) for one, end in zip(tasks, ends, strict=True))
        )
        crawl.tasks(f"{group}-waits")
        later = crawl.task(f"{group}-later", retries=2)
        crawl.commit(outcome(later, End.FAILURE, track=TRACK))
        crawl.now_ms += 1000
    return crawl.row("new0").updated_ms


def test_the_content_of_old_finished_tasks_is_trimmed_and_they_stay_known(crawl: Crawl) -> None:
    between = a_year_of_tasks(crawl)
    before = crawl.row("old7")
    assert totals(whole_pass(crawl, content_ms=between)) == (10, 0, 0)
    assert crawl.row("old7") == before._replace(track=None)
    assert crawl.row("new7").track == crawl.row("old-later").track == TRACK
    assert crawl.submit(follow("old1")).dropped == {"known": 1}
    assert totals(whole_pass(crawl, content_ms=between)) == (0, 0, 0)


def test_a_trimmed_task_can_be_crawled_again(crawl: Crawl) -> None:
    between = a_year_of_tasks(crawl)
    body = crawl.row("old1").body
    whole_pass(crawl, content_ms=between)
    (task,) = crawl.storage.restart_task(crawl.project.id, "old1", crawl.now_ms).entered
    assert (task.url, task.body, task.track) == ("http://example.org/old1", body, None)
    crawl.commit(outcome(task, track=b"\x81\x01\x02"))
    assert crawl.row("old1").track == b"\x81\x01\x02"


def test_old_finished_tasks_are_forgotten_with_what_is_cached_of_them(crawl: Crawl) -> None:
    between = a_year_of_tasks(crawl)
    assert totals(whole_pass(crawl, content_ms=between + 1_000_000, tasks_ms=between)) == (
        10,
        10,
        0,
    )  # the new ones trimmed
    assert not crawl.knows("old1")
    assert crawl.row("old-waits").status is crawl.row("old-later").status is Status.ACTIVE
    assert crawl.counts()["results"] == 40  # they have days of their own
    assert len(crawl.submit(follow("old1")).entered) == 1
    assert crawl.gauges() == crawl.recounted()


def test_old_results_go(crawl: Crawl) -> None:
    between = a_year_of_tasks(crawl)
    assert totals(whole_pass(crawl, results_ms=between)) == (0, 0, 20)
    assert set(crawl.results()) == {f"new{number}" for number in range(10)}
    assert totals(whole_pass(crawl, results_ms=between)) == (0, 0, 0)


def test_nothing_goes_unless_somebody_wants_it(crawl: Crawl) -> None:
    a_year_of_tasks(crawl)
    (tasks, results) = whole_pass(crawl)
    assert totals([tasks, results]) == (0, 0, 0)


def test_a_project_that_is_gone_is_not_swept(crawl: Crawl) -> None:
    between = a_year_of_tasks(crawl)
    crawl.storage.remove("shop", 1)
    assert totals([crawl.storage.retention_step(crawl.project.id, Place(), Cutoffs(0, between, between))]) == (0, 0, 0)


def test_script_versions_that_no_project_uses_go_and_those_in_use_stay(crawl: Crawl) -> None:
    first = crawl.project.script
    second = crawl.storage.push("shop", "# two", now_ms=crawl.now_ms + 10).script
    third = crawl.storage.push("shop", "# three", now_ms=crawl.now_ms + 20).script
    assert crawl.storage.unused_scripts(crawl.now_ms) == []
    assert crawl.storage.unused_scripts(crawl.now_ms + 10) == [first]
    assert crawl.storage.unused_scripts(crawl.now_ms + 1000) == [first, second]
    crawl.storage.push("other", "# two", now_ms=crawl.now_ms + 30)  # it is used again
    assert crawl.storage.delete_scripts([first, second, third]) == 1
    assert [crawl.storage.script(one) for one in (second, third)] == ["# two", "# three"]
    with pytest.raises(StorageError, match="there is no script"):
        crawl.storage.script(first)
    crawl.storage.push("shop", "class Handler: pass", now_ms=crawl.now_ms + 40)  # the first one again
    assert crawl.storage.script(first) == "class Handler: pass"
