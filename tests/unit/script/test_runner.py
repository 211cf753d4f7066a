"""One run: which callback, with what, and what becomes of what it does."""

import sys
import time
import warnings

import msgspec
import pytest
from tests.support.scripts import handler_of, page, ran, track_of
from zspider.delivery import RESULT_BYTES_MAX, End, Follow
from zspider.script.limits import ProcessorLimits
from zspider.script.runner import run


def timed(seconds: float) -> ProcessorLimits:
    return ProcessorLimits(process_time_limit_s=seconds)


@pytest.mark.parametrize(
    ("signature", "result"),
    [
        ("self", "none"),
        ("self, response", "Response"),
        ("self, response, task", "Response dict"),
        ("self, response, extra=5", "Response dict"),
        ("self, *args", "none"),
        ("self, response, *, keyword=1", "Response"),
        ("self, response: 'Response') -> 'dict'.__add__('", None),
    ],
)
def test_a_callback_gets_as_many_arguments_as_it_declares(signature, result):
    if result is None:
        signature = "self, response: int, task: str = ''"
        result = "Response dict"
    body = f"def page({signature}):\n    return ' '.join(type(v).__name__ for k, v in locals().items() " + (
        "if k in ('response', 'task', 'extra') and v is not None) or 'none'"
    )
    body = body.replace("locals().items()", "list(locals().items())")
    outcome = ran(body)
    assert outcome.reason == ""
    assert msgspec.json.decode(outcome.results[0]) == result


@pytest.mark.parametrize(
    ("signature", "result"),
    [
        ("self, *, response", ["Response", None]),
        ("self, *, task", [None, "dict"]),
        ("self, *, task, response: 'Response'", ["Response", "dict"]),
        ("self, *, response=None, task=None", ["Response", "dict"]),
        ("self, response, *, task: dict, other=1", ["Response", "dict"]),
        ("self, response, task, *, extra=1", ["Response", "dict"]),
        ("self, response, /, *, task", ["Response", "dict"]),
        ("self, *args, task", [None, "dict"]),
        ("self, **named", [None, None]),
    ],
)
def test_a_keyword_only_parameter_gets_the_argument_of_its_name(signature, result):
    body = (
        f"def page({signature}):\n    here = locals()\n    return [type(here[name]).__name__ if name in here else None"
    )
    outcome = ran(body + " for name in ('response', 'task')] + [1]")
    assert outcome.reason == ""
    assert msgspec.json.decode(outcome.results[0]) == [*result, 1]


def test_a_keyword_only_parameter_that_nobody_offers_is_an_error():
    assert "missing 1 required keyword-only argument: 'page'" in ran("def page(self, response, *, page): pass").reason


def test_on_result_may_take_its_arguments_by_name():
    body = """
    def page(self): return 5
    def on_result(self, *, task, result): super(Handler, self).on_result([result, task['taskid']])
    """
    assert ran(body).results == [b'[5, "t1"]']


def test_a_wrapper_that_passes_names_on_gets_those_of_the_wrapped_one():
    body = """
    def plain(function):
        @functools.wraps(function)
        def wrapper(self, *args, **named): return function(self, *args, **named)
        return wrapper
    @plain
    def page(self, response, *, task): return [response.status_code, task['taskid']]
    """
    assert ran(body).results == [b'[200, "t1"]']


def test_a_wrapped_callback_gets_what_the_wrapped_one_declares():
    body = """
    def plain(function):
        @functools.wraps(function)
        def wrapper(self, *args): return function(self, *args)
        return wrapper
    @plain
    def page(self, response, task): return [response.status_code, task['taskid']]
    """
    assert ran(body).results == [b'[200, "t1"]']


@pytest.mark.parametrize("value", ["None", "0", "''", "[]", "{}", "False"])
def test_falsy_results_are_none(value):
    assert ran(f"def page(self): return {value}").results == []


