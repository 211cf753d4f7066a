"""pyspider's names, and that they appear only when asked for."""

import fractions
import inspect
import io
import os
import subprocess
import sys
import time

import pytest
from tests.support.scripts import loaded
from zspider.script.pyspider import compat, shim


@pytest.mark.parametrize(
    ("statement", "expression", "value"),
    [
        ("from pyspider.libs.utils import md5string", "md5string('http://a.com/')", "976c401c56398406fb1c7a63440f6a6a"),
        ("from pyspider.libs.utils import utf8, text", "(utf8('ü'), text(b'a'), utf8(5))", (b"\xc3\xbc", "a", b"5")),
        (
            "from pyspider.libs.utils import unicode_obj",
            "unicode_obj({b'a': [b'b', (1, None)]})",
            {"a": ["b", [1, None]]},
        ),
        ("from pyspider.libs.utils import unicode_obj", "unicode_obj(b'\\xff')", "b'\\xff'"),
        ("from pyspider.libs.response import Response", "Response({}).status_code", 599),
        ("from pyspider.libs.url import quote_chinese", "quote_chinese('/ü')", "/%C3%BC"),
        ("from pyspider.libs.dataurl import encode, decode", "decode(encode('ü', 'text/plain'))", "ü"),
        ("from pyspider.libs.dataurl import encode", "encode('a b', base64=False)", "data:;charset=utf-8,a%20b"),
        ("from pyspider.libs.dataurl import decode", "decode('data:,a,b')", "a,b"),
        ("from pyspider.libs.dataurl import decode", "decode('data:;base64,/w==')", b"\xff"),
        ("from pyspider.result import ResultWorker", "ResultWorker(None, None).on_result({}, None)", None),
        ("from pyspider.libs.base_handler import *", "six.PY3 and list(iteritems({1: 2}))", [(1, 2)]),
        ("from pyspider.libs.base_handler import *", "isinstance(u'', six.string_types)", True),
        ("from pyspider.libs.base_handler import *", "six.moves.urllib.parse.quote(' ')", "%20"),
        ("from pyspider.libs.base_handler import *", "ProcessorResult(logs=['a', 'b']).logstr()", "ab"),
        ("import pyspider.libs.base_handler as b", "b.quote_chinese('中')", "%E4%B8%AD"),
        ("from libs.utils import md5string", "md5string('a')", "0cc175b9c0f1b6a831c399e269772661"),
        ("from libs.dataurl import decode", "decode('data:,a')", "a"),
        ("import six\nfrom six.moves.urllib.parse import quote", "quote(' ')", "%20"),
    ],
)
def test_other_names_work(statement, expression, value):
    shim.install()
    names: dict = {}
    exec(statement, names)
    assert eval(expression, names) == value


def test_a_metaclass_can_be_added_the_old_way():
    script = loaded("""
    class Meta(BaseHandlerMeta):
        def __new__(cls, name, bases, attrs): return super().__new__(cls, name, bases, dict(attrs, extra=1))
    @add_metaclass(Meta)
    class Handler(BaseHandler):
        pass
    """)
    assert script.handler.extra == 1


def test_what_python_dropped_is_in_the_star_imported_modules_and_nowhere_else():
    shim.install()
    names: dict = {}
    exec("from pyspider.libs.base_handler import *\ndef f(a, b=1, *c, **d): pass\ndef g(*, a): pass", names)
    gcd, getargspec = names["fractions"].gcd, names["inspect"].getargspec
    assert (gcd(12, 18), gcd(4, -6), gcd(0.5, 0.25), gcd(0, 0)) == (6, -2, 0.25, 0)
    assert getargspec(names["f"]) == (["a", "b"], "c", "d", (1,))
    assert getargspec(names["f"]).keywords == "d"
    with pytest.raises(ValueError, match="keyword-only"):
        getargspec(names["g"])
    assert names["inspect"].signature is inspect.signature
    assert names["fractions"].Fraction is fractions.Fraction
    assert not hasattr(fractions, "gcd")
    assert not hasattr(inspect, "getargspec")


def test_the_databases_of_pyspider_are_not_there_and_the_error_says_what_is():
    shim.install()
    names: dict = {}
    exec("from pyspider.database import connect_database", names)
    with pytest.raises(RuntimeError, match=r"`zspiderd results`.*on_result"):
        names["connect_database"]("mysql+resultdb://db/x")


def test_a_console_has_the_callers_names(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("print(here * 2)\n"))
    here = 21
    compat.python_console()
    assert "42" in capsys.readouterr().out
    monkeypatch.setattr("sys.stdin", io.StringIO("print(given)\n"))
    compat.python_console({"given": here})
    assert "21" in capsys.readouterr().out


def test_an_installed_pyspider_is_the_one_that_is_imported(tmp_path):
    libs = tmp_path / "pyspider" / "libs"
    libs.mkdir(parents=True)
    (tmp_path / "pyspider" / "__init__.py").write_text("")
    (libs / "__init__.py").write_text("")
    (libs / "base_handler.py").write_text("class BaseHandler: pass\n")
    code = (
        "from zspider.script.pyspider import shim; from zspider.script.loader import load; shim.install()\n"
        "try: load({'name': 'x', 'status': 'DEBUG'},"
        " 'from pyspider.libs.base_handler import *\\nclass H(BaseHandler): pass')\n"
        "except Exception as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert done.stdout.startswith("need BaseHandler of zspider in project module; its BaseHandler is that of ")
    assert done.stdout.endswith("pyspider/libs/base_handler.py\n")


def test_the_timeout_of_pyspider_works_and_ends():
    with pytest.raises(TimeoutError, match="too slow"), compat.timeout(0.02, "too slow"):
        time.sleep(20)
    with compat.timeout(60):
        pass


def test_a_list_can_be_written_to():
    buffer: list = []
    file = compat.ListO(buffer)
    print("a", file=file)
    file.writelines(["b"])
    assert "".join(buffer) == "a\nb"
    assert file.isatty() is False


def test_a_processor_result_raises_what_was_raised():
    compat.ProcessorResult().rethrow()
    with pytest.raises(KeyError):
        compat.ProcessorResult(exception=KeyError()).rethrow()


def test_installing_twice_installs_once_and_importing_zspider_never():
    shim.install()
    shim.install()
    assert sum(isinstance(finder, shim.ShimFinder) for finder in sys.meta_path) == 1
    code = (
        "import zspider.script.handler, zspider.script.pyspider.shim\n"
        "try: import pyspider\nexcept ImportError: print('absent')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "absent\n"
