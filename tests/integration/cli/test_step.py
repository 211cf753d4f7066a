"""`zspiderd run --task`: one step of a script, in a process that may do what it likes."""

import json
import signal
import time

import psutil
import pytest
from tests.support.cluster import ZSPIDERD
from tests.support.process import Process, eventually, run

BOOKS = """\
from pyspider.libs.base_handler import *

print("loading")


class Handler(BaseHandler):
    crawl_config = {"headers": {"X-Config": "late", "X-Both": "config"}, "user_agent": "books/1"}

    def on_start(self):
        self.crawl("http://a.example/", callback=self.index_page)

    @config(age=60, headers={"X-Both": "callback"})
    def index_page(self, response):
        print("debugger:", self.is_debugger(), "save:", response.save)
        self.crawl("http://a.example/1", callback=self.broken, priority=3, taskid="one")
        self.save["seen"] = 1
        return {"echo": response.json}

    def broken(self, response):
        self.crawl("http://a.example/2", callback=self.index_page)
        raise ValueError("no price \\x1b[31m")

    @not_send_status
    def silent(self, response):
        raise KeyError("hidden")

    def items(self, response):
        for n in range(2):
            yield {"n": n}

    def loops(self, response):
        while True:
            pass

    def crashes(self, response):
        import os
        os.write(2, b"the last words\\n")
        os.kill(os.getpid(), 11)

    def exits(self, response):
        import os
        os._exit(3)

    def hogs(self, response):
        return len(bytes(1 << 32))

    def leaves_a_child(self, response):
        import subprocess
        return {"pid": subprocess.Popen(["sleep", "600"]).pid}
"""


@pytest.fixture
def books(tmp_path):
    path = tmp_path / "books.py"
    path.write_text(BOOKS)
    return path


def step(path, task, *arguments, code=0, env=None):
    before = sorted(path.parent.iterdir())
    ran = run([*ZSPIDERD, "run", str(path), "--task", task, *map(str, arguments)], env=env)
    assert ran.code == code, ran
    assert sorted(path.parent.iterdir()) == before  # nothing is stored
    return ran


def step_json(*arguments, **more):
    return json.loads(step(*arguments, "--json", **more).out)


def test_on_start_shows_what_it_submits(books):
    ran = step(books, "on_start")
    assert "[logs]\nloading\n" in ran.out
    assert '[follows: 1]\nindex_page > http://a.example/  {"age": 60, ' in ran.out
    assert '"headers": {"X-Config": "late", "X-Both": "callback"}, "user_agent": "books/1"}\n' in ran.out
    assert ran.err == ""


def test_a_page_is_fetched_as_a_real_task_would_be(books, site):
    told = step_json(books, site.url("/echo"), "--callback", "index_page", "--save", '{"k": [1]}')
    sent = {name.lower(): value for name, value in told["results"][0]["echo"]["headers"].items()}
    assert (sent["x-config"], sent["x-both"], sent["user-agent"]) == ("late", "callback", "books/1")
    assert told["logs"] == "loading\ndebugger: True save: {'k': [1]}\n"
    assert told["save"] == {"seen": 1}
    assert told["error"] == ""
    assert told["fetch"]["status_code"] == 200
    (follow,) = told["follows"]
    assert (follow["taskid"], follow["schedule"], follow["process"]) == ("one", {"priority": 3}, {"callback": "broken"})
    assert follow["fetch"]["user_agent"] == "books/1"  # the debugger shows what crawl_config will add


def test_options_are_those_of_crawl(books, site):
    options = '{"method": "PUT", "headers": {"X-Config": "mine"}, "data": {"a": 1}}'
    step(books, site.url("/echo"), "--callback", "index_page", "--options", options)
    asked = site.log[-1]
    assert (asked.method, asked.header("x-config"), asked.body) == ("PUT", "mine", b"a=1")


def test_the_sections_are_for_people(books, site):
    ran = step(books, site.url("/redirect?to=/echo"), "--callback", "index_page")
    assert ran.out.startswith(f"[fetch]\nHTTP 200 OK\nurl        {site.url('/echo')}\nredirect   302 ")
    assert '\n[follows: 1]\nbroken > http://a.example/1  {"priority": 3, ' in ran.out
    assert '"taskid": "one"' in ran.out
    assert "\n[result]\n{\n" in ran.out
    assert '\n[save]\n{"seen": 1}\n[time]\nfetch ' in ran.out


def test_a_callback_that_raises_shows_where_and_ends_with_1(books):
    ran = step(books, "data:,x", "--callback", "broken", code=1)
    assert ", in broken\n" in ran.out
    assert "index_page > http://a.example/2" in ran.out  # what it did before counts
    assert ran.err == f"zspiderd: {books}: broken: ValueError: no price \\x1b[31m\n"
    assert "\x1b" not in ran.out
    assert step(books, "data:,x", "--callback", "silent", code=1).err.endswith(": silent: KeyError: 'hidden'\n")


def test_an_error_page_fails_as_it_would_in_a_crawl(books, site):
    ran = step(books, site.url("/status/404"), "--callback", "index_page", code=1)
    assert ran.err.endswith("index_page: HTTPError: HTTP 404: Not Found\n")
    assert step_json(books, "nonsense", "--callback", "items", code=1)["fetch"]["status_code"] == 599