@pytest.mark.parametrize(
    ("value", "json"),
    [
        ("{'a': 'ü'}", '{"a": "ü"}'),
        ("{'a': '\\ud800'}", '{"a": "?"}'),
        ("{(1, 2): {3}}", '{"(1, 2)": "{3}"}'),
        ("[b'x', 1.5, None]", "[\"b'x'\", 1.5, null]"),
        ("{1: 2}", '{"1": 2}'),
    ],
)
def test_a_result_is_json_text(value, json):
    assert ran(f"def page(self): return {value}").results == [json.encode()]


def test_numbers_that_json_does_not_have_are_stored_as_null_and_the_log_says_so():
    body = "def page(self): return {'a': float('nan'), 'b': [float('inf'), 1.5, -float('inf')], 'c': (2, 'NaN')}"
    outcome = ran(body)
    assert (outcome.end, outcome.results) == (End.SUCCESS, [b'{"a": null, "b": [null, 1.5, null], "c": [2, "NaN"]}'])
    assert outcome.logs.startswith("[W ")
    assert "NaN or Infinity in a result" in outcome.logs
    assert ran("def page(self): return {float('nan'): 1, (1,): float('inf')}").results == [b'{"NaN": 1, "(1,)": null}']


def test_a_generator_gives_several_results():
    outcome = ran("def page(self, response):\n    yield 1\n    yield None\n    self.crawl('http://a/')\n    yield [2]")
    assert outcome.results == [b"1", b"[2]"]
    assert len(outcome.follows) == 1
    assert track_of(outcome)["process"]["result"].startswith("<generator")


@pytest.mark.parametrize(
    ("body", "results"),
    [
        ("async def page(self, response): return 1", [b"1"]),
        ("async def page(self, response):\n    yield 1\n    yield 2", [b"1", b"2"]),
        ("async def page(self, *, task): return task['taskid']", [b'"t1"']),
        ("def page(self):\n    async def inner(): return 3\n    return inner()", [b"3"]),
        (
            "async def page(self):\n    import asyncio\n"
            "    async def one(n):\n        await asyncio.sleep(0)\n        return n\n"
            "    return await asyncio.gather(one(1), one(2))",
            [b"[1, 2]"],
        ),
        (
            "async def page(self):\n    yield 1\n    yield 2\n"
            "async def on_result(self, result): super(Handler, self).on_result(result * 10)",
            [b"10", b"20"],
        ),
    ],
)
def test_a_callback_may_be_async(body, results):
    outcome = ran(body)
    assert outcome.reason == ""
    assert outcome.results == results


def test_on_start_may_be_async_and_its_calls_count():
    outcome = ran("async def on_start(self): self.crawl('http://a/')\n", "on_start")
    assert (outcome.reason, [follow.url for follow in outcome.follows]) == ("", ["http://a/"])


def test_an_error_in_an_async_callback_is_told_from_the_users_frame_on():
    outcome = ran("async def page(self): await self.deeper()\nasync def deeper(self): raise ValueError('deep')")
    assert outcome.reason == "ValueError: deep"
    assert "asyncio" not in outcome.logs
    frames = [line.strip() for line in outcome.logs.splitlines() if 'File "' in line]
    assert [frame.rpartition(" ")[2] for frame in frames] == ["page", "deeper"]


def test_on_result_may_be_overridden_and_gets_what_it_declares():
    body = """
    def page(self, response):
        yield 1
        yield 0
    def on_result(self, result, response, task):
        super(Handler, self).on_result([result, response.status_code, task['taskid']])
    """
    assert ran(body).results == [b'[1, 200, "t1"]', b'[0, 200, "t1"]']


@pytest.mark.parametrize(
    ("result", "caught", "called", "reason"),
    [
        ({"status_code": 200}, False, True, ""),
        ({"status_code": 304}, False, False, ""),
        ({"status_code": 304}, True, True, ""),
        ({"status_code": 404, "error": "HTTP 404: Not Found"}, False, False, "HTTPError: HTTP 404: Not Found"),
        ({"status_code": 404, "error": "HTTP 404: Not Found"}, True, True, ""),
        ({"status_code": 599, "error": "HTTP 599: no"}, False, False, "HTTPError: HTTP 599: no"),
        ({"status_code": 302, "error": "HTTP 302: Found"}, False, False, "HTTPError: HTTP 302: Found"),
    ],
)
def test_the_callback_is_called_for_good_pages_unless_it_catches_errors(result, caught, called, reason):
    mark = "@catch_status_code_error\n" if caught else ""
    outcome = ran(mark + "def page(self, response): return 'called'", **result)
    assert bool(outcome.results) is called
    assert outcome.reason == reason


