"""`crawl()`: every argument of docs/pyspider-behaviour.md 2.3, and what it must never do."""

from hashlib import md5

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.scripts import crawled, handler_of, opened, page, ran
from zspider.broker import codec
from zspider.delivery import End, Outcome
from zspider.script.plain import plain, text
from zspider.script.runner import run

URL = "http://a.com/x"


def one(call: str, body: str = "") -> dict:
    follows = crawled(call, body)
    assert len(follows) == 1
    return follows[0]


@pytest.mark.parametrize(
    ("arguments", "place", "expected"),
    [
        ("callback=self.page", "process", {"callback": "page"}),
        ("callback='page'", "process", {"callback": "page"}),
        ("callback=Handler.page", "process", {"callback": "page"}),
        ("callback=None", "process", {}),
        ("process_time_limit=5", "process", {"process_time_limit": 5}),
        ("priority=3", "schedule", {"priority": 3}),
        ("retries=0", "schedule", {"retries": 0}),
        ("exetime=1700000000.5", "schedule", {"exetime": 1700000000.5}),
        ("age=60", "schedule", {"age": 60}),
        ("itag='v2'", "schedule", {"itag": "v2"}),
        ("force_update=True", "schedule", {"force_update": True}),
        ("auto_recrawl=True, age=5", "schedule", {"auto_recrawl": True, "age": 5}),
        ("cancel=True", "schedule", {"cancel": True}),
        ("method='PUT'", "fetch", {"method": "PUT"}),
        ("headers={'A': 'b'}", "fetch", {"headers": {"A": "b"}}),
        ("user_agent='me'", "fetch", {"user_agent": "me", "headers": {"User-Agent": "me"}}),
        ("data={'a': [1, 2], 'b': 'ü', 'c': None}", "fetch", {"method": "POST", "data": "a=1&a=2&b=%C3%BC"}),
        ("data=bytearray(b'\\xff')", "fetch", {"method": "POST", "data": b"\xff"}),
        ("data=[('a', 1), ('a', 2)]", "fetch", {"method": "POST", "data": "a=1&a=2"}),
        ("data='', method='POST'", "fetch", {"method": "POST"}),
        ("data=None, headers=None", "fetch", {"headers": None}),
        ("data=b'\\xff\\x00'", "fetch", {"method": "POST", "data": b"\xff\x00"}),
        ("data='raw', method='PATCH'", "fetch", {"method": "PATCH", "data": "raw"}),
        ("data={}", "fetch", {}),
        ("cookies={'c': '1'}", "fetch", {"cookies": {"c": "1"}}),
        ("connect_timeout=1, timeout=2", "fetch", {"connect_timeout": 1, "timeout": 2}),
        ("allow_redirects=False, max_redirects=1", "fetch", {"allow_redirects": False, "max_redirects": 1}),
        ("proxy=False", "fetch", {"proxy": False}),
        ("etag=False, last_modified='x'", "fetch", {"etag": False, "last_modified": "x"}),
        ("last_modifed=False", "fetch", {"last_modified": False}),
        ("use_gzip=False, validate_cert=False", "fetch", {"use_gzip": False, "validate_cert": False}),
        ("robots_txt=True", "fetch", {"robots_txt": True}),
        ("fetch_type='js', js_script='f', js_run_at='document-start'", "fetch",
         {"fetch_type": "js", "js_script": "f", "js_run_at": "document-start"}),
        ("js_viewport_width=1, js_viewport_height=2, load_images=False", "fetch",
         {"js_viewport_width": 1, "js_viewport_height": 2, "load_images": False}),
        ("save={'a': (1, None), 2: b'\\xff'}", "fetch", {"save": {"a": [1, None], "2": b"\xff"}}),
    ],
)  # fmt: skip
def test_an_argument_goes_where_pyspider_puts_it(arguments, place, expected):
    follow = one(f"crawl('{URL}', {arguments})")
    assert follow[place] == expected
    others = {"schedule", "fetch", "process"} - {place}
    assert all(follow[other] == {} for other in others)