def test_a_generator_gives_several_results(books):
    assert step_json(books, "data:,x", "--callback", "items")["results"] == [{"n": 0}, {"n": 1}]


@pytest.mark.parametrize(
    ("callback", "reason", "logs"),
    [
        ("loops", "TimeoutError: process timeout", ", in loops\n"),
        ("crashes", "the script's process was ended by signal 11 (Segmentation fault)", "the last words\n"),
        ("exits", "the script ended its process with exit code 3", ""),
        ("hogs", "MemoryError", ", in hogs\n"),
    ],
)
def test_a_script_that_harms_its_process_harms_nothing_else(books, callback, reason, logs):
    env = {"ZSPIDER_PROCESSOR__PROCESS_TIME_LIMIT_S": "2"}
    told = step_json(books, "data:,x", "--callback", callback, code=1, env=env)
    assert told["error"] == reason
    assert logs in told["logs"]


STUBBORN = """\
import signal
from zspider import BaseHandler

signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])


class Handler(BaseHandler):
    def page(self, response):
        while True:
            pass
"""


def test_a_script_that_cannot_be_stopped_from_inside_is_ended_from_outside(books):
    books.write_text(STUBBORN)
    started = time.monotonic()
    env = {"ZSPIDER_PROCESSOR__PROCESS_TIME_LIMIT_S": "0.5"}
    ran = step(books, "data:,x", "--callback", "page", code=1, env=env)
    assert ran.err == f"zspiderd: {books}: page: TimeoutError: process timeout\n"
    assert time.monotonic() - started < 30


def test_what_a_script_started_ends_with_the_step(books):
    (result,) = step_json(books, "data:,x", "--callback", "leaves_a_child")["results"]
    eventually(lambda: not psutil.pid_exists(result["pid"]), 10, "the script's child is gone")


def test_ctrl_c_ends_the_script_with_the_command(books):
    started = books.with_name("started")
    books.write_text(STUBBORN.replace("        while", f"        open({str(started)!r}, 'w').close()\n        while"))
    argv = [*ZSPIDERD, "run", books, "--task", "data:,x", "--callback", "page"]
    with Process(argv) as process:
        eventually(started.exists, 20, "the callback runs")
        family = process.family()
        assert len(family) == 2
        process.signal(signal.SIGINT)
        assert process.wait() == 128 + signal.SIGINT
        eventually(lambda: not any(member.is_running() for member in family), 10, "the family is gone")


@pytest.mark.parametrize(
    ("text", "reason", "logs"),
    [
        ("import nosuchmodule\n", "ModuleNotFoundError: No module named 'nosuchmodule'", "import nosuchmodule"),
        ("print('so far')\n", "need BaseHandler in project module", "so far"),
        ("import os\nos.abort()\n", "the script's process was ended by signal 6 (Aborted)", ""),
    ],
)
def test_a_script_that_cannot_be_loaded_is_one_line_and_its_traceback(books, text, reason, logs):
    books.write_text(text)
    ran = step(books, "on_start", code=1)
    assert ran.err == f"zspiderd: {books}: {reason}\n"
    assert logs in ran.out


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--task", "data:,x"], "a callback is needed; there are: index_page, broken, silent, items, loops, "),
        (["--task", "data:,x", "--callback", "nix"], "no callback 'nix' in books; there are: index_page, "),
        (["--task", "on_start", "--options", "{"], "--options: JSON is wanted, got '{': "),
        (["--task", "on_start", "--options", "[1]"], "--options: a JSON object like "),
        (["--task", "on_start", "--save", "x"], "--save: JSON is wanted, got 'x': "),
        (["--task", "data:,x", "--callback", "items", "--options", '{"foo": 1}'], "unexpected keyword argument: foo"),
        (["--callback", "items"], "--callback, --save and --options are for one step: give --task URL"),
    ],
)
def test_wrong_usage_is_one_line_that_says_what_is_allowed(books, arguments, text):
    ran = run([*ZSPIDERD, "run", str(books), *arguments])
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1), ran
    assert text in ran.err


def test_messages_are_shown_and_projects_are_files_beside_the_script(tmp_path):
    (tmp_path / "prices.py").write_text(
        "from zspider import BaseHandler\n\nTAX = 7\n\n\nclass Handler(BaseHandler):\n    pass\n"
    )
    teller = tmp_path / "teller.py"
    teller.write_text(
        "from pyspider.libs.base_handler import *\nfrom projects.prices import TAX\n\n\n"
        "class Handler(BaseHandler):\n"
        "    def on_start(self):\n"
        "        self.send_message('prices', {'tax': TAX}, url='data:,tax')\n"
    )
    ran = step(teller, "on_start")
    assert '[messages: 1]\nprices < {"tax": 7}  data:,tax\n' in ran.out
    assert step_json(teller, "on_start")["messages"] == [
        {"project": "prices", "url": "data:,tax", "message": {"tax": 7}}
    ]
    (tmp_path / "prices.py").unlink()
    ran = step(teller, "on_start", code=1)
    assert "there is no prices.py beside the script" in ran.err
