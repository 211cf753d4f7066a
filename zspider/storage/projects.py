"""Projects, the scripts they run, and the sessions of slaves."""

import re
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import msgspec
import sqlalchemy as sa

from zspider.errors import ConfigError, StorageError
from zspider.storage.counter_names import ALL, ALL_BUT_RESULTS, FIRST_RUN, GAUGES, REMOVING, RESULTS
from zspider.storage.counters import CounterTable
from zspider.storage.database import Transaction
from zspider.storage.engine import Engine
from zspider.storage.results import ResultTable
from zspider.storage.schema import NAME_CHARS_MAX, counters, master, projects, scripts, sessions, tasks
from zspider.storage.windows import WindowTable
from zspider.task import Project, ProjectStatus, ScriptInfo, Status

NAME = re.compile(rf"[A-Za-z0-9_]{{1,{NAME_CHARS_MAX}}}", re.ASCII)
HOST_CHARS_MAX = 256
_PROJECT: sa.BindParameter[int] = sa.bindparam("project")


class ProjectTable:
    """Reads and writes projects."""

    _ALL = (
        sa.select(projects, scripts.c.info)
        .select_from(projects.outerjoin(scripts, scripts.c.hash == projects.c.script))
        .order_by(projects.c.name)
    )
    _ONE = _ALL.where(projects.c.id == _PROJECT)
    _ID = sa.select(projects.c.id).where(projects.c.name == sa.bindparam("name"))
    _TEXT = sa.select(scripts.c.text).where(scripts.c.hash == sa.bindparam("hash"))
    _LAST_ID = sa.select(master.c.last_project).where(master.c.id == 1)
    _USE_ID = sa.update(master).where(master.c.id == 1).values(last_project=master.c.last_project + 1)
    _UNUSED = scripts.c.hash.not_in(sa.select(projects.c.script))
    _UNUSED_SCRIPTS = (
        sa.select(scripts.c.hash)
        .where(_UNUSED, scripts.c.created_ms < sa.bindparam("before_ms"))
        .order_by(scripts.c.created_ms, scripts.c.hash)
        .limit(sa.bindparam("limit"))
    )
    _DELETE_SCRIPTS = sa.delete(scripts).where(_UNUSED, scripts.c.hash.in_(sa.bindparam("scripts", expanding=True)))
    _SAVE_INFO = sa.update(scripts).where(scripts.c.hash == sa.bindparam("script"))

    def __init__(self, engine: Engine) -> None:
        self._add_script = engine.upsert(scripts, ("hash", "text", "created_ms"), {})

    def all(self, tx: Transaction) -> list[Project]:
        """Return all projects with their counters, by name."""
        counts = CounterTable.read(tx)
        return [_project(row, counts) for row in tx.rows(self._ALL)]

    def one(self, tx: Transaction, project: int) -> Project:
        """Return one project; StorageError when there is none of this id."""
        row = tx.one(self._ONE, {"project": project})
        if row is None:
            raise StorageError(f"there is no project with id {project}")
        return _project(row, CounterTable.read(tx))

    def find(self, tx: Transaction, name: str) -> int | None:
        """Return the id of a name, or None."""
        if not NAME.fullmatch(name):
            return None  # MySQL would not compare it with ASCII names
        row = tx.one(self._ID, {"name": name})
        return None if row is None else int(row.id)

    def add(self, tx: Transaction, name: str, now_ms: int) -> int:
        """Make a project, without a script yet; its id was never used before."""
        if not NAME.fullmatch(name):
            raise ConfigError(f"{name!r} is no project name: 1 to {NAME_CHARS_MAX} of A-Z a-z 0-9 and _")
        tx.change(self._USE_ID)
        row = tx.one(self._LAST_ID)
        assert row is not None
        new = Project(int(row.last_project), name, ProjectStatus.RUNNING)
        tx.change(
            sa.insert(projects).values(
                id=new.id,
                name=name,
                group=new.group,
                status=new.status.value,
                rate=new.rate,
                burst=new.burst,
                script=bytes(32),
                updated_ms=now_ms,
            )
        )
        return new.id

    def change(self, tx: Transaction, project: int, now_ms: int, fields: dict[str, Any]) -> None:
        """Set columns; those whose value is None stay. StorageError when there is no such project."""
        values = {name: value for name, value in fields.items() if value is not None}
        if tx.change(sa.update(projects).where(projects.c.id == project).values(updated_ms=now_ms, **values)) != 1:
            raise StorageError(f"there is no project with id {project}")

    def save_script(self, tx: Transaction, text: str, now_ms: int) -> bytes:
        """Keep a script under its hash; a known one stays as it is, with what is known of it."""
        digest = sha256(text.encode()).digest()
        tx.upsert(self._add_script, [(digest, text, now_ms)])
        return digest

    def script(self, tx: Transaction, digest: bytes) -> str:
        """Return a script's text; StorageError when it is not known."""
        row = tx.one(self._TEXT, {"hash": digest})
        if row is None:
            raise StorageError(f"there is no script {digest.hex()}")
        return str(row.text)

    def unused_scripts(self, tx: Transaction, before_ms: int, limit: int) -> list[bytes]:
        """Return the oldest versions that no project uses, of those that were pushed before this time."""
        return [bytes(row.hash) for row in tx.rows(self._UNUSED_SCRIPTS, {"before_ms": before_ms, "limit": limit})]

    def delete_scripts(self, tx: Transaction, digests: Sequence[bytes]) -> int:
        """Delete these versions, unless a project uses them; returns how many went."""
        return tx.change(self._DELETE_SCRIPTS, {"scripts": list(digests)})

    def save_info(self, tx: Transaction, digest: bytes, info: ScriptInfo | None) -> None:
        """Note what a slave told about a script; None: forget it."""
        packed = None if info is None else msgspec.msgpack.encode(info)
        tx.change(self._SAVE_INFO.values(info=packed), {"script": digest})