@pytest.mark.parametrize(
    ("callback", "reason"),
    [
        ("nothing", "NotImplementedError: self.nothing() not implemented!"),
        (None, "NotImplementedError: self.__call__() not implemented!"),
        ("project_name", "NotImplementedError: self.project_name() not implemented!"),
    ],
)
def test_a_missing_callback_is_a_failure(callback, reason):
    assert ran("pass", callback).reason == reason


def test_without_a_callback_the_handler_itself_is_called():
    assert ran("def __call__(self, response): return 7", None).results == [b"7"]


def test_the_base_methods_do_nothing():
    assert ran("pass", "on_start").end is End.SUCCESS
    assert ran("pass", "on_finished").end is End.SUCCESS


def test_an_error_is_told_without_our_frames_and_undoes_nothing():
    body = """
    def page(self, response):
        print('before')
        self.save['n'] = 1
        self.crawl('http://a/')
        self.on_result('kept')
        raise ValueError('broken\\nin two')
    """
    outcome = ran(body)
    assert (outcome.end, outcome.reason) == (End.FAILURE, "ValueError: broken in two")
    assert (outcome.results, len(outcome.follows), outcome.save) == ([b'"kept"'], 1, {"n": 1})
    assert outcome.logs.startswith("before\n[E ")
    assert 'File "<demo>"' in outcome.logs
    assert "raise ValueError('broken" in outcome.logs
    assert 'runner.py"' not in outcome.logs
    assert track_of(outcome)["process"]["exception"] == "ValueError: broken in two"


def test_causes_are_told_too():
    outcome = ran("def page(self):\n    try: {}['a']\n    except KeyError as e: raise ValueError('b') from e")
    assert "KeyError: 'a'" in outcome.logs
    assert "direct cause" in outcome.logs


def test_no_cause_and_no_part_of_an_error_is_told_with_our_frames():
    body = """
    def wrong(self): self.crawl(b'x')
    def page(self):
        try:
            try: self.wrong()
            except TypeError as e: raise ValueError('second') from e
        except ValueError as e:
            raise ExceptionGroup('third', [e, KeyError('part')]) from e
    """
    logs = ran(body).logs
    assert "in wrong" in logs
    assert "handler.py" not in logs


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("sys.exit(3)", "SystemExit: 3"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("page_()", "NameError: name 'page_' is not defined"),
        ("(lambda f: f(f))(lambda f: f(f))", "RecursionError"),
        ("raise type('Odd', (Exception,), {'__str__': lambda s: 1 / 0})", "Odd: (its text cannot be made)"),
        ("return type('Odd', (), {'__str__': lambda s: 1 / 0})()", "ZeroDivisionError"),
        ("self.save = type('Odd', (), {'__str__': lambda s: 1 / 0})()", "self.save cannot be kept: ZeroDivisionError"),
    ],
)
def test_nothing_a_callback_does_gets_past_the_run(statement, reason):
    outcome = ran(f"def page(self, response): {statement}")
    assert outcome.end in (End.FAILURE, End.FATAL)
    assert outcome.reason.startswith(reason)


def test_prints_logs_and_warnings_are_captured_and_nothing_is_left_behind():
    before = sys.stdout, sys.stderr, warnings.showwarning
    body = """
    def page(self, response):
        import warnings
        print('out')
        print('err', file=sys.stderr)
        warnings.simplefilter('always')
        warnings.warn('careful')
        sys.stdout.write('x' * 5_000_000)
        print('end')
    """
    with warnings.catch_warnings():
        outcome = ran(body.replace("sys.stdout.write('x' * 5_000_000)", ""))
        assert outcome.logs.splitlines()[:2] == ["out", "err"]
        assert "UserWarning: careful" in outcome.logs
        assert len(ran(body).logs) == 1000
        assert ran(body).logs.endswith("xxx" + "end\n")
    assert (sys.stdout, sys.stderr, warnings.showwarning) == before


