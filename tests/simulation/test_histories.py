"""Histories of a master, its slaves and their database under faults; and bugs that they must find."""

import hashlib
import os
import subprocess
import sys

import pytest
from tests.simulation.bugs import BUGS
from tests.simulation.checks import Violation
from tests.simulation.faults import FAULTS, MODES
from tests.simulation.run import Summary, histories
from tests.simulation.world import World
from zspider.scheduler.leases import LeaseTable

EACH = 20  # histories of each mode; `python -m tests.simulation` runs as many as one likes
BUG_HISTORIES = 60  # in which each bug must be found
COSTS_NOTHING = ("master", "hung master", "database", "master and database", "connections", "outcomes forgotten")
WHERE = {  # they need these faults
    "no adopt wait": "master",
    "split commit": "database",
    "no epoch check": "takeover",
    "lost lease forgets the newest run": "slaves",
}


@pytest.mark.parametrize("mode", MODES)
def test_histories_hold(mode: str) -> None:
    first = 1000 * list(MODES).index(mode)  # other sites and machines than in other modes
    summary = Summary()
    for told in histories(range(first, first + EACH), mode):
        summary.add(told)
    print(f"seeds {first} to {first + EACH - 1}", *summary.lines(), sep="\n")
    assert summary.histories == EACH
    assert summary.faults.keys() <= set(MODES[mode])
    assert summary.faults.total() > EACH  # else this shows nothing
    if mode in COSTS_NOTHING:
        assert not summary.refetches.total()


def test_every_kind_of_fault_belongs_to_a_mode() -> None:
    assert {name for names in MODES.values() for name in names} == FAULTS.keys()


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    BUGS[bug](monkeypatch)
    for seed in range(BUG_HISTORIES):
        try:
            World(seed, WHERE.get(bug)).run()
        except Violation as violation:
            print(f"{bug}: found in history {seed + 1}: {violation}")
            return
    pytest.fail(f"{BUG_HISTORIES} histories did not find it")


def test_a_master_whose_memory_contradicts_itself_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its settings say that it looks twice a second."""
    monkeypatch.setattr(LeaseTable, "arrive", lambda self, lease: setattr(lease, "has_arrived", True))
    with pytest.raises(Violation, match=r"master1: session .* outcomes counted"):
        World(1, "calm").run()


def test_a_seed_gives_the_same_history_in_another_process() -> None:
    told = hashlib.sha256()
    World(7, "mixed", say=lambda line: told.update(line.encode())).run()
    program = (
        "import hashlib; from tests.simulation.run import quiet; from tests.simulation.world import World; quiet()\n"
        "told = hashlib.sha256(); World(7, 'mixed', say=lambda line: told.update(line.encode())).run()\n"
        "print(told.hexdigest())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "3"}
    other = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert other.stdout.strip() == told.hexdigest()