@pytest.mark.parametrize(
    ("arguments", "field", "expected"),
    [
        ("", "priority", 0),
        ("", "retries", 3),
        ("", "age_ms", None),
        ("", "itag", None),
        ("priority=9", "priority", 9),
        ("priority=10**12", "priority", 2**31 - 2),  # one less than a message has
        ("retries=-1", "retries", 0),
        ("retries=None", "retries", 3),
        ("exetime=1.5", "exetime_ms", 1500),
        ("exetime=1e300", "exetime_ms", 1 << 45),
        ("age=-1", "age_ms", None),
        ("age=0", "age_ms", 0),
        ("age=0.5", "age_ms", 500),
        ("itag='v'", "itag", '"v"'),
        ("itag=7", "itag", "7"),
        ("itag=''", "itag", None),
        ("force_update=1", "force_update", True),
        ("auto_recrawl=True", "auto_recrawl", True),
        ("cancel=True", "cancel", True),
        ("taskid='mine'", "taskid", "mine"),
        ("taskid=5", "taskid", "5"),
    ],
)
def test_the_master_sees_the_schedule(arguments, field, expected):
    assert one(f"crawl('{URL}', {arguments})")[field] == expected


def test_the_taskid_is_the_md5_of_the_url():
    assert one("crawl('http://a.com/')")["taskid"] == "976c401c56398406fb1c7a63440f6a6a"


def test_a_script_may_make_its_own_taskids_from_the_whole_task():
    body = "def get_taskid(self, task): return task['url'][-1] + str(task['fetch'].get('data'))"
    assert one(f"crawl('{URL}', data='d')", body)["taskid"] == "xd"
    assert one(f"crawl('{URL}')", body)["taskid"] == "xNone"


@pytest.mark.parametrize(
    ("urls", "expected"),
    [
        ("['http://a/1', 'http://a/2']", ["http://a/1", "http://a/2"]),
        ("('http://a/1',)", ["http://a/1"]),
        ("(u for u in ['http://a/1', 'http://a/2'])", ["http://a/1", "http://a/2"]),
        ("{'http://a/1': 0, 'http://a/2': 0}", ["http://a/1", "http://a/2"]),
        ("['http://a/1', None, 'http://a/2']", ["http://a/1", "http://a/2"]),
        ("[]", []),
        ("None", []),
        ("7", []),
    ],
)
def test_urls_come_one_by_one_or_in_any_iterable(urls, expected):
    assert [follow["url"] for follow in crawled(f"crawl({urls}, priority=1)")] == expected


def test_a_skipped_none_is_logged():
    outcome = ran("def page(self, response): self.crawl([None])")
    assert outcome.end is End.SUCCESS
    assert "None among its URLs" in outcome.logs


@pytest.mark.parametrize(
    ("argument", "kind"), [("'http://a/'", "dict"), ("['http://a/']", "list"), ("None", "NoneType")]
)
def test_crawl_returns_what_pyspider_returns(argument, kind):
    outcome = ran(f"def page(self, response): return type(self.crawl({argument})).__name__")
    assert outcome.results == [f'"{kind}"'.encode()]


