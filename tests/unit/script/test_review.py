"""What the text of a script tells: modules, callbacks, names that are gone, where zspider behaves differently."""

import pytest
from tests.support.process import ROOT
from zspider.script.check.review import Callback, Import, missing, review


def told(text):
    return [(one.line, one.stops) for one in review(text).findings]


def in_handler(body):
    return "class Handler(BaseHandler):\n    " + body.replace("\n", "\n    ") + "\n"


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.stem)
def test_the_examples_need_no_word(path):
    read = review(path.read_text())
    assert (read.findings, read.is_complete) == ([], True)


def test_modules_are_listed_once_and_those_with_a_way_out_are_optional():
    text = (
        "import os.path, requests\nfrom pyspider.libs.utils import md5string\nimport os\nfrom . import x\n"
        "try:\n    import ujson\nexcept ImportError:\n    import json\n"
        "try:\n    import yaml\nexcept ValueError:\n    pass\n"
        "def f():\n    import lazy\nfrom projects import other\n"
    )
    assert sorted(review(text).imports) == [
        Import(1, "os", False),
        Import(1, "requests", False),
        Import(2, "pyspider.libs.utils", False),
        Import(6, "ujson", True),
        Import(8, "json", True),
        Import(10, "yaml", False),
        Import(14, "lazy", False),
        Import(15, "projects.other", False),
    ]


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("urllib2", "this Python has no module urllib2: use urllib.request"),
        ("projects.other", "there is no other.py beside this script"),
        ("pyspider.database", "zspider has no pyspider.database: "),
        ("requests", "the module requests is not installed here"),
    ],
)
def test_a_missing_module_says_what_to_do(module, text):
    found = missing(Import(7, module, False))
    assert (found.line, found.stops, found.text[: len(text)]) == (7, True, text)


def test_callbacks_are_found_however_they_are_named():
    text = "self.crawl(u, callback=self.a)\nself.crawl(u, callback='b')\nself.crawl(u, callback=pick())\n"
    assert review(text).callbacks == [Callback(1, "a"), Callback(2, "b")]
    config = in_handler("crawl_config = {'callback': 'c'}")
    assert review(config).callbacks == [Callback(2, "c")]


@pytest.mark.parametrize(
    ("line", "use"),
    [
        ("x = unicode(y)", "Python 3 has no unicode: use str"),
        ("for k, v in d.iteritems(): pass", "dicts have no iteritems() in Python 3: use items()"),
        ("x = d.has_key(1)", "dicts have no has_key() in Python 3: use `in`"),
        ("print >>f, x", "print is a function in Python 3: print(..., file=...)"),
        ("from urllib import urlencode", "this Python has no urllib.urlencode: use urllib.parse.urlencode"),
        ("print >>f", "print is a function in Python 3: print(..., file=...)"),
        ("print -1, x", "print is a function in Python 3: print(...)"),
        ("print [1, 2]", "print is a function in Python 3: print(...)"),
        ("print ('%s') % x", "print is a function in Python 3: all that is printed belongs in its parentheses"),
        ("print ('a').upper()", "print is a function in Python 3: all that is printed belongs in its parentheses"),
        ("print ('%s') % x, y", "print is a function in Python 3: all that is printed belongs in its parentheses"),
        ("exec (code) in names", "exec is a function in Python 3: exec(code, names)"),
        ("x = map(f, y)[0]", "map() gives no list in Python 3: list(map(...))"),
        ("x = len(filter(f, y))", "filter() gives no list in Python 3: list(filter(...))"),
        ("d.keys().sort()", "keys() gives no list in Python 3: sorted(...)"),
        ("x = sorted(y, cmp=f)", "lists are not sorted by cmp in Python 3: key=functools.cmp_to_key(...)"),
        ("y.sort(cmp=f)", "lists are not sorted by cmp in Python 3: key=functools.cmp_to_key(...)"),
        ("x = cmp(1, 2)", "Python 3 has no cmp: use (a > b) - (a < b)"),
        ("x = '中'.decode('utf8')", "text has no decode() in Python 3: it is Unicode already"),
        ("x = y.encode('hex')", "text has no encode('hex') in Python 3: use codecs.encode"),
        ("import string; x = string.join(y)", "this Python has no string.join: use the text's own join()"),
        ("import fractions; x = fractions.gcd(1, 2)", "this Python has no fractions.gcd: use math.gcd"),
        ("import urllib; x = urllib.urlencode(d)", "this Python has no urllib.urlencode: use urllib.parse.urlencode"),
        (
            "import collections; x = isinstance(y, collections.Mapping)",
            "this Python has no collections.Mapping: use collections.abc.Mapping",
        ),
    ],
)
def test_names_that_are_gone_are_problems(line, use):
    assert [(one.line, one.stops, one.text) for one in review(f"a = 1\n{line}\n").findings] == [(2, True, use)]


