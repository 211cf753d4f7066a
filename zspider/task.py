"""Tasks and projects: the words every part of zspider shares.

Nothing here decides or does anything. Wall-clock times are integer milliseconds since the epoch
(`_ms`); 0 means "none" or "at once".
"""

from enum import IntEnum, StrEnum
from functools import lru_cache
from hashlib import md5, sha256
from typing import Annotated, Literal, NamedTuple

from msgspec import Meta, Struct

TASKID_CHARS_MAX = 64  # docs/pyspider-behaviour.md 3.2
URL_BYTES_MAX = 8190
ADD_URLS_MAX = 1000  # URLs of one request from outside: some 30 ms of the writer
SESSION_BYTES = 16
DAY_MS = 24 * 3600 * 1000
FAR_FUTURE_MS = 1 << 45  # the year 3084: no time a script gives is later

ProjectId = Annotated[int, Meta(ge=1, le=2**31 - 1)]
TaskId = Annotated[str, Meta(min_length=1, max_length=TASKID_CHARS_MAX)]
Url = Annotated[str, Meta(min_length=1, max_length=URL_BYTES_MAX)]
Millis = Annotated[int, Meta(ge=0, le=FAR_FUTURE_MS)]
Count = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Priority = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
ScriptHash = Annotated[bytes, Meta(min_length=32, max_length=32)]  # SHA-256 of the script's UTF-8 text

ON_START = "on_start"  # taskid of a project's first task (docs/pyspider-behaviour.md 3.6)
ON_FINISHED = "on_finished"  # taskid of the task that is made when no other is left (docs/pyspider-behaviour.md 4.8)
GET_INFO = "_on_get_info"  # asks a script for its crawl_config, retry_delay and smallest tick; never stored
CRONJOB = "_on_cronjob"  # runs the methods marked @every; never stored
INTERNAL = frozenset({GET_INFO, CRONJOB})
ON_MESSAGE = "_on_message"  # callback of a task that is a message
MESSAGE_PREFIX = ON_MESSAGE + ":"  # of such a task's taskid
MESSAGE_URL = "data:,on_message"  # of a message whose sender names none (docs/pyspider-behaviour.md 3.6)
MESSAGE_PRIORITY = 2**31 - 1  # before every page
# In a task's options, and in what its callback sees of it: a page of the public Internet has led to it, so neither it
# nor what it leads to is fetched from private networks where `fetch.private_networks` is "deny".
GUARDED = "guarded"


class Status(IntEnum):
    """A task's state in the database; pyspider's numbers (docs/pyspider-behaviour.md 3.1)."""

    ACTIVE = 1  # due now or later
    SUCCESS = 2
    FAILED = 3  # no tries left, or a reason that another try cannot mend
    BAD = 4  # cancelled

    @property
    def word(self) -> str:
        """The word people see."""
        return _STATUS_WORDS[self]


_STATUS_WORDS = {
    Status.ACTIVE: "waiting",
    Status.SUCCESS: "done",
    Status.FAILED: "failed",
    Status.BAD: "cancelled",
}


Kind = Literal["ready", "delayed"]  # of an ACTIVE task: due now, or later; the frontier has an order for each


class ProjectStatus(StrEnum):
    """The status of a project, as people set it; the core may pause one on its own, too.

    Source: docs/pyspider-behaviour.md 4.3.
    """

    TODO = "TODO"  # made, never started
    STOP = "STOP"  # nothing of it runs; what arrives is stored
    CHECKING = "CHECKING"  # edited while it ran: as STOP, until somebody starts it
    DEBUG = "DEBUG"  # as RUNNING, and its script can see that
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"  # pages wait; @every methods and messages go on

    @property
    def is_active(self) -> bool:
        """Whether its script runs at all."""
        return self in _ACTIVE


_ACTIVE = (ProjectStatus.DEBUG, ProjectStatus.RUNNING, ProjectStatus.PAUSED)

# Sorts the waiting tasks of a project: (-priority, seq) among the ready, (due_ms, seq) among the delayed.
Position = tuple[int, int]


class Ref(NamedTuple):
    """The identity of a task: its row key."""

    project: int
    key: bytes  # 16 bytes, see `task_key`


