"""Rows of tasks and results as a transaction decides about them, in memory. They know no database."""

from collections.abc import Sequence
from typing import NamedTuple

from msgspec import MsgspecError, Raw, Struct
from msgspec.msgpack import Decoder, Encoder

from zspider.delivery import REASON_CHARS_MAX, Follow, NewSchedule
from zspider.hosts import host_hash, host_of
from zspider.task import MESSAGE_PREFIX, Ref, Status, Stored, Task, task_key, usual_taskid

_MESSAGE = MESSAGE_PREFIX.encode()
_decode_parts = Decoder(dict[str, Raw]).decode
_encode_parts = Encoder().encode


class TaskRow(Struct):
    """A task while a transaction decides about it: `stored` is what the rules see, and is changed in place."""

    ref: Ref
    taskid: bytes
    url: bytes
    stored: Stored
    attempt: int = 0
    priority: int = 0
    seq: int = 0
    open_runs: int = 0  # so many runs before this one were replaced while they may have been under way
    body: bytes | None = None  # of a follow accepted now; not read from the database
    track: bytes | None = None  # of an outcome now; not read from the database
    host: int = 0  # of a follow accepted now; not read from the database
    reason: str = ""
    is_settled: bool = False  # a run of it ended, or it was cancelled
    is_placed: bool = False  # new, or restarted by a follow: `body` is there
    schedule: NewSchedule | None = None  # that a callback left, and that is to be written
    is_to_delete: bool = False  # a message that was heard, or removed: nothing of it stays

    @property
    def is_message(self) -> bool:
        """Whether it is a message to its project."""
        return self.taskid.startswith(_MESSAGE)

    @property
    def is_ready(self) -> bool:
        """Whether it waits and is due."""
        return self.stored.status is Status.ACTIVE and self.stored.due_ms == 0

    def is_current(self, run: int) -> bool:
        """Return whether this is the run that waits, or is under way."""
        return self.stored.status is Status.ACTIVE and self.stored.run == run

    def is_open(self, run: int) -> bool:
        """Return whether a run was replaced and has not ended: what it leads to counts, but for the task's state."""
        return self.stored.run - self.open_runs <= run < self.stored.run

    def place(self, follow: Follow, seq: int, now_ms: int) -> None:
        """Take over what a follow says: waiting from its time on, with all its tries."""
        stored = self.stored
        stored.status = Status.ACTIVE
        stored.due_ms = follow.exetime_ms if follow.exetime_ms > now_ms else 0
        stored.retried = 0
        stored.retries = follow.retries
        stored.age_ms = follow.age_ms
        stored.itag = follow.itag
        stored.auto_recrawl = follow.auto_recrawl
        self.url = follow.url.encode()
        self.host = 0 if self.is_message else host_hash(host_of(follow.url))
        self.body = follow.body
        self.priority = follow.priority
        self.seq = seq
        self.attempt = 0
        self.reason = ""
        self.schedule = None
        self.is_placed = True

    def as_task(self, body: bytes, track: bytes | None) -> Task:
        """Return the row as the frontier holds it."""
        stored = self.stored
        return Task(
            ref=self.ref,
            taskid=self.taskid.decode(),
            url=self.url.decode(),
            body=body,
            run=stored.run,
            attempt=self.attempt,
            retried=stored.retried,
            priority=self.priority,
            seq=self.seq,
            due_ms=stored.due_ms,
            lastcrawl_ms=stored.lastcrawl_ms,
            track=track,
            open_runs=self.open_runs,
        )


class RowAndTask(NamedTuple):
    """A waiting task, as a transaction sees it and as the frontier does."""

    row: TaskRow
    task: Task


class ResultRow(NamedTuple):
    """One result, in the order of the table's columns."""

    project: int
    key: bytes
    item: int
    taskid: bytes
    url: bytes
    result: str
    updated_ms: int

    @property
    def ref(self) -> Ref:
        """The task whose results it belongs to."""
        return Ref(self.project, self.key)


def result_rows(row: TaskRow, results: Sequence[bytes], now_ms: int) -> list[ResultRow]:
    """Return the rows of a run's results: under the task's own id, a message's under that of its URL.

    Raises UnicodeDecodeError, which is a bad datum, for what is not UTF-8.
    """
    taskid = usual_taskid(row.url.decode()) if row.is_message else row.taskid.decode()
    ref = Ref(row.ref.project, task_key(taskid))
    return [
        ResultRow(*ref, item, taskid.encode(), row.url, result.decode(), now_ms) for item, result in enumerate(results)
    ]


def storable(text: str) -> str:
    """Return a reason cut to the column's length, without what UTF-8 cannot say."""
    return text[:REASON_CHARS_MAX].encode("utf-8", "replace").decode()


def with_schedule(body: bytes, schedule: bytes) -> bytes:
    """Return a task's packed options with another packed schedule; options that cannot be read stay as they are."""
    try:
        return _encode_parts(_decode_parts(body) | {"schedule": Raw(schedule)})
    except (MsgspecError, ValueError):
        return body
