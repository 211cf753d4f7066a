"""What breaks between us and the database: nothing is half written, and the same call works later."""

import signal
import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pymysql
import pytest
from sqlalchemy.exc import OperationalError
from tests.support.mariadb import MariaDb
from tests.support.storage import Crawl, follow, outcome
from zspider.errors import OwnedElsewhere, StorageUnavailable
from zspider.storage import Change, Selection, mysql_session
from zspider.storage.database import Database, Transaction
from zspider.task import Status


@pytest.fixture
def on_server(mariadb: MariaDb) -> Iterator[Crawl]:
    name = mariadb.new_database()
    with Crawl(mariadb.address(name)) as crawl:
        yield crawl
    mariadb.query(f"DROP DATABASE `{name}`")


def test_a_killed_server_loses_nothing_that_was_committed(mariadb: MariaDb, on_server: Crawl) -> None:
    crawl = on_server
    one, two = crawl.tasks("one", "two")
    crawl.commit(outcome(one, results=[b"1"], follows=[follow("a")]))
    mariadb.kill()
    batch = outcome(two, results=[b"2"], follows=[follow("b")])
    for _ in range(2):  # the lost connection, then the refused one
        with pytest.raises(StorageUnavailable):
            crawl.commit(batch)
    with pytest.raises(StorageUnavailable):
        crawl.storage.ready(crawl.project.id, None, 10)
    with pytest.raises(StorageUnavailable):
        crawl.reader.projects()
    mariadb.start()
    assert not crawl.commit(batch).ended[0].late
    assert crawl.results() == {"one": ["1"], "two": ["2"]}
    assert crawl.waiting() == ["a", "b"]


def test_a_connection_that_the_server_closed_is_made_anew(mariadb: MariaDb, on_server: Crawl) -> None:
    page = on_server.task("page")
    for (connection,) in mariadb.query("SELECT id FROM information_schema.processlist WHERE user = 'crawler'"):
        mariadb.query(f"KILL {connection}")
    with pytest.raises(StorageUnavailable):
        on_server.commit(outcome(page))
    assert not on_server.commit(outcome(page)).ended[0].late


def test_after_a_reconnect_the_epoch_is_asked_again(mariadb: MariaDb, on_server: Crawl) -> None:
    page = on_server.task("page")
    mariadb.kill()
    with pytest.raises(StorageUnavailable):
        on_server.commit(outcome(page))
    mariadb.start()
    with Crawl(on_server.address, on_server.owner), pytest.raises(OwnedElsewhere):
        on_server.commit(outcome(page))


class CommitEater:
    """A TCP proxy that, once armed, lets a COMMIT through and closes before its answer."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.armed = False
        self.eaten = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._to)) as server:
            threading.Thread(target=self._back, args=(server, client), daemon=True).start()
            while sent := _receive(client):
                is_last = self.armed and sent.endswith(b"COMMIT")
                if is_last:
                    client.shutdown(socket.SHUT_RDWR)
                server.sendall(sent)
                if is_last:
                    server.shutdown(socket.SHUT_WR)  # the server answers before it sees this
                    while _receive(server):
                        pass
                    self.eaten.set()
                    return

    def _back(self, server: socket.socket, client: socket.socket) -> None:
        while got := _receive(server):
            try:
                client.sendall(got)
            except OSError:
                return

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)


def _receive(sock: socket.socket) -> bytes:
    try:
        return sock.recv(1 << 20)
    except OSError:
        return b""


def test_a_commit_without_an_answer_is_played_again_and_everything_is_reported_as_ended(mariadb: MariaDb) -> None:
    name = mariadb.new_database()
    address = mariadb.address(name)
    with (
        closing(CommitEater(mariadb.port)) as proxy,
        Crawl(address.replace(str(mariadb.port), str(proxy.port))) as crawl,
    ):
        tasks = crawl.tasks("a", "b")
        batch = [outcome(task, results=[b"1"], follows=[follow(f"from-{task.taskid}")]) for task in tasks]
        proxy.armed = True
        with pytest.raises(StorageUnavailable):
            crawl.commit(*batch)
        assert proxy.eaten.wait(10)
        proxy.armed = False
        again = crawl.commit(*batch)
        assert [(ended.ref, ended.late) for ended in again.ended] == [(task.ref, True) for task in tasks]
        assert again.entered == []
        assert crawl.waiting() == ["from-a", "from-b"]  # what a master reloads then
        assert crawl.counts()["success"] == 2
        assert crawl.lately()["5m"] == {"new": 4, "success": 2, "fetched": 2, "processed": 2}
    mariadb.query(f"DROP DATABASE `{name}`")


def test_a_batch_of_a_verb_without_an_answer_is_played_again_and_changes_nothing_twice(mariadb: MariaDb) -> None:
    name = mariadb.new_database()
    address = mariadb.address(name)
    with (
        closing(CommitEater(mariadb.port)) as proxy,
        Crawl(address.replace(str(mariadb.port), str(proxy.port))) as crawl,
    ):
        old = crawl.task("page")

        def drop() -> int:
            waiting = Selection((Status.ACTIVE,))
            return crawl.storage.change_tasks(
                Change.REMOVE, crawl.project.id, waiting, None, now_ms=crawl.now_ms
            ).changed

        proxy.armed = True
        with pytest.raises(StorageUnavailable):
            drop()
        assert proxy.eaten.wait(10)
        proxy.armed = False
        assert drop() == 0  # it went the first time
        assert crawl.gauges() == crawl.recounted() == {}
        (new,) = crawl.submit(follow("page")).entered  # neither known
        assert new.run > old.run  # ... nor mistaken for the one of before
    mariadb.query(f"DROP DATABASE `{name}`")


@contextmanager
def lock_on_results(address: str, mariadb: MariaDb) -> Iterator[None]:
    """Somebody else's transaction that stands in the way of storing a result."""
    if address.startswith("sqlite"):
        with closing(sqlite3.connect(address.removeprefix("sqlite:///"))) as other:
            other.isolation_level = None
            other.execute("BEGIN IMMEDIATE")
            yield
            other.execute("ROLLBACK")
        return
    database = address.rpartition("/")[2]
    other = pymysql.connect(host="127.0.0.1", port=mariadb.port, user="root", database=database)
    with other, other.cursor() as cursor:
        cursor.execute("SELECT * FROM results FOR UPDATE")  # the gaps as well: REPEATABLE READ
        yield


