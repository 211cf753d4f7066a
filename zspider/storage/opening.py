"""The master's database: opened, brought to this version, or only asked of which version it is."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from zspider.decisions import Rules
from zspider.errors import ConfigError
from zspider.storage.database import Database
from zspider.storage.engine import Engine, engine_of
from zspider.storage.migrations import SchemaState, migrate, state_of
from zspider.storage.ownership import WATCH_S, UpgradeOwner
from zspider.storage.storage import Storage


def open_storage(address: str, *, rules: Rules, seen: int, create: bool = True) -> Storage:
    """Open the database for the master.

    seen: how many recently seen URLs are remembered. create: make the database, or its tables, when missing.
    Raises ConfigError (address, password, rights, a schema that must be upgraded), OwnedElsewhere (SQLite file in
    use), StorageUnavailable (not reachable; it may be later).
    """
    engine = engine_of(address)
    engine.lock()
    try:
        db = Database(engine, writes=True)
        db.connect(create=create)
        with db.connection() as conn:
            _check_schema(state_of(conn), create)
            if state_of(conn) == "empty":
                migrate(conn)
        return Storage(db, rules, seen)
    except BaseException:
        engine.unlock()
        raise


def upgrade(address: str, progress: Callable[[str], None] = lambda _: None, *, watch_s: float = WATCH_S) -> None:
    """Make the tables, or bring them to this version. Safe to interrupt, and to repeat until it is through.

    progress: called with a few words on what is being done. watch_s: how long a master that did not stop cleanly is
    watched.
    Raises OwnedElsewhere while a master lives: of whichever version it is, it would write rows of the wrong one.
    """
    engine = engine_of(address)
    engine.lock()
    try:
        with _opened(engine, writes=True, patient=True) as db, db.connection() as conn:
            state = state_of(conn)
            if state == "newer":
                _check_schema(state, create=True)
            with UpgradeOwner(engine, watch_s) if state == "older" and not engine.locked else nullcontext():
                migrate(conn, progress)
    finally:
        engine.unlock()


def schema_state(address: str) -> SchemaState:
    """Return whether the tables are of this version."""
    with _opened(engine_of(address), writes=False) as db, db.connection() as conn:
        return state_of(conn)


@contextmanager
def _opened(engine: Engine, *, writes: bool, patient: bool = False) -> Iterator[Database]:
    db = Database(engine, writes=writes, patient=patient)
    try:
        db.connect(create=writes)
        yield db
    finally:
        db.close()


def _check_schema(state: SchemaState, create: bool) -> None:
    if state == "older":
        raise ConfigError("database: its tables are of an older zspider; run `zspiderd db upgrade`")
    if state == "newer":
        raise ConfigError("database: its tables are of a newer zspider; upgrade zspider on this machine")
    if state == "empty" and not create:
        raise ConfigError("database: it has no tables yet; run `zspiderd db upgrade`")
