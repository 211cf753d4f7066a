"""Fetch options become a request, or a FetchError that says why not; nothing else, and the inputs stay as they are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zspider.errors import FetchError
from zspider.fetch import Request, build_request
from zspider.fetch.request import Proxy
from zspider.settings import FetchSettings

SETTINGS = FetchSettings()
GOOD_TRACK = {
    "process": {"ok": True},
    "fetch": {"headers": {"ETag": '"e"', "last-modified": "Mon, 01 Jan 2024 00:00:00 GMT"}},
}


def build(url: str = "http://example.org/", track: dict | None = None, **fetch: object) -> Request:
    return build_request(1, url, fetch, track or {}, SETTINGS)


def header(request: Request, name: str) -> str | None:
    """The value of a header as it will be sent."""
    for line in request.headers:
        key, _, value = line.decode().partition(":")
        if key.lower() == name.lower():
            return value.strip()
    return None


def test_without_options_everything_is_as_the_settings_say():
    request = build()
    assert (request.method, request.body, request.cookies, request.proxy) == ("GET", None, {}, None)
    assert (request.timeout_s, request.connect_timeout_s) == (120.0, 20.0)
    assert (request.follow, request.max_redirects, request.validate_cert) == (True, 5, True)
    assert header(request, "User-Agent") == SETTINGS.user_agent
    assert header(request, "Accept") == "*/*"


def test_the_same_headers_are_the_same_object_so_that_handles_need_not_be_told_again():
    first = build(headers={"A": "1"})
    assert build("http://example.org/other", headers={"A": "1"}).headers is first.headers
    assert build().headers is build("http://example.com/").headers


@pytest.mark.parametrize(
    ("fetch", "agent"),
    [
        ({"user_agent": "option"}, "option"),
        ({"user_agent": "option", "headers": {"user-AGENT": "header"}}, "header"),
        ({"user_agent": ""}, SETTINGS.user_agent),
    ],
)
def test_the_user_agent_of_headers_comes_before_the_option_and_the_settings(fetch, agent):
    request = build(**fetch)
    assert (header(request, "User-Agent"), request.user_agent) == (agent, agent)


@pytest.mark.parametrize("data", ["", b"", {}, None])
def test_empty_data_is_no_data(data):
    assert build(data=data).method == "GET"
    assert build(data=data).body is None
    assert build(method="POST", data=data).body == b""


def test_data_makes_it_a_post_when_no_method_is_given():
    assert build(data="ü=1").method == "POST"
    assert build(data="ü=1").body == "ü=1".encode()
    assert build(data={"a": [1, 2]}).body == b"a=1&a=2"


def test_framing_headers_are_left_to_libcurl():
    request = build(headers={"Content-Length": "5", "Transfer-Encoding": "chunked", "X": "1"}, data="abc")
    assert header(request, "Content-Length") is None
    assert header(request, "Transfer-Encoding") is None
    assert header(request, "X") == "1"


def test_markers_of_imported_tasks_are_decoded():
    assert build(data="[BASE64-DATA]AP8=[/BASE64-DATA]").body == b"\x00\xff"
    assert build(data="a=[BASE64-DATA]Yg==[/BASE64-DATA]&c").body == b"a=b&c"
    assert header(build(headers={"X": "[BASE64-DATA]Yg==[/BASE64-DATA]"}), "X") == "b"
    assert build(cookies={"c": "[BASE64-DATA]Yg==[/BASE64-DATA]"}).cookies == {"c": "b"}
    with pytest.raises(FetchError, match="BASE64-DATA"):
        build(data="[BASE64-DATA]A[/BASE64-DATA]")


@pytest.mark.parametrize(
    ("given", "proxy"),
    [
        ("host", Proxy("http://host:8080")),
        ("host:3128", Proxy("http://host:3128")),
        ("me:secret@host:1", Proxy("http://host:1", "me", "secret")),
        ("http://me:p%40ss@host:1", Proxy("http://host:1", "me", "p@ss")),
        ("socks5://host", Proxy("socks5://host:1080")),
        ("[::1]:1", Proxy("http://[::1]:1")),
        (False, None),
        ("", None),
        (None, None),
    ],
)
def test_a_proxy_is_a_host_or_a_url(given, proxy):
    assert build(proxy=given).proxy == proxy


def test_the_default_proxy_holds_unless_the_task_says_otherwise():
    settings = FetchSettings(proxy="default:1")
    assert build_request(1, "http://a/", {}, {}, settings).proxy == Proxy("http://default:1")
    assert build_request(1, "http://a/", {"proxy": False}, {}, settings).proxy is None
    assert build_request(1, "http://a/", {"proxy": "own:2"}, {}, settings).proxy == Proxy("http://own:2")


def test_a_password_does_not_show():
    assert "secret" not in repr(build(proxy="me:secret@host:1"))


def test_validators_of_the_last_good_run_are_sent_back():
    request = build(track=GOOD_TRACK)
    assert header(request, "If-None-Match") == '"e"'
    assert header(request, "If-Modified-Since") == "Mon, 01 Jan 2024 00:00:00 GMT"


@pytest.mark.parametrize(
    ("fetch", "track", "sent"),
    [
        ({"etag": False}, GOOD_TRACK, None),
        ({"etag": "mine"}, GOOD_TRACK, "mine"),
        ({"etag": "mine"}, {}, "mine"),
        ({"headers": {"if-none-match": "own"}}, GOOD_TRACK, "own"),
        ({}, {**GOOD_TRACK, "process": {"ok": False}}, None),
        ({}, {"process": {"ok": True}, "fetch": {"headers": {"etag": "x" * 2000}}}, None),
        ({}, {"process": {"ok": True}, "fetch": {"headers": {"etag": "a\r\nInjected: 1"}}}, None),
        ({}, {"process": 1, "fetch": 2}, None),
        ({}, {"process": {"ok": 1}, "fetch": {"headers": None}}, None),
    ],
)
def test_an_etag_is_sent_only_when_it_is_known_wanted_and_plausible(fetch, track, sent):
    assert header(build(track=track, **fetch), "If-None-Match") == sent


@pytest.mark.parametrize("typo", ["last_modified", "last_modifed"])
def test_the_old_typo_works(typo):
    assert header(build(track=GOOD_TRACK, **{typo: False}), "If-Modified-Since") is None


@pytest.mark.parametrize(
    "fetch",
    [
        {"headers": {"X": "a\r\nInjected: 1"}},
        {"headers": {"X": "a\nb"}},
        {"headers": {"X": "a\0b"}},
        {"headers": {"X\r\nInjected": "1"}},
        {"headers": {"X Y": "1"}},
        {"headers": {"": "1"}},
        {"headers": {"X": "\ud800"}},
        {"headers": ["X"]},
        {"headers": {"X": ["1"]}},
        {"cookies": {"a": "b\r\nInjected: 1"}},
        {"cookies": "a=b"},
        {"user_agent": "a\nb"},
        {"user_agent": 1},
        {"method": "GET / HTTP/1.1\r\nX: y"},
        {"method": 7},
        {"method": ""},
        {"data": 1},
        {"data": "\ud800"},
        {"timeout": "soon"},
        {"timeout": -1},
        {"timeout": float("nan")},
        {"timeout": float("inf")},
        {"connect_timeout": [1]},
        {"max_redirects": -1},
        {"max_redirects": "5"},
        {"proxy": "ftp://host"},
        {"proxy": "host:99999"},
        {"proxy": "ho st"},
        {"proxy": "://"},
        {"etag": "a\r\nb"},
    ],
)
def test_what_cannot_be_sent_is_refused(fetch):
    with pytest.raises(FetchError):
        build(**fetch)


def test_zero_and_none_mean_the_default_time_limit():
    assert build(timeout=0, connect_timeout=None).timeout_s == 120.0
    assert build(timeout="2.5").timeout_s == 2.5
    assert build(timeout=10**9).timeout_s == 86400.0


@pytest.mark.parametrize("kind", ["js", "phantomjs", "splash", "puppeteer"])
def test_pages_that_need_a_browser_are_told_apart(kind):
    assert build(fetch_type=kind).renderer == {"js": "phantomjs"}.get(kind, kind)
    assert build(fetch_type="other").renderer == ""


texts = st.text(max_size=20) | st.sampled_from(["", "a", "\r\n", "\0", "ü", "\ud800", "[BASE64-DATA]x[/BASE64-DATA]"])
values = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), texts, st.binary(max_size=20), st.lists(texts, max_size=2)
)
mappings = st.dictionaries(texts | st.integers(), values, max_size=4)
OPTIONS = ["method", "headers", "user_agent", "data", "cookies", "timeout", "connect_timeout", "use_gzip"]
OPTIONS += ["validate_cert", "proxy", "etag", "last_modified", "last_modifed", "allow_redirects", "max_redirects"]
OPTIONS += ["robots_txt", "fetch_type", "save", "js_script"]
fetches = st.dictionaries(st.sampled_from(OPTIONS), values | mappings, max_size=6)
headers_only = st.fixed_dictionaries({"headers": mappings, "cookies": mappings})
tracks = st.one_of(
    mappings,
    st.fixed_dictionaries(
        {"process": values | st.just({"ok": True}), "fetch": values | st.fixed_dictionaries({"headers": mappings})}
    ),
)
urls = st.one_of(
    texts,
    st.builds("http://{}/{}".format, texts, texts),
    st.builds("{}://{}:{}@{}:{}/{}".format, texts, texts, texts, texts, st.integers(), texts),
    st.sampled_from(["http://a/", "data:,x", "DATA:", "http://[::1]/", "http://[", "http://%00/"]),
)


@given(urls, fetches | headers_only, tracks)
def test_any_options_give_a_request_or_a_fetch_error_and_stay_unchanged(url, fetch, track):
    before = repr((fetch, track))
    try:
        request = build_request(1, url, fetch, track, SETTINGS)
    except FetchError as exc:
        text = str(exc)
        assert text.isprintable()
    else:
        assert request.orig_url == url
        assert not {0, 10, 13} & set(b"".join(request.headers))
        if url[:5].lower() != "data:":
            assert all("!" <= char <= "~" for char in request.url)
            assert request.url.startswith(("http://", "https://"))
    assert repr((fetch, track)) == before
