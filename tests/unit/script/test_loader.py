"""Loading: the module a script runs in, which handler is chosen, and how errors are told."""

import linecache
import logging

import msgspec
import pytest
from tests.support.scripts import STAR, handler_of, loaded, ran
from zspider.script.errors import LoadError
from zspider.script.loader import ProjectFacts, load

NEED = "need BaseHandler in project module"


@pytest.mark.parametrize(
    ("text", "reason", "line"),
    [
        ("x = 1\n\ny =", "SyntaxError: invalid syntax (line 3)", "y ="),
        ("x = 1\n  y = 2", "IndentationError: unexpected indent (line 2)", "y = 2"),
        ("import no_such_module_here", "ModuleNotFoundError: No module named 'no_such_module_here'", "import no_such"),
        ("1 / 0", "ZeroDivisionError: division by zero", "1 / 0"),
        ("raise SystemExit('bye')", "SystemExit: bye", "raise SystemExit"),
        ("raise ValueError('a\\nb')", "ValueError: a b", "raise ValueError"),
        ("", NEED, NEED),
        ("from zspider import BaseHandler", NEED, NEED),
        ("__handler_cls__ = int", NEED, NEED),
        ("from zspider import BaseHandler\nclass H(BaseHandler):\n    def __init__(self): 1 / 0",
         "ZeroDivisionError: division by zero", "def __init__"),
    ],
)  # fmt: skip
def test_a_script_that_cannot_be_loaded_says_why_in_one_line(text, reason, line):
    with pytest.raises(LoadError) as caught:
        load({"name": "bad", "status": "RUNNING"}, text)
    assert str(caught.value) == reason
    assert line in caught.value.traceback
    assert "zspider/script" not in caught.value.traceback
    assert caught.value.is_missing_module == ("no_such_module" in text)


def test_a_traceback_names_the_project_and_shows_the_line():
    with pytest.raises(LoadError) as caught:
        load({"name": "mine", "status": "RUNNING"}, "def f():\n    return {}['key']\nf()")
    assert "File \"<mine>\", line 2, in f\n    return {}['key']" in caught.value.traceback


def test_the_modules_names_are_pyspiders():
    script = loaded("class Handler(BaseHandler):\n    def page(self, response): logger.info(logging)\n", name="mine")
    names = vars(script.module)
    assert names["__file__"] == "<mine>"
    assert names["__package__"] == ""
    assert names["__project__"]["name"] == "mine"
    assert "class Handler" in names["__project__"]["script"]
    assert names["__loader__"].get_source("mine") == names["__project__"]["script"]
    assert names["log_buffer"] == []
    assert names["logger"].name == "mine"


def test_logging_is_the_projects_logger_and_the_module():
    body = """
    def page(self, response):
        logging.info('one')
        logging.getLogger('elsewhere').warning('two')
        logger.debug('three')
        self.logger.error('four')
        return logging.WARNING
    """
    outcome = ran(body)
    assert outcome.results == [b"30"]
    assert [line[1] for line in outcome.logs.splitlines()] == ["I", "W", "D", "E"], outcome.logs
    assert [line.rsplit(" ")[-1] for line in outcome.logs.splitlines()] == ["one", "two", "three", "four"]
    assert logging.getLogger().handlers == [h for h in logging.getLogger().handlers if "Tail" not in type(h).__name__]


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("class A(BaseHandler): pass\nclass B(BaseHandler): pass", "B"),
        ("class A(BaseHandler): pass\nclass B(A): pass", "B"),
        ("class B(BaseHandler): pass\nclass A(B): pass\nC = B", "B"),
        ("class A(BaseHandler): pass\nclass B(BaseHandler): pass\n__handler_cls__ = A", "A"),
        ("class Base(BaseHandler): pass\nBaseHandler = Base\nclass A(BaseHandler): pass\nclass X: pass", "A"),
    ],
)
def test_the_handler_is_the_last_subclass_or_the_named_one(text, chosen):
    assert type(loaded(text).handler).__name__ == chosen


def test_a_module_that_names_no_basehandler_may_still_have_a_handler():
    script = load({"name": "x", "status": "DEBUG"}, "import zspider\nclass H(zspider.BaseHandler): pass")
    assert type(script.handler).__name__ == "H"
    assert script.handler.__env__["debug"] is True


