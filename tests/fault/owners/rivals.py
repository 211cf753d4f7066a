"""Two masters' storages that take one database from each other, thousands of times; and the count of stale commits.

A commit is stale when it comes to be after a take-over that should have fenced it off. Each transaction of an owner
makes one task, whose name begins with its epoch. On one server a trigger counts, in the very transaction of a
take-over, the tasks of the epoch that ends. On a cluster each commit has a number in the order of all commits. A
session does not learn the number of one that was aborted by another node's change and carried out again behind it,
which a take-over alone can do here: such a write leaves the session's last number as it was, and is stale as well.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import NamedTuple

import pytest
import sqlalchemy as sa
from tests.support.mariadb import MariaDb
from tests.support.storage import START_MS, follow
from zspider.errors import OwnedElsewhere, StorageUnavailable
from zspider.scheduler.rules import SchedulerRules
from zspider.storage import Storage, open_storage
from zspider.storage.database import Transaction
from zspider.storage.ownership import EpochGuard
from zspider.storage.schema import master

LIFE = range(1, 12)  # writes of an owner before it pauses
PAUSE_S = 0.004  # at most, between two lives and before a take-over
_SHARED = sa.select(master.c.epoch).where(master.c.id == 1).with_for_update(read=True)
_NUMBER = sa.text("SELECT WSREP_LAST_WRITTEN_GTID()")
_TRIGGER = (
    "CREATE TRIGGER take_over AFTER UPDATE ON master FOR EACH ROW IF NEW.epoch <> OLD.epoch THEN "
    "INSERT INTO ended SELECT OLD.epoch, COUNT(*) FROM tasks WHERE taskid LIKE CONCAT(OLD.epoch, ':%'); END IF"
)
_STALE = (
    "SELECT COALESCE(SUM(made - then_made), 0) FROM (SELECT ended.made AS then_made, "
    "(SELECT COUNT(*) FROM tasks WHERE taskid LIKE CONCAT(ended.epoch, ':%')) AS made FROM ended) AS both_counts"
)


class Seen(NamedTuple):
    """What two rivals did."""

    take_overs: int
    writes: int
    stale: int
    refused: int  # take-overs that an owner's write came before
    unavailable: int  # deadlocks, lock waits and failed certifications: each was repeated
    seconds: float

    def __str__(self) -> str:
        return (
            f"{self.take_overs:,} take-overs, {self.writes:,} writes, {self.refused:,} take-overs lost to a write, "
            f"{self.unavailable:,} repeated, {self.stale} stale commits ({self.seconds:.0f} s)"
        )


def plant_shared_lock(patch: pytest.MonkeyPatch) -> None:
    """The owner reads its epoch under a shared lock, instead of writing to the row."""

    def enter(self: EpochGuard, tx: Transaction) -> None:
        row = tx.one(_SHARED)
        if row is None or row.epoch != self._epoch:
            raise OwnedElsewhere("another master took the database over")

    patch.setattr(EpochGuard, "enter", enter)


class Rivals:
    """Two storages of one database, each in a thread of its own."""

    def __init__(self, servers: Sequence[MariaDb], take_overs: int, seed: int) -> None:
        """servers: those that the first and the second rival are connected to; may be one."""
        self._servers = servers
        self._is_cluster = servers[0] is not servers[1]
        self._take_overs = take_overs
        self._seed = seed
        self._database = servers[0].new_database()
        self._project = 0
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._began: dict[int, int] = {}  # epoch -> number of the take-over
        self._written: list[tuple[int, int]] = []  # epoch and number of each write
        self._problem: BaseException | None = None

    def run(self) -> Seen:
        """Let them fight, then count."""
        began = time.monotonic()
        self._prepare()
        threads = [
            threading.Thread(target=self._live, args=(number, server), name=f"rival-{number}")
            for number, server in enumerate(self._servers)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._problem is not None:
            raise self._problem
        stale = self._stale()
        self._servers[0].query(f"DROP DATABASE `{self._database}`")
        counts = self._counts
        return Seen(
            counts["taken"], counts["written"], stale, counts["refused"], counts["away"], time.monotonic() - began
        )

    def _prepare(self) -> None:
        with closing(self._open(self._servers[0])) as storage:  # makes the tables before both want to
            storage.take_over("the first", START_MS, watch_s=0.0)
            self._project = storage.push("shop", "class Handler: pass", now_ms=START_MS).id
            storage.release()
        if not self._is_cluster:
            self._servers[0].query("CREATE TABLE ended (epoch BIGINT PRIMARY KEY, made INT)", self._database)
            self._servers[0].query(_TRIGGER, self._database)

    def _stale(self) -> int:
        if not self._is_cluster:
            return int(self._servers[0].query(_STALE, self._database)[0][0])
        late = sum(number > self._began.get(epoch + 1, number) for epoch, number in self._written)
        return late + self._counts["replayed"]

    def _open(self, server: MariaDb) -> Storage:
        return open_storage(server.address(self._database), rules=SchedulerRules(), seen=10)

    def _live(self, number: int, server: MariaDb) -> None:
        chance = random.Random(self._seed * 10 + number)
        try:
            with closing(self._open(server)) as storage:
                while self._goes_on:
                    time.sleep(chance.uniform(0.0, PAUSE_S))
                    if (epoch := self._take(storage, f"rival {number}")) is not None:
                        self._own(storage, epoch, chance)
        except BaseException as exc:  # the top of a thread: `run` raises it
            self._problem = exc

    @property
    def _goes_on(self) -> bool:
        return self._counts["taken"] < self._take_overs and self._problem is None

    def _take(self, storage: Storage, owner: str) -> int | None:
        try:
            epoch = storage.take_over(owner, START_MS, watch_s=0.0).epoch
        except OwnedElsewhere:
            self._count("refused")
        except StorageUnavailable:
            self._count("away")
        else:
            self._began[epoch] = self._number(storage)
            self._count("taken")
            return epoch
        return None

    def _own(self, storage: Storage, epoch: int, chance: random.Random) -> None:
        """Write as the owner until somebody else is."""
        written, last = 0, self._began[epoch]
        while self._goes_on:
            for _ in range(chance.choice(LIFE)):
                written += 1
                try:
                    storage.submit(self._project, [follow(f"{epoch}:{written}")], START_MS)
                except OwnedElsewhere:
                    return
                except StorageUnavailable:
                    self._count("away")
                else:
                    number = self._number(storage)
                    if self._is_cluster and number == last:
                        self._count("replayed")
                    self._written.append((epoch, number))
                    last = number
                    self._count("written")
            time.sleep(chance.uniform(0.0, PAUSE_S))

    def _number(self, storage: Storage) -> int:
        """Return the place of this storage's last commit among all commits of the cluster."""
        if not self._is_cluster:
            return 0
        with storage._db.transaction() as tx:
            gtid: bytes | str = tx.one(_NUMBER)[0]
        text = gtid.decode() if isinstance(gtid, bytes) else gtid
        return int(text.rpartition("-")[2])

    def _count(self, what: str) -> None:
        with self._lock:
            self._counts[what] += 1


def fight(servers: Sequence[MariaDb], take_overs: int, seed: int, plant: Callable[..., None] | None = None) -> Seen:
    """Return what two rivals did on these servers; `plant`: a mistake to make."""
    with pytest.MonkeyPatch.context() as patch:
        if plant is not None:
            plant(patch)
        return Rivals(servers, take_overs, seed).run()
