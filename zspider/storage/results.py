"""Stored results: by task, one row per item that its callback gave."""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from zspider.storage.database import Transaction
from zspider.storage.engine import Engine
from zspider.storage.rows import ResultRow
from zspider.storage.schema import results
from zspider.task import Ref

KEYS_PER_QUERY = 500
FIRST_STEP = 16  # rows read before their size is known: one may be 4 MiB
PAGE_BYTES = 8 * 1024 * 1024  # no further rows are read once a page is this large


class StoredResult(NamedTuple):
    """One result, as readers see it."""

    key: bytes
    taskid: str
    url: str
    result_json: str
    updated_ms: int
    item: int


class ResultTable:
    """Reads and writes results."""

    _ITEMS = sa.select(results.c.key, results.c.item).where(
        results.c.project_id == sa.bindparam("project"), results.c.key.in_(sa.bindparam("keys", expanding=True))
    )
    _CUT = sa.delete(results).where(
        results.c.project_id == sa.bindparam("project"),
        results.c.key == sa.bindparam("row"),
        results.c.item >= sa.bindparam("first"),
    )
    _KEYS_AFTER = (
        sa.select(results.c.key)
        .where(results.c.project_id == sa.bindparam("project"), results.c.key > sa.bindparam("after"))
        .order_by(results.c.key, results.c.item)
        .limit(sa.bindparam("limit"))
    )
    _CUT_UP_TO = sa.delete(results).where(
        results.c.project_id == sa.bindparam("project"),
        results.c.key > sa.bindparam("after"),
        results.c.key <= sa.bindparam("last"),
    )
    _CUT_OLDER = _CUT_UP_TO.where(results.c.updated_ms < sa.bindparam("before_ms"))
    _ORDERED = (
        sa.select(
            results.c.key,
            results.c.taskid,
            results.c.url,
            results.c.result,
            results.c.updated_ms,
            results.c.item,
        )
        .where(results.c.project_id == sa.bindparam("project"))
        .order_by(results.c.key, results.c.item)
    )
    _PAGE = _ORDERED.where(results.c.key > sa.bindparam("after")).limit(sa.bindparam("limit"))
    _OF_TASK = _ORDERED.where(results.c.key == sa.bindparam("row"))

    def __init__(self, engine: Engine) -> None:
        columns = [column.name for column in results.columns]
        self._put = engine.upsert(results, columns, dict.fromkeys(("taskid", "url", "result", "updated_ms"), "{new}"))

    def write(self, tx: Transaction, rows: list[ResultRow]) -> dict[int, int]:
        """Store the results of runs; the results of the tasks' earlier runs go.

        Returns by how much the number of stored results changed, by project.
        """
        delta: dict[int, int] = {}
        counts: dict[Ref, int] = {}
        for row in rows:
            delta[row.project] = delta.get(row.project, 0) + 1
            ref = Ref(row.project, row.key)
            counts[ref] = counts.get(ref, 0) + 1
        for ref, item in self._items(tx, counts):
            delta[ref.project] -= 1  # replaced or cut
            if item == counts[ref]:
                tx.change(self._CUT, {"project": ref.project, "row": ref.key, "first": item})
        tx.upsert(self._put, sorted(rows))
        return delta

    def cut_task(self, tx: Transaction, ref: Ref) -> int:
        """Delete a task's results; returns how many there were."""
        return tx.change(self._CUT, {"project": ref.project, "row": ref.key, "first": 0})

    def cut(
        self, tx: Transaction, project: int, after: bytes, rows: int, before_ms: int | None = None
    ) -> tuple[int, bytes | None]:
        """Delete the next `rows` results by key, and the rest of the last task's.

        before_ms: delete only results older than this.

        Returns how many went and the last key; None when there were no more.
        """
        keys = tx.rows(self._KEYS_AFTER, {"project": project, "after": after, "limit": rows})
        if not keys:
            return 0, None
        section = {"project": project, "after": after, "last": keys[-1].key}
        if before_ms is None:
            return tx.change(self._CUT_UP_TO, section), keys[-1].key
        return tx.change(self._CUT_OLDER, {**section, "before_ms": before_ms}), keys[-1].key

    def page(self, tx: Transaction, project: int, after: bytes, limit: int) -> list[StoredResult]:
        """Return the results of the next tasks by key, at least one task's; a task's results are never cut in two.

        Fewer than `limit` when they are large; [] only when there are no more.
        """
        page: list[StoredResult] = []
        size, step = 0, FIRST_STEP
        while len(page) < limit and size < PAGE_BYTES:
            rows = self._whole_tasks(tx, project, after, min(step, limit - len(page)))
            if not rows:
                break
            page += (
                StoredResult(
                    key, taskid.decode(errors="replace"), url.decode(errors="replace"), result, updated_ms, item
                )
                for key, taskid, url, result, updated_ms, item in rows
            )
            size += sum(len(row.result) for row in rows)
            after, step = rows[-1].key, step * 4
        return page

    def _whole_tasks(self, tx: Transaction, project: int, after: bytes, limit: int) -> Sequence[Any]:
        rows = tx.rows(self._PAGE, {"project": project, "after": after, "limit": limit + 1})
        if len(rows) <= limit:
            return rows
        last = rows[-1].key
        whole = [row for row in rows if row.key != last]
        return whole or tx.rows(self._OF_TASK, {"project": project, "row": last})

    def _items(self, tx: Transaction, refs: Collection[Ref]) -> list[tuple[Ref, int]]:
        found: list[tuple[Ref, int]] = []
        for project in {ref.project for ref in refs}:
            keys = sorted(ref.key for ref in refs if ref.project == project)
            for at in range(0, len(keys), KEYS_PER_QUERY):
                rows = tx.rows(self._ITEMS, {"project": project, "keys": keys[at : at + KEYS_PER_QUERY]})
                found += [(Ref(project, key), item) for key, item in rows]
        return found
