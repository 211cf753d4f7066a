"""What a task is, and what travels with it: the words every part of zspider shares.

Nothing here decides or does anything. Wall-clock times are integer milliseconds since the epoch
(`_ms`); 0 means "none" or "at once". The structs are arrays on the wire, in field order: a new field
goes to the end, with a default, or the protocol number grows.
"""

import re
from collections.abc import Mapping, Sequence
from enum import IntEnum, StrEnum
from functools import lru_cache
from hashlib import md5, sha256
from typing import Annotated, NamedTuple, Protocol
from urllib.parse import urlsplit

from msgspec import Meta, Struct

TASKID_CHARS_MAX = 64  # docs/pyspider-behaviour.md 3.2
URL_BYTES_MAX = 8190
BODY_BYTES_MAX = 4 * 1024 * 1024  # a task's packed schedule, fetch and process options
SCHEDULE_BYTES_MAX = 64 * 1024  # of one that a callback changed
RESULT_BYTES_MAX = 4 * 1024 * 1024  # half of MariaDB's default max_allowed_packet, with room for escaping
TRACK_BYTES_MAX = 1024 * 1024
FOLLOWS_MAX = 20_000  # of one Outcome; what is more travels as PARTs
RESULTS_MAX = 20_000
ADD_URLS_MAX = 1000  # URLs of one request from outside: some 30 ms of the writer
MESSAGES_MAX = 20_000  # of one Outcome
MESSAGE_BYTES_MAX = 1024 * 1024  # of one message's packed body
ATTEMPTS_MAX = 10  # deliveries of one run before it fails with "gave up"
PROOF_BYTES = 16
SESSION_BYTES = 16
DAY_MS = 24 * 3600 * 1000
FAR_FUTURE_MS = 1 << 45  # the year 3084: no time a script gives is later

ProjectId = Annotated[int, Meta(ge=1, le=2**31 - 1)]
TaskId = Annotated[str, Meta(min_length=1, max_length=TASKID_CHARS_MAX)]
Url = Annotated[str, Meta(min_length=1, max_length=URL_BYTES_MAX)]
Millis = Annotated[int, Meta(ge=0, le=FAR_FUTURE_MS)]
Count = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Priority = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
Proof = Annotated[bytes, Meta(max_length=PROOF_BYTES)]
ScriptHash = Annotated[bytes, Meta(min_length=32, max_length=32)]  # SHA-256 of the script's UTF-8 text

ON_START = "on_start"  # taskid of a project's first task (docs/pyspider-behaviour.md 3.6)
ON_FINISHED = "on_finished"  # taskid of the task that is made when no other is left (docs/pyspider-behaviour.md 4.8)
GET_INFO = "_on_get_info"  # asks a script for its crawl_config, retry_delay and smallest tick; never stored
CRONJOB = "_on_cronjob"  # runs the methods marked @every; never stored
# A counter: runs that ended since on_finished was made last; neither its own nor those of messages.
SINCE_FINISHED = "_since_finished"
# Counters: what the runs that ended took, and how many they were; pages fetched, and callbacks run.
FETCH_MS, FETCHED = "_fetch_ms", "_fetched"
PROCESS_MS, PROCESSED = "_process_ms", "_processed"
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