def test_a_lock_that_somebody_holds_too_long_leaves_nothing_half_written(crawl: Crawl, mariadb: MariaDb) -> None:
    page = crawl.task("page")
    batch = outcome(page, results=[b"1"], follows=[follow("a")])
    with lock_on_results(crawl.address, mariadb), pytest.raises(StorageUnavailable):
        crawl.commit(batch)
    assert not crawl.knows("a")
    assert crawl.row("page").run == 0
    assert crawl.lately()["5m"] == {"new": 1}
    assert not crawl.commit(batch).ended[0].late
    assert crawl.results() == {"page": ["1"]}
    assert crawl.lately()["5m"] == {"new": 2, "success": 1, "fetched": 1, "processed": 1}


def test_without_a_rollback_a_lock_wait_leaves_half_an_outcome(
    mariadb: MariaDb, on_server: Crawl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MariaDB's error 1205 undoes one statement only: a COMMIT after it is what the test above would find."""
    monkeypatch.setattr(mysql_session, "LOCK_WAIT_S", 1)
    on_server.close()
    on_server.open()
    page = on_server.task("page")

    @contextmanager
    def transaction(db: Database) -> Iterator[Transaction]:
        conn = db._connected()
        begun = conn.begin()
        try:
            yield Transaction(conn, db.engine)
        finally:
            begun.commit()

    monkeypatch.setattr(Database, "transaction", transaction)
    with lock_on_results(on_server.address, mariadb), pytest.raises(OperationalError, match="1205"):
        on_server.commit(outcome(page, results=[b"1"], follows=[follow("a")]))
    assert on_server.row("page").run == 1
    assert on_server.results() == {}


def test_a_reader_is_not_in_the_way_of_the_writer_nor_the_writer_in_its(crawl: Crawl) -> None:
    page = crawl.task("page")
    with crawl.reader._db.transaction() as tx:  # a read that takes its time
        before = crawl.reader._tasks.page(tx, crawl.project.id, None, b"", 10)
        crawl.commit(outcome(page, follows=[follow("a")]))
    assert [row.taskid for row in before] == ["page"]
    assert crawl.knows("a")


def test_a_hung_server_is_given_up_and_found_again(
    mariadb: MariaDb, on_server: Crawl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zspider.storage.engine.ANSWER_S", 1)
    page = on_server.task("page")
    on_server.close()
    on_server.open()
    mariadb.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(StorageUnavailable):
            on_server.commit(outcome(page))
    finally:
        mariadb.send_signal(signal.SIGCONT)
    assert not on_server.commit(outcome(page)).ended[0].late


def test_a_full_disk_is_told_and_the_same_commit_works_when_there_is_room(tmp_path: Path) -> None:
    with Crawl(f"sqlite:///{tmp_path}/z.db") as crawl:
        page = crawl.task("page")
        batch = outcome(page, results=[b'"' + b"x" * 500_000 + b'"'])
        with crawl.storage._db.connection() as conn:
            pages = conn.exec_driver_sql("PRAGMA page_count").scalar()
            conn.exec_driver_sql(f"PRAGMA max_page_count = {pages + 10}")
            conn.rollback()
        with pytest.raises(StorageUnavailable, match="full"):
            crawl.commit(batch)
        assert crawl.row("page").run == 0
        assert not crawl.commit(batch).ended[0].late  # a new connection has no such limit
