"""A master's view of storage for tests: one owned database, one project, a clock moved by hand."""

from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from zspider.activity import ACTIVITY, WINDOWS
from zspider.delivery import End, Follow, Outcome
from zspider.scheduler.rules import SchedulerRules
from zspider.storage import Committed, Reader, Storage, TaskDetail, open_storage
from zspider.task import Project, Task

START_MS = 1_700_000_000_000
GAUGES = ("waiting", "done", "failed", "cancelled", "results")
OPTIONS = b"\x83\xa8schedule\x80\xa5fetch\x80\xa7process\x80"


def follow(name: str, **fields: object) -> Follow:
    """A submitted URL whose taskid is `name`."""
    return Follow(**{"taskid": name, "url": f"http://example.org/{name}", "body": OPTIONS, **fields})  # type: ignore[arg-type]


def outcome(task: Task, end: End = End.SUCCESS, **fields: object) -> Outcome:
    """How a delivery of `task` ended."""
    given = {"attempt": 1, "proof": b"p" * 16, "end": end, **fields}
    return Outcome(task.ref.project, task.taskid, task.run, **given)  # type: ignore[arg-type]


class Crawl:
    """An owned database with the project "shop"."""

    def __init__(self, address: str, owner: str = "me") -> None:
        self.address = address
        self.owner = owner
        self.rules = SchedulerRules()
        self.now_ms = START_MS
        self.storage: Storage
        self.project: Project
        self.reader: Reader

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open(self, known: int = 1000) -> None:
        self.storage = open_storage(self.address, rules=self.rules, seen=known)
        self.ownership = self.storage.take_over(self.owner, self.now_ms)
        self.project = self.storage.push("shop", "class Handler: pass", now_ms=self.now_ms)
        self.reader = Reader(self.address)

    def close(self) -> None:
        self.storage.close()
        self.reader.close()

    def submit(self, *follows: Follow) -> Committed:
        self.now_ms += 1
        return self.storage.submit(self.project.id, follows, self.now_ms)

    def commit(self, *outcomes: Outcome) -> Committed:
        self.now_ms += 1
        return self.storage.commit(outcomes, self.now_ms)

    def tasks(self, *names: str, **fields: object) -> list[Task]:
        """New tasks, as the frontier holds them."""
        entered = {task.taskid: task for task in self.submit(*(follow(name, **fields) for name in names)).entered}
        return [entered[name] for name in names]

    def task(self, name: str, **fields: object) -> Task:
        return self.tasks(name, **fields)[0]

    def row(self, name: str) -> TaskDetail:
        """The task as a reader finds it."""
        row = self.reader.task(self.project.id, name)
        assert row is not None, f"no task {name}"
        return row

    def knows(self, name: str) -> bool:
        return self.reader.task(self.project.id, name) is not None

    def counts(self) -> dict[str, int]:
        """The project's counters that are not 0, but for those that nobody is shown."""
        return {name: value for name, value in self.all_counts().items() if value and not name.startswith("_")}

    def all_counts(self) -> dict[str, int]:
        """Every counter of the project."""
        (project,) = (project for project in self.reader.projects() if project.id == self.project.id)
        return project.counts

    def recounted(self) -> dict[str, int]:
        """What the gauges among the counters should be: the rows of the tables, counted."""
        counted: Counter[str] = Counter()
        after = b""
        while page := self.reader.tasks(self.project.id, after=after, limit=5000):
            counted.update(row.status.word for row in page)
            after = page[-1].key
        counted["results"] = sum(map(len, self.results().values()))
        return {name: value for name, value in counted.items() if value}

    def gauges(self) -> dict[str, int]:
        """The same from the counters."""
        return {name: value for name, value in self.counts().items() if name in GAUGES}

    def lately(self) -> dict[str, dict[str, int]]:
        """What the database says of the project's activity, by window and word; without zeros."""
        names = {window.step_s: window.name for window in WINDOWS}
        found: dict[str, Counter[str]] = {}
        for step_s, _, project, activity in self.storage.windows(self.now_ms):
            if project == self.project.id:
                found.setdefault(names[step_s], Counter()).update(dict(zip(ACTIVITY, activity, strict=True)))
        return {name: {word: value for word, value in sums.items() if value} for name, sums in found.items()}

    def results(self) -> dict[str, list[str]]:
        """All stored results by taskid."""
        found: dict[str, list[str]] = {}
        after = b""
        while page := self.reader.results(self.project.id, after, 100):
            for result in page:
                found.setdefault(result.taskid, []).append(result.result_json)
            after = page[-1].key
        return found

    def waiting(self, limit: int = 100) -> Sequence[str]:
        return [task.taskid for task in self.storage.ready(self.project.id, None, limit)]
