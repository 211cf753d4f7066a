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
_ROW = 1

_READ = sa.select(master.c.cluster, master.c.epoch, master.c.owner, master.c.renew_seq, master.c.last_seq).where(
    master.c.id == _ROW
)
_HOLD = sa.select(master.c.epoch).where(master.c.id == _ROW).with_for_update(read=True)  # SQLite: BEGIN IMMEDIATE did
_MINE = sa.update(master).where(master.c.id == _ROW, master.c.epoch == sa.bindparam("mine"))
_TAKE = _MINE.values(epoch=master.c.epoch + 1, owner=sa.bindparam("by"), renew_seq=master.c.renew_seq + 1)
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

    def take(self, owner: str, watch_s: float) -> tuple[Ownership, int]:
        """Become the owner; also returns the highest `seq` that the last owner noted.

        Waits up to `watch_s` to see whether another owner still lives; OwnedElsewhere when it does.
        """
        seen = self._read_or_make()
        if seen.owner not in ("", owner) and not self._db.engine.locked:
            self._watch(seen.owner, seen.renew_seq, watch_s)
        with self._db.transaction() as tx:
            if tx.change(_TAKE, {"mine": seen.epoch, "by": owner[:OWNER_CHARS_MAX]}) != 1:
                raise OwnedElsewhere("another master took the database over just now")
        self._epoch = seen.epoch + 1
        return Ownership(bytes(seen.cluster), self._epoch), int(seen.last_seq)

    def enter(self, tx: Transaction) -> None:
        """Hold the master row still until COMMIT, first in every write; OwnedElsewhere when it is not ours."""
        row = tx.one(_HOLD)
        if self._epoch is None or row is None or row.epoch != self._epoch:
            raise OwnedElsewhere(
                f"another master took the database over: epoch {row and row.epoch}, ours {self._epoch}"
            )

    def renew(self, seq: int) -> None:
        """Show other masters that this one lives."""
        self._change(_RENEW, seq)

    def release(self, seq: int) -> None:
        """Tell the next owner that it need not wait."""
        self._change(_RELEASE, seq)
        self._epoch = None

    def _change(self, statement: sa.Update, seq: int) -> None:
        with self._db.transaction() as tx:
            if self._epoch is None or tx.change(statement, {"mine": self._epoch, "seq": seq}) != 1:
                raise OwnedElsewhere(f"another master took the database over; ours was epoch {self._epoch}")

    def _read_or_make(self) -> Any:
        with self._db.transaction() as tx:
            row = tx.one(_READ)
            if row is None:
                first = {"id": _ROW, "cluster": secrets.token_bytes(CLUSTER_BYTES), "epoch": 0, "owner": ""}
                tx.change(sa.insert(master).values(**first, renew_seq=0, last_seq=0, last_project=0))
                row = tx.one(_READ)
        assert row is not None
        return row

    def _watch(self, owner: str, renew_seq: int, watch_s: float) -> None:
        end = time.monotonic() + watch_s
        while time.monotonic() < end:
            time.sleep(WATCH_STEP_S)
            with self._db.transaction() as tx:
                row = tx.one(_READ)
            if row is None or row.owner == "":
                return
            if row.renew_seq != renew_seq or row.owner != owner:
                raise OwnedElsewhere(f"another master, {row.owner!r}, owns this database and is alive")