def test_a_basehandler_that_is_not_ours_is_named():
    text = "import logging\nclass BaseHandler: pass\nclass Handler(BaseHandler): pass"
    with pytest.raises(LoadError) as caught:
        load({"name": "x", "status": "DEBUG"}, text)
    assert str(caught.value).startswith(f"{NEED.replace('BaseHandler', 'BaseHandler of zspider')}; its BaseHandler is")


def test_the_handler_knows_its_project():
    handler = loaded("class H(BaseHandler): pass", name="mine", status="DEBUG").handler
    assert (handler.project_name, handler.project["name"], handler.project["status"]) == ("mine", "mine", "DEBUG")
    assert len(handler.project["md5sum"]) == 32
    assert set(handler.project) >= {"name", "group", "status", "script", "comments", "rate", "burst", "updatetime"}
    assert not handler.is_debugger()
    assert (handler.task, handler.response, handler.save) == (None, None, None)


def test_a_status_may_change_while_the_script_stays():
    script = loaded("class H(BaseHandler): pass", status="RUNNING")
    script.tell(ProjectFacts("DEBUG", "shops", 2.0, 5.0, 1_700_000_000_500))
    project = script.handler.project
    assert project["status"] == "DEBUG"
    assert script.handler.__env__["debug"] is True
    assert (project["group"], project["rate"], project["burst"]) == ("shops", 2.0, 5.0)
    assert (project["updatetime"], project["comments"]) == (1_700_000_000.5, None)
    assert project is script.module.__project__  # what a script has kept of it follows
    script.tell(ProjectFacts("RUNNING", "", 2.0, 5.0, 1_700_000_000_500))
    assert (project["group"], script.handler.__env__["debug"]) == (None, False)


@pytest.mark.parametrize(
    ("declared", "delays"),
    [
        ("{}", {}),
        ("{0: 30, 1: 60, '': 90}", {"0": 30, "1": 60, "": 90}),
        ("5", {"": 5}),
        ("-1", {"": -1}),
        ("None", {}),
    ],
)
def test_retry_delay_may_be_a_table_or_a_number(declared, delays):
    assert handler_of(f"retry_delay = {declared}").info().retry_delay == delays


def test_crawl_config_travels_in_json_like_form():
    info = handler_of("""
    def page(self, response): pass
    crawl_config = {'headers': {'A': 'b'}, 'timeout': 5, 'callback': page, 'itag': ('a', 1)}
    """).info()
    assert msgspec.msgpack.decode(info.crawl_config) == {
        "headers": {"A": "b"},
        "timeout": 5,
        "callback": "page",
        "itag": ["a", 1],
    }
    assert msgspec.msgpack.decode(handler_of("crawl_config = None").info().crawl_config) == {}


@pytest.mark.parametrize(
    "declared", ["crawl_config = {'x': 'y' * 300_000}", "retry_delay = {0: 'soon'}", "crawl_config = 5"]
)
def test_what_cannot_be_declared_is_an_error(declared):
    with pytest.raises((ValueError, TypeError)):
        handler_of(declared).info()


def test_a_forgotten_script_leaves_nothing_for_tracebacks():
    script = loaded("class H(BaseHandler): pass", name="gone")
    assert linecache.getline("<gone>", 1) == STAR
    newer = loaded("class H(BaseHandler): x = 1", name="gone")
    script.forget()
    assert linecache.getline("<gone>", 2) == "class H(BaseHandler): x = 1"
    newer.forget()
    assert linecache.getline("<gone>", 1) == ""


@pytest.mark.parametrize(
    ("body", "has_one"),
    [
        ("pass", False),
        ("def on_finished(self): pass", True),
        ("def on_finished(self, response, task): pass", True),
        ("def on_message(self, project, msg): pass", False),
    ],
)
def test_a_script_says_whether_it_wants_to_know_when_it_is_finished(body, has_one):
    assert handler_of(body).info().has_on_finished is has_one


def test_an_inherited_on_finished_counts():
    script = loaded("class Base(BaseHandler):\n    def on_finished(self): pass\nclass Handler(Base): pass\n")
    assert script.info().has_on_finished
