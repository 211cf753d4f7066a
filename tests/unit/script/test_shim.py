"""pyspider's names, and that they appear only when asked for."""

import subprocess
import sys
import time
import types

import pytest
from tests.support.scripts import loaded
from zspider.script import compat, shim

STAR_NAMES = {  # pyspider.md 2.1
    "BaseHandler",
    "BaseHandlerMeta",
    "catch_status_code_error",
    "not_send_status",
    "config",
    "every",
    "NOTSET",
    "ProcessorResult",
    "ListO",
    "md5string",
    "timeout",
    "pprint",
    "quote_chinese",
    "curl_to_arguments",
    "rebuild_response",
    "add_metaclass",
    "iteritems",
    "six",
    "sys",
    "inspect",
    "functools",
    "fractions",
}


@pytest.mark.parametrize("module", ["pyspider.libs.base_handler", "libs.base_handler"])
def test_a_star_import_gives_every_name(module):
    shim.install()
    names: dict = {}
    exec(f"from {module} import *", names)
    assert set(names) >= STAR_NAMES
    assert isinstance(names["fractions"], types.ModuleType)
    assert callable(names["pprint"])


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
        "import zspider.script.handler, zspider.script.shim\ntry: import pyspider\nexcept ImportError: print('absent')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "absent\n"
