"""Whose database it is: two masters can never both write."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from tests.support.mariadb import MariaDb
from tests.support.storage import START_MS, Crawl, follow, outcome
from zspider.errors import ExitCode, OwnedElsewhere, StorageUnavailable
from zspider.scheduler.rules import SchedulerRules
from zspider.storage import Storage, mysql_session, open_storage
from zspider.storage.ownership import EpochGuard
from zspider.task import ScriptInfo


def opened(address: str) -> Storage:
    return open_storage(address, rules=SchedulerRules(), seen=10)


def test_each_take_over_grows_the_epoch_and_keeps_the_cluster(crawl: Crawl) -> None:
    first = crawl.ownership
    crawl.close()
    crawl.open()
    assert (crawl.ownership.cluster, crawl.ownership.epoch) == (first.cluster, first.epoch + 1)
    assert len(first.cluster) == 16
    assert first.cluster != bytes(16)


def test_after_a_take_over_the_old_master_writes_nothing(mariadb: MariaDb) -> None:
    name = mariadb.new_database()
    with Crawl(mariadb.address(name), "old") as old:
        page = old.task("page")
        with Crawl(old.address, "old") as new:  # the same data directory: re-enters at once
            writes = [
                lambda: old.commit(outcome(page, follows=[follow("a")], results=[b"1"])),
                lambda: old.submit(follow("b")),
                lambda: old.storage.charge([(page.ref, 0, 1)], old.now_ms),
                lambda: old.storage.push("shop", "other", now_ms=1),
                lambda: old.storage.set_project(old.project.id, now_ms=1, rate=99),
                lambda: old.storage.remove("shop"),
                lambda: old.storage.add_session(b"s" * 16, "host", 1),
                lambda: old.storage.drop_session(b"s" * 16),
                lambda: old.storage.save_info(old.project.script, ScriptInfo()),
                old.storage.renew,
                old.storage.release,
            ]
            for write in writes:
                with pytest.raises(OwnedElsewhere) as caught:
                    write()
                assert caught.value.exit_code is ExitCode.BUSY
            assert new.counts() == {"new": 1, "waiting": 1}
            assert new.results() == {}
            assert new.project.script == old.project.script
            assert new.storage.sessions() == []
            assert not new.commit(outcome(page)).ended[0].late
    mariadb.query(f"DROP DATABASE `{name}`")


def test_a_master_that_lives_keeps_another_one_out(mariadb: MariaDb) -> None:
    name = mariadb.new_database()
    with Crawl(mariadb.address(name), "first") as first:
        other = opened(first.address)
        stop = threading.Event()

        def beat() -> None:
            while not stop.wait(0.1):
                first.storage.renew()

        beating = threading.Thread(target=beat)
        beating.start()
        try:
            with pytest.raises(OwnedElsewhere, match="first"):
                other.take_over("second", START_MS)
        finally:
            stop.set()
            beating.join(10)
        assert first.task("page").run == 0  # the one inside noticed nothing
        other.close()
    mariadb.query(f"DROP DATABASE `{name}`")


def test_a_dead_master_is_replaced_after_a_watch_and_one_that_left_at_once(mariadb: MariaDb) -> None:
    name = mariadb.new_database()
    address = mariadb.address(name)
    with Crawl(address, "first") as first:
        second = opened(address)
        assert second.take_over("second", START_MS, watch_s=1.0).epoch == first.ownership.epoch + 1
        second.release()
        third = opened(address)
        assert third.take_over("third", START_MS, watch_s=3600).epoch == first.ownership.epoch + 2
        second.close()
        third.close()
    mariadb.query(f"DROP DATABASE `{name}`")


def test_a_second_master_on_the_same_sqlite_file_is_turned_away_at_once(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path}/z.db"
    with Crawl(address), pytest.raises(OwnedElsewhere):
        opened(address)
    opened(address).close()  # free again


def test_another_owner_of_a_sqlite_file_need_not_watch(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path}/z.db"
    with Crawl(address, "first"):
        pass
    with Crawl(address, "second") as second:
        assert second.ownership.epoch == 2


def test_nothing_can_be_written_before_taking_over(address: str) -> None:
    storage = opened(address)
    with pytest.raises(OwnedElsewhere):
        storage.push("shop", "x", now_ms=1)
    storage.close()


@pytest.fixture
def on_server(mariadb: MariaDb) -> Iterator[Crawl]:
    name = mariadb.new_database()
    with Crawl(mariadb.address(name), "first") as crawl:
        yield crawl
    mariadb.query(f"DROP DATABASE `{name}`")


def renewals(mariadb: MariaDb, crawl: Crawl) -> int:
    return int(mariadb.query("SELECT renew_seq FROM master", crawl.address.rpartition("/")[2])[0][0])


def test_each_write_shows_that_its_master_lives(mariadb: MariaDb, on_server: Crawl) -> None:
    before = renewals(mariadb, on_server)
    page = on_server.task("page")
    on_server.commit(outcome(page))
    assert renewals(mariadb, on_server) == before + 2


def test_an_owner_that_commits_but_renews_nothing_keeps_another_one_out(on_server: Crawl) -> None:
    other = opened(on_server.address)
    stop = threading.Event()

    def write() -> None:
        while not stop.wait(0.1):
            on_server.submit(follow(f"page-{on_server.now_ms}"))

    writing = threading.Thread(target=write)
    writing.start()
    try:
        with pytest.raises(OwnedElsewhere, match="is alive"):
            other.take_over("second", START_MS)
    finally:
        stop.set()
        writing.join(10)
        other.close()


def test_an_owner_that_writes_after_the_last_look_wins(on_server: Crawl, monkeypatch: pytest.MonkeyPatch) -> None:
    other = opened(on_server.address)
    look, looked = EpochGuard._read_or_make, []

    def look_and_be_late(guard: EpochGuard) -> object:
        row = look(guard)
        if guard is other._epoch_guard:
            looked.append(row)
            on_server.submit(follow(f"page-{len(looked)}"))
        return row

    monkeypatch.setattr(EpochGuard, "_read_or_make", look_and_be_late)
    with pytest.raises(OwnedElsewhere):
        other.take_over("second", START_MS, watch_s=0.0)
    assert looked
    on_server.submit(follow("more"))  # the one inside noticed nothing
    other.close()


def test_two_masters_that_begin_at_once_make_one_row(mariadb: MariaDb) -> None:
    name = mariadb.new_database()
    storages = [opened(mariadb.address(name)) for _ in range(2)]
    guards = [storage._epoch_guard for storage in storages]
    with storages[0]._db.transaction() as tx:  # it has looked, and found none
        tx.upsert(guards[0]._make, [(1, b"c" * 16, 0, "", 0, 0, 0)])
        second = threading.Thread(target=guards[1]._read_or_make)
        second.start()
        second.join(0.3)
    second.join(10)
    assert {bytes(guard._read_or_make().cluster) for guard in guards} == {b"c" * 16}
    for storage in storages:
        storage.close()
    mariadb.query(f"DROP DATABASE `{name}`")


def stand_still(address: str, owner: str, told: Connection) -> None:
    """A master that is stopped in the middle of a commit, and when it wakes up goes on as its writer thread does."""
    crawl = Crawl(address, owner)
    crawl.open()
    page = crawl.task("page")
    try:
        with crawl.storage._write() as tx:
            crawl.storage._sessions.add(tx, b"s" * 16, "host", 1)
            told.send("inside")
            os.kill(os.getpid(), signal.SIGSTOP)
            crawl.storage._sessions.add(tx, b"t" * 16, "host", 1)
    except StorageUnavailable:
        told.send("unavailable")
    try:
        crawl.commit(outcome(page, results=[b"1"]))
    except OwnedElsewhere as exc:
        told.send(exc.exit_code)


def test_a_master_that_stands_still_in_a_commit_is_replaced_and_writes_nothing_when_it_wakes(mariadb: MariaDb) -> None:
    """Its connection would keep the row locked for eight hours."""
    name = mariadb.new_database()
    address = mariadb.address(name)
    ours, its = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=stand_still, args=(address, "first", its))
    process.start()
    assert process.pid is not None
    try:
        assert ours.poll(30)
        assert ours.recv() == "inside"
        began = time.monotonic()
        second = Crawl(address, "second")
        while True:
            try:
                second.storage = opened(address)
                second.storage.take_over("second", START_MS, watch_s=1.0)
                break
            except StorageUnavailable:  # the row is locked: a master tries again
                second.storage.close()
                assert time.monotonic() - began < 3 * mysql_session.IDLE_TRANSACTION_S
        assert time.monotonic() - began > mysql_session.IDLE_TRANSACTION_S / 2
        os.kill(process.pid, signal.SIGCONT)
        assert [ours.recv() for _ in range(2) if ours.poll(30)] == ["unavailable", ExitCode.BUSY]
        assert second.storage.sessions() == []
        second.storage.close()
    finally:
        process.kill()
        process.join()
    mariadb.query(f"DROP DATABASE `{name}`")


def test_a_commit_that_took_too_long_between_two_statements_is_repeated_whole(
    on_server: Crawl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mysql_session, "IDLE_TRANSACTION_S", 1)
    page = on_server.task("page")
    on_server.storage._db.close()
    pauses = [1.5]
    find = on_server.storage._committer._find

    def find_and_pause(*args: object) -> object:
        found = find(*args)  # type: ignore[arg-type]
        time.sleep(pauses.pop() if pauses else 0.0)
        return found

    monkeypatch.setattr(on_server.storage._committer, "_find", find_and_pause)
    batch = outcome(page, results=[b"1"], follows=[follow("a")])
    with pytest.raises(StorageUnavailable):
        on_server.commit(batch)
    assert not on_server.commit(batch).ended[0].late
    assert on_server.results() == {"page": ["1"]}
    assert on_server.waiting() == ["a"]
    assert on_server.gauges() == on_server.recounted()
