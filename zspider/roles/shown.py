"""What the command line shows of the master's state, as rows of plain values. Pure."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from zspider.broker.codec import unpack_to_show
from zspider.roles.reception import SlaveStats
from zspider.scheduler.host_rates import HostRate
from zspider.scheduler.leases import Session
from zspider.scheduler.why import Wait
from zspider.storage import StoredResult, TaskDetail
from zspider.task import ACTIVITY, Activity

TASK_COLUMNS = ("taskid", "url", "priority", "retried", "due_ms", "lastcrawl_ms", "reason")


def wait_rows(waits: Sequence[Wait]) -> list[dict[str, Any]]:
    """What something waits for, the first obstacle first."""
    return [wait._asdict() for wait in waits]


def slave_row(session: Session, stats: SlaveStats, now: float) -> dict[str, Any]:
    """A slave, with what keeps it from working as its note."""
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
    """The counters without those that the storage keeps for itself."""
    return {name: value for name, value in counts.items() if not name.startswith("_")}


def activity_row(activity: Activity) -> dict[str, Any]:
    """Sums, with mean times in place of summed ones; None where nothing was timed."""
    row: dict[str, Any] = dict(zip(ACTIVITY, activity, strict=True))
    for total, number in (("fetch_ms", "fetched"), ("process_ms", "processed")):
        row[total] = round(row[total] / row[number], 1) if row[number] else None
    return row


def host_row(rate: HostRate) -> dict[str, Any]:
    """What a host has answered lately."""
    return {
        "host": rate.host,
        "pages": rate.pages,
        "failed": rate.failed,
        "fetch_ms": round(rate.fetch_ms / rate.pages, 1),
        "rate": round(rate.pages_per_s, 1),
    }


def page(rows: Sequence[StoredResult | TaskDetail], shown: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    """One page of an answer; `next` is what the following one comes after, None after the last."""
    return {"rows": [shown(row) for row in rows], "next": rows[-1].key if rows else None}


def result_row(result: StoredResult) -> dict[str, Any]:
    """One of `results`."""
    return {
        "taskid": result.taskid,
        "url": result.url,
        "result": result.result_json,
        "updated_ms": result.updated_ms,
        "item": result.item,
    }


def task_row(task: TaskDetail) -> dict[str, Any]:
    """One of `tasks`."""
    row = {name: getattr(task, name) for name in TASK_COLUMNS}
    return {**row, "status": task.status.word}


def task_detail(task: TaskDetail) -> dict[str, Any]:
    """All there is of one task."""
    row = task._asdict()
    del row["key"]
    body, track = unpack_to_show(row.pop("body")), unpack_to_show(task.track or b"\x80")
    return {**row, **body, "status": task.status.word, "track": track}
