"""Slaves that reach their master's control port and not its others: they say so, and others do their work."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from tests.support.cluster import PORT, Cluster, Master, Slave
from tests.support.netns import Network
from tests.support.process import eventually
from tests.support.ways import Ways

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]
OUTCOMES, PAGES_IN, PAGES_OUT = PORT + 1, PORT + 2, PORT + 3
PAGES = 300
SAID = "cannot deliver its outcomes"
SCRIPT = """\
from zspider import BaseHandler


class Handler(BaseHandler):
    def on_start(self):
        self.crawl(["data:,%d" % number for number in range({pages})], callback=self.page)

    def page(self, response):
        return {{"text": response.text}}
"""
WITHIN_S = 60.0  # before it is said, and before others have the work: 10 + 6 s, on a busy machine


class Scene:
    """A master, slaves on hosts of their own, and their ways."""

    def __init__(self, network: Network, cluster: Cluster) -> None:
        self.network = network
        self.cluster = cluster
        self.master: Master = cluster.master(host=network.host("master")).start()
        self.slaves: dict[str, Slave] = {}
        self.ways: dict[str, Ways] = {}

    def slave(self, name: str, ports: list[int], fault: str = "", roles: list[str] | None = None) -> None:
        """Start a slave, with a fault of its ways from the beginning or without one."""
        host = self.network.host(name)
        self.ways[name] = Ways(host, self.master.address, ports)
        if fault:
            getattr(self.ways[name], fault)()
        section = {"roles": roles} if roles else {}
        self.slaves[name] = self.cluster.slave(self.master, host=host, slave=section).start()

    def begin(self, project: str = "pages", pages: int = PAGES) -> None:
        self.master.begin(project, SCRIPT.format(pages=pages))

    def rows(self) -> dict[int, dict[str, Any]]:
        return {row["pid"]: row for row in self.master.slaves()}

    def row(self, name: str) -> dict[str, Any]:
        return self.rows()[self.slaves[name].process.pid]

    def wait_said(self, names: list[str], text: str) -> None:
        for name in names:
            process = self.slaves[name].process
            eventually(lambda p=process: text in p.output, WITHIN_S, f"{name} says that it {text}")  # type: ignore[misc]

    def wait_clean(self, names: list[str]) -> None:
        """Nobody holds anything, everybody wants work, and nobody complains."""

        def is_clean() -> bool:
            found = self.rows()
            rows = [found[self.slaves[name].process.pid] for name in names]
            return all(not (row["leased"] or row["outbox"] or row["note"]) and row["window"] for row in rows)

        eventually(is_clean, WITHIN_S, "all hold nothing and want work")

    def said(self, name: str, event: str) -> int:
        return self.slaves[name].process.output.count(event)


@pytest.fixture
def scene(network: Network, cluster: Cluster) -> Iterator[Scene]:
    scene = Scene(network, cluster)
    with ExitStack() as stack:
        stack.callback(lambda: [ways.heal() for ways in scene.ways.values()])
        yield scene


def texts(master: Master, project: str = "pages") -> list[str]:
    return sorted(row["result"]["text"] for row in master.results(project))


def wanted(pages: int = PAGES) -> list[str]:
    return sorted(str(number) for number in range(pages))


@pytest.mark.parametrize("fault", ["drop", "reset", "swallow"])
def test_a_project_whose_only_slave_cannot_deliver_says_so_and_goes_on_when_it_can(scene: Scene, fault: str) -> None:
    scene.slave("lame", [OUTCOMES], fault)
    scene.master.wait_slaves(1)
    scene.begin()
    scene.wait_said(["lame"], SAID)
    eventually(lambda: SAID in scene.row("lame")["note"], WITHIN_S, "the note in the status")
    assert scene.row("lame")["window"] == 0
    told = scene.master.ask("why", "pages")
    assert f"{SAID}: it has no connection to port {OUTCOMES}" in " ".join(told.split()), told
    assert "slaves busy" not in told
    scene.ways["lame"].heal()
    scene.master.wait_done("pages", PAGES)
    scene.wait_clean(["lame"])
    assert texts(scene.master) == wanted()
    assert (scene.said("lame", "cannot_deliver"), scene.said("lame", "delivers_again")) == (1, 1)


def test_what_slaves_hold_that_cannot_deliver_goes_to_one_that_can(scene: Scene) -> None:
    lame = ["drop", "reset", "swallow"]
    for fault in lame:
        scene.slave(fault, [OUTCOMES, PAGES_IN, PAGES_OUT], fault)
    scene.master.wait_slaves(3)
    scene.begin()
    scene.slave("sound", [])
    scene.master.wait_done("pages", PAGES, 90)
    assert texts(scene.master) == wanted()
    scene.wait_said(lame, SAID)
    for name in lame:
        scene.ways[name].heal()
    scene.wait_clean([*lame, "sound"])
    assert scene.said("sound", "cannot_deliver") == 0
    assert all(scene.said(name, "cannot_deliver") == 1 for name in lame)
    counts = scene.master.counts("pages")
    assert (counts["results"], counts.get("failed", 0)) == (PAGES, 0)


def test_connections_that_are_cut_later_or_forgotten_by_a_router(scene: Scene) -> None:
    faults = ["drop", "reset", "forget"]
    for fault in faults:
        scene.slave(fault, [OUTCOMES])
    scene.slave("sound", [])
    scene.master.wait_slaves(4)
    scene.begin("before")
    scene.master.wait_done("before", PAGES)
    for fault in faults:
        getattr(scene.ways[fault], fault)()
    scene.begin("pages")
    scene.master.wait_done("pages", PAGES, 90)
    assert texts(scene.master) == wanted()
    scene.wait_said(["drop", "reset"], SAID)
    for fault in faults:
        scene.ways[fault].heal()
    scene.wait_clean([*faults, "sound"])
    assert scene.said("forget", "cannot_deliver") == 0  # a new connection was all it needed


@pytest.mark.parametrize(
    ("roles", "port", "said"),
    [
        (["fetcher"], PAGES_IN, "cannot pass on its pages"),
        (["fetcher"], OUTCOMES, "cannot deliver its outcomes"),
        (["processor"], PAGES_OUT, "gets no pages"),
        (["processor"], OUTCOMES, "cannot deliver its outcomes"),
    ],
    ids=["pages-in", "fetcher's outcomes", "pages-out", "processor's outcomes"],
)
def test_slaves_with_one_role(scene: Scene, roles: list[str], port: int, said: str) -> None:
    lame = ["drop", "reset", "swallow"]
    for fault in lame:
        scene.slave(fault, [port], fault, roles)
    for role in ("fetcher", "processor"):
        scene.slave(f"sound-{role}", [], "", [role])
    scene.master.wait_slaves(5)
    scene.begin()
    scene.master.wait_done("pages", PAGES, 120)
    assert texts(scene.master) == wanted()
    scene.wait_said(lame, said)
    for name in lame:
        scene.ways[name].heal()
    scene.wait_clean([*lame, "sound-fetcher", "sound-processor"])
    assert all(scene.said(name, "cannot_deliver") == 1 for name in lame)
    assert all(scene.said(f"sound-{role}", "cannot_deliver") == 0 for role in ("fetcher", "processor"))


def test_connections_of_the_relay_that_are_cut_later_or_forgotten(scene: Scene) -> None:
    for role, port in (("fetcher", PAGES_IN), ("processor", PAGES_OUT)):
        for fault in ("drop", "forget"):
            scene.slave(f"{role}-{fault}", [port], "", [role])
        scene.slave(f"{role}-sound", [], "", [role])
    scene.master.wait_slaves(6)
    scene.begin("before")
    scene.master.wait_done("before", PAGES)
    for role in ("fetcher", "processor"):
        scene.ways[f"{role}-drop"].drop()
        scene.ways[f"{role}-forget"].forget()
    scene.begin("pages")
    scene.master.wait_done("pages", PAGES, 120)
    assert texts(scene.master) == wanted()
    scene.wait_said(["fetcher-drop"], "cannot pass on its pages")
    scene.wait_said(["processor-drop"], "gets no pages")
    for ways in scene.ways.values():
        ways.heal()
    scene.wait_clean([*scene.slaves])
    assert not any(scene.said(f"{role}-forget", "cannot_deliver") for role in ("fetcher", "processor"))


def test_why_names_the_processing_slave_that_gets_no_pages(scene: Scene) -> None:
    scene.slave("fetcher", [], "", ["fetcher"])
    scene.slave("lame", [PAGES_OUT], "drop", ["processor"])
    scene.master.wait_slaves(2)
    scene.begin()
    scene.wait_said(["lame"], "gets no pages")
    eventually(_says(scene, "gets no pages"), WITHIN_S, "why names it")
    scene.ways["lame"].heal()
    scene.master.wait_done("pages", PAGES)
    scene.wait_clean(["fetcher", "lame"])


def _says(scene: Scene, text: str) -> Callable[[], bool]:
    return lambda: text in scene.master.ask("why", "pages")
