"""The structs that are sent for a task: the grant to a slave, the page's follows and messages, the outcome that comes
back.

The structs are arrays on the wire, in field order: a new field goes to the end, with a default, or the protocol
number grows.
"""

from enum import IntEnum
from typing import Annotated

from msgspec import Meta, Struct

from zspider.task import DAY_MS, MESSAGE_PRIORITY, Count, Millis, Priority, ProjectId, ScriptHash, TaskId, Url

BODY_BYTES_MAX = 4 * 1024 * 1024  # a task's packed schedule, fetch and process options
SCHEDULE_BYTES_MAX = 64 * 1024  # of one that a callback changed
RESULT_BYTES_MAX = 4 * 1024 * 1024  # half of MariaDB's default max_allowed_packet, with room for escaping
TRACK_BYTES_MAX = 1024 * 1024
REASON_CHARS_MAX = 2000  # of one line that says why a task failed
FOLLOWS_MAX = 20_000  # of one Outcome; what is more travels as PARTs
RESULTS_MAX = 20_000
MESSAGES_MAX = 20_000  # of one Outcome
MESSAGE_BYTES_MAX = 1024 * 1024  # of one message's packed body
ATTEMPTS_MAX = 10  # deliveries of one run before it fails with "gave up"
PROOF_BYTES = 16

Proof = Annotated[bytes, Meta(max_length=PROOF_BYTES)]


class End(IntEnum):
    """How a delivery of a task ended, in an Outcome."""

    PART = 0  # not yet: these are follows sent ahead of the rest
    SUCCESS = 1
    FAILURE = 2  # may be tried again
    FATAL = 3  # trying again cannot help: over a limit, killed its processor three times


class Follow(Struct, frozen=True, array_like=True):
    """A URL that a script submitted with `crawl()`.

    `body` is msgpack of {"schedule": {...}, "fetch": {...}, "process": {...}} as `crawl()` built it, and GUARDED
    if that is so; the master stores it and never opens it. The other fields repeat the parts of `schedule` that the
    master decides by (docs/pyspider-behaviour.md 2.3 for what they mean).
    """

    taskid: TaskId
    url: Url
    body: Annotated[bytes, Meta(max_length=BODY_BYTES_MAX)]
    priority: Priority = 0
    retries: Count = 3
    exetime_ms: Millis = 0
    age_ms: Millis | None = None  # None: never again (pyspider's -1)
    itag: Annotated[str, Meta(max_length=1024)] | None = None  # JSON text of the script's scalar; None if falsy
    force_update: bool = False
    auto_recrawl: bool = False
    cancel: bool = False

    @property
    def asks_nothing(self) -> bool:
        """Whether it changes nothing when its task has a row already."""
        return self.age_ms is None and self.itag is None and not (self.force_update or self.cancel)


class Message(Struct, frozen=True, array_like=True):
    """A message that a script sent to a project with `send_message()`; once accepted, a task of that project."""

    receiver: Annotated[str, Meta(min_length=1, max_length=64)]  # a project's name
    url: Url
    body: Annotated[bytes, Meta(max_length=MESSAGE_BYTES_MAX)]  # msgpack of `message_options`

    def as_follow(self, taskid: str) -> Follow:
        """Return the task that it is for its receiver."""
        return Follow(taskid, self.url, self.body, priority=MESSAGE_PRIORITY)


class NewSchedule(Struct, frozen=True, array_like=True):
    """A task's schedule as its callback left it, if it changed it (docs/pyspider-behaviour.md 3.5).

    `packed` takes the place of "schedule" in the task's body; the other fields are as those of a Follow.
    """

    packed: Annotated[bytes, Meta(max_length=SCHEDULE_BYTES_MAX)]
    priority: Priority
    retries: Count
    retried: Count
    age_ms: Millis | None
    itag: Annotated[str, Meta(max_length=1024)] | None
    auto_recrawl: bool


class Answer(Struct, frozen=True, array_like=True):
    """The parts of a server's answer that say how it wants to be asked."""

    status: Annotated[int, Meta(ge=0, le=999)] = 200  # 599: there was none; 0: nobody asked, or it is not known
    retry_after_ms: Annotated[int, Meta(ge=0, le=DAY_MS)] = 0
    crawl_delay_ms: Annotated[int, Meta(ge=0, le=DAY_MS)] = 0  # of its robots.txt, if the task asked for that


class Outcome(Struct, frozen=True, array_like=True):
    """All that one delivery of a task led to. The slave keeps it until the master says it is committed.

    A PART carries follows only; the ending outcome is sent after the master acknowledged all parts.
    """

    project: ProjectId
    taskid: TaskId
    run: Count
    attempt: Count
    proof: Proof
    end: End
    follows: Annotated[list[Follow], Meta(max_length=FOLLOWS_MAX)] = []
    results: Annotated[list[Annotated[bytes, Meta(max_length=RESULT_BYTES_MAX)]], Meta(max_length=RESULTS_MAX)] = []
    # msgpack of docs/pyspider-behaviour.md 3.5 `track`
    track: Annotated[bytes, Meta(max_length=TRACK_BYTES_MAX)] | None = None
    reason: Annotated[str, Meta(max_length=REASON_CHARS_MAX)] = ""  # why it failed, one line
    fetch_ms: Count = 0
    process_ms: Count = 0
    info: Annotated[bytes, Meta(max_length=256 * 1024)] | None = None  # GET_INFO only: msgpack of ScriptInfo
    messages: Annotated[list[Message], Meta(max_length=MESSAGES_MAX)] = []
    schedule: NewSchedule | None = None  # counts when the task will be recrawled, tried again, or has failed
    answer: Answer | None = None  # None: the usual one, a 200 that asks for nothing
    repeats: Count = 0  # follows that were left out: their tasks have rows, and they ask for nothing

    def failed(self, end: End, reason: str) -> "Outcome":
        """Return that this delivery failed and led to nothing; what it took and what the host answered stay."""
        return Outcome(
            self.project,
            self.taskid,
            self.run,
            self.attempt,
            self.proof,
            end,
            reason=reason,
            fetch_ms=self.fetch_ms,
            process_ms=self.process_ms,
            answer=self.answer,
        )


class Grant(Struct, frozen=True, array_like=True):
    """A task lent to a slave until the lease runs out. `number` grows by one within a session."""

    number: Annotated[int, Meta(ge=1)]
    project: ProjectId
    taskid: TaskId
    url: Url
    run: Count
    attempt: Count
    proof: Proof
    script: ScriptHash
    body: bytes
    start_ms: Count = 0  # not before this many milliseconds after it arrived: politeness, spaced by the master
    retried: Count = 0
    lastcrawl_ms: Millis = 0
    track: bytes | None = None
