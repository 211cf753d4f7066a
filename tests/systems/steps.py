"""What tests on booted machines do: start what the page says, crawl, and read what was said."""

import json
from collections import Counter
from collections.abc import Callable

from tests.support.booted import BootedMachine, Entry
from tests.support.process import eventually
from tests.systems.conftest import commands

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
INFO = 6  # the priority of what nobody need look at
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
    script = machine.root / "srv/articles.py"
    script.write_text(SCRIPT)
    script.chmod(0o600)  # root alone can read it
    machine.must("zspiderd", "project", "push", "/srv/articles.py")
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
