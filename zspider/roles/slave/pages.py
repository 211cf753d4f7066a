"""Tasks as callbacks see them, made from grants; pages for processors; and outcomes of what went wrong. Pure."""

from typing import Any

import msgspec

from zspider.broker.codec import encode_outcome
from zspider.broker.messages import Page, ProjectInfo
from zspider.delivery import REASON_CHARS_MAX, End, Grant, Outcome
from zspider.errors import ProtocolError, ZspiderError
from zspider.fetch import Fetched
from zspider.roles.processor.host_answer import UNKNOWN
from zspider.roles.slave.late_config import LateConfig
from zspider.roles.slave.leases import Lease
from zspider.script.deadline import time_limit_of
from zspider.task import GUARDED, Status, is_message, usual_taskid

TASK_PACK = 1  # pyspider's `type` of an ordinary task


_decode_options = msgspec.msgpack.Decoder(dict[str, Any]).decode


class BadTask(ZspiderError):
    """A stored task that cannot be read; trying again cannot help."""


class Projects:
    """Keeps what the master told about projects, by the script version it is true for.

    The `crawl_config` of a version is what `declare` says where this slave has processors, else the master's.
    """

    def __init__(self, known_max: int = 10_000, *, is_told_here: bool = False) -> None:
        """is_told_here: this slave evaluates crawl_config by itself, and says so by `declare`."""
        self._known_max = known_max
        self._is_told_here = is_told_here
        self._known: dict[tuple[int, bytes], tuple[ProjectInfo, LateConfig | None]] = {}

    def learn(self, info: ProjectInfo) -> None:
        """Take in what was told; the newest counts. Of too many, the ones told longest ago are forgotten."""
        key = (info.project, info.script)
        _, config = self._known.pop(key, (None, None))
        self._known[key] = (info, config if self._is_told_here else _late_config(info.crawl_config))
        while len(self._known) > self._known_max:
            del self._known[next(iter(self._known))]

    def get(self, project: int, script: bytes) -> ProjectInfo | None:
        """Return what is known of this version."""
        known = self._known.get((project, script))
        return known[0] if known else None

    def declare(self, project: int, script: bytes, crawl_config: bytes) -> None:
        """Take in the packed crawl_config that this slave has evaluated; for a version that is not known do nothing."""
        if (known := self._known.get((project, script))) is not None and self._is_told_here:
            self._known[project, script] = (known[0], _late_config(crawl_config))

    def is_declared(self, project: int, script: bytes) -> bool:
        """Return whether the crawl_config of this version is known."""
        known = self._known.get((project, script))
        return known is not None and known[1] is not None

    def config(self, info: ProjectInfo) -> LateConfig:
        """Return the options of the project's crawl_config that are bound late."""
        known = self._known.get((info.project, info.script))
        return (known and known[1]) or LateConfig({})

    def clear(self) -> None:
        """Forget all: project ids mean something else in another cluster."""
        self._known.clear()


def _late_config(crawl_config: bytes) -> LateConfig:
    try:
        return LateConfig(_decode_options(crawl_config))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return LateConfig({})  # the script's own GET_INFO made it; a task without it fails visibly


def task_of(grant: Grant, info: ProjectInfo, config: LateConfig) -> dict[str, Any]:
    """Return the task as its callback sees it. Raises BadTask when its options cannot be read.

    Source: docs/pyspider-behaviour.md 3.3.
    """
    try:
        body = _decode_options(grant.body) if grant.body else {}
        track = _decode_options(grant.track) if grant.track else {}
        schedule, fetch, process = _part(body, "schedule"), _part(body, "fetch"), _part(body, "process")
    except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
        raise BadTask(f"the task's options cannot be read: {exc}") from exc
    schedule["retried"] = grant.retried
    task = {
        "taskid": usual_taskid(grant.url) if is_message(grant.taskid) else grant.taskid,
        "project": info.name,
        "url": grant.url,
        "status": int(Status.ACTIVE),
        "schedule": schedule,
        "fetch": config.fetch(fetch),
        "process": config.process(process),
        "track": track,
        "lastcrawltime": grant.lastcrawl_ms / 1000 if grant.lastcrawl_ms else None,
        "type": TASK_PACK,
        "group": info.group or None,
        "project_md5sum": grant.script.hex(),
        "project_updatetime": info.updated_ms / 1000,
    }
    if body.get(GUARDED):
        task[GUARDED] = True
    return task


def message_page(serial: int, url: str) -> Fetched:
    """Return what stands for the page of a message, which is not fetched (docs/pyspider-behaviour.md 2.7)."""
    result = {"status_code": 200, "url": url, "orig_url": url, "headers": {}, "cookies": {}, "time": 0.0}
    return Fetched(serial, result, b"")


def page_of(lease: Lease, number: int, fetched: Fetched) -> Page:
    """Return a fetched page with all that a processor needs; `number` is the page's name there."""
    info = lease.info
    assert info is not None
    fetched.result["save"] = lease.task["fetch"].get("save")
    if fetched.is_public:
        lease.task[GUARDED] = True  # what a callback submits after it has seen this page
    return Page(
        number=number,
        project=lease.project,
        project_name=info.name,
        project_status=info.status,
        script=lease.script,
        taskid=lease.taskid,
        run=lease.run,
        attempt=lease.attempt,
        proof=lease.proof,
        task=lease.task,
        fetch=fetched.result,
        content=fetched.content,
        group=info.group,
        rate=info.rate,
        burst=info.burst,
        updated_ms=info.updated_ms,
        generation=info.generation,
    )


def failed(lease: Lease, end: End, reason: str) -> bytes:
    """Return a packed outcome that says why this delivery came to nothing."""
    text = reason[:REASON_CHARS_MAX]
    identity = (lease.project, lease.taskid, lease.run, lease.attempt, lease.proof)
    outcome = Outcome(*identity, end, reason=text, answer=UNKNOWN)
    try:
        return encode_outcome(outcome)
    except ProtocolError:  # lone surrogates, from a script's text
        plain = text.encode("ascii", "backslashreplace").decode()[:REASON_CHARS_MAX]
        return encode_outcome(msgspec.structs.replace(outcome, reason=plain))


def time_limit_s(page: Page, default_s: float) -> float:
    """Return how many seconds the page's callback may run."""
    return time_limit_of(page.task, default_s) or default_s


def _part(body: dict[str, Any], name: str) -> dict[str, Any]:
    part = body.get(name) or {}
    if not isinstance(part, dict):
        raise ValueError(f"`{name}` is a {type(part).__name__}")
    return part
