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
from tests.support.hostile_scripts import ERRORS, PLACES, hostile_script
from tests.support.scripts import handler_of, loaded, page, track_of
from zspider.delivery import End
from zspider.script.limits import ProcessorLimits
from zspider.script.runner import RunResult, run

GOOD = "def page(self): return [self.save.get('n'), len('abc'), json.loads('[1]'), time.time() > 1]"
LIMITS = ProcessorLimits(process_time_limit_s=5)


def script(body: str, error: str):
    """Load a handler with this body, for which `boom` raises this."""
    return loaded(hostile_script(body, error))


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
