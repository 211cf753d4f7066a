"""A task dict as `crawl()` makes it, turned into the Follow that travels."""

from collections.abc import Mapping
from json import dumps  # by itself: a script may replace what `json` holds
from math import isfinite
from typing import Any, NamedTuple

import msgspec

from zspider.delivery import BODY_BYTES_MAX, SCHEDULE_BYTES_MAX, Follow, NewSchedule
from zspider.script.crawl.options import checked_url
from zspider.script.plain import plain, said, text
from zspider.task import FAR_FUTURE_MS, GUARDED, INTERNAL, MESSAGE_PREFIX, MESSAGE_PRIORITY, TASKID_CHARS_MAX

RETRIES_DEFAULT = 3  # docs/pyspider-behaviour.md 4.1
ITAG_CHARS_MAX = 1024
_COUNT_MAX = 2**31 - 1
_pack = msgspec.msgpack.Encoder().encode


class Schedule(NamedTuple):
    """The fields of a Follow that the master uses for its decisions."""

    priority: int
    retries: int
    exetime_ms: int
    age_ms: int | None
    itag: str | None
    force_update: bool
    auto_recrawl: bool
    cancel: bool


def make_follow(task: Mapping[str, Any], guarded: bool = False) -> Follow:
    """Pack a task dict; guarded: as GUARDED says. Raises ValueError or TypeError that says which option is wrong."""
    body = pack_body(task, guarded)
    return Follow(checked_taskid(task["taskid"]), checked_url(task["url"]), body, *read_schedule(task["schedule"]))


def pack_body(task: Mapping[str, Any], guarded: bool = False) -> bytes:
    """Return the options of a task, in JSON-like form (bytes stay bytes), packed."""
    parts = {part: plain(task[part]) for part in ("schedule", "fetch", "process")}
    body = _pack(parts | {GUARDED: True} if guarded else parts)
    if len(body) > BODY_BYTES_MAX:
        raise ValueError(f"the options of a task are {len(body)} bytes, the limit is {BODY_BYTES_MAX}")
    return body


def checked_taskid(taskid: object) -> str:
    """Return a taskid in the form that is stored.

    Raises ValueError when it is empty, too long, or kept for zspider's own.
    """
    checked = said(taskid)
    if not 1 <= len(checked) <= TASKID_CHARS_MAX:
        raise ValueError(f"a taskid has 1 to {TASKID_CHARS_MAX} characters, not {len(checked)}")
    if checked.startswith(MESSAGE_PREFIX):
        raise ValueError(f"a taskid may not begin with {MESSAGE_PREFIX!r}: so do messages")
    if checked in INTERNAL:
        raise ValueError(f"the taskid {checked!r} is zspider's own")
    return checked


def read_schedule(schedule: Mapping[str, Any]) -> Schedule:
    """Return the schedule options as the master uses them; absent and None mean pyspider's defaults.

    Source: docs/pyspider-behaviour.md 2.3.
    """
    get = schedule.get
    age_s = _number("age", get("age"), -1)
    return Schedule(
        priority=_clamp(_number("priority", get("priority"), 0), -_COUNT_MAX, MESSAGE_PRIORITY - 1),
        retries=_clamp(_number("retries", get("retries"), RETRIES_DEFAULT), 0, _COUNT_MAX),
        exetime_ms=_clamp(_number("exetime", get("exetime"), 0) * 1000, 0, FAR_FUTURE_MS),
        age_ms=None if age_s < 0 else _clamp(age_s * 1000, 0, FAR_FUTURE_MS),
        itag=_itag(get("itag")),
        force_update=bool(get("force_update")),
        auto_recrawl=bool(get("auto_recrawl")),
        cancel=bool(get("cancel")),
    )


def new_schedule(schedule: Mapping[str, Any]) -> NewSchedule:
    """Return a task's schedule as its callback left it.

    Raises ValueError or TypeError that says what is wrong in it.
    """
    options = read_schedule(schedule)
    packed = _pack(plain({name: value for name, value in schedule.items() if name != "retried"}))
    if len(packed) > SCHEDULE_BYTES_MAX:
        raise ValueError(f"task['schedule'] is {len(packed)} bytes, the limit is {SCHEDULE_BYTES_MAX}")
    return NewSchedule(
        packed=packed,
        priority=options.priority,
        retries=options.retries,
        retried=_clamp(_number("retried", schedule.get("retried"), 0), 0, _COUNT_MAX),
        age_ms=options.age_ms,
        itag=options.itag,
        auto_recrawl=options.auto_recrawl,
    )


def _number(name: str, value: Any, default: float) -> float:
    if value is None:
        return default
    try:
        number = value if isinstance(value, int | float) else float(value)
        if isfinite(number):
            return number
    except (TypeError, ValueError, OverflowError):
        pass
    raise TypeError(f"crawl({name}=...) must be a number, not {str(value)[:80]!r}")


def _clamp(value: float, least: int, most: int) -> int:
    return int(min(max(value, least), most))


def _itag(value: Any) -> str | None:
    if not value:
        return None
    tag = text(dumps(value, ensure_ascii=False, default=str, sort_keys=True))
    if len(tag) > ITAG_CHARS_MAX:
        raise ValueError(f"an itag of {len(tag)} characters, the limit is {ITAG_CHARS_MAX}")
    return tag
