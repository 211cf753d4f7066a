"""A script tried by itself."""

import pytest
from tests.support.scripts import STAR, opened
from zspider.script.pyspider import shim
from zspider.script.trial import NO_SCRIPT, Method, UnusableTask, checked_callback, load_trial, methods, submitted

BOOKS = """
def helper(self): pass

class Base(BaseHandler):
    @every(minutes=2)
    def hourly(self): pass
    @every(cron="0 3 * * *", timezone="Europe/Berlin")
    def nightly(self): pass
    def detail(self, response): pass

class Handler(Base):
    crawl_config = {"age": 5, "timeout": 7}
    number = 3
    def __init__(self): self.asked = self.is_debugger()
    def on_start(self): pass
    @config(priority=2)
    def detail(self, response): pass
    def _hidden(self): pass
"""


@pytest.fixture
def books():
    shim.install()
    return load_trial("books", STAR + BOOKS)


def test_a_tried_script_knows_that_it_is_tried(books):
    assert books.handler.is_debugger()
    assert books.handler.project["status"] == "DEBUG"


def test_the_methods_are_the_scripts_own_with_what_their_decorators_say(books):
    assert methods(books.handler) == [
        Method("hourly", {}, "120 s"),
        Method("nightly", {}, "cron 0 3 * * * (Europe/Berlin)"),
        Method("detail", {"priority": 2}, ""),
        Method("on_start", {}, ""),
    ]
    assert methods(load_trial("none", NO_SCRIPT).handler) == []


def test_a_task_is_made_as_crawl_makes_it(books):
    follow = opened(submitted(books, "http://a/ü", {"callback": "detail", "save": {"x": 1}, "params": {"q": 1}}))
    assert follow["url"] == "http://a/%C3%BC?q=1"
    assert (follow["priority"], follow["age_ms"]) == (2, 5000)
    assert follow["fetch"] == {"save": {"x": 1}, "timeout": 7}  # a debugger sees crawl_config at once
    assert follow["process"] == {"callback": "detail"}
    curl = opened(submitted(books, "curl http://a/ -H 'x: y'", {}))
    assert (curl["url"], curl["fetch"]["headers"]) == ("http://a/", {"x": "y"})


@pytest.mark.parametrize(
    ("url", "options", "text"),
    [
        ("http://a/", {"callback": "nix"}, "self.nix() not implemented!"),
        ("http://a/", {"foo": 1}, "crawl() got unexpected keyword argument: foo"),
        ("http://a/", {"age": "old"}, "crawl(age=...) must be a number, not 'old'"),
        ("http://a/" + "x" * 9000, {}, "Maximum (8190) URL length error: 9009 bytes"),
        ("curl http://a/ http://b/", {}, "one URL is wanted, got 2"),
        ("curl 'http://a/", {}, "No closing quotation"),
    ],
)
def test_a_task_that_cannot_be_made_says_why(books, url, options, text):
    with pytest.raises(UnusableTask) as caught:
        submitted(books, url, options)
    assert str(caught.value) == text
    with pytest.raises(RuntimeError):  # and the handler is as it was
        books.handler.crawl("http://a/")


def test_an_unknown_callback_lists_the_known_ones(books):
    assert checked_callback(books, "detail") == "detail"
    with pytest.raises(UnusableTask, match=r"no callback 'x' in books; there are: hourly, nightly, detail$"):
        checked_callback(books, "x")
    with pytest.raises(UnusableTask, match=r"a callback is needed; there are: hourly, nightly, detail$"):
        checked_callback(books, "")
