"""A processor process at work: pages in over a real pipe, outcomes out."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256

import msgspec
import psutil
import pytest
from tests.support.processors import ROOT, ProcessorAtWork, processor, track_of, wait_until_gone
from zspider.broker.messages import Known, Retired
from zspider.broker.pipe import Pipe
from zspider.delivery import End
from zspider.roles.processor.current_page import CurrentPage
from zspider.task import CRONJOB, GET_INFO, ScriptInfo

ARTICLE = (ROOT / "examples" / "article.py").read_text()
STAR = "from pyspider.libs.base_handler import *\n"


@pytest.fixture
def worker() -> Iterator[ProcessorAtWork]:
    with processor(process_time_limit_s=10) as at_work:
        yield at_work


def info_of(outcome) -> ScriptInfo:
    return msgspec.msgpack.decode(outcome.info, type=ScriptInfo)


def test_a_page_becomes_an_outcome(worker):
    script = worker.send_script(ARTICLE)
    content = "<html><head><title>Über</title></head><body></body></html>".encode()
    outcome = worker.outcome(worker.send_page(script, "detail_page", content))
    assert (outcome.project, outcome.taskid, outcome.run, outcome.attempt, outcome.proof) == (1, "t", 3, 2, b"p" * 16)
    assert (outcome.end, outcome.reason, outcome.fetch_ms) == (End.SUCCESS, "", 100)
    assert [json.loads(result) for result in outcome.results] == [{"url": "http://site.example/p", "title": "Über"}]
    assert track_of(outcome)["fetch"]["status_code"] == 200
    assert worker.stop() == 0
    assert worker.log == ""


def test_the_follows_of_a_large_page_come_in_parts_before_the_final_outcome(worker):
    script = worker.send_script(ARTICLE)
    parts, final = worker.answers(worker.send_page(script, "on_start", taskid="on_start"))
    assert {part.end for part in parts} == {End.PART}
    assert len(parts) >= 22
    assert all(part.results == [] and part.track is None for part in parts)
    assert max(len(outcome.follows) for outcome in [*parts, final]) <= 500
    assert max(len(msgspec.msgpack.encode(outcome)) for outcome in [*parts, final]) <= 200 * 1024
    urls = [follow.url for outcome in [*parts, final] for follow in outcome.follows]
    assert urls == [f"http://127.0.0.1:8000/article/{i}.html" for i in range(1, 11111)]
    assert {follow.priority for follow in final.follows} == {2}
    assert (final.end, track_of(final)["process"]["follows"]) == (End.SUCCESS, 11110)


def test_large_follows_make_small_parts(worker):
    script = worker.send_script(
        STAR + "class H(BaseHandler):\n"
        "    def page(self):\n"
        "        for i in range(20): self.crawl('http://a/%d' % i, data='x' * (70_000 if i else 300_000))\n"
    )
    parts, final = worker.answers(worker.send_page(script))
    assert [len(outcome.follows) for outcome in [*parts, final]] == [1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1]


def test_an_exception_is_a_failure_with_a_reason_and_logs(worker):
    script = worker.send_script(
        STAR + "class H(BaseHandler):\n"
        "    def page(self, response):\n"
        "        print('printed')\n"
        "        logger.warning('logged')\n"
        "        raise KeyError('gone')\n"
    )
    outcome = worker.outcome(worker.send_page(script))
    assert (outcome.end, outcome.reason) == (End.FAILURE, "KeyError: 'gone'")
    logs = track_of(outcome)["process"]["logs"]
    assert logs.startswith("printed\n[W ")
    assert "logged\n[E " in logs
    assert 'File "<demo>", line 6, in page\n    raise KeyError' in logs
    assert worker.stop() == 0
    assert worker.log == ""  # nothing leaked to the slave's terminal


def test_a_busy_loop_is_stopped_and_the_processor_goes_on():
    text = STAR + "class H(BaseHandler):\n    def page(self):\n        while True: pass\n    def good(self): return 1\n"
    with processor(process_time_limit_s=0.2) as worker:
        script = worker.send_script(text)
        outcome = worker.outcome(worker.send_page(script))
        assert (outcome.end, outcome.reason) == (End.FAILURE, "TimeoutError: process timeout")
        assert outcome.process_ms >= 200
        assert worker.outcome(worker.send_page(script, "good")).results == [b"1"]


def test_a_script_that_loops_while_it_is_loaded_is_stopped():
    with processor(process_time_limit_s=0.2) as worker:
        outcome = worker.outcome(worker.send_page(worker.send_script("while True: pass")))
        assert (outcome.end, outcome.reason) == (End.FAILURE, "TimeoutError: process timeout")


def test_a_processor_that_meets_its_memory_limit_says_so_and_retires():
    text = STAR + "class H(BaseHandler):\n    def page(self): return len('x' * 2**30)\n"
    with processor(memory_bytes=256 * 1024 * 1024) as worker:
        outcome = worker.outcome(worker.send_page(worker.send_script(text)))
        assert (outcome.end, outcome.reason[:45]) == (End.FAILURE, "MemoryError: over 256 MiB (processor.memory_b")
        assert worker.receive() == Retired("processor.memory_bytes")
        assert worker.process.wait(30) == 0


def test_what_one_page_leaves_in_cycles_does_not_fail_the_next():
    text = STAR + (
        "import time\n"
        "class H(BaseHandler):\n"
        "    def page(self):\n"
        "        cycle = [bytearray(150 * 2**20)]\n"
        "        cycle.append(cycle)\n"
        "        time.sleep(0.3)\n"  # longer than WEIGH_S
    )
    with processor(memory_bytes=256 * 1024 * 1024) as worker:
        script = worker.send_script(text)
        outcomes = [worker.outcome(worker.send_page(script)) for _ in range(3)]
        assert [outcome.reason for outcome in outcomes] == [""] * 3


def test_a_processor_retires_after_so_many_pages(tmp_path):
    gate = tmp_path / "gate"  # shut until all pages were sent: the last one would find nobody
    with processor(recycle_tasks=2) as worker:
        script = worker.send_script(
            STAR + "import os, time\n"
            "class H(BaseHandler):\n"
            "    def page(self):\n"
            f"        while not os.path.exists({str(gate)!r}): time.sleep(0.01)\n"
            "        return 1\n"
        )
        numbers = [worker.send_page(script) for _ in range(3)]
        gate.touch()
        assert [worker.outcome(number).results for number in numbers[:2]] == [[b"1"], [b"1"]]
        assert worker.receive() == Retired("2 pages (processor.recycle_tasks)")
        assert worker.process.wait(30) == 0
        assert worker.running.page == 0


def test_get_info_tells_what_a_script_declares(worker):
    script = worker.send_script(
        STAR + "class H(BaseHandler):\n"
        "    crawl_config = {'timeout': 5}\n"
        "    retry_delay = {0: 1, '': 2}\n"
        "    @every(seconds=90)\n"
        "    def a(self): pass\n"
        "    @every(minutes=2)\n"
        "    def b(self): pass\n"
    )
    outcome = worker.outcome(worker.send_page(script, GET_INFO, taskid=GET_INFO))
    assert outcome.end is End.SUCCESS
    info = info_of(outcome)
    assert msgspec.msgpack.decode(info.crawl_config) == {"timeout": 5}
    assert (info.retry_delay, info.min_tick, info.error) == ({"0": 1, "": 2}, 30, "")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("def (", "SyntaxError: invalid syntax (line 1)"),
        ("x = 1", "need BaseHandler in project module"),
        (
            STAR + "class H(BaseHandler): crawl_config = 5",
            "crawl_config or retry_delay: TypeError: 'int' object is not a mapping",
        ),
    ],
)
def test_get_info_tells_why_a_script_cannot_be_used(worker, text, error):
    outcome = worker.outcome(worker.send_page(worker.send_script(text), GET_INFO, taskid=GET_INFO))
    assert (outcome.end, outcome.reason, info_of(outcome).error) == (End.FAILURE, error, error)


def test_a_page_of_a_broken_script_fails_and_keeps_its_save(worker):
    script = worker.send_script("1 / 0")
    outcome = worker.outcome(worker.send_page(script, task={"track": {"save": {"n": 1}}}))
    assert (outcome.end, outcome.reason) == (End.FAILURE, "ZeroDivisionError: division by zero")
    track = track_of(outcome)
    assert track["save"] == {"n": 1}
    assert 'File "<demo>", line 1' in track["process"]["logs"]


def test_a_script_sees_its_project_as_it_is_when_the_script_is_loaded_and_at_each_page(worker):
    names = "[self.project[name] for name in ('group', 'rate', 'burst', 'updatetime')]"
    script = worker.send_script(
        STAR
        + f"class H(BaseHandler):\n    first = __project__['rate']\n    def page(self): return [self.first, {names}]"
    )
    seen = []
    for rate in (2.0, 3.0):
        number = worker.send_page(script, group="g", rate=rate, burst=5.0, updated_ms=1_700_000_000_500)
        seen.append(msgspec.json.decode(worker.outcome(number).results[0]))
    assert seen == [[2.0, ["g", rate, 5.0, 1_700_000_000.5]] for rate in (2.0, 3.0)]


def test_a_schedule_that_a_callback_changes_travels_with_the_outcome(worker):
    script = worker.send_script(
        STAR + "class H(BaseHandler):\n    def page(self, response, task): task['schedule']['priority'] = 5"
    )
    schedule = worker.outcome(worker.send_page(script, task={"schedule": {"retried": 1}})).schedule
    assert (schedule.priority, schedule.retried, schedule.packed) == (5, 1, msgspec.msgpack.encode({"priority": 5}))


@pytest.mark.parametrize("taskid", ["t", GET_INFO])
def test_a_missing_module_is_this_slaves_problem(worker, taskid):
    script = worker.send_script("import not_here_at_all")
    failure = worker.failure(worker.send_page(script, taskid=taskid))
    assert (failure.script, failure.error) == (script, "ModuleNotFoundError: No module named 'not_here_at_all'")


def test_a_script_that_was_not_sent_may_be_sent_later(worker):
    text = STAR + "class H(BaseHandler):\n    def page(self): return 1\n"
    digest = sha256(text.encode()).digest()
    assert "not sent" in worker.failure(worker.send_page(digest)).error
    worker.send_script(text)
    assert worker.outcome(worker.send_page(digest)).results == [b"1"]


def test_each_version_of_a_script_and_each_project_has_its_own_module(worker):
    text = (
        STAR
        + "class H(BaseHandler):\n    n = 0\n    def page(self):\n        self.n += 1\n        return 'V%d' % self.n\n"
    )
    first, second = worker.send_script(text), worker.send_script(text.replace("V", "W"))
    pages = [(first, 1), (second, 1), (first, 1), (first, 2), (second, 1)]
    numbers = [worker.send_page(script, project=project) for script, project in pages]
    assert [worker.outcome(number).results for number in numbers] == [
        [b'"V1"'],
        [b'"W1"'],
        [b'"V2"'],
        [b'"V1"'],
        [b'"W2"'],
    ]


def test_cron_methods_run_for_the_ticks_that_passed(worker):
    script = worker.send_script(
        STAR + "class H(BaseHandler):\n"
        "    @every(seconds=20)\n"
        "    def often(self): self.crawl('http://a/often')\n"
        "    @every(minutes=5)\n"
        "    def seldom(self): self.crawl('http://a/seldom')\n"
    )
    for since, tick, names in [(100, 119, []), (100, 120, ["often"]), (100, 320, ["often", "seldom"])]:
        number = worker.send_page(script, CRONJOB, taskid=CRONJOB, fetch={"save": {"since": since, "tick": tick}})
        assert [follow.url.rpartition("/")[2] for follow in worker.outcome(number).follows] == names


def test_save_and_binary_data_cross_the_pipe_unchanged(worker):
    script = worker.send_script(
        STAR + "class H(BaseHandler):\n"
        "    def page(self, response):\n"
        "        self.save['next'] = response.save\n"
        "        self.crawl('http://a/', data=response.content, save={'b': b'\\xff'})\n"
    )
    content = bytes(range(256)) * 2000  # more than one frame
    save = [1, b"\x00", None, *range(30_000)]
    outcome = worker.outcome(worker.send_page(script, content=content, fetch={"save": save}))
    assert track_of(outcome)["save"] == {"next": save}
    assert msgspec.msgpack.decode(outcome.follows[0].body)["fetch"] == {
        "data": content,
        "save": {"b": b"\xff"},
        "method": "POST",
    }


def test_an_outcome_over_the_limit_fails_for_good():
    with processor(outcome_bytes=1024, follows=5) as worker:
        script = worker.send_script(
            STAR + "class H(BaseHandler):\n"
            "    def page(self): yield 'x' * 900; yield 'x' * 900\n"
            "    def many(self): self.crawl('http://a/%d' % i for i in range(6))\n"
        )
        outcome = worker.outcome(worker.send_page(script))
        assert (outcome.end, len(outcome.results)) == (End.FATAL, 1)
        assert outcome.reason == "results of more than 1024 bytes of one run (limits.outcome_bytes)"
        assert track_of(outcome)["process"]["ok"] is False
        outcome = worker.outcome(worker.send_page(script, "many"))
        assert (outcome.end, outcome.reason) == (End.FATAL, "more than 5 URLs submitted by one run (limits.follows)")


def test_sigterm_lets_the_page_finish_and_sigint_is_ignored(worker):
    script = worker.send_script(
        STAR + "class H(BaseHandler):\n"
        "    def page(self):\n"
        "        import os, signal\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        return 'finished'\n"
    )
    assert worker.outcome(worker.send_page(script)).results == [b'"finished"']
    assert worker.process.wait(30) == 0


def test_an_idle_processor_stops_at_sigterm(worker):
    script = worker.send_script(STAR + "class H(BaseHandler):\n    def page(self): return 1\n")
    worker.outcome(worker.send_page(script))  # it is up
    worker.process.send_signal(signal.SIGTERM)
    assert worker.process.wait(30) == 0


def test_a_script_cannot_end_the_processor_politely_but_can_die(worker):
    script = worker.send_script(
        STAR + "class H(BaseHandler):\n    def page(self): sys.exit(5)\n    def dead(self): __import__('os')._exit(7)\n"
    )
    assert worker.outcome(worker.send_page(script)).reason == "SystemExit: 5"
    worker.send_page(script, "dead")
    assert worker.process.wait(30) == 7


def test_a_processor_has_a_session_of_its_own_reads_nothing_and_is_lean(worker):
    script = worker.send_script(
        STAR + "class H(BaseHandler):\n"
        "    def page(self):\n"
        "        import os\n"
        "        return [os.getsid(0) == os.getpid(), sys.stdin.read(), sorted(sys.modules)]\n"
    )
    is_leader, read, modules = json.loads(worker.outcome(worker.send_page(script)).results[0])
    assert (is_leader, read) == (True, "")
    assert not {"pydantic", "sqlalchemy", "pycurl", "structlog", "asyncio", "zspider.settings"} & set(modules)


@pytest.mark.parametrize("parent_ends", ["while it works", "before it starts"])
def test_a_processor_does_not_outlive_its_parent(parent_ends):
    """A parent that starts a processor, prints its pid, and is killed."""
    if parent_ends == "before it starts":
        code = "import os; print(os.getpid(), flush=True)"
        dead = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
        ours, theirs = Pipe.pair()
        running, running_fd = CurrentPage.pair()
        with theirs, os.fdopen(running_fd, "rb"):
            arguments = ["--pipe", str(theirs.fileno()), "--running", str(running_fd), "--parent", dead.stdout.strip()]
            done = subprocess.run(
                [sys.executable, "-m", "zspider.roles.processor", *arguments],
                cwd=ROOT,
                timeout=30,
                pass_fds=[theirs.fileno(), running_fd],
            )
        ours.close()
        running.close()
        assert done.returncode == 0
        return
    code = (
        "import sys, time\n"
        "from tests.support.processors import processor\n"
        "with processor() as worker:\n"
        "    script = worker.send_script('from zspider import *\\nclass H(BaseHandler): pass')\n"
        "    worker.outcome(worker.send_page(script, 'on_start'))\n"
        "    print(worker.process.pid, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert psutil.pid_exists(pid)
        parent.kill()
    wait_until_gone(pid)


WAITS = """
import os, time
from zspider import BaseHandler
class Handler(BaseHandler):
    def page(self, response):
        while response.save and not os.path.exists(response.save):
            time.sleep(0.001)
        return {"flag": response.save}