def test_the_returned_task_is_complete():
    outcome = ran("def page(self, response): return self.crawl('http://a.com', callback=self.page, priority=1)")
    assert msgspec.json.decode(outcome.results[0]) == {
        "project": "demo",
        "url": "http://a.com/",
        "taskid": "976c401c56398406fb1c7a63440f6a6a",
        "schedule": {"priority": 1},
        "fetch": {},
        "process": {"callback": "page"},
    }


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ("crawl('http://a/', colour=1)", "TypeError: crawl() got unexpected keyword argument: colour"),
        ("crawl('http://a/', callback='nothing')", "NotImplementedError: self.nothing() not implemented!"),
        ("crawl('http://a/', callback=lambda r: 0)", "NotImplementedError: self.<lambda>() not implemented!"),
        ("crawl('http://a/', callback=self.project_name)", "NotImplementedError: self.demo() not implemented!"),
        ("crawl('http://a/', callback=['page'])", "NotImplementedError: self.['page']() not implemented!"),
        ("crawl(b'http://a/')", "TypeError: crawl() needs text, not bytes"),
        ("crawl(['http://a/', 3])", "TypeError: crawl() needs URLs as text, not int"),
        ("crawl('http://a/', priority='high')", "TypeError: crawl(priority=...) must be a number, not 'high'"),
        ("crawl('http://a/', age=float('nan'))", "TypeError: crawl(age=...) must be a number, not 'nan'"),
        ("crawl('http://a/', taskid='x' * 65)", "ValueError: a taskid has 1 to 64 characters, not 65"),
        ("crawl('http://a/', taskid='_on_cronjob')", "ValueError: the taskid '_on_cronjob' is zspider's own"),
        ("crawl('http://a/', taskid='_on_get_info')", "ValueError: the taskid '_on_get_info' is zspider's own"),
        ("crawl('http://a/' + 'x' * 9000)", "ValueError: Maximum (8190) URL length error: 9009 bytes"),
        ("crawl('http://a/', save='x' * 5_000_000)", "ValueError: the options of a task are"),
        ("crawl('http://a/', files={'f': 'x'}, data='text')", "TypeError: crawl(files=...) needs `data` to be a dict"),
        ("crawl('http://a/', params=5)", "TypeError: params and data are a dict, pairs or text, not int"),
        ("crawl('http://a/', data=['ab', 'c'])", "TypeError: params and data are a dict, pairs or text, not list"),
        (
            "crawl('http://a/', files={'f': {'n.txt': 'x'}})",
            "TypeError: the content of a file is text, bytes or a file",
        ),
        (
            "crawl('http://a/', files={'f': ('n.txt',)})",
            "TypeError: a file is (filename, content[, content_type[, head",
        ),
        ("crawl('curl -Z http://a/')", "TypeError: Unknow curl option: -Z"),
        ("crawl('curl -L')", "TypeError: curl: no URL specified!"),
    ],
)
def test_a_wrong_call_says_what_is_wrong_and_submits_nothing_more(call, reason):
    outcome = ran(f"def page(self, response): self.{call}")
    assert outcome.end is End.FAILURE
    assert outcome.reason.startswith(reason)


def test_a_value_nested_in_itself_is_refused():
    outcome = ran("def page(self, response):\n    a = []\n    a.append(a)\n    self.crawl('http://a/', save=a)")
    assert "nested more than 200 deep" in outcome.reason


def test_crawl_outside_a_task_says_so():
    with pytest.raises(RuntimeError, match="only while a task runs"):
        handler_of("pass").handler.crawl("http://a/")


def test_what_was_submitted_before_an_error_is_kept():
    outcome = ran("def page(self, response): self.crawl(['http://a/1', 5])")
    assert outcome.end is End.FAILURE
    assert [follow.url for follow in outcome.follows] == ["http://a/1"]


def test_the_first_submission_of_a_url_in_a_run_wins():
    body = """
    def go(self, response):
        self.crawl('http://a/', priority=1)
        self.crawl('http://a/', priority=2, force_update=True)
        self.crawl('http://a/#part')
    """
    assert [(f.url, f.priority) for f in ran(body, "go").follows] == [("http://a/", 1), ("http://a/#part", 0)]


# --- @config and crawl_config ---------------------------------------------------------------------

CONFIGURED = """
crawl_config = {'priority': 1, 'age': 10, 'headers': {'X': 'late'}, 'timeout': 9}
@config(priority=2, retries=7, headers={'A': 'config', 'B': 'config'}, cookies={'c': '1'})
def detail(self, response): pass
"""


def test_the_caller_wins_over_config_and_config_over_crawl_config():
    follow = one(f"crawl('{URL}', callback=self.detail, retries=1, headers={{'A': 'caller'}})", CONFIGURED)
    assert follow["schedule"] == {"priority": 2, "retries": 1, "age": 10}
    assert follow["fetch"] == {"headers": {"A": "caller", "B": "config"}, "cookies": {"c": "1"}}  # timeout: bound late
    assert (follow["priority"], follow["retries"], follow["age_ms"]) == (2, 1, 10_000)


def test_the_short_way_and_the_long_way_agree():
    short = one(f"crawl('{URL}', callback=self.detail)", CONFIGURED)
    long = one(f"crawl('{URL}', callback=self.detail, taskid='{one(f'''crawl('{URL}')''')['taskid']}')", CONFIGURED)
    assert short == long


def test_a_changed_crawl_config_counts_from_then_on():
    body = """
    crawl_config = {'priority': 1}
    def go(self, response):
        self.crawl('http://a/1')
        self.crawl_config['priority'] = 5
        self.crawl('http://a/2')
        type(self).crawl_config = {}
        self.crawl('http://a/3')
    """
    assert [follow.priority for follow in ran(body, "go").follows] == [1, 5, 0]


