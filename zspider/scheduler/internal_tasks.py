"""The tasks that zspider gives to a script by itself (docs/pyspider-behaviour.md 3.6, 4.9).

Asking what it declares and running @every methods have no row in the database, and are leased like other tasks.
on_start and on_finished are submitted like URLs.
"""

import msgpack

from zspider.delivery import Follow
from zspider.task import CRONJOB, GET_INFO, Ref, Task, info_run, task_key

PRIORITY = 9  # of on_start and on_finished


def info_task(project: int, script: bytes, attempt: int) -> Task:
    """Return the task that asks a script for its crawl_config, retry_delay and smallest tick."""
    save = ["min_tick", "retry_delay", "crawl_config"]
    return _task(project, GET_INFO, run=info_run(script), attempt=attempt, save=save)


def cron_task(project: int, tick_s: int, since_s: int, attempt: int = 0) -> Task:
    """Return the task that runs each @every method with ticks in (since_s, tick_s]: once, however many it missed."""
    return _task(project, CRONJOB, run=tick_s, attempt=attempt, save={"tick": tick_s, "since": since_s})


def entry_follow(name: str) -> Follow:
    """Return on_start or on_finished as a URL to submit, whether it ran before or not."""
    schedule = {"age": 0, "priority": PRIORITY, "force_update": True}
    body = {"schedule": schedule, "fetch": {}, "process": {"callback": name}}
    return Follow(name, f"data:,{name}", msgpack.packb(body), priority=PRIORITY, age_ms=0, force_update=True)


def _task(project: int, taskid: str, *, run: int, attempt: int, save: object) -> Task:
    body = {"schedule": {}, "fetch": {"save": save}, "process": {"callback": taskid}}
    return Task(
        ref=Ref(project, task_key(taskid)),
        taskid=taskid,
        url=f"data:,{taskid}",
        body=msgpack.packb(body),
        run=run,
        attempt=attempt,
    )
