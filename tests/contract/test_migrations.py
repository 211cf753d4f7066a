"""The schema's versions: a fresh database is made by the migrations and is what schema.py says."""

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from tests.support.storage import Crawl, outcome
from zspider.errors import ConfigError
from zspider.hosts import host_hash, host_of
from zspider.scheduler.rules import SchedulerRules
from zspider.storage import migrations, open_storage, schema_state, upgrade
from zspider.storage.schema import metadata, tasks
from zspider.task import MESSAGE_PREFIX, task_key


def execute(address: str, *statements: str) -> None:
    engine = sa.create_engine(address, poolclass=sa.NullPool)
    with engine.begin() as conn:
        for statement in statements:
            conn.exec_driver_sql(statement)


def test_the_migrations_make_what_the_tables_say(address: str) -> None:
    upgrade(address)
    assert schema_state(address) == "current"
    with sa.create_engine(address, poolclass=sa.NullPool).connect() as conn:
        context = MigrationContext.configure(conn, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []
        checks = {check["name"] for check in sa.inspect(conn).get_check_constraints("tasks")}
    assert ("url_length" in checks) == address.startswith("sqlite")


def at_version(address: str, revision: str) -> None:
    """Make a database as an older zspider had it."""
    with Crawl(address):
        pass  # there is one now, and its driver has been asked for what it needs
    engine = sa.create_engine(address, poolclass=sa.NullPool)
    with engine.connect() as conn:
        metadata.drop_all(conn)
        conn.exec_driver_sql("DROP TABLE alembic_version")
        conn.commit()
        config = Config()
        config.set_main_option("script_location", "zspider:storage/migrations")
        config.attributes["connection"] = conn
        config.attributes["progress"] = print
        command.upgrade(config, revision)
        conn.commit()


def old_task(conn: sa.Connection, project: int, taskid: str, url: str) -> None:
    conn.execute(
        sa.text("INSERT INTO tasks (project_id, `key`, taskid, url) VALUES (:project, :row, :taskid, :url)"),
        {"project": project, "row": task_key(taskid), "taskid": taskid.encode(), "url": url.encode()},
    )


@pytest.mark.parametrize("was_interrupted", [False, True])
def test_tasks_of_before_hosts_were_kept_get_theirs_in_batches(address: str, was_interrupted: bool) -> None:
    at_version(address, "0001")
    assert schema_state(address) == "older"
    urls = {(project, f"t{n}"): f"http://h{n % 7}.example/{n}" for project in (3, 5) for n in range(1100)}
    urls[5, "on_start"] = "data:,on_start"
    urls[5, f"{MESSAGE_PREFIX}x"] = "http://h1.example/"
    with sa.create_engine(address, poolclass=sa.NullPool).begin() as conn:
        for (project, taskid), url in urls.items():
            old_task(conn, project, taskid, url)
        if was_interrupted:
            conn.exec_driver_sql("ALTER TABLE tasks ADD COLUMN host INTEGER NOT NULL DEFAULT 0")
    upgrade(address)
    assert schema_state(address) == "current"
    with sa.create_engine(address, poolclass=sa.NullPool).connect() as conn:
        rows = conn.execute(sa.select(tasks.c.project_id, tasks.c.taskid, tasks.c.host, tasks.c.url)).all()
        found = {(row.project_id, row.taskid.decode()): row.host for row in rows}
        assert {row.url.decode() for row in rows} == set(urls.values())
        context = MigrationContext.configure(conn, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []
    expected = {of: 0 if MESSAGE_PREFIX in of[1] else host_hash(host_of(url)) for of, url in urls.items()}
    assert found == expected


def test_upgrading_again_changes_nothing(crawl: Crawl) -> None:
    crawl.task("page")
    crawl.close()
    upgrade(crawl.address)
    crawl.open()
    assert crawl.waiting() == ["page"]


def test_an_interrupted_first_upgrade_is_completed(address: str) -> None:
    upgrade(address)
    execute(address, "DROP TABLE sessions", "DROP TABLE tasks", "DELETE FROM alembic_version")
    assert schema_state(address) == "empty"
    with Crawl(address) as crawl:
        assert crawl.task("page").run == 0


def test_tables_of_another_version_are_not_touched(crawl: Crawl, monkeypatch: pytest.MonkeyPatch) -> None:
    crawl.close()
    execute(crawl.address, "UPDATE alembic_version SET version_num = '9999'")
    assert schema_state(crawl.address) == "newer"
    with pytest.raises(ConfigError, match="newer zspider"):
        open_storage(crawl.address, rules=SchedulerRules(), seen=1)
    monkeypatch.setattr(migrations, "REVISIONS", ("9999", "10000"))
    assert schema_state(crawl.address) == "older"
    with pytest.raises(ConfigError, match="zspiderd db upgrade"):
        open_storage(crawl.address, rules=SchedulerRules(), seen=1)


def test_a_database_of_before_windows_keeps_its_tasks_and_begins_to_count(crawl: Crawl) -> None:
    crawl.task("page")
    crawl.close()
    execute(crawl.address, "DROP TABLE windows", "UPDATE alembic_version SET version_num = '0001'")
    assert schema_state(crawl.address) == "older"
    upgrade(crawl.address)
    crawl.open()
    assert crawl.lately() == {}
    (page,) = crawl.storage.ready(crawl.project.id, None, 10)
    crawl.commit(outcome(page))
    assert crawl.lately()["1d"] == {"success": 1, "fetched": 1, "processed": 1}


def test_a_database_without_tables_is_not_filled_unless_asked(address: str) -> None:
    with Crawl(address):
        pass
    execute(address, "DELETE FROM alembic_version")
    assert schema_state(address) == "empty"
    with pytest.raises(ConfigError, match="no tables"):
        open_storage(address, rules=SchedulerRules(), seen=1, create=False)


def test_the_versions_known_to_a_start_are_those_of_the_scripts() -> None:
    config = Config()
    config.set_main_option("script_location", "zspider:storage/migrations")
    scripts = ScriptDirectory.from_config(config)
    assert tuple(script.revision for script in scripts.walk_revisions())[::-1] == migrations.REVISIONS
