"""The master row: whose database this is. Every write asks it first, so that two masters can never both write."""

import secrets
import threading
import time
from typing import Any

import sqlalchemy as sa

from zspider.errors import OwnedElsewhere, StorageUnavailable
from zspider.storage.database import Database, Transaction
from zspider.storage.engine import Engine
from zspider.storage.report import Ownership
from zspider.storage.schema import master

WATCH_S = 8.0  # an owner that lives renews several times within this
WATCH_STEP_S = 0.5
KEEP_S = 1.0  # pace of a UpgradeOwner's renewals
CLUSTER_BYTES = 16
OWNER_CHARS_MAX = 255
TRIES_MAX = 5  # of a take-over, each after a look at what came between
_ROW = 1

_READ = sa.select(master.c.cluster, master.c.epoch, master.c.owner, master.c.renew_seq, master.c.last_seq).where(
    master.c.id == _ROW
)
_EPOCH = sa.select(master.c.epoch).where(master.c.id == _ROW)
_MINE = sa.update(master).where(master.c.id == _ROW, master.c.epoch == sa.bindparam("mine"))
# What the condition of a write says holds until COMMIT on every node of a Galera cluster. A lock does not: another node
# knows nothing of it, and of a row that was only read a transaction's write set has no key.
_ENTER = _MINE.values(renew_seq=master.c.renew_seq + 1)
_TAKE = _MINE.where(master.c.renew_seq == sa.bindparam("seen")).values(
    epoch=master.c.epoch + 1, owner=sa.bindparam("by"), renew_seq=master.c.renew_seq + 1
)
_RENEW = _MINE.values(renew_seq=master.c.renew_seq + 1, last_seq=sa.bindparam("seq"))
_RELEASE = _MINE.values(owner="", last_seq=sa.bindparam("seq"))


class UpgradeOwner:
    """Owns the database while the `with` block runs, on a connection of its own: no master begins meanwhile.

    For databases that have no other lock. Raises OwnedElsewhere at the beginning when a master lives; and at the end
    when one took the database nevertheless, because this process was held up for long.
    """

    OWNER = "zspiderd db upgrade"

    def __init__(self, engine: Engine, watch_s: float) -> None:
        self._db = Database(engine, writes=True)
        self._epoch_guard = EpochGuard(self._db)
        self._watch_s = watch_s
        self._seq = 0
        self._is_over = threading.Event()
        self._problem: Exception | None = None
        self._thread = threading.Thread(target=self._renew, name="keeper", daemon=True)

    def __enter__(self) -> None:
        _, self._seq = self._epoch_guard.take(self.OWNER, self._watch_s)
        self._thread.start()

    def __exit__(self, *exc: object) -> None:
        self._is_over.set()
        self._thread.join()
        try:
            if self._problem is not None:
                raise self._problem
            self._epoch_guard.release(self._seq)
        finally:
            self._db.close()

    def _renew(self) -> None:
        while not self._is_over.wait(KEEP_S):
            try:
                self._epoch_guard.renew(self._seq)
            except StorageUnavailable:
                pass  # the upgrade itself will meet it, too
            except Exception as exc:  # the top of a thread: __exit__ raises it
                self._problem = exc
                return


class EpochGuard:
    """Our epoch, and the check that it still is the database's."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._epoch: int | None = None
        self._make = db.engine.upsert(master, [column.name for column in master.c], {})

    def take(self, owner: str, watch_s: float) -> tuple[Ownership, int]:
        """Become the owner; also returns the highest `seq` that the last owner noted.

        Waits up to `watch_s` to see whether another owner still lives; OwnedElsewhere when it does. An owner that
        writes between the last look and the take keeps the database.
        """
        for _ in range(TRIES_MAX):
            seen = self._read_or_make()
            if seen.owner not in ("", owner) and not self._db.engine.locked:
                seen = self._watch(seen, watch_s)
            values = {"mine": seen.epoch, "seen": seen.renew_seq, "by": owner[:OWNER_CHARS_MAX]}
            with self._db.transaction() as tx:
                is_taken = tx.change(_TAKE, values) == 1
            if is_taken:
                self._epoch = seen.epoch + 1
                return Ownership(bytes(seen.cluster), self._epoch), int(seen.last_seq)
        raise OwnedElsewhere("another master took the database over just now")

    def enter(self, tx: Transaction) -> None:
        """Check, first in every write, that the database is ours until COMMIT; OwnedElsewhere when it is not.

        The check is a write itself, and so shows other masters that this one lives. Where the database keeps others out
        by a lock, and nobody but us writes from BEGIN on, reading is enough: a page less to write per commit.
        """
        if not self._db.engine.locked:
            self._write(tx, _ENTER, {})
        elif (row := tx.one(_EPOCH)) is None or row.epoch != self._epoch:
            raise self._lost()

    def renew(self, seq: int) -> None:
        """Show other masters that this one lives."""
        self._change(_RENEW, seq)

    def release(self, seq: int) -> None:
        """Tell the next owner that it need not wait."""
        self._change(_RELEASE, seq)
        self._epoch = None

    def _change(self, statement: sa.Update, seq: int) -> None:
        with self._db.transaction() as tx:
            self._write(tx, statement, {"seq": seq})

    def _write(self, tx: Transaction, statement: sa.Update, values: dict[str, int]) -> None:
        if self._epoch is None or tx.change(statement, {"mine": self._epoch, **values}) != 1:
            raise self._lost()

    def _lost(self) -> OwnedElsewhere:
        return OwnedElsewhere(f"another master took the database over; ours was epoch {self._epoch}")

    def _read_or_make(self) -> Any:
        with self._db.transaction() as tx:
            if (row := tx.one(_READ)) is not None:
                return row
            tx.upsert(self._make, [(_ROW, secrets.token_bytes(CLUSTER_BYTES), 0, "", 0, 0, 0)])
            return tx.one(_READ)  # ours, or that of a master which was faster

    def _watch(self, seen: Any, watch_s: float) -> Any:
        """Return the row as it is now; OwnedElsewhere when an owner wrote to it meanwhile."""
        end = time.monotonic() + watch_s
        row = seen
        while row.owner != "" and time.monotonic() < end:
            time.sleep(WATCH_STEP_S)
            row = self._read_or_make()
            if row.owner != "" and (row.renew_seq != seen.renew_seq or row.owner != seen.owner):
                raise OwnedElsewhere(f"another master, {row.owner!r}, owns this database and is alive")
        return row
