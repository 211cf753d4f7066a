"""`db upgrade` on tables with rows: interrupted anywhere, repeated, beside a reader, never beside a master."""

import threading
from contextlib import suppress
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests.support.plans import Recorder
from tests.support.storage import Crawl, follow
from zspider.errors import ConfigError, OwnedElsewhere
from zspider.scheduler.rules import SchedulerRules
from zspider.storage import Reader, migrations, open_storage, schema_state, upgrade

ROWS = 2500  # three batches
LATER = '''
"""A later version, as a migration author writes it."""

import sqlalchemy as sa

from zspider.storage.migrations.online import add_column, fill_tasks, set_index

revision = "later"
down_revision = "{before}"


def upgrade():
    add_column("tasks", sa.Column("url_bytes", sa.Integer, nullable=False, server_default="0"))
    add_column("results", sa.Column("note", sa.String(40)))
    fill_tasks(["url_bytes"], ["url"], sa.column("url_bytes") == 0, lambda row: (len(row.url),))
    set_index("tasks", "frontier", ["project_id", "status", "due_ms", "rank", "seq", "key", "url_bytes"])
    set_index("tasks", "by_url_bytes", ["url_bytes"])
'''


class Interrupted(Exception):
    pass


@pytest.fixture
def older(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database with rows of two projects, to which the program's version is a later one."""
    with Crawl(address) as crawl:
        other = crawl.storage.push("other", "x", now_ms=crawl.now_ms)
        crawl.storage.submit(other.id, [follow(f"o{n}") for n in range(3)], crawl.now_ms)
        crawl.submit(*(follow(f"page{n}") for n in range(ROWS)))
        crawl.storage.release()
    folder = tmp_path / "versions"
    folder.mkdir()
    (folder / "later.py").write_text(LATER.format(before=migrations.REVISIONS[-1]))
    monkeypatch.setattr(migrations, "FOLDERS", [*migrations.FOLDERS, folder])
    monkeypatch.setattr(migrations, "REVISIONS", (*migrations.REVISIONS, "later"))
    assert schema_state(address) == "older"
    return address


def connect(address: str) -> sa.Connection:
    return sa.create_engine(address, poolclass=sa.NullPool).connect()


def is_upgraded(address: str) -> bool:
    """Every row has its value, and both indexes are as they are to be."""
    with connect(address) as conn:
        wrong = conn.exec_driver_sql("SELECT count(*) FROM tasks WHERE url_bytes <> length(url)").scalar()
        rows = conn.exec_driver_sql("SELECT count(*) FROM tasks").scalar()
        indexes = {one["name"]: one["column_names"] for one in sa.inspect(conn).get_indexes("tasks")}
    return (
        (wrong, rows) == (0, ROWS + 3)
        and indexes["frontier"][-2:] == ["key", "url_bytes"]
        and indexes["by_url_bytes"] == ["url_bytes"]
        and schema_state(address) == "current"
    )


def test_rows_of_the_version_before_are_kept_and_filled(older: str) -> None:
    said: list[str] = []
    upgrade(older, said.append)
    assert is_upgraded(older)
    assert [text for text in said if "filled" in text][-1].startswith(f"tasks: {ROWS + 3:,} rows filled")
    said.clear()
    upgrade(older, said.append)
    assert said == []
    storage = open_storage(older, rules=SchedulerRules(), seen=1)
    storage.close()


def test_an_upgrade_that_is_interrupted_anywhere_goes_on_where_it_was(older: str) -> None:
    seen: set[str] = set()

    def interrupt(text: str) -> None:
        if text not in seen:
            seen.add(text)
            raise Interrupted

    while schema_state(older) == "older":
        with suppress(Interrupted):
            upgrade(older, interrupt, watch_s=0.0)
    assert len(seen) >= 6  # before each column and index, and after each batch
    assert is_upgraded(older)


def test_what_was_filled_before_an_interruption_is_not_filled_again(older: str) -> None:
    def interrupt(text: str) -> None:
        if f"{2000:,} rows" in text:
            raise Interrupted

    with pytest.raises(Interrupted):
        upgrade(older, interrupt)
    said: list[str] = []
    upgrade(older, said.append, watch_s=0.0)
    assert [text for text in said if "filled" in text][-1].startswith(f"tasks: {ROWS + 3 - 2000:,} rows filled")


def test_tasks_can_be_read_at_every_step(older: str) -> None:
    reader = Reader(older)
    (project,) = (one.id for one in reader.projects() if one.name == "shop")
    pages = []

    def look(text: str) -> None:
        pages.append(len(reader.tasks(project, limit=10)))

    upgrade(older, look)
    reader.close()
    assert len(pages) >= 5
    assert set(pages) == {10}


def test_a_server_changes_tables_without_holding_anybody_up(older: str) -> None:
    if older.startswith("sqlite"):
        pytest.skip("SQLite has one writer at a time, and readers beside it")
    with Recorder().open() as recorder:
        alters = [sent.sql for sent in recorder.of(lambda: upgrade(older), "TABLE") if sent.verb == "ALTER"]
    assert [sql.rpartition("ALGORITHM=")[2] for sql in alters] == [
        "INSTANT",  # url_bytes
        "INSTANT",  # note
        *("INSTANT", "INPLACE, LOCK=NONE"),  # tried, and how an index is made
        *("INSTANT", "INPLACE, LOCK=NONE"),
    ]


def test_no_upgrade_begins_while_a_master_lives(older: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrations, "REVISIONS", migrations.REVISIONS[:-1])  # a master of the version before
    with Crawl(older) as crawl:
        monkeypatch.setattr(migrations, "REVISIONS", (*migrations.REVISIONS, "later"))
        stopped = threading.Event()

        def live() -> None:
            while not stopped.wait(0.1):
                crawl.storage.renew()

        thread = threading.Thread(target=live)
        thread.start()
        try:
            with pytest.raises(OwnedElsewhere):
                upgrade(older)
        finally:
            stopped.set()
            thread.join()
    assert schema_state(older) == "older"


def test_no_master_begins_during_an_upgrade(older: str, monkeypatch: pytest.MonkeyPatch) -> None:
    refused: list[bool] = []

    def try_to_begin(text: str) -> None:
        if refused:
            return
        monkeypatch.setattr(migrations, "REVISIONS", migrations.REVISIONS[:-1])
        try:
            storage = open_storage(older, rules=SchedulerRules(), seen=1)
            try:
                storage.take_over("an older master", 0)
            finally:
                storage.close()
        except OwnedElsewhere:
            refused.append(True)
        finally:
            monkeypatch.setattr(migrations, "REVISIONS", (*migrations.REVISIONS, "later"))

    upgrade(older, try_to_begin)
    assert refused == [True]
    assert is_upgraded(older)


def test_an_upgrade_does_not_touch_a_newer_database(older: str) -> None:
    with connect(older) as conn, conn.begin():
        conn.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(ConfigError, match="newer zspider"):
        upgrade(older)
