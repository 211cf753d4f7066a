"""Whatever user code raises, wherever: the page fails with it, and the next page knows nothing of it."""

import builtins
import itertools
import json
import signal
import sys
import threading
import time
import warnings
from textwrap import dedent, indent

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.support.scripts import handler_of, loaded, page, track_of
from zspider.delivery import End
from zspider.script.limits import ProcessorLimits
from zspider.script.runner import RunResult, run

GOOD = "def page(self): return [self.save.get('n'), len('abc'), json.loads('[1]'), time.time() > 1]"
LIMITS = ProcessorLimits(process_time_limit_s=5)

HEAD = """
import json, os, signal, threading, time, warnings

class Own(BaseException): pass
class Mute(Exception):
    def __str__(self): raise SystemExit('nothing')
    __repr__ = __str__
class Liar(Exception):
    __class__ = property(lambda self: 1 / 0)
    __traceback__ = property(lambda self: 1 / 0)
    __cause__ = property(lambda self: 1 / 0)
    __notes__ = property(lambda self: 1 / 0)
class Meta(type):
    __name__ = property(lambda cls: 1 / 0)
    __module__ = property(lambda cls: 1 / 0)
    def __getattribute__(cls, name): raise SystemExit(name)
class Nameless(Exception, metaclass=Meta): pass
class Text(str):
    def __str__(self): return self
    def __getitem__(self, key): return 5
    def split(self, *_): raise KeyError('split')
    def __format__(self, how): raise KeyError('format')
    def encode(self, *_): raise KeyError('encode')
class Sly(Exception):
    def __str__(self): return Text('mine')

def boom(*_, **__): raise ERROR

def odd(*names, base=object, **more):
    return type('Odd', (base,), {**dict.fromkeys(names, boom), **more})
"""

# What is raised, and how the reason begins.
ERRORS = {
    "KeyError('mine')": "KeyError: 'mine'",
    "SystemExit('mine')": "SystemExit: mine",
    "KeyboardInterrupt('mine')": "KeyboardInterrupt: mine",
    "GeneratorExit('mine')": "GeneratorExit: mine",
    "MemoryError('mine')": "MemoryError: mine",
    "RecursionError('mine')": "RecursionError: mine",
    "Own('mine')": "Own: mine",
    "Sly()": "Sly: mine",
    "Mute()": "Mute: (its text cannot be made)",
    "Liar('mine')": "Liar: mine",
    "Nameless('mine')": "Nameless: mine",
}

# Where it is raised: the body of a handler's class.
PLACES = {
    "the callback": "def page(self): boom()",
    "a property for a callback": "page = property(boom)",
    "a metaclass for a callback": "page = type('M', (type,), {'__call__': boom})('C', (), {})",
    "__getattr__": """
        def __getattr__(self, name):
            if name == 'page': boom()
            raise AttributeError(name)
    """,
    "__getattribute__": """
        def __getattribute__(self, name):
            if name == 'page': boom()
            return super().__getattribute__(name)
    """,
    "__setattr__ of save": """
        def page(self): pass
        def __setattr__(self, name, value):
            if name == 'save': boom()
            super().__setattr__(name, value)
    """,
    "__setattr__ of task": """
        def page(self): pass
        def __setattr__(self, name, value):
            if name == 'task': boom()
            super().__setattr__(name, value)
    """,
    "crawl": "def page(self): pass\ncrawl = property(boom)",
    "an object for a callback": "page = odd('__call__')()",
    "the callback's marks": "page = odd(__call__=int, __getattr__=lambda self, name: name[0] == '_' and boom())()",
    "a mark's truth": "def page(self): pass\npage._not_send_status = odd('__bool__')()",
    "another mark's truth": "def page(self): pass\npage._catch_status_code_error = odd('__bool__')()",
    "a result's text": "def page(self): return odd('__str__')()",
    "a result's truth": "def page(self): return odd('__bool__')()",
    "a result's length": "def page(self): return odd('__len__')()",
    "a result's items": "def page(self): return odd('items', base=dict)(a=1)",
    "a generator": "def page(self):\n    yield 1\n    boom()",
    "a generator's finally": "def page(self):\n    try: yield odd('__bool__')()\n    finally: boom()",
    "a coroutine": "async def page(self): boom()",
    "on_result": "def page(self): return 1\ndef on_result(self, result): boom()",
    "save's text": "def page(self): self.save = odd('__str__')()",
    "a text in save": "def page(self): self.save = {'a': [odd('__str__')()]}",
    "a key of save": "def page(self): self.save = {odd('__str__')(): 1}",
    "save's items": "def page(self): self.save = odd('items', base=dict)(a=1)",
    "save's iterator": "def page(self): self.save = odd('__iter__', base=list)([1])",
    "save itself": "def page(self): pass\nsave = property(boom, lambda self, value: None)",
    "an option": "def page(self): self.crawl('http://a/', callback=self.page, save=odd('__str__')())",
    "options": "def page(self): self.crawl('http://a/', headers=odd('items', base=dict)(a=1))",
    "a hash": "def page(self): self.crawl('http://a/', callback=odd('__hash__', __name__='page')())",
    "URLs": "def page(self): self.crawl(odd('__iter__')())",
    "get_taskid": "def page(self): self.crawl('http://a/')\ndef get_taskid(self, task): boom()",
    "crawl_config": "def page(self): self.crawl('http://a/')\ncrawl_config = property(boom)",
    "a message": "def page(self): self.send_message('other', odd('__str__')())",
    "print": "def page(self): print(odd('__str__')())",
    "a signal": "def page(self):\n    signal.signal(signal.SIGUSR1, boom)\n    os.kill(os.getpid(), signal.SIGUSR1)",
    "a timer": """
        def page(self):
            signal.signal(signal.SIGVTALRM, boom)
            signal.setitimer(signal.ITIMER_VIRTUAL, 0.001, 0.001)
            while True: pass
    """,
    "a trace": "def page(self):\n    sys.settrace(boom)\n    (lambda: 1)()",
    "the builtins": "def page(self):\n    import builtins\n    builtins.isinstance = boom\n    self.crawl('http://a/')",
    "time": "def page(self):\n    time.time = boom\n    time.time()",
}


