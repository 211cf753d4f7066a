"""`zspiderd shell`: fed from a pipe, and at a terminal."""

import os
import pty
import subprocess

import pytest
from tests.support.addresses import free_port
from tests.support.cluster import ZSPIDERD
from tests.support.process import environment, read_until

SCRIPT = """\
from pyspider.libs.base_handler import *


class Handler(BaseHandler):
    crawl_config = {"headers": {"X-Config": "late"}}

    @config(headers={"X-Callback": "yes"})
    def detail_page(self, response):
        logger.warning("a warning")
        self.crawl(response.doc("a").attr.href, callback=self.detail_page)
        return response.doc("title").text()
"""


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "books.py"
    path.write_text(SCRIPT)
    return path


def shell(code, *arguments, exit_code=0):
    argv = [*ZSPIDERD, "shell", *map(str, arguments)]
    ran = subprocess.run(argv, input=code, capture_output=True, env=environment(), timeout=60, text=True, check=False)
    assert ran.returncode == exit_code, (ran.stdout, ran.stderr)
    return ran


def test_code_from_a_pipe_has_the_page_at_hand(site):
    code = 'print(doc("title").text(), response.status_code)\nfor a in doc("a").items():\n    print(a.attr.href)\n'
    ran = shell(code, site.url("/"))
    assert (ran.stdout, ran.stderr) == (f"home 200\n{site.url('/hello')}\n", "")


def test_more_pages_can_be_fetched_with_the_options_of_crawl(site):
    code = (
        'other = crawl("/echo", data={"a": 1}, headers={"X-A": "b"})\n'
        'print(other.json["method"], other.json["body"], other.json["headers"]["X-A"], response.text)\n'
        'fetch("/redirect?to=/")\n'
        'print(response.orig_url, response.url, doc("title").text())\n'
    )
    ran = shell(code, site.url("/hello"))
    assert ran.stdout == f"POST a=1 b hello\n{site.url('/redirect?to=/')} {site.url('/')} home\n"


def test_a_scripts_callbacks_can_be_called_by_hand(site, script):
    code = (
        "print(handler.is_debugger(), handler.detail_page(response))\nprint(follows(), follows())\n"
        'sent = crawl("/echo", callback="detail_page").json["headers"]\nprint(sent["X-Config"], sent["X-Callback"])\n'
    )
    ran = shell(code, site.url("/"), "--script", script)
    assert ran.stdout == f"True home\n[('detail_page', '{site.url('/hello')}')] []\nlate yes\n"
    assert ran.stderr == "a warning\n"


def test_the_exit_code_is_that_of_the_code(site):
    assert shell("import sys; sys.exit(7)", site.url("/"), exit_code=7)
    ran = shell("x = 1\nraise ValueError(response.text)", "data:,a%1b[31m", exit_code=1)
    assert ran.stderr.splitlines()[1:] == ['  File "<stdin>", line 2, in <module>', "ValueError: a\\x1b[31m"]
    assert "SyntaxError" in shell("x = (", "data:,", exit_code=1).stderr
    assert shell("", "data:,").stdout == ""


def test_without_a_page_a_pipe_ends_at_once():
    url = f"http://127.0.0.1:{free_port()}/"
    ran = shell("print('ran')", url, exit_code=1)
    assert (ran.stdout, ran.stderr.count("\n")) == ("", 1)
    assert ran.stderr.startswith(f"zspiderd: {url}: HTTP 599: ")


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["example.com"], 2, "not a URL: 'example.com'"),
        (["data:,x", "--script", "/none/of/this.py"], 2, "/none/of/this.py: cannot be read: No such file or directory"),
    ],
)
def test_wrong_usage_is_one_line(arguments, code, text):
    assert shell("", *arguments, exit_code=code).stderr == f"zspiderd: {text}\n"


def test_a_script_that_cannot_be_loaded_is_one_line(script):
    script.write_text("import nosuchmodule\n")
    told = shell("", "data:,x", "--script", script, exit_code=1).stderr
    assert told == f"zspiderd: {script}: ModuleNotFoundError: No module named 'nosuchmodule'\n"


def test_a_prompt_at_a_terminal_outlives_errors_and_pages_that_do_not_come(site):
    ours, theirs = pty.openpty()
    argv = [*ZSPIDERD, "shell", site.url("/drop")]
    with subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=theirs, env=environment()) as process:
        os.close(theirs)
        said = read_until(ours, "makes it the response at hand")
        assert "HTTP 599: " in said
        os.write(ours, b"1 / 0\n")
        read_until(ours, "ZeroDivisionError")
        os.write(ours, b'r = fetch("/")\nprint("TITLE=" + doc("title").text())\n')
        read_until(ours, "TITLE=home")
        os.write(ours, b"exit(3)\n")
        assert process.wait(20) == 3
    os.close(ours)
