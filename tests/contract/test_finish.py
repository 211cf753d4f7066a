"""on_finished is submitted once whenever nothing is left, whatever restarts in between."""

from tests.support.storage import Crawl, follow, outcome
from zspider.activity import SINCE_FINISHED
from zspider.delivery import End, Message
from zspider.scheduler.internal_tasks import entry_follow
from zspider.storage import Committed
from zspider.task import ON_FINISHED, Status


def finish(crawl: Crawl) -> Committed:
    crawl.now_ms += 1
    return crawl.storage.finish(crawl.project.id, entry_follow(ON_FINISHED), crawl.now_ms)


def is_asked(crawl: Crawl) -> bool:
    """Whether finishing submits on_finished now."""
    return [task.taskid for task in finish(crawl).entered] == [ON_FINISHED]


def test_it_is_submitted_once_when_the_last_task_has_ended(crawl: Crawl) -> None:
    assert not is_asked(crawl)  # nothing was done
    first, second = crawl.tasks("first", "second")
    assert not is_asked(crawl)
    crawl.commit(outcome(first))
    assert not is_asked(crawl)
    crawl.commit(outcome(second, End.FATAL))
    (task,) = finish(crawl).entered
    assert (task.taskid, task.url, task.priority) == (ON_FINISHED, "data:,on_finished", 9)
    assert not is_asked(crawl)  # it waits itself
    crawl.commit(outcome(task))
    assert not is_asked(crawl)  # and does not ask for itself
    assert crawl.row(ON_FINISHED).status is Status.SUCCESS


def test_a_restart_neither_forgets_nor_repeats_it(crawl: Crawl) -> None:
    crawl.commit(outcome(crawl.task("page")))
    crawl.close()
    crawl.open()
    (task,) = finish(crawl).entered
    crawl.close()
    crawl.open()
    assert not is_asked(crawl)
    crawl.commit(outcome(task))
    crawl.close()
    crawl.open()
    assert not is_asked(crawl)


def test_what_it_crawls_and_what_comes_later_asks_for_it_again(crawl: Crawl) -> None:
    crawl.commit(outcome(crawl.task("page")))
    (task,) = finish(crawl).entered
    (more,) = crawl.commit(outcome(task, follows=[follow("more")])).entered
    assert not is_asked(crawl)
    crawl.commit(outcome(more))
    (again,) = finish(crawl).entered
    assert (again.taskid, again.run) == (ON_FINISHED, task.run + 2)
    crawl.commit(outcome(again))
    crawl.commit(outcome(crawl.task("later")))
    assert is_asked(crawl)


def test_retries_and_recrawls_keep_it_waiting(crawl: Crawl) -> None:
    (retry,) = crawl.commit(outcome(crawl.task("page"), End.FAILURE)).entered
    assert not is_asked(crawl)
    crawl.commit(outcome(retry))
    assert is_asked(crawl)
    crawl.commit(outcome(crawl.task("again", auto_recrawl=True, age_ms=1000)))
    assert not is_asked(crawl)


def test_messages_are_waited_for_and_do_not_ask_for_it(crawl: Crawl) -> None:
    page = crawl.task("page")
    (message,) = crawl.commit(outcome(page, messages=[Message("shop", "data:,m", b"\x80")])).entered
    assert not is_asked(crawl)
    crawl.commit(outcome(message))
    (task,) = finish(crawl).entered
    (message,) = crawl.commit(outcome(task, messages=[Message("shop", "data:,m", b"\x80")])).entered
    crawl.commit(outcome(message))
    assert not is_asked(crawl)


def test_a_task_that_gives_up_counts_as_ended(crawl: Crawl) -> None:
    task = crawl.task("page")
    crawl.storage.charge([(task.ref, 0, 10)], crawl.now_ms)
    assert is_asked(crawl)


def test_a_project_that_is_being_removed_is_not_finished(crawl: Crawl) -> None:
    crawl.commit(outcome(crawl.task("page")))
    crawl.storage.remove("shop", 1)
    assert finish(crawl) == Committed()


def test_the_counter_is_for_ourselves(crawl: Crawl) -> None:
    crawl.commit(outcome(crawl.task("page")))
    assert crawl.all_counts()[SINCE_FINISHED] == 1
    finish(crawl)
    assert crawl.all_counts()[SINCE_FINISHED] == 0