def test_a_longer_log_can_be_asked_for_and_the_track_keeps_its_end():
    body = "def page(self, response): print('a' * 70_000 + 'z' * 1500)"
    outcome = run(handler_of(body), *page(), log_chars=50_000)
    assert outcome.logs == "a" * 48_499 + "z" * 1500 + "\n"
    assert track_of(outcome)["process"]["logs"] == "z" * 999 + "\n"


# --- time -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "loop",
    [
        "while True: pass",
        "import time; time.sleep(60)",
        "while True:\n        try: raise ValueError\n        except ValueError: pass",
        "yield 1\n    while True: pass",
        "sum(1 for _ in iter(int, 1))",
        "yield 1\n    import time; time.sleep(60)",
        "try: yield 1\n    finally:\n        while True: pass",
        "async: import asyncio; await asyncio.sleep(60)",
        "async: while True: pass",
        "async: yield 1\n    while True: pass",
        "async: import asyncio; yield 1; await asyncio.sleep(60)",
    ],
)
# A strike that meets the loop's own deallocator is swallowed there; the next one follows.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_loop_is_stopped(loop):
    started = time.monotonic()
    kind, loop = ("async ", loop[7:]) if loop.startswith("async: ") else ("", loop)
    outcome = run(
        handler_of(f"{kind}def page(self, response):\n    {loop}"),
        *page(),
        limits=timed(0.05),
    )
    assert outcome.reason == "TimeoutError: process timeout"
    assert time.monotonic() - started < 5


def test_a_time_limit_does_not_cut_short_the_import_of_asyncio(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "asyncio"]:
        monkeypatch.delitem(sys.modules, name)
    for _ in range(3):  # the import takes 20 ms
        looping = run(
            handler_of("async def page(self, response):\n    while True: pass"),
            *page(),
            limits=timed(0.005),
        )
        assert looping.reason == "TimeoutError: process timeout"
    whole = run(
        handler_of("async def page(self, response):\n    return 1"),
        *page(),
        limits=timed(30),
    )
    assert whole.reason == ""


def test_the_end_of_a_generator_that_on_result_broke_belongs_to_the_run():
    body = """
    def page(self):
        try: yield 1
        finally: print('closed')
    def on_result(self, result): raise KeyError(result)
    """
    outcome = ran(body)
    assert outcome.reason == "KeyError: 1"
    assert outcome.logs.startswith("closed\n")


def test_a_task_may_have_its_own_limit():
    outcome = ran("def page(self):\n    while True: pass", process={"process_time_limit": 0.02})
    assert outcome.reason == "TimeoutError: process timeout"


@pytest.mark.parametrize("own", [float("inf"), 9.3e9, 10**30, float("nan"), True, -1, 0, "soon", None])
def test_an_odd_limit_of_a_task_fails_no_page(own):
    outcome = ran("def page(self):\n    return 1", process={"process_time_limit": own})
    assert (outcome.end, outcome.reason) == (End.SUCCESS, "")


def test_an_error_that_is_swallowed_is_raised_again():
    body = """
    def page(self):
        import time
        n = 0
        while n < 2:
            try: time.sleep(60)
            except TimeoutError: n += 1
        return n
    """
    assert run(handler_of(body), *page(), limits=timed(0.02)).results == [b"2"]


def test_a_nested_limit_leaves_the_outer_one():
    body = """
    def page(self):
        try:
            with timeout(0.01, 'inner'):
                while True: pass
        except TimeoutError as e:
            print(e)
        while True: pass
    """
    outcome = run(handler_of(body), *page(), limits=timed(0.05))
    assert outcome.logs.startswith("inner\n")
    assert outcome.reason == "TimeoutError: process timeout"


