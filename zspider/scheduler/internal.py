"""The tasks that zspider gives to a script by itself: asking what it declares, and running @every methods.

They have no row in the database; they are leased like other tasks (pyspider.md 3.6, 4.9).
"""

import msgpack

from zspider.task import CRONJOB, GET_INFO, Ref, Task, task_key


def info_run(script: bytes) -> int:
    """The run of the info task of this script version: an answer about another version is told by it."""
    return int.from_bytes(script[:3], "big")


def info_task(project: int, script: bytes, attempt: int) -> Task:
    """Ask the script for its crawl_config, retry_delay and smallest tick."""
    save = ["min_tick", "retry_delay", "crawl_config"]
    return _task(project, GET_INFO, run=info_run(script), attempt=attempt, save=save)


def cron_task(project: int, tick_s: int, since_s: int, attempt: int = 0) -> Task:
    """Run each @every method that has a tick in (since_s, tick_s], once (missed ticks are made up for by one run)."""
    return _task(project, CRONJOB, run=tick_s, attempt=attempt, save={"tick": tick_s, "since": since_s})


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