def script(body: str, error: str):
    """Load a handler with this body, for which `boom` raises this."""
    body = indent(dedent(body).strip("\n"), "    ")
    return loaded(HEAD.replace("ERROR", error) + "\nclass Handler(BaseHandler):\n" + body + "\n")


def ran(one, **given) -> RunResult:
    return run(one, *page("page", **given), limits=LIMITS)


@pytest.fixture(scope="module")
def good():
    return loaded("import json, time\nclass Handler(BaseHandler):\n" + indent(GOOD, "    "))


def assert_untouched(good) -> None:
    """The next page of another script runs as ever."""
    outcome = ran(good, track={"save": {"n": 7}})
    assert (outcome.end, outcome.reason, outcome.results) == (End.SUCCESS, "", [b"[7, 3, [1], true]"])
    assert outcome.logs == ""


OF_ASYNCIO = {("a coroutine", "Mute()"), ("a coroutine", "Liar('mine')")}  # it asks the error itself


@pytest.mark.parametrize(
    ("place", "error"), [one for one in itertools.product(PLACES, ERRORS) if one not in OF_ASYNCIO]
)
def test_what_user_code_raises_is_the_pages_failure(good, place, error):
    outcome = ran(script(PLACES[place], error), track={"save": {"kept": 1}})
    assert (outcome.end, outcome.is_damaged) == (End.FAILURE, False), outcome.reason
    assert outcome.reason.removeprefix("self.save cannot be kept: ") == ERRORS[error]
    track = track_of(outcome)
    assert track["process"]["exception"] == outcome.reason
    assert track["save"] == {"kept": 1}
    assert_untouched(good)


BESIDE = {
    "its logger": "logger = property(boom, lambda self, value: None)",
    "its log": "logger = odd('error')()",
    "its save": "save = property(boom, lambda self, value: None)",
    "its task": "def __init__(self): self.__dict__['schedule'] = odd('__eq__')()",
    "its end": """
        def __setattr__(self, name, value):
            if name == 'save' and value is None: boom()
            super().__setattr__(name, value)
    """,
}


@given(st.sampled_from(sorted(PLACES)), st.sets(st.sampled_from(sorted(BESIDE))), st.sampled_from(sorted(ERRORS)))
@settings(max_examples=80, deadline=None)
def test_several_hostile_parts_make_one_failure(place, others, error):
    assume((place, error) not in OF_ASYNCIO)
    body = "\n".join(dedent(part).strip("\n") for part in [*(BESIDE[name] for name in sorted(others)), PLACES[place]])
    outcome = ran(script(body, error))
    assert (outcome.end, outcome.is_damaged) == (End.FAILURE, False), outcome.reason
    assert outcome.reason.removeprefix("self.save cannot be kept: ") == ERRORS[error]


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("self.save = {'a': Slow()}", "self.save cannot be kept: TimeoutError: process timeout"),
        ("return Slow()", "TimeoutError: process timeout"),
        ("self.crawl('http://a/', save=Slow())", "TimeoutError: process timeout"),
    ],
)
def test_a_value_that_takes_for_ever_meets_the_time_limit(statement, reason):
    slow = "class Slow:\n    def __str__(self):\n        while True: pass\n"
    one = loaded(slow + f"class Handler(BaseHandler):\n    def page(self): {statement}\n")
    outcome = run(one, *page("page"), limits=ProcessorLimits(process_time_limit_s=0.2))
    assert (outcome.end, outcome.reason) == (End.FAILURE, reason)