def test_time_stands_still_while_follows_are_handed_on():
    handed: list[Follow] = []

    def slowly(follows: list[Follow]) -> None:
        time.sleep(1.2)
        handed.extend(follows)

    body = "def page(self): self.crawl('http://a/%d' % i for i in range(1000))"
    outcome = run(handler_of(body), *page(), on_follows=slowly, limits=timed(1.0))
    assert outcome.reason == ""
    assert len(handed) == 1000


# --- limits ---------------------------------------------------------------------------------------


def test_follows_are_handed_on_in_order_while_the_run_goes_on():
    batches: list[list[Follow]] = []
    body = "def page(self):\n    for i in range(2500): self.crawl('http://a/%d' % i)"
    outcome = run(handler_of(body), *page(), on_follows=batches.append)
    assert [len(batch) for batch in batches] == [1000, 1000]
    urls = [follow.url for batch in [*batches, outcome.follows] for follow in batch]
    assert urls == [f"http://a/{i}" for i in range(2500)]
    assert (outcome.follows_count, track_of(outcome)["process"]["follows"]) == (2500, 2500)


@pytest.mark.parametrize("swallow", [False, True])
def test_too_many_follows_fail_the_task_for_good_even_if_the_error_is_swallowed(swallow):
    crawl = "self.crawl('http://a/%d' % i)"
    inner = f"try: {crawl}\n        except Exception: pass" if swallow else crawl
    body = f"def page(self):\n    for i in range(12):\n        {inner}"
    outcome = run(handler_of(body), *page(), limits=ProcessorLimits(follows=10))
    assert outcome.end is End.FATAL
    assert outcome.reason == "more than 10 URLs submitted by one run (limits.follows)"
    assert len(outcome.follows) == 10


def test_a_result_over_the_limit_fails_the_task_for_good():
    outcome = ran(f"def page(self): return 'x' * {RESULT_BYTES_MAX}")
    assert (outcome.end, outcome.results) == (End.FATAL, [])
    assert outcome.reason == f"a result of {RESULT_BYTES_MAX + 2} bytes, the limit is {RESULT_BYTES_MAX}"


def test_too_many_results_fail_the_task_for_good():
    outcome = ran("def page(self): yield from range(1, 20_010)")
    assert (outcome.end, len(outcome.results)) == (End.FATAL, 20_000)
    assert outcome.reason == "more than 20000 results of one run"


def test_a_save_over_the_limit_fails_the_task_for_good_and_the_old_one_stays():
    outcome = ran("def page(self): self.save = 'x' * 2**20", track={"save": {"old": 1}})
    assert outcome.end is End.FATAL
    assert "the limit is 1048576" in outcome.reason
    assert track_of(outcome)["save"] == {"old": 1}


# --- the track ------------------------------------------------------------------------------------


def test_a_successful_runs_track_keeps_what_the_next_fetch_needs():
    outcome = ran(
        "def page(self, response): return response.doc('p').text()",
        content=b"<p>a long enough text</p>",
        headers={"ETag": "e", "LAST-MODIFIED": "m", "Content-Type": "text/html; charset=utf-8"},
        url="http://a/final",
        orig_url="http://a/first",
        time=0.25,
    )
    track = track_of(outcome)
    assert track["process"].pop("time") >= 0
    assert track == {
        "fetch": {
            "ok": True,
            "redirect_url": "http://a/final",
            "time": 0.25,
            "error": None,
            "status_code": 200,
            "encoding": "utf-8",
            "headers": {"etag": "e", "last-modified": "m"},
            "content": None,
        },
        "process": {"ok": True, "follows": 0, "result": "a long eno", "logs": "", "exception": None},
        "save": {},
    }
    assert (outcome.fetch_ms, outcome.process_ms >= 0) == (250, True)


def test_a_failed_runs_track_keeps_the_page():
    outcome = ran("def page(self): 1 / 0", content="ü".encode() * 600, headers={"X": "y"})
    fetch = track_of(outcome)["fetch"]
    assert fetch["headers"] == {"X": "y"}
    assert fetch["content"] == "ü" * 500
    assert fetch["encoding"] is None
    assert fetch["redirect_url"] is None


