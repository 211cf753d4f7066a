"""Every name that pyspider gives a script, one row each: it is there and does what it says.

A row is (name, what to do with it, what comes of it). The tables are read by people as well: this is the list of
what scripts may rely on.

Source: docs/pyspider-behaviour.md 2.1 to 2.8.
"""

import logging
import types
from typing import Any

import pytest
from tests.support.scripts import STAR, crawled, handler_of, loaded, opened, page, ran
from zspider.script.page.response import Response
from zspider.script.pyspider import shim
from zspider.script.runner import run

# --- 2.1: what `from pyspider.libs.base_handler import *` gives ---------------------------------------

STAR_NAMES: list[tuple[str, str, Any]] = [
    ("BaseHandler", "BaseHandler.crawl_config", {}),
    ("BaseHandlerMeta", "type(BaseHandler) is BaseHandlerMeta", True),
    ("catch_status_code_error", "catch_status_code_error(len_) is len_", True),
    ("not_send_status", "not_send_status(len_)('abc')", 3),
    ("config", "config(age=1)(len_) is len_", True),
    ("every", "(every(minutes=2)(len_) is len_, len_.tick)", (True, 120)),
    ("NOTSET", "NOTSET is NOTSET", True),
    ("ProcessorResult", "ProcessorResult(result=5).result", 5),
    ("ListO", "isinstance(ListO([]), ListO)", True),
    ("md5string", "md5string('http://a.com/')", "976c401c56398406fb1c7a63440f6a6a"),
    ("timeout", "timeout(5, 'too slow').__exit__(None, None, None)", None),
    ("pprint", "pprint([1])", None),
    ("quote_chinese", "quote_chinese('/ü')", "/%C3%BC"),
    ("curl_to_arguments", "curl_to_arguments('curl http://a/')", {"urls": ["http://a/"]}),
    ("rebuild_response", "rebuild_response({'content': 'a'}).text", "a"),
    ("add_metaclass", "type(add_metaclass(BaseHandlerMeta)(X)) is BaseHandlerMeta", True),
    ("iteritems", "list(iteritems({1: 2}))", [(1, 2)]),
    ("six", "six.text_type", str),
    ("sys", "sys.maxsize > 0", True),
    ("inspect", "inspect.isfunction(len_)", True),
    ("functools", "functools.reduce(int.__add__, [1, 2])", 3),
    ("fractions", "fractions.Fraction(1, 2) * 2", 1),
]


@pytest.mark.parametrize(("name", "use", "result"), STAR_NAMES, ids=[row[0] for row in STAR_NAMES])
@pytest.mark.parametrize("module", ["pyspider.libs.base_handler", "libs.base_handler"])
def test_a_star_imported_name(module, name, use, result):
    shim.install()
    names: dict[str, Any] = {}
    exec(f"from {module} import *\ndef len_(value): return len(value)\nclass X(object): pass", names)
    assert name in names
    assert eval(use, names) == result


def test_the_star_import_gives_these_names_and_no_other():
    shim.install()
    names: dict[str, Any] = {}
    exec(STAR, names)
    assert set(names) - {"__builtins__"} == {row[0] for row in STAR_NAMES}


# --- 2.1: other modules -----------------------------------------------------------------------------

MODULES: list[tuple[str, str, Any]] = [
    ("from pyspider.libs.utils import md5string", "md5string('a')", "0cc175b9c0f1b6a831c399e269772661"),
    ("from pyspider.libs.utils import text", "text(b'a')", "a"),
    ("from pyspider.libs.utils import utf8", "utf8('ü')", b"\xc3\xbc"),
    ("from pyspider.libs.utils import unicode_obj", "unicode_obj({b'a': (1,)})", {"a": [1]}),
    ("from pyspider.libs.utils import python_console", "callable(python_console)", True),
    ("from pyspider.libs.response import Response", "Response({}).status_code", 599),
    ("from pyspider.libs.dataurl import encode", "encode(b'a', 'a/b', charset='')", "data:a/b;base64,YQ=="),
    ("from pyspider.libs.dataurl import decode", "decode('data:,a%20b')", "a b"),
    ("from pyspider.libs.url import quote_chinese", "quote_chinese('ü')", "%C3%BC"),
    ("from pyspider.libs.url import curl_to_arguments", "curl_to_arguments('curl a')['urls']", ["a"]),
    ("from pyspider.result import ResultWorker", "ResultWorker(None, None).on_result({}, {})", None),
    ("from pyspider.database import connect_database", "callable(connect_database)", True),
    ("from libs.utils import md5string", "md5string('a')", "0cc175b9c0f1b6a831c399e269772661"),
    ("from libs.response import Response", "Response({}).status_code", 599),
    ("from libs.url import quote_chinese", "quote_chinese('ü')", "%C3%BC"),
    ("from libs.dataurl import decode", "decode('data:,a')", "a"),
]  # fmt: skip


