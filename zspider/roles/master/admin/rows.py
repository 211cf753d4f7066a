"""Rows of plain values for the command line, made from a master's state or from a database without a master. Pure."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from zspider.activity import ACTIVITY, Activity, activity_of
from zspider.broker.codec import unpack_to_show
from zspider.roles.master.slave_registry import SlaveStats
from zspider.scheduler.host_rates import HostRate
from zspider.scheduler.leases import Session
from zspider.scheduler.pause import Phase
from zspider.scheduler.project_states import is_locked
from zspider.scheduler.projects import CronRun
from zspider.scheduler.story import Step
from zspider.scheduler.why import Wait
from zspider.storage import StoredResult, TaskDetail
from zspider.storage.counter_names import ALL_BUT_RESULTS, GAUGES, REMOVING, RESULTS
from zspider.task import Project, ScriptInfo

TASK_COLUMNS = ("taskid", "url", "priority", "retried", "due_ms", "lastcrawl_ms", "reason")


class PauseState(NamedTuple):
    """An auto-pause: what happens meanwhile, why, and until when."""

    phase: Phase
    reason: str
    until_ms: int


class LoadFailureState(NamedTuple):
    """A slave's failure to load a script: why, where, and when it is tried again, if it is known."""

    error: str
    host: str
    until_ms: int | None


class Live(NamedTuple):
    """The facts of a project that only a running master knows; the defaults are those without a master."""

    load_error: str = ""
    load_failure: LoadFailureState | None = None
    paused: PauseState | None = None
    last_cron: CronRun | None = None
    leased: int = 0
    is_limited: bool = False
    is_full: bool = False
    is_finishing: bool = False
    is_ready: bool = False
    is_loaded: bool = False
    next_due_ms: int | None = None


def project_row(project: Project, windows: Mapping[str, Activity], live: Live) -> dict[str, Any]:
    """Return a row of `project list`. windows: what happened lately, by name of the window."""
    paused = live.paused
    return {
        "id": project.id,
        "name": project.name,
        "group": project.group,
        "status": project.status.value,
        "rate": project.rate,
        "burst": project.burst,
        "updated_ms": project.updated_ms,
        "locked": is_locked(project),
        "removing": removing_row(project),
        "paused": paused and {**paused._asdict(), "phase": paused.phase.value},
        "cron": live.last_cron and live.last_cron._asdict(),
        "script_error": (project.info.error if project.info else "") or live.load_error,
        "script_failure": live.load_failure and live.load_failure._asdict(),
        "is_script_known": project.info is not None,
        "counts": {**public_counts(project.counts), "leased": live.leased},
        "windows": {
            name: activity_row(total) for name, total in {**windows, "all": activity_of(project.counts)}.items()
        },
        "limited": live.is_limited,
        "full": live.is_full,
        "finishing": live.is_finishing,
        "ready": live.is_ready,
        "loaded": live.is_loaded,
        "next_due_ms": live.next_due_ms,
    }


def declared_row(info: ScriptInfo | None) -> dict[str, Any] | None:
    """Return what a script declares as far as the master knows it, and who told it; None: it is not known."""
    if info is None:
        return None
    return {
        "crawl_config": unpack_to_show(info.crawl_config),
        "retry_delay": info.retry_delay,
        "min_tick_s": info.min_tick,
        "has_on_finished": info.has_on_finished,
        "told": info.told and {"token": info.told.token, "host": info.told.host, "at_ms": info.told.at_ms},
    }


def is_removing(project: Project) -> bool:
    """Return whether a project is being removed."""
    return bool(project.counts.get(REMOVING))


def removing_row(project: Project) -> dict[str, Any] | None:
    """Return how far a removal is: rows that are left, and whether results stay. None: it is not being removed."""
    if not is_removing(project):
        return None
    keeps_results = project.counts[REMOVING] == ALL_BUT_RESULTS
    names = [*GAUGES.values(), *([] if keeps_results else [RESULTS])]
    return {"left": sum(project.counts.get(name, 0) for name in names), "keep_results": keeps_results}


def wait_rows(waits: Sequence[Wait]) -> list[dict[str, Any]]:
    """Return what something waits for, the first obstacle first."""
    return [wait._asdict() for wait in waits]


def slave_row(session: Session, stats: SlaveStats, now: float) -> dict[str, Any]:
    """Return a slave, with what keeps it from working as its note. now: monotonic seconds."""
    return {
        "session": session.id.hex()[:8],
        "host": session.host,
        "pid": stats.pid,
        "roles": sorted(session.roles),
        "window": session.window,
        "leased": len(session.leases),
        "outbox": stats.outbox,
        "fetched": stats.fetched,
        "processed": stats.processed,
        "rate": round(stats.rate.per_s, 1),
        "silent_s": round(now - session.heard, 1),
        "note": session.complaint,
    }


def public_counts(counts: Mapping[str, int]) -> dict[str, int]:
    """Return the counters without those that the storage keeps for itself."""
    return {name: value for name, value in counts.items() if not name.startswith("_")}


def activity_row(activity: Activity) -> dict[str, Any]:
    """Return sums, with mean times in ms in place of summed ones; None where nothing was timed."""
    row: dict[str, Any] = dict(zip(ACTIVITY, activity, strict=True))
    for total, number in (("fetch_ms", "fetched"), ("process_ms", "processed")):
        row[total] = round(row[total] / row[number], 1) if row[number] else None
    return row


def host_row(rate: HostRate) -> dict[str, Any]:
    """Return what a host has answered lately."""
    return {
        "host": rate.host,
        "pages": rate.pages,
        "failed": rate.failed,
        "fetch_ms": round(rate.fetch_ms / rate.pages, 1),
        "rate": round(rate.pages_per_s, 1),
    }


def page(rows: Sequence[StoredResult | TaskDetail], shown: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    """Return one page of an answer; `next` is what the following one comes after, None after the last."""
    return {"rows": [shown(row) for row in rows], "next": rows[-1].key if rows else None}


def result_row(result: StoredResult) -> dict[str, Any]:
    """Return a row of `results`."""
    return {
        "taskid": result.taskid,
        "url": result.url,
        "result": result.result_json,
        "updated_ms": result.updated_ms,
        "item": result.item,
    }


def task_row(task: TaskDetail) -> dict[str, Any]:
    """Return a row of `tasks`."""
    row = {name: getattr(task, name) for name in TASK_COLUMNS}
    return {**row, "status": task.status.word}


def task_detail(task: TaskDetail, leased_by: str | None, story: Sequence[Step] = ()) -> dict[str, Any]:
    """Return all there is of one task.

    leased_by: the slave that holds a lease on the task; None: no slave. story: the task's last steps.
    """
    row = task._asdict()
    del row["key"]
    body, track = unpack_to_show(row.pop("body")), unpack_to_show(task.track or b"\x80")
    return {
        **row,
        **body,
        "status": task.status.word,
        "track": track,
        "leased_by": leased_by,
        "story": [*map(_step_row, story)],
    }


def _step_row(step: Step) -> dict[str, Any]:
    return {**step._asdict(), "session": step.session.hex()[:8]}
