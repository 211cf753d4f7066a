"""The fault bench: a selection of its histories, its plans, and that it sees what is wrong."""

import os
import signal
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fault.bench import history, invariants
from tests.fault.bench.campaign import add, live, read
from tests.fault.bench.invariants import Done
from tests.fault.bench.plan import BLOCK, RULES, Fault, Kind, Plan, plan
from tests.fault.bench.stage import FAKETIME, Stage
from tests.support.process import Process, eventually

JOBS = 2
QUIET = Plan(0, "sqlite", is_split=False, faults=())


@pytest.mark.root
@pytest.mark.timeout(700)
def test_a_crawl_ends_as_it_should_whatever_is_done_to_it(tmp_path: Path) -> None:
    assert FAKETIME.exists(), "libfaketime is missing"
    reports = list(live(range(BLOCK), tmp_path, JOBS))
    assert {kind for report in reports for kind in report.faults} == set(Kind)
    assert {report.plan: report.violations for report in reports if report.violations} == {}


@given(st.integers(0, 10**6))
def test_a_plan_follows_from_its_seed_and_keeps_to_the_rules(seed: int) -> None:
    planned = plan(seed)
    assert planned == plan(seed)
    for fault in planned.faults:
        rule = RULES[fault.kind]
        assert fault.target in rule.targets
        assert rule.database in ("", planned.database)
        assert rule.lasts_s[0] <= fault.lasts_s <= rule.lasts_s[1]
    for target in {fault.target for fault in planned.faults}:
        own = [fault for fault in planned.faults if fault.target == target]
        assert all(one.at_s + one.lasts_s < other.at_s for one, other in pairwise(own))


@given(st.integers(0, 10**5))
def test_a_block_of_seeds_has_every_kind_of_fault(block: int) -> None:
    seeds = range(block * BLOCK, (block + 1) * BLOCK)
    assert {fault.kind for seed in seeds for fault in plan(seed).faults} == set(Kind)


def test_a_report_is_read_again_without_the_line_that_a_kill_cut_short(tmp_path: Path) -> None:
    file = tmp_path / "report"
    whole = history.Report(7, "a plan", ["loss"], [], 3, 12.5)
    add(file, whole)
    with file.open("ab") as report:
        report.write(b'{"seed": 8, "pl')
    assert read(file) == [whole]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A history without faults, over and clean."""
    with Stage(QUIET, tmp_path_factory.mktemp("bench"), None) as stage:
        stage.begin()
        eventually(lambda: history.is_idle(stage), 60, "all is over")
        assert list(invariants.of_an_idle_cluster(stage)) == []
        assert list(invariants.of_the_end(stage)) == []
        assert list(invariants.of_the_rows(stage)) == []
        assert list(invariants.of_the_fetches(stage, [])) == []
        yield stage


@pytest.mark.root
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("DELETE FROM results WHERE CAST(url AS TEXT) LIKE '%/page/7'", "results differ"),
        ("UPDATE results SET result = '1' WHERE CAST(url AS TEXT) LIKE '%said-14'", "results differ"),
        ("DELETE FROM tasks WHERE CAST(url AS TEXT) LIKE '%/page/9'", "tasks missing"),
        ("UPDATE tasks SET status = 1 WHERE CAST(url AS TEXT) LIKE '%/page/9'", "statuses"),
        ("UPDATE counters SET value = value + 1 WHERE name = 'results'", "counters"),
        ("UPDATE counters SET value = value - 1 WHERE name = 'messages'", "counters"),
    ],
)
def test_a_row_too_many_or_too_few_is_seen(stage: Stage, change: str, said: str) -> None:
    with closing(sqlite3.connect(stage.master.data_dir / "zspider.db")) as conn, conn:
        before = "\n".join(conn.iterdump())
        assert conn.execute(change).rowcount == 1
    try:
        assert said in " ".join(invariants.of_the_rows(stage))
    finally:
        _restore(stage.master.data_dir / "zspider.db", before)
    assert list(invariants.of_the_rows(stage)) == []


def _restore(file: Path, dump: str) -> None:
    file.unlink()
    for other in file.parent.glob(f"{file.name}-*"):
        other.unlink()
    with closing(sqlite3.connect(file)) as conn, conn:
        conn.executescript(dump)


@pytest.mark.root
def test_a_page_fetched_once_too_often_is_seen_unless_a_fault_may_have_cost_it(stage: Stage) -> None:
    log = stage.site_log.read_text()
    first = next(line for line in log.splitlines() if line.endswith("/page/0 200"))
    at_s, client, _, _ = first.split(" ")
    victim = next(name for name, slave in stage.slaves.items() if slave.host and slave.host.address == client)
    other = next(name for name in stage.slaves if name != victim)
    stage.site_log.write_text(f"{log}{float(at_s) + 100:.3f} {client} /page/0 200\n")
    try:
        assert "1 too many" in " ".join(invariants.of_the_fetches(stage, []))

        def struck(kind: Kind, target: str, after_s: float) -> str:
            began_s = float(at_s) + after_s
            done = Done(Fault(kind, target, 1.0, 1.0, 0.0), began_s, began_s + 1)
            return " ".join(invariants.of_the_fetches(stage, [done]))

        assert struck(Kind.KILL_SLAVE, victim, 1) == ""
        assert "1 too many" in struck(Kind.KILL_SLAVE, victim, 200)  # it came after
        assert "1 too many" in struck(Kind.KILL_SLAVE, other, 1)  # it struck somebody else
        assert "1 too many" in struck(Kind.STOP_SLAVE, victim, 1)  # such a fault costs no fetch
    finally:
        stage.site_log.write_text(log)


@pytest.mark.root
def test_a_bench_that_is_stopped_leaves_nothing_and_goes_on_later(tmp_path: Path) -> None:
    argv = [
        sys.executable,
        "-m",
        "tests.fault.bench",
        "--first",
        "6",
        "--seeds",
        "3",
        "--jobs",
        "1",
        "--report",
        tmp_path,
    ]
    with Process(argv) as bench:
        eventually(lambda: (tmp_path / "seed-6" / "site.log").exists(), 40, "the first history is under way")
        os.kill(bench.pid, signal.SIGTERM)
        assert bench.wait(240) == 0  # that history is lived through to its end
        assert f"--report {tmp_path} goes on" in bench.output
    assert str(tmp_path) not in Path("/proc/mounts").read_text()
