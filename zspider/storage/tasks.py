"""The task table: rows by key, the frontier's two orders, and the three ways a row is written."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from zspider.storage.database import Transaction
from zspider.storage.engine import Engine
from zspider.storage.rows import RowAndTask, TaskRow, with_schedule
from zspider.storage.schema import tasks
from zspider.task import Ref, Status, Stored, Task

KEYS_PER_QUERY = 500
FEW_ROWS = 5_000  # up to here it is quicker to read all their keys than to walk along everybody's
_STATUS = (None, *Status)  # by number: faster than Status(n)


class TaskDetail(NamedTuple):
    """Everything the database has of one task; `body` and `track` are packed as slaves packed them."""

    key: bytes
    taskid: str
    url: str
    status: Status
    run: int
    attempt: int
    retried: int
    retries: int
    priority: int
    due_ms: int
    age_ms: int | None
    itag: str | None
    auto_recrawl: bool
    lastcrawl_ms: int
    updated_ms: int
    reason: str
    body: bytes
    track: bytes | None


_PROJECT = tasks.c.project_id == sa.bindparam("project")
_KEYS = tasks.c.key.in_(sa.bindparam("keys", expanding=True))
_DUE_READY = [_PROJECT, tasks.c.status == int(Status.ACTIVE), tasks.c.due_ms == 0]
_DUE_LATER = [_PROJECT, tasks.c.status == int(Status.ACTIVE)]
_RESCHEDULED = ("priority", "retries", "age_ms", "itag", "auto_recrawl")  # columns, and fields of NewSchedule
_LIMIT: sa.BindParameter[int] = sa.bindparam("limit")


class TaskTable:
    """Reads and writes tasks."""

    _DECIDE = sa.select(
        tasks.c.key,
        tasks.c.taskid,
        tasks.c.url,
        tasks.c.status,
        tasks.c.run,
        tasks.c.retried,
        tasks.c.due_ms,
        tasks.c.retries,
        tasks.c.age_ms,
        tasks.c.itag,
        tasks.c.auto_recrawl,
        tasks.c.lastcrawl_ms,
        tasks.c.attempt,
        tasks.c.priority,
        tasks.c.seq,
        tasks.c.open_runs,
    ).where(_PROJECT, _KEYS)
    _CONTENT = sa.select(tasks.c.key, tasks.c.body, tasks.c.track).where(_PROJECT, _KEYS)
    _RESCHEDULE = (
        sa.update(tasks)
        .where(_PROJECT, tasks.c.key == sa.bindparam("row"))
        .values({name: sa.bindparam(f"new_{name}") for name in ("body", *_RESCHEDULED)})
    )
    _DELETE = sa.delete(tasks).where(_PROJECT, _KEYS)
    _FRONTIER = sa.select(
        tasks.c.project_id,
        tasks.c.key,
        tasks.c.taskid,
        tasks.c.url,
        tasks.c.body,
        tasks.c.run,
        tasks.c.attempt,
        tasks.c.retried,
        tasks.c.priority,
        tasks.c.seq,
        tasks.c.due_ms,
        tasks.c.lastcrawl_ms,
        tasks.c.track,
        tasks.c.retries,
        tasks.c.age_ms,
        tasks.c.itag,
        tasks.c.auto_recrawl,
        tasks.c.open_runs,
    ).limit(_LIMIT)
    _OF_FRONTIER = _FRONTIER.where(_PROJECT, _KEYS)
    # Two queries for a page: (a, b) > (x, y) in one does not use the index on every database.
    _READY_SAME = _FRONTIER.where(
        *_DUE_READY, tasks.c.rank == sa.bindparam("first"), tasks.c.seq > sa.bindparam("seq")
    ).order_by(tasks.c.seq)
    _READY_NEXT = _FRONTIER.where(*_DUE_READY, tasks.c.rank > sa.bindparam("first")).order_by(tasks.c.rank, tasks.c.seq)
    _LATER_SAME = _FRONTIER.where(
        *_DUE_LATER, tasks.c.due_ms == sa.bindparam("first"), tasks.c.rank == 0, tasks.c.seq > sa.bindparam("seq")
    ).order_by(tasks.c.seq)
    _LATER_NEXT = _FRONTIER.where(*_DUE_LATER, tasks.c.due_ms > sa.bindparam("first")).order_by(
        tasks.c.due_ms, tasks.c.rank, tasks.c.seq
    )
    _DETAIL = sa.select(*(tasks.c[name] for name in TaskDetail._fields))
    _ONE = _DETAIL.where(_PROJECT, tasks.c.key == sa.bindparam("row"))
    _BY_KEY = _DETAIL.where(_PROJECT, tasks.c.key > sa.bindparam("after")).order_by(tasks.c.key).limit(_LIMIT)
    _FINISHED = _BY_KEY.where(  # their zeros leave the frontier's index in order of the keys
        tasks.c.status == sa.bindparam("status"), tasks.c.due_ms == 0, tasks.c.rank == 0, tasks.c.seq == 0
    )
    _ACTIVE_KEYS = (  # the order is the index's: without it MariaDB may walk along all keys of the project
        sa.select(tasks.c.key)
        .where(_PROJECT, tasks.c.status == int(Status.ACTIVE))
        .order_by(tasks.c.due_ms, tasks.c.rank, tasks.c.seq)
        .limit(_LIMIT)
    )
    _OF_KEYS = _DETAIL.where(_PROJECT, _KEYS).order_by(tasks.c.key)
    # `+ 0` keeps the index from being used: then the rows are met in the order of their keys.
    _ACTIVE_OF_MANY = _BY_KEY.where(tasks.c.status + 0 == int(Status.ACTIVE))

    def __init__(self, engine: Engine) -> None:
        placed = (
            "url",
            "host",
            "retries",
            "priority",
            "rank",
            "seq",
            "due_ms",
            "age_ms",
            "itag",
            "auto_recrawl",
            "run",
        )
        self._place = engine.upsert(
            tasks,
            ("project_id", "key", "taskid", *placed, "updated_ms", "body"),
            {**dict.fromkeys((*placed, "updated_ms", "body"), "{new}")}
            | {"status": str(int(Status.ACTIVE)), "attempt": "0", "retried": "0", "reason": "''"},
        )
        settled = (
            "status",
            "run",
            "attempt",
            "open_runs",
            "retried",
            "rank",
            "seq",
            "due_ms",
            "lastcrawl_ms",
            "updated_ms",
            "reason",
        )
        self._settle = engine.upsert(
            tasks,
            ("project_id", "key", "taskid", "url", *settled, "track"),
            {**dict.fromkeys(settled, "{new}"), "track": "coalesce({new}, {old})"},
        )
        self._charge = engine.upsert(
            tasks,
            ("project_id", "key", "taskid", "url", "attempt", "updated_ms"),
            {"attempt": "{new}", "updated_ms": "{new}"},
        )

    # --- within a commit

    def find(self, tx: Transaction, refs: Iterable[Ref]) -> dict[Ref, TaskRow]:
        """Return the rows of those tasks that exist."""
        found: dict[Ref, TaskRow] = {}
        for project, keys in _chunks(refs):
            for row in tx.rows(self._DECIDE, {"project": project, "keys": keys}):
                key, taskid, url, status, run, retried, due_ms, retries, age_ms, itag, recrawl, crawled, *rest = row
                ref = Ref(project, key)
                stored = Stored(
                    _STATUS[status] or Status.BAD, run, retried, due_ms, retries, age_ms, itag, bool(recrawl), crawled
                )
                found[ref] = TaskRow(ref, taskid, url, stored, *rest)
        return found

    def place(self, tx: Transaction, rows: Iterable[TaskRow], now_ms: int) -> None:
        """Write new and restarted tasks whole; what earlier runs left (track, lastcrawl) stays."""
        tx.upsert(self._place, [_placed(row, now_ms) for row in sorted(rows, key=_by_ref)])

    def settle(self, tx: Transaction, rows: Iterable[TaskRow], now_ms: int) -> None:
        """Write how runs ended. The rows exist: these are updates in the form that goes out as one statement."""
        tx.upsert(self._settle, [_settled(row, now_ms) for row in sorted(rows, key=_by_ref)])

    def reschedule(self, tx: Transaction, rows: Iterable[TaskRow]) -> None:
        """Write the schedules that callbacks have changed. The rows exist; `settle` writes the rest of them."""
        changed = {row.ref: row.schedule for row in rows if row.schedule is not None}
        for project, keys in _chunks(changed):
            for key, body, _ in tx.rows(self._CONTENT, {"project": project, "keys": keys}):
                schedule = changed[Ref(project, key)]
                fields = {f"new_{name}": getattr(schedule, name) for name in _RESCHEDULED}
                new_body = with_schedule(body or b"", schedule.packed)
                tx.change(self._RESCHEDULE, {"project": project, "row": key, "new_body": new_body, **fields})

    def charge(self, tx: Transaction, rows: Iterable[TaskRow], now_ms: int) -> None:
        """Write the number of deliveries. The rows exist."""
        tx.upsert(self._charge, [(*row.ref, b"", b"", row.attempt, now_ms) for row in sorted(rows, key=_by_ref)])

    def delete(self, tx: Transaction, rows: Iterable[TaskRow]) -> None:
        """Take rows out."""
        for project, keys in _chunks(row.ref for row in rows):
            tx.change(self._DELETE, {"project": project, "keys": keys})

    def as_tasks(self, tx: Transaction, rows: Sequence[TaskRow]) -> list[Task]:
        """Return the rows as tasks, in order of `seq`; call it after they are written."""
        unread = [row.ref for row in rows if row.is_settled or row.body is None]  # the others are new: no track yet
        content = {
            Ref(project, key): (body, track)
            for project, keys in _chunks(unread)
            for key, body, track in tx.rows(self._CONTENT, {"project": project, "keys": keys})
        }
        entered = []
        for row in sorted(rows, key=lambda row: row.seq):
            body, track = content.get(row.ref) or (row.body, None)
            entered.append(row.as_task(body or b"", track))
        return entered

    # --- for the frontier

    def ready(self, tx: Transaction, project: int, after: tuple[int, int] | None, limit: int) -> list[RowAndTask]:
        """Return tasks that may be granted now, by (-priority, seq)."""
        return _page(tx, self._READY_SAME, self._READY_NEXT, project, after or (-(1 << 40), 0), limit)

    def delayed(self, tx: Transaction, project: int, after: tuple[int, int] | None, limit: int) -> list[RowAndTask]:
        """Return tasks that wait for their time (it may have come since), by (due_ms, seq)."""
        return _page(tx, self._LATER_SAME, self._LATER_NEXT, project, after or (0, 1 << 62), limit)

    def of_keys(self, tx: Transaction, project: int, keys: Sequence[bytes]) -> dict[bytes, RowAndTask]:
        """Return tasks by their keys; all of them wait."""
        found: dict[bytes, RowAndTask] = {}
        for _, some in _chunks(Ref(project, key) for key in keys):
            rows = tx.rows(self._OF_FRONTIER, {"project": project, "keys": some, "limit": len(some)})
            found |= {row.key: _waiting(row) for row in rows}
        return found

    # --- for readers

    def detail(self, tx: Transaction, ref: Ref) -> TaskDetail | None:
        """Return one task, or None."""
        row = tx.one(self._ONE, {"project": ref.project, "row": ref.key})
        return row and _detail(row)

    def page(self, tx: Transaction, project: int, status: Status | None, after: bytes, limit: int) -> list[TaskDetail]:
        """Return the next tasks by key, of one status or of all."""
        params: dict[str, Any] = {"project": project, "after": after, "limit": limit}
        if status is None:
            rows = tx.rows(self._BY_KEY, params)
        elif status is Status.ACTIVE:
            rows = self._active(tx, params)
        else:
            rows = tx.rows(self._FINISHED, {**params, "status": int(status)})
        return [_detail(row) for row in rows]

    def _active(self, tx: Transaction, params: dict[str, Any]) -> Sequence[Any]:
        """Return the next waiting tasks by key.

        Up to FEW_ROWS: read all their keys through the index and sort them. More: walk along the primary key.
        """
        project, after, limit = params["project"], params["after"], params["limit"]
        keys = [row.key for row in tx.rows(self._ACTIVE_KEYS, {"project": project, "limit": FEW_ROWS + 1})]
        if len(keys) > FEW_ROWS:
            return tx.rows(self._ACTIVE_OF_MANY, params)
        page = sorted(key for key in keys if key > after)[:limit]
        return tx.rows(self._OF_KEYS, {"project": project, "keys": page}) if page else []


def _by_ref(row: TaskRow) -> Ref:
    return row.ref


def _chunks(refs: Iterable[Ref]) -> Iterator[tuple[int, list[bytes]]]:
    by_project: dict[int, list[bytes]] = {}
    for ref in refs:
        by_project.setdefault(ref.project, []).append(ref.key)
    for project, keys in sorted(by_project.items()):
        keys.sort()
        for at in range(0, len(keys), KEYS_PER_QUERY):
            yield project, keys[at : at + KEYS_PER_QUERY]


def _rank(row: TaskRow) -> int:
    return -row.priority if row.is_ready else 0


def _placed(row: TaskRow, now_ms: int) -> tuple[Any, ...]:
    stored = row.stored
    return (
        *row.ref,
        row.taskid,
        row.url,
        row.host,
        stored.retries,
        row.priority,
        _rank(row),
        row.seq,
        stored.due_ms,
        stored.age_ms,
        stored.itag,
        int(stored.auto_recrawl),
        stored.run,
        now_ms,
        row.body,
    )


def _settled(row: TaskRow, now_ms: int) -> tuple[Any, ...]:
    stored = row.stored
    return (
        *row.ref,
        b"",  # only for the form: taskid and url of the row stay
        b"",
        int(stored.status),
        stored.run,
        row.attempt,
        row.open_runs,
        stored.retried,
        _rank(row),
        row.seq if stored.status is Status.ACTIVE else 0,
        stored.due_ms,
        stored.lastcrawl_ms,
        now_ms,
        row.reason,
        row.track,
    )


def _page(
    tx: Transaction,
    same: sa.Executable,
    later: sa.Executable,
    project: int,
    after: tuple[int, int],
    limit: int,
) -> list[RowAndTask]:
    params = {"project": project, "first": after[0], "seq": after[1], "limit": limit}
    rows = list(tx.rows(same, params))
    if len(rows) < limit:
        rows += tx.rows(later, {"project": project, "first": after[0], "limit": limit - len(rows)})
    return [_waiting(row) for row in rows]


def _waiting(row: Any) -> RowAndTask:
    (project, key, taskid, url, body, run, attempt, retried, priority, seq, due_ms, crawled, track, *more) = row
    retries, age_ms, itag, recrawl, open_runs = more
    stored = Stored(Status.ACTIVE, run, retried, due_ms, retries, age_ms, itag, bool(recrawl), crawled)
    task_row = TaskRow(Ref(project, key), taskid, url, stored, attempt, priority, seq, open_runs)
    return RowAndTask(task_row, task_row.as_task(body or b"", track))


def _detail(row: Any) -> TaskDetail:
    detail = TaskDetail(*row)
    return detail._replace(
        taskid=row.taskid.decode(),
        url=row.url.decode(),
        status=Status(row.status),
        auto_recrawl=bool(row.auto_recrawl),
        body=row.body or b"",
    )
