"""The units on a system that boots: installed as the page says, they crawl, survive and stay quiet."""

import json
from collections import Counter
from collections.abc import Callable

import pytest
from tests.support.booted import BootedMachine, Entry
from tests.support.process import eventually
from tests.systems.conftest import commands

pytestmark = [pytest.mark.root, pytest.mark.timeout(900)]  # the first one may have to make the image

PAGES = 200
SCRIPT = f"""\
# rate: 20
from zspider import BaseHandler


class Handler(BaseHandler):
    def on_start(self):
        for number in range(1, {PAGES} + 1):
            self.crawl(f"http://127.0.0.1:8000/article/{{number}}.html", callback=self.article)

    def article(self, response):
        return {{"url": response.url, "title": response.doc("h1").text()}}
"""
WATCHDOG = "[Service]\nWatchdogSec=5s\nTimeoutAbortSec=2s\n"
INFO, WARNING, ERROR = 6, 4, 3
MASTER, SLAVE = "zspider-master.service", "zspider-slave.service"
Boot = Callable[[str], BootedMachine]


def start_master(machine: BootedMachine) -> None:
    for command in commands("The master"):
        machine.must("sh", "-c", command)


def start_slave(machine: BootedMachine, master: str = "127.0.0.1") -> None:
    """As the page has it, with a token of the master on the same machine."""
    token, address, start = commands("A slave")
    machine.must("sh", "-c", f"zspiderd token show | {token}")
    machine.must("sh", "-c", address.replace("192.168.1.3", master))
    machine.must("sh", "-c", start)


def start_crawl(machine: BootedMachine) -> None:
    machine.must("systemd-run", "--quiet", "--unit=demo-site", "/usr/bin/zspiderd", "demo-site")
    (machine.root / "root/articles.py").write_text(SCRIPT)  # where root alone can read it
    machine.must("zspiderd", "project", "push", "/root/articles.py")
    machine.must("zspiderd", "project", "start", "articles")


def results(machine: BootedMachine) -> Counter[str]:
    """How many results each page has."""
    ran = machine.run("zspiderd", "results", "articles", "--format", "jsonl")
    return Counter(json.loads(line)["url"] for line in ran.out.splitlines()) if ran.code == 0 else Counter()


def wait_results(machine: BootedMachine, number: int, deadline_s: float = 60.0) -> None:
    eventually(lambda: len(results(machine)) >= number, deadline_s, f"{number} results")


def slaves(machine: BootedMachine) -> int:
    ran = machine.run("zspiderd", "status", "--json")
    return len(json.loads(ran.out)["slaves"]) if ran.code == 0 else 0


def shown(machine: BootedMachine, unit: str, name: str) -> str:
    return machine.must("systemctl", "show", "--value", "-p", name, unit).strip()


def by_daemon(entries: list[Entry]) -> list[Entry]:
    """Without what systemd says about the unit."""
    return [entry for entry in entries if entry.by.startswith("zspider")]


def graver(entries: list[Entry]) -> list[Entry]:
    return [entry for entry in entries if entry.priority < INFO]


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
    for unit in (MASTER, SLAVE):
        assert (shown(machine, unit, "Result"), shown(machine, unit, "ExecMainStatus")) == ("success", "0")
        assert graver(machine.journal(unit)[calm[unit] :]) == [], "an end in peace says nothing grave"
        record_property(unit, Counter((entry.by, entry.priority) for entry in machine.journal(unit)))
        print(unit, *map(str, machine.journal(unit)), sep="\n")
    found = results(machine)  # read by root from the database itself: no master runs
    assert (len(found), set(found.values())) == (PAGES, {1})
    owners = machine.must("find", "/var/lib/zspider", "!", "-user", "zspider")
    assert owners == "", "root has read there, and left nothing of its own"
