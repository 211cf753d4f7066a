"""Opening: what an operator can get wrong, said in one line that never shows a password."""

import gc
import os
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import pymysql
import pytest
from tests.support.mariadb import PASSWORD, MariaDb, private_server
from tests.support.storage import Crawl, follow
from zspider.errors import ConfigError, ExitCode, StorageUnavailable
from zspider.scheduler.rules import SchedulerRules
from zspider.storage import Reader, Storage, open_storage, schema_state

SECRET = "hunter2"


def opened(address: str, *, create: bool = True) -> Storage:
    return open_storage(address, rules=SchedulerRules(), seen=10, create=create)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "nonsense",
        f"mysql+pymysql://u:{SECRET}@host:port/name",
        f"mysql+pymysql://u:{SECRET}@host",
        f"mysql+pymysql://u:{SECRET}@/name",
        f"postgresql://u:{SECRET}@host/name",
        f"mysql://u:{SECRET}@host/name",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:////nowhere/at/all/z.db",
        "sqlite:////tmp",
    ],
)
def test_an_address_that_cannot_work_is_the_operators_mistake(address: str) -> None:
    for attempt in (opened, Reader, schema_state):
        with pytest.raises(ConfigError, match="database: ") as caught:
            attempt(address)
        assert SECRET not in str(caught.value)
        assert "\n" not in str(caught.value)
        assert caught.value.exit_code is ExitCode.USAGE


def test_a_file_that_is_not_a_database_is_the_operators_mistake(tmp_path: Path) -> None:
    (tmp_path / "z.db").write_bytes(b"this is a text file, and a long one at that" * 100)
    with pytest.raises(ConfigError, match="not a SQLite database"):
        opened(f"sqlite:///{tmp_path}/z.db")


def test_looking_at_a_file_that_is_not_there_does_not_make_it(tmp_path: Path) -> None:
    for attempt in (Reader, schema_state):
        with pytest.raises(ConfigError, match="no file"):
            attempt(f"sqlite:///{tmp_path}/z.db")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_without_write_permission_is_the_operators_mistake(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigError, match="not writable"):
        opened(f"sqlite:///{tmp_path}/z.db")


def test_a_wrong_password_is_the_operators_mistake(mariadb: MariaDb) -> None:
    with pytest.raises(ConfigError, match="Access denied") as caught:
        opened(mariadb.address(mariadb.new_database(), password=SECRET))
    assert SECRET not in str(caught.value)


def test_a_database_that_may_not_be_created_is_the_operators_mistake(mariadb: MariaDb) -> None:
    with pytest.raises(ConfigError) as caught:
        opened(mariadb.address("elsewhere"))
    assert PASSWORD not in str(caught.value)


def test_a_missing_database_is_made_only_when_asked(mariadb: MariaDb) -> None:
    name = mariadb.new_database()
    with pytest.raises(ConfigError, match="Unknown database"):
        opened(mariadb.address(name), create=False)
    opened(mariadb.address(name)).close()
    mariadb.query(f"DROP DATABASE `{name}`")


def test_an_option_that_the_driver_does_not_know_is_the_operators_mistake(mariadb: MariaDb) -> None:
    with pytest.raises(ConfigError, match="colour"):
        opened(mariadb.address(mariadb.new_database()) + "?colour=red")


def test_a_server_that_is_not_there_may_come_later(mariadb: MariaDb) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = mariadb.address("crawl").replace(f":{mariadb.port}/", f":{unused.getsockname()[1]}/")
        for attempt in (opened, schema_state):
            with pytest.raises(StorageUnavailable) as caught:
                attempt(address)
            assert PASSWORD not in str(caught.value)
            assert caught.value.exit_code is ExitCode.UNAVAILABLE
        with pytest.raises(StorageUnavailable):
            Reader(address).projects()


def test_a_server_that_takes_small_packets_only_is_refused() -> None:
    with private_server("--max-allowed-packet=1M") as server, pytest.raises(ConfigError, match="max_allowed_packet"):
        opened(server.address(server.new_database()))


def test_our_tables_do_not_depend_on_the_servers_character_set(mariadb: MariaDb) -> None:
    name = mariadb.new_database()
    mariadb.query(f"CREATE DATABASE `{name}`")  # by somebody else: latin1, as the server's default says
    with Crawl(mariadb.address(name)) as crawl:
        crawl.submit(follow("🕷", itag='"🕸"'))
        assert crawl.row("🕷").itag == '"🕸"'
        with pytest.raises(AssertionError):
            crawl.row("🕸")
    tables = mariadb.query(
        "SELECT table_name, table_collation, engine FROM information_schema.tables "
        f"WHERE table_schema = '{name}' AND table_name <> 'alembic_version'"
    )
    assert {(collation, engine) for _, collation, engine in tables} == {("utf8mb4_bin", "InnoDB")}
    mariadb.query(f"DROP DATABASE `{name}`")


def test_the_password_is_in_no_error_and_no_text_form_of_anything(mariadb: MariaDb) -> None:
    name = mariadb.new_database()
    with Crawl(mariadb.address(name)) as crawl:
        mariadb.query(f"DROP TABLE `{name}`.sessions")
        with pytest.raises(Exception, match="sessions") as caught:
            crawl.storage.sessions()
        shown = [repr(crawl.storage), str(crawl.storage._db.engine), repr(crawl.storage._db.engine)]
        error: BaseException | None = caught.value
        while error is not None:
            shown += [str(error), repr(error)]
            error = error.__cause__
    assert not any(PASSWORD in text or "s3cret" in text for text in shown)
    mariadb.query(f"DROP DATABASE `{name}`")


def test_opening_a_current_database_does_not_import_alembic(crawl: Crawl) -> None:
    crawl.close()
    code = (
        "import sys; from zspider.storage import open_storage; from zspider.scheduler.rules import SchedulerRules\n"
        f"open_storage({crawl.address!r}, rules=SchedulerRules(), seen=1).close()\n"
        "sys.exit('alembic' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30, cwd=Path(__file__).parents[2])


def test_a_server_that_is_away_costs_no_memory_with_each_try() -> None:
    gc.collect()  # what other tests have left behind is not meant
    gc.disable()  # what a busy master's settings come close to
    try:
        for _ in range(3):
            with pytest.raises(StorageUnavailable):
                opened(f"mysql+pymysql://u:{SECRET}@127.0.0.1:1/name")
        left = [one for one in gc.get_objects() if type(one) in (pymysql.Connection, ssl.SSLContext)]
    finally:
        gc.enable()
    assert left == []
