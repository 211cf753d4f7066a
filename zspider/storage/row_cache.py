"""Rows of waiting tasks that need not be read again when their outcomes come."""

from collections.abc import Iterable
from itertools import islice

from zspider.storage.rows import TaskRow
from zspider.task import Ref, Status


class RowCache:
    """Rows of waiting tasks as they are committed, at most `size`: those that were written or read last.

    A transaction takes out the rows that it decides about and gives back what it has committed. So after one that
    failed, or whose COMMIT is in doubt, the database is asked. Code that writes tasks in another way must call `clear`.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._rows: dict[Ref, TaskRow] = {}  # the oldest first

    def __len__(self) -> int:
        return len(self._rows)

    def take(self, refs: Iterable[Ref]) -> tuple[dict[Ref, TaskRow], list[Ref]]:
        """Take out the rows that are here; returns them, and the refs of the others."""
        found: dict[Ref, TaskRow] = {}
        missing: list[Ref] = []
        for ref in refs:
            row = self._rows.pop(ref, None)
            if row is None:
                missing.append(ref)
            else:
                found[ref] = row
        return found, missing

    def put(self, rows: Iterable[TaskRow]) -> None:
        """Keep those of these committed rows that wait, as if they were read now."""
        for row in rows:
            if row.stored.status is not Status.ACTIVE:
                continue
            self._rows.pop(row.ref, None)
            self._rows[row.ref] = row
            row.body = row.track = row.schedule = None
            row.reason, row.host = "", 0
            row.is_settled = row.is_placed = False
        surplus = len(self._rows) - self._size
        if surplus > 0:  # at once: a dict passes over what was deleted at its beginning, each time anew
            for ref in list(islice(self._rows, surplus)):
                del self._rows[ref]

    def clear(self) -> None:
        """Forget all."""
        self._rows.clear()