"""


def test_outcomes_that_wait_for_company_do_not_wait_for_a_slow_page(worker, tmp_path):
    script = worker.send_script(WAITS)
    first, second = tmp_path / "first", tmp_path / "second"
    held = worker.send_page(script, fetch={"save": str(first)})
    quick = [worker.send_page(script) for _ in range(5)]  # they are all there when the first one ends
    slow = worker.send_page(script, fetch={"save": str(second)})
    first.touch()
    for number in (held, *quick):
        assert worker.outcome(number).end is End.SUCCESS
    second.touch()  # only now
    assert worker.outcome(slow).end is End.SUCCESS


def test_outcomes_that_wait_for_company_come_before_a_script_is_loaded(worker, tmp_path):
    script, flag, loaded = worker.send_script(WAITS), tmp_path / "flag", tmp_path / "loaded"
    slow = worker.send_script(WAITS + f"while not os.path.exists({str(loaded)!r}): time.sleep(0.001)\n")
    numbers = [worker.send_page(script, fetch={"save": str(flag)}), worker.send_page(script)]
    last = worker.send_page(slow)
    flag.touch()
    for number in numbers:
        assert worker.outcome(number).end is End.SUCCESS
    loaded.touch()
    assert worker.outcome(last).end is End.SUCCESS


def test_outcomes_that_wait_for_company_are_sent_before_the_end(worker, tmp_path):
    script, flag = worker.send_script(WAITS), tmp_path / "flag"
    numbers = [worker.send_page(script, fetch={"save": str(flag)}), *(worker.send_page(script) for _ in range(20))]
    worker.wait_running(numbers[0])
    worker.process.send_signal(signal.SIGTERM)  # it ends after the page that runs
    flag.touch()
    assert worker.outcome(numbers[0]).end is End.SUCCESS
    assert worker.process.wait(30) == 0


LINKS = """
from zspider import BaseHandler