class ProjectStatus(StrEnum):
    """What a project may do, as people set it; the core may pause one on its own, too.

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


class Ref(NamedTuple):
    """The identity of a task: its row key."""

    project: int
    key: bytes  # 16 bytes, see `task_key`


@lru_cache(16_384)  # asked for several times in the short life of an outcome
def task_key(taskid: str) -> bytes:
    """The first 16 bytes of SHA-256(taskid): short, fixed, and spread evenly over the index."""
    return sha256(taskid.encode("utf-8", "surrogatepass")).digest()[:16]


_PLAIN_HOST = re.compile(r"(https?)://([A-Za-z0-9_.-]+)(?::([1-9][0-9]{0,3}|[1-5][0-9]{4}))?(?:[/?#]|$)")
_SCHEME_PORTS = {"http": "80", "https": "443"}


def host_of(url: str) -> str:
    """Whose page it is: the host in lower case, with `:port` unless that is the scheme's; "" for other than http(s).

    Politeness is owed to this name. An IPv6 address stands in its brackets. "" also for what is no URL.
    """
    if url.startswith(("http://", "https://")) and (end := url.find("/", 8)) > 0:
        return _host_of_origin(url[:end])
    return _read_host(url)


def _read_host(url: str) -> str:
    plain = _PLAIN_HOST.match(url)
    if plain is None:
        return _odd_host(url)
    scheme, host, port = plain.groups()
    return host.lower() if port is None or port == _SCHEME_PORTS[scheme] else f"{host.lower()}:{port}"


_host_of_origin = lru_cache(16_384)(_read_host)  # what all pages of a site begin with


def _odd_host(url: str) -> str:
    """With a user's name, an IPv6 address, letters beyond ASCII, or no host at all."""
    try:
        parts = urlsplit(url.strip(" \t"))
        host, port = parts.hostname or "", str(parts.port or "")
    except ValueError:
        return ""
    if parts.scheme not in _SCHEME_PORTS or not host:
        return ""
    host = f"[{host}]" if ":" in host else host
    return host if port in ("", _SCHEME_PORTS[parts.scheme]) else f"{host}:{port}"


@lru_cache(65_536)
def host_hash(host: str) -> int:
    """32 bits of a host's name, signed: what the frontier and its index know hosts by; 0 for none.

    Two hosts in some billions share one: they may wait for each other in the frontier, their limits stay their own.
    """
    if not host:
        return 0
    return int.from_bytes(sha256(host.encode("utf-8", "surrogatepass")).digest()[:4], "big", signed=True) or 1


def is_message(taskid: str) -> bool:
    """Whether this task is a message to its project: not fetched, not counted against the rate, gone when done."""
    return taskid.startswith(MESSAGE_PREFIX)


def message_taskid(project: int, taskid: str, run: int, index: int) -> str:
    """The identity of the message that this run of this sender sent as its `index`-th."""
    sender = f"{project} {run} {index} {taskid}".encode("utf-8", "surrogatepass")
    return MESSAGE_PREFIX + sha256(sender).hexdigest()[:32]


