"""`zspiderd check`: real scripts in real processes."""

import json

import pytest
from tests.support.cluster import ZSPIDERD
from tests.support.process import ROOT, run

GOOD = """\
# rate: 5
from pyspider.libs.base_handler import *
import json


class Handler(BaseHandler):
    crawl_config = {"timeout": 7}

    @every(minutes=2)
    def on_start(self):
        self.crawl("http://a/", callback=self.page)

    @config(priority=2)
    def page(self, response):
        return {}
"""


@pytest.fixture
def check(tmp_path):
    def check(*texts, code, arguments=()):
        paths = [tmp_path / f"script{n}.py" for n in range(len(texts))]
        for path, text in zip(paths, texts, strict=True):
            path.write_text(text)
        ran = run([*ZSPIDERD, "check", *map(str, paths), *arguments], cwd=tmp_path)
        assert ran.code == code, ran
        return ran

    return check


def findings(ran):
    (report,) = json.loads(ran.out)
    return [(one["line"], one["kind"], one["text"]) for one in report["findings"]]


def test_a_good_script_is_described(check, tmp_path):
    assert check(GOOD, code=0).out == (
        f"{tmp_path}/script0.py: ok\n"
        "  handler Handler\n"
        "    on_start  every 120 s\n"
        "    page  priority=2\n"
        "  rate 5\n"
        "  modules pyspider.libs.base_handler, json\n"
    )
    (report,) = json.loads(check(GOOD, code=0, arguments=["--json"]).out)
    assert report["methods"] == [
        {"name": "on_start", "config": {}, "every": "120 s"},
        {"name": "page", "config": {"priority": 2}, "every": None},
    ]
    assert (report["crawl_config"], report["rate"], report["burst"]) == ({"timeout": 7}, 5, None)
    assert (report["findings"], report["problems"]) == ([], 0)


def test_the_examples_are_fine():
    scripts = sorted((ROOT / "examples").glob("*.py"))
    ran = run([*ZSPIDERD, "check", *map(str, scripts)])
    assert (ran.code, ran.out.count(": ok\n")) == (0, len(scripts)), ran


def test_notes_do_not_fail_a_script_and_one_bad_script_fails_all(check):
    noted = GOOD.replace("priority=2", "age=-1")
    assert "line 13: note: age=-1: " in check(noted, code=0).out
    ran = check(GOOD, GOOD.replace("return {}", "print 'x'"), code=1)
    assert "script0.py: ok\n" in ran.out
    assert "script1.py: 1 problems, 0 notes\n" in ran.out
    assert "line 15: problem: print is a function in Python 3" in ran.out


def test_missing_modules_are_told_all_at_once_even_where_the_syntax_is_old(check):
    imports = "import nosuchmodule, urllib2\ntry:\n    import noother\nexcept ImportError:\n    noother = None\n"
    missing = [
        (1, "problem", "the module nosuchmodule is not installed here; every slave that runs this script needs it"),
        (1, "problem", "this Python has no module urllib2: use urllib.request"),
    ]
    ran = check(imports + GOOD, code=1, arguments=["--json"])
    assert findings(ran) == missing
    assert json.loads(ran.out)[0]["modules"]["noother"] is False
    old = findings(check(imports + GOOD + "print 1\n", code=1, arguments=["--json"]))
    assert old[:2] == missing
    assert len(old) == 3


def test_a_module_beside_the_script_is_found_as_a_processor_finds_it(check, tmp_path):
    (tmp_path / "beside.py").write_text("")
    check("import beside\n" + GOOD, code=0)


def test_a_callback_that_is_no_method_is_a_problem(check):
    ran = check(GOOD.replace("self.page", "'pgae'"), code=1, arguments=["--json"])
    assert findings(ran) == [(11, "problem", "the callback pgae is no method of Handler")]


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("x = 1\n", 1, "cannot be loaded: need BaseHandler in project module"),
        ("x = 1\ny = 1 / 0\n", 2, "cannot be loaded: ZeroDivisionError: division by zero"),
        (
            "import os\nos.kill(os.getpid(), 11)\n",
            1,
            "cannot be loaded: the script's process was ended by signal 11 (Segmentation fault)",
        ),
        ("import sys\nsys.exit(0)\n", 2, "cannot be loaded: SystemExit: 0"),
    ],
)
def test_a_script_that_cannot_be_loaded_harms_nothing_and_says_where(check, text, line, reason):
    assert findings(check(text, code=1, arguments=["--json"])) == [(line, "problem", reason)]


def test_a_file_that_cannot_be_read_is_one_line_and_2(check):
    ran = check(GOOD, code=2, arguments=["/none/of/this.py"])
    assert (ran.out, ran.err) == ("", "zspiderd: /none/of/this.py: cannot be read: No such file or directory\n")
