"""A processor's answers: the outcome of a page, in parts if it is a large one."""

from collections.abc import Sequence
from time import time  # by itself: a script may replace what `time` holds

import msgspec

from zspider.broker.messages import Page
from zspider.delivery import End, Follow, Outcome
from zspider.roles.processor.host_answer import answer_of
from zspider.script.errors import LoadError, reason_of
from zspider.script.loader import LoadedScript
from zspider.script.runner import RunResult
from zspider.task import ScriptInfo

PART_FOLLOWS = 500  # of one outcome at most
PART_BYTES = 180 * 1024  # of the follows of one outcome: with the rest it stays in one frame
FOLLOW_BYTES = 60  # what a follow costs beside its texts
REASON_CHARS = 2000  # Outcome.reason
NAME_CHARS = 64  # of a project


def cut(follows: Sequence[Follow]) -> list[list[Follow]]:
    """Cut follows into lists that fit one outcome each; one follow alone may be larger."""
    parts: list[list[Follow]] = []
    room = 0
    for follow in follows:
        size = len(follow.body) + len(follow.url) + FOLLOW_BYTES
        if size > room or len(parts[-1]) >= PART_FOLLOWS:
            parts.append([])
            room = PART_BYTES
        parts[-1].append(follow)
        room -= size
    return parts


def part_outcome(page: Page, follows: list[Follow]) -> Outcome:
    """Return an outcome with some of what a page has submitted, ahead of its end."""
    return Outcome(*_identity(page), end=End.PART, follows=follows)


def final_outcome(page: Page, ran: RunResult, follows: list[Follow]) -> Outcome:
    """The outcome that ends a task's delivery."""
    return Outcome(
        *_identity(page),
        end=ran.end,
        follows=follows,
        results=ran.results,
        messages=ran.messages,
        track=ran.track,
        reason=ran.reason[:REASON_CHARS],
        fetch_ms=ran.fetch_ms,
        process_ms=ran.process_ms,
        schedule=ran.schedule,
        answer=answer_of(page.fetch, time()),
        repeats=ran.repeats,
    )


def info_outcome(page: Page, loaded: LoadedScript | LoadError) -> Outcome:
    """Return the answer to GET_INFO: what a script declares, or why it cannot be used."""
    if isinstance(loaded, LoadError):
        info = ScriptInfo(error=str(loaded), lacks=loaded.lacks[:NAME_CHARS])
    else:
        try:
            info = loaded.info()
        except BaseException as error:  # the script's own class attributes: anything
            info = ScriptInfo(error=f"crawl_config or retry_delay: {reason_of(error)}"[:REASON_CHARS])
    end = End.FAILURE if info.error else End.SUCCESS
    return Outcome(*_identity(page), end=end, reason=info.error, info=msgspec.msgpack.encode(info))


def cut_short(page: Page, error: BaseException) -> Outcome:
    """Return the outcome of a page whose script got past all guards, as by a signal's handler; its `save` stays."""
    return Outcome(*_identity(page), end=End.FAILURE, reason=reason_of(error))


def failed_to_load(page: Page, error: LoadError) -> Outcome:
    """Return the outcome of a task whose script cannot be loaded; its `save` stays."""
    track = page.task.get("track") or {}
    process = {
        "ok": False,
        "time": 0.0,
        "follows": 0,
        "result": None,
        "logs": error.traceback[-1000:],
        "exception": str(error),
    }
    packed = msgspec.msgpack.encode({**track, "process": process})
    return Outcome(
        *_identity(page),
        end=End.FAILURE,
        track=packed,
        reason=str(error)[:REASON_CHARS],
        answer=answer_of(page.fetch, time()),
    )


def _identity(page: Page) -> tuple[int, str, int, int, bytes]:
    return page.project, page.taskid, page.run, page.attempt, page.proof