class Removal:
    """Takes a project away, some rows at a time; the counters stay true in between.

    A counter (REMOVING) says from the first transaction to the last that it is going: the next master goes on.
    """

    _SOME_TASKS = (
        sa.select(tasks.c.key, tasks.c.status, tasks.c.run)
        .where(tasks.c.project_id == _PROJECT)
        .order_by(tasks.c.key)
        .limit(sa.bindparam("limit"))
    )
    _CUT_TASKS = sa.delete(tasks).where(tasks.c.project_id == _PROJECT, tasks.c.key <= sa.bindparam("last"))
    _TASKS = tuple(GAUGES.values())
    _STOP = sa.update(projects).where(projects.c.id == _PROJECT).values(status=ProjectStatus.STOP.value)

    def __init__(self, engine: Engine) -> None:
        self._counters = CounterTable(engine)
        self._results = ResultTable(engine)
        self._windows = WindowTable(engine)

    def step(self, tx: Transaction, project: int, batch: int, *, keep_results: bool) -> int:
        """Delete up to `batch` rows; returns how many are left, 0 when all that was to go is gone.

        keep_results: a removal that was begun without it stays one of everything.
        """
        keep_results = self._mark(tx, project, keep_results)
        deltas = self._cut_tasks(tx, project, batch)
        if not deltas and not keep_results:
            deltas = self._cut_results(tx, project, batch)
        if not deltas:
            self._finish(tx, project, keep_results)
            return 0
        self._counters.add(tx, {project: deltas})
        counts = CounterTable.read(tx).get(project, {})
        names = self._TASKS if keep_results else (*self._TASKS, RESULTS)
        return max(1, sum(counts.get(name, 0) for name in names))

    def _mark(self, tx: Transaction, project: int, keep_results: bool) -> bool:
        """Say that the project is going, and stop it; whether its results stay."""
        before = self._counters.value(tx, project, REMOVING)
        mark = ALL_BUT_RESULTS if keep_results and before != ALL else ALL
        if mark != before:
            self._counters.add(tx, {project: {REMOVING: mark - before}})
            tx.change(self._STOP, {"project": project})
        return mark == ALL_BUT_RESULTS

    def _finish(self, tx: Transaction, project: int, keep_results: bool) -> None:
        """The project goes last, with its counters. Kept results need its name and their own counter, and its next
        tasks must not begin with runs that were.
        """
        self._windows.forget(tx, project)
        spent = sa.delete(counters).where(counters.c.project_id == project)
        if keep_results:
            tx.change(spent.where(counters.c.name.not_in((RESULTS, FIRST_RUN))))
        else:
            tx.change(spent)
            tx.change(sa.delete(projects).where(projects.c.id == project))

    def _cut_tasks(self, tx: Transaction, project: int, batch: int) -> dict[str, int]:
        rows = tx.rows(self._SOME_TASKS, {"project": project, "limit": batch})
        deltas: dict[str, int] = {}
        for row in rows:
            word = GAUGES[Status(row.status)]
            deltas[word] = deltas.get(word, 0) - 1
        if rows:
            tx.change(self._CUT_TASKS, {"project": project, "last": rows[-1].key})
            first = 1 + max(row.run for row in rows)
            deltas[FIRST_RUN] = max(1, first - self._counters.value(tx, project, FIRST_RUN))
        return deltas

    def _cut_results(self, tx: Transaction, project: int, batch: int) -> dict[str, int]:
        cut, last = self._results.cut(tx, project, b"", batch)
        return {RESULTS: -cut} if last is not None else {}


class SessionTable:
    """Slaves that may hold leases."""

    _ALL = sa.select(sessions.c.session).order_by(sessions.c.since_ms)

    def __init__(self, engine: Engine) -> None:
        self._add = engine.upsert(sessions, ("session", "host", "since_ms"), {"host": "{new}"})

    def all(self, tx: Transaction) -> list[bytes]:
        """Return all sessions, oldest first."""
        return [bytes(row.session) for row in tx.rows(self._ALL)]

    def add(self, tx: Transaction, session: bytes, host: str, now_ms: int) -> None:
        """Remember a slave; a known one may have another host name now."""
        tx.upsert(self._add, [(session, host[:HOST_CHARS_MAX], now_ms)])

    def drop(self, tx: Transaction, session: bytes) -> None:
        """Forget a slave; one that is not known is forgotten already."""
        tx.change(sa.delete(sessions).where(sessions.c.session == session))


def _project(row: Any, counts: dict[int, dict[str, int]]) -> Project:
    return Project(
        id=row.id,
        name=row.name,
        status=ProjectStatus(row.status),
        group=row.group,
        rate=row.rate,
        burst=row.burst,
        script=bytes(row.script),
        info=None if row.info is None else msgspec.msgpack.decode(row.info, type=ScriptInfo),
        updated_ms=row.updated_ms,
        counts=counts.get(row.id, {}),
    )