@pytest.mark.parametrize(("statement", "use", "result"), MODULES, ids=[row[0] for row in MODULES])
def test_a_module_of_pyspider(statement, use, result):
    shim.install()
    names: dict[str, Any] = {}
    exec(statement, names)
    assert eval(use, names) == result


# --- 2.1: what the module of a script holds -----------------------------------------------------------

MODULE_NAMES: list[tuple[str, str, Any]] = [
    ("__name__", "module.__name__", "demo"),
    ("__file__", "module.__file__", "<demo>"),
    ("__package__", "module.__package__", ""),
    ("__project__", "module.__project__['name']", "demo"),
    ("__loader__", "module.__loader__.get_source('demo')[:4]", "from"),
    ("logger", "module.logger.name", "demo"),
    ("logging", "(module.logging.name, module.logging.getLogger('x').name)", ("demo", "x")),
    ("log_buffer", "module.log_buffer", []),
    ("__handler_cls__", "type(loaded('class A(BaseHandler): x=1\\n__handler_cls__ = A\\n"
     "class B(BaseHandler): pass').handler).x", 1),
]  # fmt: skip


@pytest.mark.parametrize(("name", "use", "result"), MODULE_NAMES, ids=[row[0] for row in MODULE_NAMES])
def test_a_name_in_the_scripts_module(name, use, result):
    module = loaded("class Handler(BaseHandler): pass").module
    assert isinstance(module, types.ModuleType)
    assert eval(use, {"module": module, "loaded": loaded}) == result


# --- 2.1, 2.2: what `self` has while a task runs ------------------------------------------------------

SELF: list[tuple[str, str, Any]] = [
    ("project_name", "self.project_name", "demo"),
    ("project", "self.project['name']", "demo"),
    ("project['group']", "self.project['group']", None),
    ("project['status']", "self.project['status']", "RUNNING"),
    ("project['script']", "'class Handler' in self.project['script']", True),
    ("project['comments']", "self.project['comments']", None),
    ("project['rate']", "self.project['rate']", None),
    ("project['burst']", "self.project['burst']", None),
    ("project['updatetime']", "self.project['updatetime']", None),
    ("project['md5sum']", "len(self.project['md5sum'])", 32),
    ("task", "self.task['taskid']", "t1"),
    ("response", "self.response.status_code", 200),
    ("save", "self.save", {}),
    ("logger", "self.logger.name", "demo"),
    ("crawl_config", "self.crawl_config", {}),
    ("retry_delay", "self.retry_delay", {}),
    ("is_debugger()", "self.is_debugger()", False),
    ("get_taskid()", "self.get_taskid({'url': 'http://a.com/'})", "976c401c56398406fb1c7a63440f6a6a"),
    ("_cron_jobs", "[job.__name__ for job in self._cron_jobs]", ["tick"]),
    ("_min_tick", "self._min_tick", 60),
    ("__env__['debug']", "self.__env__['debug']", False),
    ("__env__['result_queue']", "self.__env__['result_queue']", None),
    ("__env__['enable_stdout_capture']", "self.__env__['enable_stdout_capture']", True),
    ("__env__['process_time_limit']", "self.__env__['process_time_limit']", 30.0),
]


@pytest.mark.parametrize(("name", "use", "result"), SELF, ids=[row[0] for row in SELF])
def test_an_attribute_of_self(name, use, result):
    body = f"@every\ndef tick(self): pass\ndef page(self, response): self.found = [{use}]"
    script = handler_of(body)
    outcome = run(script, *page())
    assert outcome.reason == ""
    assert script.handler.found == [result]


# --- 2.3: options of crawl() ---------------------------------------------------------------------------