def usual_taskid(url: str) -> str:
    """The taskid of a URL, unless its script decides otherwise (docs/pyspider-behaviour.md 2.7).

    A message's script sees it as its task's, and its result is stored under it.
    """
    return md5(url.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()


def message_options(sender: str, msg: object, *, guarded: bool = False) -> dict[str, object]:
    """The options of a message's task, to be packed as its `body`. sender: a project's name, or `__command__`."""
    options = {"schedule": {}, "fetch": {"save": [sender, msg]}, "process": {"callback": ON_MESSAGE}}
    return options | {GUARDED: True} if guarded else options


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
    """What a script sent to a project with `send_message()`; once accepted, a task of that project."""

    receiver: Annotated[str, Meta(min_length=1, max_length=64)]  # a project's name
    url: Url
    body: Annotated[bytes, Meta(max_length=MESSAGE_BYTES_MAX)]  # msgpack of `message_options`

    def as_follow(self, taskid: str) -> Follow:
        """The task that it is for its receiver."""
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
    """What a server's answer says about how it wants to be asked."""

    status: Annotated[int, Meta(ge=0, le=999)] = 200  # 599: there was none; 0: nobody asked, or it is not known
    retry_after_ms: Annotated[int, Meta(ge=0, le=DAY_MS)] = 0
    crawl_delay_ms: Annotated[int, Meta(ge=0, le=DAY_MS)] = 0  # of its robots.txt, if the task asked for that


class Outcome(Struct, frozen=True, array_like=True):
    """What one delivery of a task led to. The slave keeps it until the master says it is committed.

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
    reason: Annotated[str, Meta(max_length=2000)] = ""  # why it failed, one line
    fetch_ms: Count = 0
    process_ms: Count = 0
    info: Annotated[bytes, Meta(max_length=256 * 1024)] | None = None  # GET_INFO only: msgpack of ScriptInfo
    messages: Annotated[list[Message], Meta(max_length=MESSAGES_MAX)] = []
    schedule: NewSchedule | None = None  # counts when the task will be recrawled, tried again, or has failed
    answer: Answer | None = None  # None: the usual one, a 200 that asks for nothing
    repeats: Count = 0  # follows that were left out: their tasks have rows, and they ask for nothing


class ScriptInfo(Struct, frozen=True):
    """What the master must know about a script version; learnt by running GET_INFO on a slave."""

    crawl_config: bytes = b"\x80"  # msgpack map: late-bound fetch and process defaults (docs/pyspider-behaviour.md 2.5)
    retry_delay: dict[str, float] = {}
    min_tick: Count = 0  # seconds; 0: no @every methods
    error: str = ""  # the script could not be loaded: last line of the traceback
    has_on_finished: bool = False  # it wants to know when no task is left
    lacks: str = ""  # name of a project that it imports and that was not to be had: the reason of `error`


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
    """What the database knows of a task, as far as the rules need it."""

    status: Status
    run: int
    retried: int
    due_ms: int
    retries: int
    age_ms: int | None
    itag: str | None
    auto_recrawl: bool
    lastcrawl_ms: int


class Finish(NamedTuple):
    """What becomes of a task when a run of it ended."""

    status: Status
    due_ms: int  # ACTIVE only; 0: ready now
    retried: int
    counter: str  # "success", "retry" or "failed"


class Accept(StrEnum):
    """What becomes of a submitted URL; the words after "known" are why it was dropped."""

    NEW = "new"
    RESTART = "restart"
    CANCEL = "cancel"
    KNOWN = "known"  # finished or waiting, and nothing asks for it again
    RUNNING = "running"  # ready or leased; only force_update restarts it
    NOTHING_TO_CANCEL = "nothing to cancel"
    FULL = "queue full"  # as many tasks of its project wait as may: limits.waiting

    @property
    def is_drop(self) -> bool:
        return self not in _ACCEPTED


_ACCEPTED = (Accept.NEW, Accept.RESTART, Accept.CANCEL)


class Rules(Protocol):
    """The scheduler's decisions that storage asks for within a transaction. Pure: same answer for same arguments."""

    @property
    def waiting_max(self) -> int:
        """Most tasks that may wait in a project; 0: no limit, and `has_room` need not be asked."""
        ...

    def has_room(self, waiting: int, follow: Follow) -> bool:
        """Whether a URL that is NEW finds room in its project, where so many wait."""
        ...

    def accept(self, stored: Stored | None, follow: Follow, now_ms: int) -> Accept:
        """Decide about a submitted URL; `stored` is None when it is not known."""
        ...

    def finish(self, project: int, stored: Stored, end: End, now_ms: int) -> Finish:
        """Decide about a task whose current run ended; `end` is not PART."""
        ...

    def is_finished(self, counts: Mapping[str, int]) -> bool:
        """Whether it is time for on_finished, by a project's counters."""
        ...


class Window(NamedTuple):
    """The last minutes, hour or day, for which a project's activity is summed, in slots of time.

    Source: docs/pyspider-behaviour.md 4.11.
    """

    name: str
    step_s: int  # of one slot
    slots: int

    def slot(self, ms: int) -> int:
        """Epoch seconds at which the slot begins that this wall-clock millisecond is in."""
        return ms // 1000 // self.step_s * self.step_s

    def first(self, ms: int) -> int:
        """The oldest slot of the window that ends with this millisecond's."""
        return self.slot(ms) - (self.slots - 1) * self.step_s


WINDOWS = (Window("5m", 10, 30), Window("1h", 60, 60), Window("1d", 600, 144))
# What a window sums up, and the counters that have the sums since the project was made.
ACTIVITY = {
    "new": "new",
    "success": "success",
    "retry": "retry",
    "failed": "failed_total",
    "fetch_ms": FETCH_MS,
    "fetched": FETCHED,
    "process_ms": PROCESS_MS,
    "processed": PROCESSED,
}
Activity = Sequence[int]  # in the order of ACTIVITY


def activity_of(counts: Mapping[str, int]) -> Activity:
    """The activity in some counters, or in what was added to them."""
    return [counts.get(name, 0) for name in ACTIVITY.values()]


class WindowSlot(NamedTuple):
    """What happened in a project in one slot of a window."""

    step_s: int
    slot: int
    project: int
    activity: Activity
