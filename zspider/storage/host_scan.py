"""Looks along the frontier for the tasks of some hosts, or of all others, without reading the rows between them."""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from zspider.storage.database import Transaction
from zspider.storage.schema import tasks
from zspider.storage.tasks import TaskTable
from zspider.task import Kind, Position, Status, Task

_SEQ_MAX = 1 << 62

_PROJECT = tasks.c.project_id == sa.bindparam("project")
_FIRST: sa.BindParameter[int] = sa.bindparam("first")
_ENTRIES = sa.bindparam("entries", type_=sa.Integer)
_LIMIT = sa.bindparam("limit", type_=sa.Integer)
_SKIPPED = sa.bindparam("skipped", type_=sa.Integer)  # entries - 1
_HOSTS = sa.bindparam("hosts", expanding=True, type_=sa.Integer)


class Scanned(NamedTuple):
    """The tasks found, in order, and the position up to which everything was looked at."""

    tasks: list[Task]
    reached: Position


class _Walk(NamedTuple):
    """The way along one order: where it begins, and its statements; each looks at `entries` entries at most.

    Two parts, as for a page of the frontier: (a, b) > (x, y) in one does not use the index on every database.
    """

    begin: Position
    parts: list[tuple[sa.Select[Any], sa.Select[Any], sa.Select[Any]]]  # tasks of hosts, of others, the last entry


def _walk(first: sa.Column[int], begin: Position, same: Sequence[sa.ColumnElement[bool]], *both: Any) -> _Walk:
    order = (tasks.c.due_ms, tasks.c.rank, tasks.c.seq)  # the index's own
    entry = sa.select(tasks.c.key, first.label("first"), tasks.c.seq, tasks.c.host)
    entry = entry.where(_PROJECT, tasks.c.status == int(Status.ACTIVE), *both).order_by(*order)
    at = entry.where(first == _FIRST, tasks.c.seq > sa.bindparam("seq"), *same)
    behind = entry.where(first > _FIRST, first <= sa.bindparam("until"))
    return _Walk(begin, [(_fitting(part, False), _fitting(part, True), _last(part)) for part in (at, behind)])


def _fitting(entries: sa.Select[Any], of_others: bool) -> sa.Select[Any]:
    looked = entries.limit(_ENTRIES).subquery("looked")
    is_wanted = looked.c.host.not_in(_HOSTS) if of_others else looked.c.host.in_(_HOSTS)
    chosen = sa.select(looked.c.key, looked.c.first, looked.c.seq).where(is_wanted)
    return chosen.order_by(looked.c.first, looked.c.seq).limit(_LIMIT)


def _last(entries: sa.Select[Any]) -> sa.Select[Any]:
    return entries.with_only_columns(entries.selected_columns["first"], tasks.c.seq).limit(1).offset(_SKIPPED)


WALKS = {
    "ready": _walk(tasks.c.rank, (-(1 << 40), 0), (), tasks.c.due_ms == 0),
    # All that is later has rank 0; said of many due times at once, it keeps SQLite from using the index's order.
    "delayed": _walk(tasks.c.due_ms, (0, _SEQ_MAX), (tasks.c.rank == 0,)),
}


class HostScan:
    """The frontier of a project, by hosts."""

    def __init__(self, table: TaskTable) -> None:
        self._table = table

    def tasks_of_hosts(
        self,
        tx: Transaction,
        project: int,
        kind: Kind,
        after: Position | None,
        until: Position,
        hosts: Collection[int],
        *,
        is_others: bool,
        limit: int,
        entries: int,
    ) -> Scanned:
        """Return what Storage.tasks_of_hosts says."""
        walk = WALKS[kind]
        first, seq = after or walk.begin
        params: dict[str, Any] = {"project": project, "first": first, "seq": min(seq, _SEQ_MAX), "until": until[0]}
        params |= {"hosts": list(hosts), "entries": entries, "skipped": entries - 1}
        found: list[Any] = []
        reached: Position | None = None
        for of_these, of_others, last in walk.parts:
            rows = tx.rows(of_others if is_others else of_these, {**params, "limit": limit - len(found)})
            found += rows
            if len(found) >= limit:
                reached = (rows[-1].first, rows[-1].seq)
            elif (end := tx.one(last, params)) is not None:
                reached = (end.first, end.seq)
            if reached is not None:
                break
        by_key = self._table.of_keys(tx, project, [row.key for row in found])
        return Scanned([by_key[row.key].task for row in found], until if reached is None else min(reached, until))