CRAWL: list[tuple[str, str, Any]] = [  # option, where to look, what is there
    ("callback='page'", "process.callback", "page"),
    ("callback=self.page", "process.callback", "page"),
    ("process_time_limit=5", "process.process_time_limit", 5),
    ("priority=2", "schedule.priority", 2),
    ("retries=1", "schedule.retries", 1),
    ("exetime=1700000000", "schedule.exetime", 1700000000),
    ("age=60", "schedule.age", 60),
    ("itag='v1'", "schedule.itag", "v1"),
    ("force_update=True", "schedule.force_update", True),
    ("auto_recrawl=True", "schedule.auto_recrawl", True),
    ("cancel=True", "schedule.cancel", True),
    ("method='PUT'", "fetch.method", "PUT"),
    ("headers={'A': 'b'}", "fetch.headers", {"A": "b"}),
    ("user_agent='me'", "fetch.headers", {"User-Agent": "me"}),
    ("data={'a': 1}", "fetch.data", "a=1"),
    ("data='text'", "fetch.method", "POST"),
    ("files={'f': 'content'}", "fetch.method", "POST"),
    ("params={'a': 1}", "url", "http://a.com/?a=1"),
    ("cookies={'a': 'b'}", "fetch.cookies", {"a": "b"}),
    ("connect_timeout=3", "fetch.connect_timeout", 3),
    ("timeout=4", "fetch.timeout", 4),
    ("allow_redirects=False", "fetch.allow_redirects", False),
    ("max_redirects=1", "fetch.max_redirects", 1),
    ("proxy='p:8080'", "fetch.proxy", "p:8080"),
    ("etag=False", "fetch.etag", False),
    ("last_modified=False", "fetch.last_modified", False),
    ("last_modifed=False", "fetch.last_modified", False),
    ("use_gzip=False", "fetch.use_gzip", False),
    ("validate_cert=False", "fetch.validate_cert", False),
    ("robots_txt=True", "fetch.robots_txt", True),
    ("fetch_type='js'", "fetch.fetch_type", "js"),
    ("js_script='function() {}'", "fetch.js_script", "function() {}"),
    ("js_run_at='document-start'", "fetch.js_run_at", "document-start"),
    ("js_viewport_width=1", "fetch.js_viewport_width", 1),
    ("js_viewport_height=2", "fetch.js_viewport_height", 2),
    ("load_images=True", "fetch.load_images", True),
    ("save={'a': [1]}", "fetch.save", {"a": [1]}),
    ("taskid='mine'", "taskid", "mine"),
]


@pytest.mark.parametrize(("option", "place", "value"), CRAWL, ids=[row[0] for row in CRAWL])
def test_an_option_of_crawl(option, place, value):
    [found] = crawled(f"crawl('http://a.com/', {option})")
    for step in place.split("."):
        found = found[step]
    assert found == value


URLS: list[tuple[str, list[str]]] = [
    ("'http://a.com'", ["http://a.com/"]),
    ("['http://a.com/1', 'http://a.com/2']", ["http://a.com/1", "http://a.com/2"]),
    ("(url for url in ['http://a.com/1'])", ["http://a.com/1"]),
    ("'curl http://a.com/ --compressed'", ["http://a.com/"]),
    ("None", []),
]


@pytest.mark.parametrize(("url", "urls"), URLS, ids=[row[0] for row in URLS])
def test_a_form_of_the_url(url, urls):
    assert [follow["url"] for follow in crawled(f"crawl({url})")] == urls


# --- 2.4: decorators -----------------------------------------------------------------------------------

DECORATORS: list[tuple[str, dict[str, Any], str, Any]] = [  # decorator, the page, what to look at, what is there
    ("config(priority=3)", {}, "outcome.follows[0].priority", 3),
    ("config({'priority': 3}, age=1)", {}, "outcome.follows[0].age_ms", 1000),
    ("catch_status_code_error", {"status_code": 500}, "outcome.reason", ""),
    ("not_send_status", {"status_code": 500}, "outcome.track", None),
    ("every", {}, "script.info().min_tick", 60),
    ("every()", {}, "script.info().min_tick", 60),
    ("every(minutes=5)", {}, "script.info().min_tick", 300),
    ("every(seconds=10)", {}, "script.info().min_tick", 10),
    ("every(cron='0 3 * * *', timezone='Europe/Berlin')", {}, "script.info().min_tick", 60),
]


@pytest.mark.parametrize(("decorator", "result", "use", "value"), DECORATORS, ids=[row[0] for row in DECORATORS])
def test_a_decorator(decorator, result, use, value):
    script = handler_of(f"@{decorator}\ndef page(self, response): self.crawl('http://a/', callback=self.page)")
    outcome = run(script, *page(**result))
    assert eval(use, {"script": script, "outcome": outcome}) == value


