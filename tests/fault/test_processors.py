"""Scripts that loop, leak, die, fork and vandalise: each harms itself, and 200 good pages beside it never notice."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import psutil
import pytest
from tests.integration.slave.conftest import SCRIPT, World
from tests.support.hostile_scripts import ERRORS, PLACES, hostile_script
from tests.support.site import Site
from zspider.broker import messages as m
from zspider.delivery import End, Outcome
from zspider.roles.slave.processors import processing

pytestmark = pytest.mark.timeout(300)
GOOD = 200
LIMIT_S = 1.0
MEETS_S = 30.0  # for what ends by another limit, however busy the machine is
GRACE_S = 0.3
MEMORY_MIB = 128
TIMEOUT = "TimeoutError: process timeout"

HEAD = """
import ctypes, gc, json, os, re, signal, subprocess, sys, threading, time
from zspider import BaseHandler

kept = []
main_pid = os.getpid()

class Handler(BaseHandler):
    def fault(self, response):
"""


def script(body: str, top: str = "") -> str:
    """A script whose callback `fault` has this body; `top` runs when it is loaded."""
    indented = "\n".join("        " + line for line in dedent(body).strip("\n").splitlines())
    return top + HEAD + indented + "\n"


class Crawl:
    """A slave with two processors and a scripted master, under way."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.good = world.master.project(SCRIPT)

    def beside(self, text: str, limit_s: float = LIMIT_S) -> Outcome:
        """The outcome of one page of this script, while GOOD others must end well and be fetched once each."""
        (outcome,) = self.several([text], limit_s)
        return outcome

    def unloadable(self, text: str) -> str:
        """Why a page of this script goes back to the master, while GOOD others must end well."""
        master, site = self.world.master, self.world.site
        master.outcomes.clear()
        (bad,) = master.grant(master.project(text), site.url("/hello?bad"), callback="fault")
        good = master.grant(self.good, *[site.url(f"/hello?{i}") for i in range(GOOD)])

        def given_back() -> list[m.GiveBack]:
            return [one for one in master.said(m.GiveBack) if bad.number in one.numbers]

        self.world.until(lambda: given_back() and len(master.ended()) == len(good), "it goes back", 120)
        assert {ended.end for ended in master.ended().values()} == {End.SUCCESS}
        assert "/hello?bad" not in site.paths()
        (back,) = given_back()
        assert back.reason == "script"
        return str(back.error)

    def several(self, texts: list[str], limit_s: float = LIMIT_S, callback: str = "fault") -> list[Outcome]:
        """The same with a page of each of these scripts."""
        master, site = self.world.master, self.world.site
        site.log.clear()
        master.outcomes.clear()
        process = {"process_time_limit": limit_s}
        good, bad = [], []
        for part, text in enumerate(texts):
            urls = [site.url(f"/hello?{part}-{i}") for i in range(GOOD // len(texts))]
            good += master.grant(self.good, *urls[1::2])
            bad += master.grant(master.project(text), site.url(f"/hello?bad{part}"), callback=callback, process=process)
            good += master.grant(self.good, *urls[::2])
        self.world.until(lambda: len(master.ended()) == len(good) + len(bad), "all outcomes", deadline_s=120)
        ended = master.ended()
        assert {ended[grant.taskid].end for grant in good} == {End.SUCCESS}
        assert len(site.paths()) == len(set(site.paths())) == len(good) + len(bad)
        return [ended[grant.taskid] for grant in bad]


@pytest.fixture(scope="module")
def crawl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crawl]:
    """One for all faults: what one of them leaves behind is the next one's trouble."""
    with pytest.MonkeyPatch.context() as patch, Site() as site:
        patch.setattr(processing, "GRACE_S", GRACE_S)
        world = World(tmp_path_factory.mktemp("slave"), site)
        try:
            limits = {"process_time_limit_s": LIMIT_S, "memory_bytes": MEMORY_MIB << 20}
            world.slave(processors=2, processor=limits)
            yield Crawl(world)
        finally:
            world.close()


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A world without a slave yet."""
    monkeypatch.setattr(processing, "GRACE_S", GRACE_S)
    with Site() as site:
        world = World(tmp_path, site)
        try:
            yield world
        finally:
            world.close()


ENDLESS = {
    "a loop": "while True: pass",
    "a regular expression": "re.match('(a+)+$', 'a' * 60 + 'b')",
    "a loop in C": "sum(range(10 ** 15))",
    "a sleep": "time.sleep(10 ** 6)",
    "a sleep in C": "while True: ctypes.PyDLL(None).sleep(10 ** 6)  # any signal ends one of them",
    "a generator": "while True: yield None",
    "errors swallowed in a loop": """
        while True:
            try:
                while True: pass
            except BaseException: pass
    """,
    "a lock taken twice": "lock = threading.Lock(); lock.acquire(); lock.acquire()",
    "a thread that waits for its waiter": """
        lock = threading.Lock()
        lock.acquire()
        thread = threading.Thread(target=lock.acquire)
        thread.start()
        thread.join()
    """,
    "the timer stopped": """
        signal.setitimer(signal.ITIMER_REAL, 0)
        while True: pass
    """,
    "its signal ignored": """
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        while True: pass
    """,
    "itself stopped": "os.kill(os.getpid(), signal.SIGSTOP)",
}


@pytest.mark.parametrize("body", ENDLESS.values(), ids=ENDLESS)
def test_what_never_ends_is_ended_by_its_time_limit(crawl: Crawl, body: str) -> None:
    outcome = crawl.beside(script(body))
    assert (outcome.end, outcome.reason) == (End.FAILURE, TIMEOUT)


@pytest.mark.parametrize("top", ["while True: pass\n", "sum(range(10 ** 15))\n"], ids=["loop", "loop in C"])
def test_a_script_that_never_finishes_loading_is_ended_by_the_time_limit(crawl: Crawl, top: str) -> None:
    assert crawl.unloadable(script("pass", top)) == TIMEOUT


GREEDY = {
    "a growing list": "rows = []\nwhile True: rows.append([0] * 50)",
    "a growing list that outlives the run": "while True: kept.append(bytes(1000))",
    "one allocation of 10 GiB": "bytes(10 << 30)",
    "native memory": """
        from lxml import etree
        root = etree.Element("root")
        while True: etree.SubElement(root, "child").text = "x" * 1000
    """,
}


@pytest.mark.parametrize("body", GREEDY.values(), ids=GREEDY)
def test_too_much_memory_is_a_failure_that_says_the_limit_and_the_peak(crawl: Crawl, body: str) -> None:
    outcome = crawl.beside(script(body), MEETS_S)
    assert outcome.end is End.FAILURE
    said = re.fullmatch(
        r"MemoryError: over 128 MiB \(processor\.memory_bytes\), peak resident memory (\d+) MiB", outcome.reason
    )
    assert said, outcome.reason
    assert 20 < int(said[1]) < 256


def test_a_script_that_takes_all_memory_while_it_is_loaded_says_so(crawl: Crawl) -> None:
    said = crawl.unloadable(script("pass", "kept = []\nwhile True: kept.append(bytes(1_000_000))\n"))
    assert "over 128 MiB (processor.memory_bytes)" in said


DEADLY = {
    "exit code 0": "os._exit(0)",
    "exit code 3": "os._exit(3)",
    "signal 11 (SIGSEGV)": "ctypes.string_at(0)",
    "signal 6 (SIGABRT)": "os.abort()",
    "signal 9 (SIGKILL)": "os.kill(os.getpid(), 9)",
}


@pytest.mark.parametrize(("how", "body"), DEADLY.items(), ids=DEADLY)
def test_a_page_that_kills_three_processors_fails_with_what_is_known(crawl: Crawl, how: str, body: str) -> None:
    outcome = crawl.beside(script("os.write(2, b'last words\\n')\n" + body))
    assert outcome.end is End.FATAL
    assert outcome.reason.startswith(f"killed its processor 3 times: {how}, peak memory ")
    assert "last words" in outcome.reason


SEVERED = {
    "closed": "os.closerange(0, 1000)",
    "closed, but for a child's copy": """
        fds = [int(fd) for fd in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd/" + fd)]
        subprocess.Popen(["sleep", "1000"], pass_fds=fds)
        os.closerange(0, 1000)
    """,
    "closed and reused": """
        os.closerange(0, 1000)
        for _ in range(50): os.open("/dev/null", os.O_RDWR)
    """,
    "replaced by sockets": """
        import socket
        ours, theirs = socket.socketpair()
        for fd in range(200):
            if fd not in (ours.fileno(), theirs.fileno()): os.dup2(theirs.fileno(), fd)
    """,
}


@pytest.mark.parametrize("body", SEVERED.values(), ids=SEVERED)
def test_a_page_that_cuts_its_processor_off_is_charged_for_it(crawl: Crawl, body: str) -> None:
    outcome = crawl.beside(script(body))
    assert outcome.end is End.FATAL
    assert outcome.reason.startswith("killed its processor 3 times: ")


HARMLESS = {
    "sys.exit": ("sys.exit()", "SystemExit"),
    "sys.exit with a number": ("sys.exit(3)", "SystemExit: 3"),
    "standard input read": ("sys.stdin.read(); return input()", "EOFError: EOF when reading a line"),
    "a child that never comes back": ("if os.fork() == 0: time.sleep(1000)", ""),
    "a child that comes back": ("os.fork()", ""),
    "a child that raises": ("if os.fork() == 0: raise ValueError", ""),
    "a child that exits": ("if os.fork() == 0: sys.exit(3)", ""),
    "a process left behind": ("subprocess.Popen(['sleep', '1000'])", ""),
    "a daemon thread left running": ("threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()", ""),
    "a thread left running": ("threading.Thread(target=time.sleep, args=(1000,)).start()", ""),
    "a thread that raises": ("threading.Thread(target=lambda: 1 / 0).start()", ""),
    "standard files replaced": ("for fd in range(3): os.dup2(os.open('/dev/null', os.O_RDWR), fd)", ""),
    "another directory and mask": ("os.chdir('/proc/self/fd'); os.umask(0o777)", ""),
    "signals ignored": ("for name in ('TERM', 'INT', 'ALRM'): signal.signal(signal.Signals['SIG' + name], 1)", ""),
    "the timer stopped": ("signal.setitimer(signal.ITIMER_REAL, 0)", ""),
    "a trace function": ("sys.settrace(lambda *_: 1 / 0); sys.setprofile(lambda *_: 1 / 0)", "ZeroDivisionError"),
    "a tiny recursion limit": (
        "sys.setrecursionlimit(len(__import__('inspect').stack()) + 5)\ndown = lambda n: n and down(n - 1)\ndown(9)",
        "RecursionError",
    ),
    "endless recursion": ("def down(): down()\ndown()", "RecursionError: maximum recursion depth exceeded"),
    "no collector": ("gc.disable()", ""),
    "modules replaced and an error": (
        "time.time = time.monotonic = json.dumps = None; return {}['x']",
        "KeyError: 'x'",
    ),
    "modules replaced": ("json.dumps = json.loads = time.time = time.monotonic = time.perf_counter = None", ""),
    "a hostile standard output": ("sys.stdout = sys.stderr = sys.__stdout__ = object(); print(1)", "AttributeError"),
    "a lost standard output": ("sys.stdout = sys.stderr = None; print(1)", ""),
}


@pytest.mark.parametrize(("body", "reason"), HARMLESS.values(), ids=HARMLESS)
def test_what_is_bad_taste_harms_nobody(crawl: Crawl, body: str, reason: str) -> None:
    outcome = crawl.beside(script(body))
    assert outcome.end is (End.FAILURE if reason else End.SUCCESS), outcome.reason
    assert outcome.reason.startswith(reason)


def test_recursion_without_a_limit_ends_too(crawl: Crawl) -> None:
    outcome = crawl.beside(script("sys.setrecursionlimit(10 ** 9)\ndef down(): down()\ndown()"), MEETS_S)
    assert outcome.end in (End.FAILURE, End.FATAL)  # by time, memory or a signal: the interpreter does not say which


def test_many_children_that_come_back_take_nobodys_page(crawl: Crawl) -> None:
    forking = script("os.fork()\nreturn os.getpid() == main_pid")
    outcomes = crawl.several([forking] * 20)
    assert [(outcome.end, outcome.results) for outcome in outcomes] == [(End.SUCCESS, [b"true"])] * 20


def test_a_child_that_is_forked_while_the_script_is_loaded_runs_no_page(crawl: Crawl) -> None:
    top = "import os, time\nfirst = os.getpid()\nif os.fork(): time.sleep(0.3)\n"  # the child would be the faster one
    outcome = crawl.beside(script("return os.getpid() == first", top))
    assert (outcome.end, outcome.results) == (End.SUCCESS, [b"true"])


@pytest.mark.parametrize("write", ["print(text)", "os.write(1, text.encode())"], ids=["print", "write"])
def test_a_gigabyte_of_output_holds_up_nobody(crawl: Crawl, write: str) -> None:
    outcome = crawl.beside(script(f"text = 'x' * 99 + '\\n'\ntext *= 10_000\nfor _ in range(1000): {write}"), 20.0)
    assert outcome.end is End.SUCCESS, outcome.reason


def test_many_deadly_pages_at_once_are_each_charged_for_themselves(crawl: Crawl) -> None:
    outcomes = crawl.several([script(f"os._exit({code})") for code in range(10, 15)])
    for code, outcome in enumerate(outcomes, 10):
        assert outcome.end is End.FATAL
        assert outcome.reason.startswith(f"killed its processor 3 times: exit code {code}, ")


def test_a_page_whose_time_bomb_kills_another_ones_processor_costs_the_other_nothing(crawl: Crawl) -> None:
    bomb = "threading.Timer(0.01, os._exit, (9,)).start()"
    slow = "time.sleep(0.05)"
    outcomes = crawl.several([script(bomb), script(slow)] * 5)
    assert {outcome.end for outcome in outcomes[1::2]} == {End.SUCCESS}


def test_a_handler_that_answers_nothing_any_more_fails_its_page_with_its_own_error(crawl: Crawl) -> None:
    outcome = crawl.beside(script("type(self).__getattribute__ = lambda *_: 1 / 0"))
    assert (outcome.end, outcome.reason) == (End.FAILURE, "ZeroDivisionError: division by zero")


def processors() -> set[int]:
    """The pids of the processors that run."""
    return {one.pid for one in psutil.Process().children() if "zspider.roles.processor" in one.cmdline()}


HOSTILE = [place for place in PLACES if place != "crawl_config"]  # such a script cannot be loaded


@pytest.mark.parametrize("error", ["SystemExit('mine')", "KeyboardInterrupt('mine')", "Own('mine')", "Liar('mine')"])
def test_what_hostile_handlers_raise_is_their_pages_failure_and_no_processor_dies_of_it(
    crawl: Crawl, error: str
) -> None:
    places = [place for place in HOSTILE if (place, error) != ("a coroutine", "Liar('mine')")]  # asyncio asks the error
    before = processors()
    imports = "import sys\nfrom zspider import BaseHandler\n"
    texts = [imports + hostile_script(PLACES[place], error) for place in places]
    outcomes = [one for half in (texts[::2], texts[1::2]) for one in crawl.several(half, MEETS_S, "page")]
    places = places[::2] + places[1::2]
    for place, outcome in zip(places, outcomes, strict=True):
        said = outcome.reason.removeprefix("self.save cannot be kept: ")
        assert (place, outcome.end, said) == (place, End.FAILURE, ERRORS[error])
    assert processors() == before


LEFT = """
    pids = []
    for options in ({}, {"process_group": 0}, {"start_new_session": True}):
        pids.append(subprocess.Popen(["sleep", "1000"], **options).pid)
    if not (pid := os.fork()):
        os.setsid()
        while True: time.sleep(1000)
    threading.Thread(target=time.sleep, args=(1000,)).start()
    return [*pids, pid, os.getpid()]
"""


@pytest.mark.parametrize("end", ["os._exit(0)", "while True: pass", "recycled", "slave closed"])
def test_what_a_page_leaves_behind_is_gone_with_its_processor(small: World, end: str) -> None:
    slave = small.slave(processor={"process_time_limit_s": LIMIT_S, "recycle_tasks": 2})
    small.master.grant(small.master.project(script(LEFT)), small.site.url("/hello"), callback="fault")
    small.until(small.master.results, "the pids")
    (pids,) = small.master.results()
    assert all(psutil.pid_exists(pid) for pid in pids)
    if end == "slave closed":
        slave.close()
        small.slaves.remove(slave)
    else:
        body = "pass" if end == "recycled" else f"signal.setitimer(signal.ITIMER_REAL, 0)\n{end}"
        small.master.grant(small.master.project(script(body)), small.site.url("/hello?end"), callback="fault")
    small.until(lambda: not any(map(is_alive, pids)), "they are gone")


def test_a_processor_is_replaced_after_so_many_pages(small: World) -> None:
    small.slave(processors=2, processor={"recycle_tasks": 20})
    text = small.master.project(script("return os.getpid()"))
    small.master.grant(text, *[small.site.url(f"/hello?{i}") for i in range(GOOD)], callback="fault")
    small.until(lambda: len(small.master.ended()) == GOOD, "all outcomes")
    pages = Counter(small.master.results())
    assert sum(pages.values()) == GOOD
    assert max(pages.values()) == 20
    assert len(small.site.paths()) == len(set(small.site.paths())) == GOOD


def test_a_processor_that_keeps_too_much_memory_is_replaced(small: World) -> None:
    small.slave(processor={"recycle_mib": 150})
    grow = script("kept.append(b'x' * (10 << 20))\ntime.sleep(0.05)\nreturn [os.getpid(), len(kept)]")
    text = small.master.project(grow)
    small.master.grant(text, *[small.site.url(f"/hello?{i}") for i in range(40)], callback="fault")
    small.until(lambda: len(small.master.ended()) == 40, "all outcomes")
    results = small.master.results()
    assert len({pid for pid, _ in results}) > 40 // 25
    assert 8 < max(kept for _, kept in results) < 25  # one weighing is within 0.25 s, five pages
    assert len(small.site.paths()) == len(set(small.site.paths())) == 40


def is_alive(pid: int) -> bool:
    """Whether it runs; what nobody has waited for does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