def test_no_call_changes_another():
    body = """
    @config(headers={'A': '1'}, save={'deep': []})
    def detail(self, response): pass
    def go(self, response):
        first = self.crawl('http://a/1', callback=self.detail, user_agent='me', data={'x': 1})
        second = self.crawl('http://a/2', callback=self.detail)
        second['fetch']['save']['deep'].append(1)
        second['schedule']['priority'] = 9
        third = self.crawl('http://a/3', callback=self.detail)
        return [first['fetch']['headers'], second['fetch']['headers'], third['fetch'], third['schedule']]
    """
    assert msgspec.json.decode(ran(body, "go").results[0]) == [
        {"A": "1", "User-Agent": "me"},
        {"A": "1"},
        {"headers": {"A": "1"}, "save": {"deep": []}},
        {},
    ]


options = st.fixed_dictionaries(
    {},
    optional={
        "headers": st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=3),
        "cookies": st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=3),
        "data": st.one_of(st.binary(max_size=5), st.dictionaries(st.text(max_size=3), st.integers(), max_size=3)),
        "params": st.dictionaries(st.text(max_size=3), st.integers(), max_size=3),
        "user_agent": st.text(max_size=3),
        "save": st.recursive(st.none() | st.text(max_size=2) | st.integers(), lambda s: st.lists(s, max_size=3)),
        "priority": st.integers(),
        "age": st.floats(allow_nan=False, allow_infinity=False),
        "itag": st.none() | st.text(max_size=3) | st.integers() | st.booleans(),
    },
)

PROPERTY = """
def detail(self, response): pass
def go(self, response):
    config, crawl_config, options = response.save
    type(self).detail._config = config
    type(self).crawl_config = crawl_config
    self.crawl(response.url, callback=self.detail, **options)
"""


@given(config=options, crawl_config=options, given_options=options)
def test_crawl_changes_nothing_it_was_given_and_what_it_makes_survives_the_wire(config, crawl_config, given_options):
    save = (config, crawl_config, given_options)
    before = repr(save)
    task, result, _ = page("go", url="http://a.com/p")
    script = handler_of(PROPERTY)
    follows = [run(script, task, result | {"save": save}, b"").follows for _ in range(2)]
    assert repr(save) == before
    assert follows[0] == follows[1]  # the taskid as well
    outcome = Outcome(1, "t", 0, 0, b"", End.SUCCESS, follows=follows[0])
    assert codec.decode_outcome(codec.encode_outcome(outcome)) == outcome
    expected = {**crawl_config, **config, **given_options}
    assert (
        opened(follows[0][0])["schedule"].get("priority") == expected.get("priority")
        or abs(expected["priority"]) >= 2**63
    )


@given(st.lists(st.text(max_size=4), max_size=4))
def test_a_taskid_is_the_same_in_every_run_and_however_the_url_is_given(paths):
    urls = [f"http://a.com/{path}" for path in paths]
    script = handler_of("def go(self, response):\n    for url in response.save: self.crawl(url)")
    lists = handler_of("def go(self, response): self.crawl(response.save, priority=1)")
    task, result, _ = page("go")
    first, second, third = (run(one, task, result | {"save": urls}, b"") for one in (script, script, lists))
    assert first.reason == ""
    taskids = [follow.taskid for follow in first.follows]
    assert taskids == [follow.taskid for follow in second.follows] == [follow.taskid for follow in third.follows]
    assert taskids == [md5(follow.url.encode()).hexdigest() for follow in first.follows]


def test_a_callback_may_change_the_task_in_get_taskid_and_changes_no_other():
    body = """
    @config(headers={'A': '1'}, save={'deep': [1]})
    def detail(self, response): pass
    def get_taskid(self, task):
        task['fetch']['headers']['Of'] = task['url'][-1]
        task['fetch']['save']['deep'].append(task['url'][-1])
        return task['url'][-1]
    def go(self, response):
        headers = {'B': '2'}
        self.crawl(['http://a/1', 'http://a/2'], callback=self.detail)
        self.crawl('http://a/3', callback=self.detail, headers=headers, age=1)
        self.crawl('http://a/4', callback=self.detail, headers=headers, age=1)
        return [headers, self.detail._config]
    """
    outcome = ran(body, "go")
    assert msgspec.json.decode(outcome.results[0]) == [{"B": "2"}, {"headers": {"A": "1"}, "save": {"deep": [1]}}]
    sent = [opened(follow)["fetch"] for follow in outcome.follows]
    assert [fetch["headers"].get("Of") for fetch in sent] == ["1", "2", "3", "4"]
    assert [fetch["save"]["deep"] for fetch in sent] == [[1, "1"], [1, "2"], [1, "3"], [1, "4"]]


