"""The schema's versions: a fresh database is made by the migrations and is what schema.py says."""

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from tests.support.storage import Crawl, outcome
from zspider.errors import ConfigError
from zspider.scheduler.rules import SchedulerRules
from zspider.storage import migrations, open_storage, schema_state, upgrade
from zspider.storage.schema import metadata


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
        open_storage(crawl.address, rules=SchedulerRules(), known=1)
    monkeypatch.setattr(migrations, "REVISIONS", ("9999", "10000"))
    assert schema_state(crawl.address) == "older"
    with pytest.raises(ConfigError, match="zspiderd db upgrade"):
        open_storage(crawl.address, rules=SchedulerRules(), known=1)


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
        open_storage(address, rules=SchedulerRules(), known=1, create=False)


def test_the_versions_known_to_a_start_are_those_of_the_scripts() -> None:
    config = Config()
    config.set_main_option("script_location", "zspider:storage/migrations")
    scripts = ScriptDirectory.from_config(config)
    assert tuple(script.revision for script in scripts.walk_revisions())[::-1] == migrations.REVISIONS
