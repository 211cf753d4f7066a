"""A walk along a project's tasks of some states, page by page: each page is a short read of the index `frontier`."""

import re
from collections.abc import Sequence
from fnmatch import translate
from functools import lru_cache
from typing import Annotated, Any, NamedTuple

import sqlalchemy as sa
from msgspec import Meta, Struct

from zspider.storage.database import Transaction
from zspider.storage.engine import Engine
from zspider.storage.rows import TaskRow
from zspider.storage.schema import KEY_BYTES, tasks
from zspider.storage.tasks import TaskTable
from zspider.task import URL_BYTES_MAX, Ref, Status

_FIRST = -(1 << 40)  # before every rank and every due_ms
_LAST_SEQ = (1 << 63) - 1
_Big = Annotated[int, Meta(ge=_FIRST, le=_LAST_SEQ)]


class Selection(Struct, frozen=True, array_like=True):
    """The tasks to walk along: of these states, whose URL fits the pattern (`*` is any text, `?` any character)."""

    statuses: tuple[Status, ...]
    url: Annotated[str, Meta(max_length=URL_BYTES_MAX)] = ""  # "": any


class Cursor(Struct, frozen=True, array_like=True):
    """The place where a walk goes on. Tasks that began to wait after its beginning (`until_seq`) are not met."""

    section: Annotated[int, Meta(ge=0, le=5)] = 0  # of the walk's; see `_sections`
    first: _Big = _FIRST  # rank or due_ms of the last one that was met
    seq: _Big = 0
    key: Annotated[bytes, Meta(max_length=KEY_BYTES)] = b""
    until_seq: _Big = _LAST_SEQ


class Page(NamedTuple):
    """One step of a walk."""

    rows: list[TaskRow]  # those that fit
    looked: int  # at so many rows
    next: Cursor | None  # None: this was the last


_PROJECT = tasks.c.project_id == sa.bindparam("project")
_PLACES = sa.select(tasks.c.key, tasks.c.due_ms, tasks.c.rank, tasks.c.seq).where(_PROJECT)
_PLACES = _PLACES.limit(sa.bindparam("limit"))
_WAITING = _PLACES.where(tasks.c.status == int(Status.ACTIVE), tasks.c.seq <= sa.bindparam("until"))
_READY = _WAITING.where(tasks.c.due_ms == 0)
_SAME_SEQ = tasks.c.seq > sa.bindparam("seq")
# Two queries for a page: (a, b) > (x, y) in one does not use the index on every database.
_READY_SAME = _READY.where(tasks.c.rank == sa.bindparam("first"), _SAME_SEQ).order_by(tasks.c.seq)
_READY_NEXT = _READY.where(tasks.c.rank > sa.bindparam("first")).order_by(tasks.c.rank, tasks.c.seq)
_LATER_SAME = _WAITING.where(
    tasks.c.due_ms == sa.bindparam("first"), tasks.c.due_ms > 0, tasks.c.rank == 0, _SAME_SEQ
).order_by(tasks.c.seq)
_LATER_NEXT = _WAITING.where(tasks.c.due_ms > sa.bindparam("first"), tasks.c.due_ms > 0).order_by(
    tasks.c.due_ms, tasks.c.rank, tasks.c.seq
)
_FINISHED = _PLACES.where(  # their zeros leave the index in order of the keys
    tasks.c.status == sa.bindparam("status"),
    tasks.c.due_ms == 0,
    tasks.c.rank == 0,
    tasks.c.seq == 0,
    tasks.c.key > sa.bindparam("after"),
).order_by(tasks.c.key)


class Walk:
    """Reads pages; what a caller does with the rows of a page may change them."""

    def __init__(self, engine: Engine) -> None:
        self._tasks = TaskTable(engine)

    def page(self, tx: Transaction, project: int, selection: Selection, cursor: Cursor, limit: int) -> Page:
        """Return the next rows of at most `limit` looked at; each task is met once, if it stays where it is."""
        sections = _sections(selection)
        if cursor.section >= len(sections):
            return Page([], 0, None)
        places = _places(tx, project, sections[cursor.section], cursor, limit)
        found = self._tasks.find(tx, [Ref(project, place.key) for place in places])
        fits = _matcher(selection.url)
        rows = [row for row in found.values() if fits is None or fits.match(row.url.decode())]
        return Page(rows, len(places), _after(cursor, places, sections, limit))


def _sections(selection: Selection) -> list[tuple[Status, bool]]:
    """Return the sections to walk one after the other: a status, and whether its tasks wait for a time."""
    return [
        (status, is_later)
        for status in selection.statuses
        for is_later in ((False, True) if status is Status.ACTIVE else (False,))
    ]


def _places(tx: Transaction, project: int, section: tuple[Status, bool], cursor: Cursor, limit: int) -> Sequence[Any]:
    status, is_later = section
    params = {"project": project, "limit": limit}
    if status is not Status.ACTIVE:
        return tx.rows(_FINISHED, {**params, "status": int(status), "after": cursor.key})
    same, beyond = (_LATER_SAME, _LATER_NEXT) if is_later else (_READY_SAME, _READY_NEXT)
    params |= {"first": cursor.first, "until": cursor.until_seq}
    rows = [] if cursor.first == _FIRST else list(tx.rows(same, {**params, "seq": cursor.seq}))
    if len(rows) < limit:
        rows += tx.rows(beyond, {**params, "limit": limit - len(rows)})
    return rows


def _after(cursor: Cursor, places: Sequence[Any], sections: Sequence[tuple[Status, bool]], limit: int) -> Cursor | None:
    if len(places) < limit:
        is_last = cursor.section + 1 >= len(sections)
        return None if is_last else Cursor(cursor.section + 1, until_seq=cursor.until_seq)
    last, is_later = places[-1], sections[cursor.section][1]
    return Cursor(cursor.section, last.due_ms if is_later else last.rank, last.seq, last.key, cursor.until_seq)


@lru_cache(8)
def _matcher(glob: str) -> re.Pattern[str] | None:
    return re.compile(translate(glob)) if glob else None