def test_callbacks_that_are_made_anew_are_not_kept_for_ever():
    body = """
    def page(self, response): pass
    def go(self, response):
        for number in range(3000):
            def page(response): pass
            self.crawl(f'http://a/{number}', callback=page)
        return [len(self._templates)]
    """
    outcome = ran(body, "go")
    assert {opened(follow)["process"]["callback"] for follow in outcome.follows} == {"page"}
    assert len(outcome.follows) == 3000
    assert 0 < msgspec.json.decode(outcome.results[0])[0] <= 1001


def test_what_can_be_read_once_serves_all_urls():
    body = """
    def go(self, response):
        import io
        self.crawl(['http://a/1', 'http://a/2'], data=iter([('a', 1)]), params=iter([('p', 2)]))
        self.crawl(['http://a/3', 'http://a/4'], files={'f': io.BytesIO(b'content')})
    """
    outcome = ran(body, "go")
    assert outcome.reason == ""
    assert [follow.url for follow in outcome.follows[:2]] == ["http://a/1?p=2", "http://a/2?p=2"]
    sent = [opened(follow)["fetch"]["data"] for follow in outcome.follows]
    assert sent[:2] == ["a=1", "a=1"]
    assert all(b"content" in body for body in sent[2:])


def test_the_debugger_shows_what_crawl_config_adds_later():
    script = handler_of(CONFIGURED + "def go(self, response): self.on_result(self.crawl('http://a/', age=1))")
    script.handler.__env__["debugger"] = True
    outcome = run(script, *page("go"))
    shown = opened(outcome.follows[0])
    assert shown["fetch"] == {"headers": {"X": "late"}, "timeout": 9}
    assert shown["schedule"] == {"priority": 1, "age": 1}


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=4)
    | st.binary(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner)
        | st.dictionaries(st.text(max_size=3) | st.integers() | st.binary(max_size=2), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(save=anything, data=st.binary(min_size=1) | st.text(min_size=1), agent=st.text(max_size=4), taskid=st.text())
def test_whatever_a_script_hands_over_arrives_as_json_like_values(save, data, agent, taskid):
    task, result, _ = page("go")
    body = "def go(self, response):\n    save, more = response.save\n    self.crawl('http://a/ü', save=save, **more)"
    more = {"data": data, "headers": {"A": agent}, "taskid": taskid[:64]}
    follows = run(handler_of(body), task, result | {"save": (save, more)}, b"").follows
    arrived = codec.decode_outcome(codec.encode_outcome(Outcome(1, "t", 0, 0, b"", End.SUCCESS, follows=follows)))
    [follow] = arrived.follows
    assert follow == follows[0]
    fetch = opened(follow)["fetch"]
    assert fetch["save"] == plain(save)
    assert fetch["data"] == (data if isinstance(data, bytes) else text(data))
    assert follow.taskid == (text(taskid[:64]) or md5(b"http://a/%C3%BC").hexdigest())


# --- files ---------------------------------------------------------------------------------------


def test_files_make_a_multipart_body():
    follow = one(
        f"crawl('{URL}', data={{'k': ['v', 'w']}}, files={{'f': b'\\xff', 'g': ('n.txt', 'text', 'text/plain')}})"
    )
    content_type = follow["fetch"]["headers"]["Content-Type"]
    boundary = content_type.removeprefix("multipart/form-data; boundary=")
    assert follow["fetch"]["method"] == "POST"
    assert follow["fetch"]["data"].decode("latin-1").replace(boundary, "B").split("\r\n") == [
        *("--B", 'Content-Disposition: form-data; name="k"', "", "v"),
        *("--B", 'Content-Disposition: form-data; name="k"', "", "w"),
        *("--B", 'Content-Disposition: form-data; name="f"; filename="f"', "", "ÿ"),
        *("--B", 'Content-Disposition: form-data; name="g"; filename="n.txt"', "Content-Type: text/plain", "", "text"),
        *("--B--", ""),
    ]
