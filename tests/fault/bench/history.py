"""One history: a crawl of known ground truth, the faults of a plan, and what was wrong afterwards."""

import shutil
import threading
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import msgspec
from tests.fault.bench import faults, invariants
from tests.fault.bench.invariants import Done
from tests.fault.bench.plan import Fault, plan
from tests.fault.bench.stage import PROJECT, Stage
from tests.support.mariadb import MariaDb
from tests.support.process import eventually

IDLE_S = 150.0  # after the last fault has ended: on a busy machine, and with a clock at half its speed
POLL_S = 0.2


class Report(msgspec.Struct):
    """What came of a seed; one line of a report file."""

    seed: int
    plan: str
    faults: list[str]  # the kinds that happened
    violations: list[str]
    refetches: int
    took_s: float


def run(seed: int, directory: Path, server: MariaDb | None) -> Report:
    """Live through the plan of this seed. The logs stay in `directory` when something is wrong.

    server: a MariaDB that nobody else uses meanwhile; needed by plans for it.
    """
    began = time.monotonic()
    planned = plan(seed)
    shutil.rmtree(directory, ignore_errors=True)  # of a run that was stopped
    directory.mkdir(parents=True)
    done: list[Done] = []
    violations: list[str] = []
    extra = 0
    try:
        with Stage(planned, directory, server) as stage:
            try:
                violations += _live(stage, done)
                extra = invariants.refetches(stage)
            except Exception:
                violations.append(traceback.format_exc())
            _keep_logs(stage)
        violations += _left_outside(stage)
    except Exception:
        violations.append(traceback.format_exc())
    if not violations:
        shutil.rmtree(directory)
    kinds = [one.fault.kind.value for one in done]
    return Report(seed, str(planned), kinds, violations, extra, round(time.monotonic() - began, 1))


def _live(stage: Stage, done: list[Done]) -> Iterator[str]:
    stage.begin()
    _go_through(stage, done)
    try:
        eventually(lambda: is_idle(stage), IDLE_S, "all is over")
    except AssertionError as exc:
        raise AssertionError(f"{exc}; {_open_tasks(stage)} open tasks; {stage.master.status()}") from None
    yield from invariants.of_an_idle_cluster(stage)
    yield from invariants.of_the_end(stage)
    yield from invariants.of_the_rows(stage)
    yield from invariants.of_the_fetches(stage, done)
    yield from invariants.of_the_storm(stage, done)
    yield from invariants.of_the_logs(stage)


def _go_through(stage: Stage, done: list[Done]) -> None:
    """Begin and end the faults, each at its time; raises what the first to fail raised.

    Those of one target wait for each other: on a busy machine a database takes long to start again.
    """
    began = time.monotonic()
    turns = {fault.target: threading.Lock() for fault in stage.plan.faults}

    def strike(fault: Fault) -> None:
        time.sleep(max(0.0, began + fault.at_s - time.monotonic()))
        with turns[fault.target]:
            stage.note_members()
            began_s = time.time()
            with faults.begin(stage, fault):
                time.sleep(max(0.0, began + fault.at_s + fault.lasts_s - time.monotonic()))
        done.append(Done(fault, began_s, time.time()))

    with ThreadPoolExecutor(len(stage.plan.faults)) as pool:
        for ended in as_completed([pool.submit(strike, fault) for fault in stage.plan.faults]):
            ended.result()


def _open_tasks(stage: Stage) -> int:
    return int(stage.database.rows("SELECT COUNT(*) FROM tasks WHERE status = 1")[0][0])


def is_idle(stage: Stage) -> bool:
    """Nothing is open, and the master knows it and has told everybody."""
    time.sleep(POLL_S)  # each look costs the database a query, and the machine a command
    if _open_tasks(stage):
        return False
    status = stage.master.status()
    counts = next((row["counts"] for row in status["projects"] if row["name"] == PROJECT), {"leased": 1})
    is_home = len(status["slaves"]) == len(stage.slaves)
    return (
        is_home and not counts["leased"] and not any(slave["leased"] or slave["outbox"] for slave in status["slaves"])
    )


def _keep_logs(stage: Stage) -> None:
    for daemon in stage.daemons:
        (stage.directory / f"{daemon.name}.log").write_text(daemon.log)


def _left_outside(stage: Stage) -> Iterator[str]:
    """15: the network and the disks of the history are gone."""
    if left := stage.network.remaining():
        yield f"namespaces left: {left}"
    if str(stage.directory) in Path("/proc/mounts").read_text():
        yield "a mount is left"