@pytest.mark.parametrize(
    ("line", "use"),
    [
        ("print", "print is a function in Python 3: print() prints an empty line, this does nothing"),
        ("print ('a'),", "print is a function in Python 3: print(..., end=' ') stays in its line"),
        ("print ('a'), b", "print is a function in Python 3: only what stands in its parentheses is printed"),
        ("def __nonzero__(self): pass", "Python 3 does not call __nonzero__: name it __bool__"),
    ],
)
def test_what_runs_but_otherwise_is_told(line, use):
    assert [(one.line, one.stops, one.text) for one in review(f"a = 1\n{line}\n").findings] == [(2, False, use)]


@pytest.mark.parametrize(
    "text",
    [
        "print('a') if x else None\nprint('%s' % x)\nprint(*x)\nx = [print]\nf(print)\n",
        "print('a'), print('b')\nx and print('a')\nprint('a') or x\n",
        "try:\n    from urllib import quote\nexcept ImportError:\n    from urllib.parse import quote\n",
        "exec('x = 1')\nexec('x', {})\nx = sorted(y, key=f)\nx = list(map(f, y))[0]\n",
        "map = f\nx = map(y)[0]\nx = len(map(y))\nx = b'a'.decode()\nx = 'a'.encode('utf-8')\n",
        "unicode = str\nx = unicode(y)\n",
        "from builtins import str as unicode\nx = unicode(y)\n",
        "def reduce(f): pass\nreduce(len)\n",
        "for k, v in six.iteritems(d): pass\n",
        "import urllib.parse\nx = urllib.parse.quote(y)\n",
        "from pyspider.libs.base_handler import *\nx = fractions.gcd(1, 2)\n",
    ],
)
def test_what_a_script_defines_or_has_from_elsewhere_is_no_problem(text):
    assert told(text) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("self.crawl(u, callbck=1)\n", [(1, True)]),
        ("self.crawl(u, **options)\nself.crawl(u, last_modifed=0, params={}, files={}, taskid='x')\n", []),
        ("self.crawl(u, fetch_type='js')\n", [(1, True)]),
        ("self.crawl(u, fetch_type=None)\n", []),
        ("self.crawl(u, js_script='x', load_images=True)\n", [(1, False)] * 2),
        ("self.crawl(u, age=-1)\n", [(1, False)]),
        ("self.crawl(u, age=-2)\nself.crawl(u, age=1)\n", []),
        (in_handler("@config(age=-1)\ndef a(self): pass"), [(2, False)]),
        (in_handler("@config({'age': -1, 'foo': 1})\ndef a(self): pass"), [(2, False), (2, True)]),
        (in_handler("crawl_config = {'user_agent': 'x', 'foo': 1}"), [(2, False)]),
        (in_handler("@config(headers={})\ndef a(self): self.crawl(u, headers={})"), [(2, False)]),
        (in_handler("@config(headers={})\ndef a(self): self.crawl(u, cookies={})"), []),
        (in_handler("@not_send_status\ndef a(self): pass"), [(3, False)]),
        (in_handler("@every(minutes=1)\ndef a(self): pass"), []),
        (in_handler("@every(minutes=1)\ndef a(self): pass") + "class More(Handler): pass\n", [(3, False)]),
        ("class Results(ResultWorker): pass\n", [(1, False)]),
    ],
)
def test_what_zspider_does_otherwise_is_told_with_its_line(text, found):
    assert told(text) == found


def test_a_script_that_cannot_be_read_at_all_has_its_first_mistake_told():
    read = review("x = (\n")
    assert (read.imports, read.callbacks, read.is_complete, len(read.findings)) == ([], [], False, 1)
