"""A database that has an owner: taking it over, keeping it, and what a master remembers of it meanwhile."""

from collections.abc import Iterator
from contextlib import contextmanager

from zspider.errors import StorageError
from zspider.storage.batch import ArrivalNumbers
from zspider.storage.counter_names import FIRST_RUN, REMOVING
from zspider.storage.database import Database, Transaction
from zspider.storage.ownership import WATCH_S, EpochGuard
from zspider.storage.projects import ProjectTable
from zspider.storage.report import Ownership
from zspider.storage.row_cache import RowCache
from zspider.storage.seen import SeenKeys

SEQ_SLACK = 3600 * 1000 * 1_000_000  # an hour of `seq`: far more than a master uses between two renewals
CACHED_ROWS = 20_000  # as many as two frontier windows; some 10 MB


class OwnedDatabase:
    """The ownership of a database, and the caches that hold only while it lasts."""

    def __init__(self, db: Database, seen: int) -> None:
        """seen: how many recently seen URLs are remembered."""
        self._db = db
        self._epoch_guard = EpochGuard(db)
        self._numbers = ArrivalNumbers()
        self._seen = SeenKeys(seen)
        self._writable: dict[int, int] = {}  # projects that may be written to: the run their new tasks begin with
        self._row_cache = RowCache(CACHED_ROWS)
        self._projects = ProjectTable(db.engine)

    def take_over(self, owner: str, now_ms: int, *, watch_s: float = WATCH_S) -> Ownership:
        """Become the owner: the epoch grows, and the owner of before can write no more.

        owner: name of this master's data directory. An owner of the same name re-enters at once. Another one that did
        not stop cleanly is watched for up to `watch_s`; OwnedElsewhere when it lives.
        """
        ownership, seq = self._epoch_guard.take(owner, watch_s)
        if seq:
            self._numbers.last = max(self._numbers.last, seq + SEQ_SLACK)
        self._numbers.next(now_ms)
        self._forget()
        with self._db.transaction() as tx:
            self._writable.clear()
            self._writable.update(
                (project.id, project.counts.get(FIRST_RUN, 0))
                for project in self._projects.all(tx)
                if not project.counts.get(REMOVING)
            )
        return ownership

    def renew(self) -> None:
        """Show others that this master lives; OwnedElsewhere when the database is not ours any more."""
        self._epoch_guard.renew(self._numbers.last)

    def release(self) -> None:
        """Give the database up, so that the next master need not wait."""
        self._epoch_guard.release(self._numbers.last)

    def close(self) -> None:
        """Drop the connection and the lock."""
        self._db.close()
        self._db.engine.unlock()

    def _check_writable(self, project: int) -> None:
        if project not in self._writable:
            raise StorageError(f"there is no project with id {project}, or it is being removed")

    def _forget(self) -> None:
        """Empty the caches: rows are deleted, or another master may have written."""
        self._seen.clear()
        self._row_cache.clear()

    @contextmanager
    def _write(self) -> Iterator[Transaction]:
        with self._db.transaction() as tx:
            self._epoch_guard.enter(tx)
            yield tx
