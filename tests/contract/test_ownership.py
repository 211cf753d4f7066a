"""Whose database it is: two masters can never both write."""

import threading
from pathlib import Path

import pytest
from tests.support.mariadb import MariaDb
from tests.support.storage import START_MS, Crawl, follow, outcome
from zspider.errors import ExitCode, OwnedElsewhere
from zspider.scheduler.rules import SchedulerRules
from zspider.storage import Storage, open_storage
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