# --- 2.7: entry points ---------------------------------------------------------------------------------

ENTRIES: list[tuple[str, str, str | None]] = [  # what it is, the method, the callback of the task
    ("on_start", "def on_start(self): self.on_result(1)", "on_start"),
    ("on_finished", "def on_finished(self, response, task): self.on_result(1)", "on_finished"),
    ("callback()", "def page(self): return 1", "page"),
    ("callback(response)", "def page(self, response): return response.status_code - 199", "page"),
    ("callback(response, task)", "def page(self, response, task): return int(task['taskid'][1])", "page"),
    ("generator", "def page(self, response):\n    yield 1\n    yield None", "page"),
    ("async callback", "async def page(self, response): return 1", "page"),
    ("async generator", "async def page(self, response):\n    yield 1", "page"),
    ("keyword-only", "def page(self, *, task): return int(task['taskid'][1])", "page"),
    ("__call__", "def __call__(self, response): return 1", None),
    ("on_result", "def page(self): return 0\n"
     "def on_result(self, result): super(Handler, self).on_result(result + 1)", "page"),
    ("@every method", "@every\ndef tick(self): self.on_result(1)", "_on_cronjob"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "body", "callback"), ENTRIES, ids=[row[0] for row in ENTRIES])
def test_an_entry_point(name, body, callback):
    outcome = ran(body, callback, save={"tick": 60})
    assert (outcome.reason, outcome.results) == ("", [b"1"])


def test_messages_have_their_entry_point():
    assert callable(handler_of("pass").handler.on_message)


def test_save_is_kept_from_run_to_run():
    outcome = ran("def page(self): self.save['n'] = self.save.get('n', 0) + 1", track={"save": {"n": 1}})
    assert outcome.save == {"n": 2}


# --- 2.8: Response -------------------------------------------------------------------------------------

PAGE = b'<html><head><meta charset="utf-8"></head><body><a href="/b">\xc3\xbc</a></body></html>'
RESULT = {
    "status_code": 200,
    "url": "http://a.com/dir/",
    "orig_url": "http://a.com/",
    "headers": {"Content-Type": "text/html", "X-Y": "1"},
    "cookies": {"c": "1"},
    "time": 0.5,
    "save": {"s": 1},
    "js_script_result": [1],
}
RESPONSE: list[tuple[str, str, Any]] = [
    ("status_code", "r.status_code", 200),
    ("url", "r.url", "http://a.com/dir/"),
    ("orig_url", "r.orig_url", "http://a.com/"),
    ("headers", "r.headers['x-y']", "1"),
    ("content", "r.content[:6]", b"<html>"),
    ("cookies", "r.cookies", {"c": "1"}),
    ("error", "r.error", None),
    ("traceback", "r.traceback", None),
    ("save", "r.save", {"s": 1}),
    ("js_script_result", "r.js_script_result", [1]),
    ("time", "r.time", 0.5),
    ("encoding", "r.encoding.lower()", "utf-8"),
    ("text", "'>ü</a>' in r.text", True),
    ("json", "r.json", None),
    ("etree", "r.etree.findtext('.//a')", "ü"),
    ("doc", "r.doc('a').attr.href", "http://a.com/b"),
    ("ok", "r.ok", True),
    ("bool()", "bool(r)", True),
    ("isok()", "r.isok()", True),
    ("raise_for_status()", "r.raise_for_status()", None),
    ("repr()", "repr(r)", "<Response [200]>"),
]


@pytest.mark.parametrize(("name", "use", "result"), RESPONSE, ids=[row[0] for row in RESPONSE])
def test_a_member_of_response(name, use, result):
    assert eval(use, {"r": Response(RESULT, PAGE)}) == result


def test_a_script_logs_through_each_of_its_loggers():
    outcome = ran("def page(self): logger.info('a'); logging.info('b'); self.logger.info('c'); print('d')")
    assert [line[-1] for line in outcome.logs.splitlines()] == ["a", "b", "c", "d"]
    assert logging.getLogger("demo").handlers == []


def test_a_follow_carries_only_what_was_given():
    [follow] = ran("def page(self): self.crawl('http://a.com/')").follows
    assert {part: opened(follow)[part] for part in ("schedule", "fetch", "process")} == {
        "schedule": {},
        "fetch": {},
        "process": {},
    }
