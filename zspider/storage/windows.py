"""Each project's recent activity: sums by slots of time, written with the counters they belong to."""

from collections.abc import Mapping

import sqlalchemy as sa

from zspider.activity import ACTIVITY, WINDOWS, WindowSlot, activity_of
from zspider.storage.database import Transaction
from zspider.storage.engine import Engine
from zspider.storage.schema import windows

_STEP = windows.c.step_s == sa.bindparam("step")
_BEFORE = windows.c.slot < sa.bindparam("before")


class WindowTable:
    """Adds to slots, reads those of the windows up to now, and drops older ones."""

    _NEWEST = sa.select(
        windows.c.step_s, windows.c.slot, windows.c.project_id, *(windows.c[name] for name in ACTIVITY)
    ).where(_STEP, windows.c.slot >= sa.bindparam("first"))
    _SPENT = (
        sa.select(windows.c.slot, windows.c.project_id)
        .where(_STEP, _BEFORE)
        .order_by(windows.c.slot, windows.c.project_id)
        .limit(sa.bindparam("limit"))
    )
    _CUT = sa.delete(windows).where(
        _STEP,
        windows.c.slot <= sa.bindparam("last"),
        sa.or_(windows.c.slot < sa.bindparam("last"), windows.c.project_id <= sa.bindparam("project")),
    )
    _FORGET = sa.delete(windows).where(windows.c.project_id == sa.bindparam("project"))

    def __init__(self, engine: Engine) -> None:
        columns = ("step_s", "slot", "project_id", *ACTIVITY)
        self._add = engine.upsert(windows, columns, dict.fromkeys(ACTIVITY, "{old} + {new}"))

    def add(self, tx: Transaction, deltas: Mapping[int, Mapping[str, int]], now_ms: int) -> None:
        """Add these counter changes, by project, to the current slot of each window."""
        activities = {project: activity_of(counts) for project, counts in deltas.items()}
        happened = sorted((project, activity) for project, activity in activities.items() if any(activity))
        tx.upsert(
            self._add,
            [
                (window.step_s, window.slot(now_ms), project, *activity)
                for window in WINDOWS
                for project, activity in happened
            ],
        )

    def newest(self, tx: Transaction, now_ms: int) -> list[WindowSlot]:
        """Return every slot that is in its window now, oldest first."""
        return [
            WindowSlot(step_s, slot, project, activity)
            for window in WINDOWS
            for step_s, slot, project, *activity in sorted(
                tx.rows(self._NEWEST, {"step": window.step_s, "first": window.first(now_ms)})
            )
        ]

    def trim(self, tx: Transaction, now_ms: int, limit: int) -> int:
        """Delete up to `limit` slots of each step that have left their window; returns how many."""
        cut = 0
        for window in WINDOWS:
            spent = {"step": window.step_s, "before": window.first(now_ms), "limit": limit}
            if rows := tx.rows(self._SPENT, spent):
                slot, project = rows[-1]
                cut += tx.change(self._CUT, {"step": window.step_s, "last": slot, "project": project})
        return cut

    def forget(self, tx: Transaction, project: int) -> None:
        """Delete all slots of a project; a few hundred at most."""
        tx.change(self._FORGET, {"project": project})