@lru_cache(16_384)  # asked for several times in the short life of an outcome
def task_key(taskid: str) -> bytes:
    """Return the first 16 bytes of SHA-256(taskid): short, fixed, and spread evenly over the index."""
    return sha256(taskid.encode("utf-8", "surrogatepass")).digest()[:16]


def is_message(taskid: str) -> bool:
    """Return whether this task is a message to its project: not fetched, free of the rate, deleted when done."""
    return taskid.startswith(MESSAGE_PREFIX)


def is_reserved(taskid: str) -> bool:
    """Return whether only the master makes tasks of this name, so that no page may lead to one.

    Source: docs/pyspider-behaviour.md 3.6.
    """
    return taskid in INTERNAL or taskid.startswith(MESSAGE_PREFIX)


def info_run(script: bytes) -> int:
    """Return the run of a script version's info task: an answer about another version is told by it."""
    return int.from_bytes(script[:3], "big")


def message_taskid(project: int, taskid: str, run: int, index: int) -> str:
    """Return the identity of the message that this run of this sender sent as its `index`-th."""
    sender = f"{project} {run} {index} {taskid}".encode("utf-8", "surrogatepass")
    return MESSAGE_PREFIX + sha256(sender).hexdigest()[:32]


def usual_taskid(url: str) -> str:
    """Return the taskid of a URL, unless its script decides otherwise (docs/pyspider-behaviour.md 2.7).

    A message's script sees it as its task's, and its result is stored under it.
    """
    return md5(url.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()


def message_options(sender: str, msg: object, *, guarded: bool = False) -> dict[str, object]:
    """Return the options of a message's task, to be packed as its `body`.

    sender: a project's name, or `__command__`.
    """
    options = {"schedule": {}, "fetch": {"save": [sender, msg]}, "process": {"callback": ON_MESSAGE}}
    return options | {GUARDED: True} if guarded else options


class Teller(Struct, frozen=True):
    """The slave that told what a script declares; written by the master."""

    token: str  # id of the token that it joined with; "": the master admits without one
    host: str
    at_ms: Millis


class ScriptInfo(Struct, frozen=True):
    """The facts that the master must know about a script version; learnt by running GET_INFO on a slave.

    A slave that processes pages evaluates `crawl_config` by itself; the master's copy is for those that only fetch.
    """

    crawl_config: bytes = b"\x80"  # msgpack map: late-bound fetch and process defaults (docs/pyspider-behaviour.md 2.5)
    retry_delay: dict[str, float] = {}
    min_tick: Count = 0  # seconds; 0: no @every methods
    error: str = ""  # the script could not be loaded: last line of the traceback
    has_on_finished: bool = False  # it wants to know when no task is left
    lacks: str = ""  # name of a project that it imports and that was not to be had: the reason of `error`
    told: Teller | None = None  # None: not known; the script is asked anew


class Task(Struct):
    """A waiting task, as the frontier holds it: a row of the task table that may be granted."""

    ref: Ref
    taskid: str
    url: str
    body: bytes
    run: int
    attempt: int = 0
    retried: int = 0
    priority: int = 0
    seq: int = 0  # order of arrival; unique
    due_ms: int = 0  # 0: ready now
    lastcrawl_ms: int = 0
    track: bytes | None = None
    open_runs: int = 0  # earlier runs that were replaced and have not ended

    def is_open(self, run: int) -> bool:
        """Return whether this earlier run may still be under way: its outcome counts, and this one waits for it."""
        return self.run - self.open_runs <= run < self.run


class Project(Struct):
    """A project and the script version it runs."""

    id: int
    name: str
    status: ProjectStatus
    group: str = ""
    rate: float = 1.0  # tasks per second
    burst: float = 3.0
    script: bytes = b""  # hash of its current version
    info: ScriptInfo | None = None  # None: not known yet
    updated_ms: int = 0
    counts: dict[str, int] = {}


class Stored(Struct):
    """A task as the database has it, as far as the rules need it."""

    status: Status
    run: int
    retried: int
    due_ms: int
    retries: int
    age_ms: int | None
    itag: str | None
    auto_recrawl: bool
    lastcrawl_ms: int