def test_a_caught_error_is_fetch_not_ok_and_process_ok():
    track = track_of(ran("@catch_status_code_error\ndef page(self): pass", status_code=500))
    assert (track["fetch"]["ok"], track["process"]["ok"]) == (False, True)


@pytest.mark.parametrize(("before", "seen"), [({}, {}), ({"save": {"n": 4}}, {"n": 4}), ({"save": None}, None)])
def test_save_goes_from_run_to_run(before, seen):
    outcome = ran("def page(self):\n    print(self.save)\n    self.save = {'t': (1, {2}), 3: b'\\xff'}", track=before)
    assert outcome.logs == f"{seen}\n"
    assert track_of(outcome)["save"] == {"t": [1, "{2}"], "3": b"\xff"}


def test_a_handler_keeps_its_attributes_but_not_the_task():
    script = handler_of("""
    count = 0
    def page(self, response, task):
        assert self.task is task and self.response is response
        self.count += 1
        return self.count
    """)
    assert [run(script, *page()).results for _ in range(2)] == [[b"1"], [b"2"]]
    assert (script.handler.task, script.handler.response, script.handler.save) == (None, None, None)


SCHEDULE = {"retried": 2, "retries": 3, "age": 60, "itag": "v1", "priority": 1}


def edited(lines, **result):
    body = "\n".join(f"    {line}" for line in lines.splitlines())
    return ran(f"def page(self, response, task):\n{body}", schedule=SCHEDULE, **result)


@pytest.mark.parametrize(
    ("lines", "changes"),
    [
        ("task['schedule']['retries'] = 9", {"retries": 9}),
        ("task['schedule']['retried'] = 0", {"retried": 0}),
        ("task['schedule'].update(auto_recrawl=True, age=3600.5)", {"auto_recrawl": True, "age_ms": 3_600_500}),
        ("task['schedule']['itag'] = 5", {"itag": "5"}),
        ("del task['schedule']['age']", {"age_ms": None}),
        ("self.task['schedule']['priority'] = -4", {"priority": -4}),
        ("task['schedule'] = {}", {"retried": 0, "age_ms": None, "itag": None, "priority": 0}),
        ("task['schedule']['retries'] = 9\n1 / 0", {"retries": 9}),
    ],
)
def test_what_a_callback_makes_of_its_schedule_travels(lines, changes):
    new = edited(lines).schedule
    fields = {"priority": 1, "retries": 3, "retried": 2, "age_ms": 60_000, "itag": '"v1"', "auto_recrawl": False}
    packed = msgspec.msgpack.decode(new.packed)
    assert {name: value for name, value in msgspec.structs.asdict(new).items() if name != "packed"} == fields | changes
    assert "retried" not in packed  # it has a column of its own


def test_a_schedule_that_was_not_changed_does_not_travel():
    assert edited("pass").schedule is None
    assert edited("task['schedule']['age'] = 60.0").schedule is None
    assert edited("self.crawl('http://a/', priority=5, itag='x')").schedule is None
    assert edited("raise KeyError").schedule is None
    assert edited("task['schedule']['retries'] = 9", status_code=500).schedule is None  # the callback did not run


def test_a_callback_that_sends_no_status_changes_no_schedule():
    body = "@not_send_status\ndef page(self, response, task):\n    task['schedule']['retries'] = 9"
    outcome = ran(body, schedule=SCHEDULE)
    assert (outcome.end, outcome.schedule) == (End.SUCCESS, None)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("{'age': 'soon'}", "crawl(age=...) must be a number, not 'soon'"),
        ("'no dict'", "AttributeError"),
        ("{'x': 'y' * 70000}", "the limit is 65536"),
        ("type('Odd', (), {'__eq__': lambda *_: 1 / 0})()", "ZeroDivisionError"),
    ],
)
def test_a_schedule_that_cannot_be_kept_is_logged_and_the_run_is_as_it_was(value, told):
    outcome = edited(f"task['schedule'] = {value}\nreturn 1")
    assert (outcome.end, outcome.reason, outcome.schedule, outcome.results) == (End.SUCCESS, "", None, [b"1"])
    assert told in outcome.logs
    assert told in track_of(outcome)["process"]["logs"]