def test_an_error_that_takes_for_ever_to_tell_is_told_without_its_text():
    slow = "class Slow(Exception):\n    def __str__(self):\n        while True: pass\n"
    one = loaded(slow + "class Handler(BaseHandler):\n    def page(self): raise Slow\n")
    started = time.monotonic()
    outcome = run(one, *page("page"), limits=ProcessorLimits(process_time_limit_s=0.2))
    assert (outcome.end, outcome.reason) == (End.FAILURE, "Slow: (its text cannot be made)")
    assert time.monotonic() - started < 4


@pytest.mark.parametrize(
    "line",
    [
        "builtins.len = None",
        "builtins.isinstance = builtins.getattr = builtins.str = None",
        "del builtins.BaseException, builtins.min, builtins.zip",
        "time.time = time.monotonic = time.perf_counter = None",
        "json.loads = json.dumps = None",
        "sys.stdout = sys.stderr = None",
        "sys.stdout.tail = sys.stdout.write = None",
        "del sys.stdout",
        "sys.settrace(lambda *_: 1 / 0)",
        "sys.excepthook = threading.excepthook = sys.unraisablehook = None",
        "warnings.simplefilter('error')",
        "warnings.filters = None",
        "signal.signal(signal.SIGALRM, signal.SIG_IGN)",
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM, signal.SIGTERM])",
        "signal.signal(signal.SIGPROF, lambda *_: 1 / 0); signal.setitimer(signal.ITIMER_PROF, 1e-4, 1e-4)",
        "sys.setrecursionlimit(80)",
        "variable.set('changed')",
        "decimal.setcontext(decimal.Context(prec=1))",
    ],
)
def test_what_a_callback_changes_in_its_interpreter_does_not_reach_the_next_page(good, line):
    names = "builtins, contextvars, decimal, json, signal, sys, threading, time, warnings"
    one = loaded(
        f"import {names}\nvariable = contextvars.ContextVar('variable', default='fresh')\n"
        f"class Handler(BaseHandler):\n    def page(self): {line}\n    def then(self):\n"
        "        return [variable.get(), decimal.getcontext().prec]\n"
    )
    before = _state()
    ran(one)
    assert _state() == before
    assert_untouched(good)
    assert run(one, *page("then")).results == [b'["fresh", 28]']


def _state():
    names = {**vars(builtins)}, {**vars(time)}, {**vars(json)}
    handlers = [signal.getsignal(number) for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGPROF)]
    hooks = sys.excepthook, sys.unraisablehook, threading.excepthook, sys.stdout, sys.stderr, sys.gettrace()
    return names, handlers, signal.pthread_sigmask(signal.SIG_BLOCK, ()), hooks, warnings.filters[:]


def test_a_limit_holds_after_a_callback_that_ignored_and_blocked_its_signal():
    ran(handler_of("def page(self):\n    import signal\n    signal.signal(signal.SIGALRM, signal.SIG_IGN)"))
    ran(handler_of("def page(self):\n    import signal\n    signal.pthread_sigmask(0, [signal.SIGALRM])"))
    outcome = run(handler_of("def page(self):\n    while True: pass"), *page(), limits=ProcessorLimits(0.1))
    assert outcome.reason == "TimeoutError: process timeout"


def test_names_that_a_callback_adds_to_the_builtins_stay():
    add = handler_of("def page(self):\n    import gettext\n    gettext.install('demo')\n    return _('a')")
    try:
        assert ran(add).results == [b'"a"']
        assert ran(handler_of("def page(self): return _('b')")).results == [b'"b"']
    finally:
        vars(builtins).pop("_", None)


def test_a_script_that_breaks_what_a_run_needs_fails_its_page_and_says_that_it_is_damaged():
    one = handler_of("def page(self):\n    sys.stdout._parts = [5]")
    outcome = ran(one)
    assert (outcome.end, outcome.is_damaged) == (End.FAILURE, True)


def test_a_response_that_a_callback_has_damaged_is_kept_out_of_the_track():
    outcome = ran(handler_of("def page(self, response): response.url = response.time = object()"))
    assert (outcome.end, track_of(outcome)["fetch"]) == (End.SUCCESS, {})
    outcome = ran(handler_of("def page(self, response):\n    response.isok = None\n    raise KeyError('mine')"))
    assert (outcome.end, outcome.reason, track_of(outcome)["fetch"]) == (End.FAILURE, "KeyError: 'mine'", {})
