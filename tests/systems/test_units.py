"""The units on a system that boots: installed as the page says, they crawl, survive and stay quiet."""

from collections import Counter
from collections.abc import Callable

import pytest
from tests.support.process import eventually
from tests.systems.steps import (
    MASTER,
    PAGES,
    SLAVE,
    Boot,
    by_daemon,
    graver,
    results,
    shown,
    slaves,
    start_crawl,
    start_master,
    start_slave,
    wait_results,
)

pytestmark = [pytest.mark.root, pytest.mark.timeout(900)]  # the first one may have to make the image

WATCHDOG = "[Service]\nWatchdogSec=5s\nTimeoutAbortSec=2s\n"


def test_a_master_and_a_slave_crawl_and_live_through_a_reload_a_hang_and_their_end(
    boot: Boot, record_property: Callable[[str, object], None]
) -> None:
    machine = boot("whole")
    drop_in = machine.root / f"etc/systemd/system/{MASTER}.d/quick.conf"
    drop_in.parent.mkdir()
    drop_in.write_text(WATCHDOG)
    start_master(machine)
    start_slave(machine)
    eventually(lambda: slaves(machine) == 2, 30, "the local slave and the other have joined")
    start_crawl(machine)

    wait_results(machine, 40)
    before = shown(machine, MASTER, "MainPID")
    machine.must("systemctl", "reload", MASTER, SLAVE)
    eventually(lambda: [e for e in machine.journal(MASTER) if "reloaded" in e.text], 10, "the reload in the journal")
    wait_results(machine, 60)
    assert shown(machine, MASTER, "MainPID") == before
    for unit in (MASTER, SLAVE):
        assert graver(machine.journal(unit)) == [], "nothing but info until somebody is harmed"

    machine.must("sh", "-c", f"kill -STOP {before}")
    eventually(lambda: shown(machine, MASTER, "NRestarts") == "1", 30, "the watchdog ends the master that hangs")
    eventually(lambda: shown(machine, MASTER, "ActiveState") == "active", 30, "it is started again")
    wait_results(machine, PAGES, 120)
    eventually(lambda: slaves(machine) == 2, 30, "both slaves are back")

    calm = {unit: len(machine.journal(unit)) for unit in (MASTER, SLAVE)}
    machine.must("systemctl", "stop", SLAVE)
    machine.must("systemctl", "stop", MASTER)
    assert graver(by_daemon(machine.journal(MASTER))) == []
    grave = {entry.text.split()[1] for entry in graver(by_daemon(machine.journal(SLAVE)))}
    assert grave <= {"master_silent"}, "a hang that lasts is told as silence, and as nothing else"
    for unit in (MASTER, SLAVE):
        assert (shown(machine, unit, "Result"), shown(machine, unit, "ExecMainStatus")) == ("success", "0")
        assert graver(machine.journal(unit)[calm[unit] :]) == [], "an end in peace says nothing grave"
        record_property(unit, Counter((entry.by, entry.priority) for entry in machine.journal(unit)))
        print(unit, *map(str, machine.journal(unit)), sep="\n")
    found = results(machine)  # read by root from the database itself: no master runs
    assert (len(found), set(found.values())) == (PAGES, {1})
    owners = machine.must("find", "/var/lib/zspider", "!", "-user", "zspider")
    assert owners == "", "root has read there, and left nothing of its own"