class Handler(BaseHandler):
    def page(self, response):
        for url in response.save:
            self.crawl(url, callback=self.page)
        self.crawl("http://site.example/forced", callback=self.page, force_update=True)
"""
FORCED = "http://site.example/forced"


def submitted(worker, script, *urls, generation=b"g"):
    """A page's number, the URLs that it has submitted, and how many it has left out."""
    number = worker.send_page(script, fetch={"save": list(urls)}, generation=generation)
    outcome = worker.outcome(number)
    assert track_of(outcome)["process"]["follows"] == len(urls) + 1
    return number, [follow.url for follow in outcome.follows], outcome.repeats


def test_links_are_left_out_from_when_the_master_knows_them_until_tasks_are_deleted(worker):
    script, a, b = worker.send_script(LINKS), "http://site.example/a", "http://site.example/b"
    first, *found = submitted(worker, script, a)
    assert found == [[a, FORCED], 0]
    second, *found = submitted(worker, script, a, b)
    assert found == [[a, b, FORCED], 0]
    worker.send(Known([first]))
    assert submitted(worker, script, a, b)[1:] == ([b, FORCED], 1)
    worker.send(Known([second]))
    assert submitted(worker, script, b, a)[1:] == ([FORCED], 2)
    assert submitted(worker, script, a, b, generation=b"h")[1:] == ([a, b, FORCED], 0)
    number, *_ = submitted(worker, script, a, generation=b"")
    worker.send(Known([number]))
    assert submitted(worker, script, a, generation=b"")[1:] == ([a, FORCED], 0)  # nothing is promised


def test_outcomes_that_wait_for_company_do_not_wait_for_a_page_after_other_news(worker, tmp_path):
    script, flag = worker.send_script(WAITS), tmp_path / "flag"
    number = worker.send_page(script, fetch={"save": str(flag)})
    worker.wait_running(number)
    last = worker.send_page(script)
    worker.send(Known([number]))  # there is something to read after the last page, but no page
    flag.touch()
    for one in (number, last):
        assert worker.outcome(one).end is End.SUCCESS
