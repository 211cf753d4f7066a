"""A verb on a hundred thousand tasks, and the commits of a crawl that goes on: neither waits for the other to end."""

import threading

from tests.support.storage import Crawl, follow, outcome
from zspider.roles.master.received import ReceivedOutcome
from zspider.roles.master.writer_thread import WriterThread
from zspider.settings import StorageSettings
from zspider.storage import Change, Committed, Cursor, Selection, Step
from zspider.task import Status, Task

TASKS = 100_000
DEADLINE_S = 300.0


class Race:
    """A page that is crawled again as soon as it is committed, and a bulk verb that goes on as soon as it may."""

    def __init__(self, crawl: Crawl, page: Task) -> None:
        self.crawl = crawl
        self.events: list[str] = []
        self.changed = 0
        self.is_over = False
        self._woken = threading.Event()
        self._writer = WriterThread(lambda: crawl.storage, StorageSettings(commit_ms=0), self._woken.set)
        self._deliver(page)
        self._ask(None)

    def run(self) -> None:
        """Until the verb is done."""
        self._writer.start()
        while not self.is_over:
            assert self._woken.wait(DEADLINE_S), "the writer has stopped"
            self._woken.clear()
            self._writer.finished()
        assert self._writer.stop(DEADLINE_S)

    def _deliver(self, page: Task) -> None:
        self._writer.commit([ReceivedOutcome(b"", 1, outcome(page))], self._committed)

    def _committed(self, deliveries: object, report: Committed) -> None:
        self.events.append("commit")
        (page,) = report.entered
        self._deliver(page)

    def _ask(self, cursor: Cursor | None) -> None:
        self._writer.call(
            lambda storage: storage.change_tasks(
                Change.REMOVE, self.crawl.project.id, Selection((Status.ACTIVE,), "*/old*"), cursor, now_ms=1
            ),
            self._stepped,
        )

    def _stepped(self, step: Step) -> None:
        self.events.append("batch")
        self.changed += step.changed
        if step.next is None:
            self.is_over = True
        else:
            self._ask(step.next)


def test_between_any_two_batches_there_is_a_commit(crawl: Crawl) -> None:
    for at in range(0, TASKS, 5000):
        crawl.submit(*(follow(f"old{number}") for number in range(at, at + 5000)))
    page = crawl.task("page", auto_recrawl=True, age_ms=0)
    race = Race(crawl, page)
    race.run()
    assert race.changed == TASKS
    assert race.events.count("batch") >= TASKS / 300
    assert ("batch", "batch") not in set(zip(race.events, race.events[1:], strict=False))
    crawl.open()
    assert crawl.gauges() == crawl.recounted() == {"waiting": 1}
