"""The small pure parts of fetching: data: URLs, response heads, the next hop, robots.txt rules."""

import base64
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zspider.errors import FetchError
from zspider.fetch import build_request, data_url, failure
from zspider.fetch.headers import parse_cookies
from zspider.fetch.redirects import is_redirect, next_hop
from zspider.fetch.results import Head, parse_head
from zspider.fetch.robots import ORIGINS_MAX, ROBOTS_TTL_S, Origin, RobotsCache
from zspider.settings import FetchSettings


def lines(text: str) -> list[bytes]:
    return text.encode("latin-1").splitlines(keepends=True)


@pytest.mark.parametrize(
    ("url", "media_type", "content"),
    [
        ("data:,on_start", "", b"on_start"),
        ("data:,a,b", "", b"a,b"),
        ("DATA:text/plain,a%20b%FF", "text/plain", b"a b\xff"),
        ("data:;base64,aGk", "", b"hi"),
        ("data:text/html;charset=gbk;BASE64,a G\nk=", "text/html;charset=gbk", b"hi"),
        ("data:,ü", "", "ü".encode()),
        ("data:,", "", b""),
    ],
)
def test_a_data_url_is_cut_at_its_first_comma(url, media_type, content):
    assert data_url.decode(url) == (media_type, content)


@pytest.mark.parametrize("url", ["data:", "data:text/plain", "data:;base64,a", "data:;base64,***", "data:,\ud800"])
def test_a_broken_data_url_is_refused(url):
    with pytest.raises(FetchError):
        data_url.decode(url)


@given(st.binary())
def test_any_bytes_survive_a_data_url(content):
    assert data_url.decode("data:," + quote(content))[1] == content
    assert data_url.decode("data:x/y;base64," + base64.b64encode(content).decode())[1] == content


def test_a_head_is_read_with_usual_capitals_and_joined_repeats():
    head = parse_head(
        lines("HTTP/1.1 200 All right\r\ncontent-TYPE: a/b\r\nX-A:1\r\nx-a: 2\r\nX-E:\r\nkein: \xe4\r\n\r\n")
    )
    assert head.headers == {
        "X-Http-Reason": "All right",
        "Content-Type": "a/b",
        "X-A": "1,2",
        "X-E": "",
        "Kein": "ä",
    }
    assert head.repeated == {"X-A": ["1", "2"]}


@pytest.mark.parametrize(
    ("text", "headers"),
    [
        ("HTTP/1.1 100 Continue\r\nA: 1\r\n\r\nHTTP/1.1 200 OK\r\nB: 2\r\n\r\n", {"X-Http-Reason": "OK", "B": "2"}),
        ("HTTP/1.1 200 OK\r\nB: 2\r\n\r\nTrailer: x\r\n", {"X-Http-Reason": "OK", "B": "2"}),
        ("HTTP/2 200 \r\nb: 2\r\n\r\n", {"X-Http-Reason": "", "B": "2"}),
        ("HTTP/1.1 200\r\n\r\n", {"X-Http-Reason": ""}),
        ("HTTP/1.1 200 OK\nB: 2\n\n", {"X-Http-Reason": "OK", "B": "2"}),
        ("HTTP/1.1 200 OK\r\nB: 2\r\n folded\r\nno colon\r\n\r\n", {"X-Http-Reason": "OK", "B": "2 folded"}),
        ("", {"X-Http-Reason": ""}),
    ],
)
def test_odd_heads_are_read_as_far_as_they_go(text, headers):
    assert parse_head(lines(text)).headers == headers


@given(st.lists(st.binary(max_size=30).map(lambda raw: raw.replace(b"\n", b"") + b"\r\n"), max_size=8))
def test_any_lines_make_some_head(some):
    head = parse_head(some)
    assert "X-Http-Reason" in head.headers


def test_a_cookie_header_is_taken_apart():
    assert parse_cookies('a=1; b="x y" ;c; =d;; e=f=g') == (("a", "1"), ("b", '"x y"'), ("c", ""), ("e", "f=g"))


def hop_after(status: int, location: str, **fetch: object):
    first = build_request(1, "http://a.example/one", fetch, {}, FetchSettings())
    return next_hop(first, status, Head({"Location": location}, {}), {})


def test_a_hop_on_the_same_host_keeps_what_it_carries():
    fetch = {"headers": {"Authorization": "x", "Host": "y"}, "cookies": {"a": "b"}}
    first = build_request(1, "http://a.example/one", fetch, {}, FetchSettings())
    hop = next_hop(first, 302, Head({"Location": "/two"}, {}), {})
    assert (hop.url, hop.cookies) == ("http://a.example/two", {"a": "b"})
    assert hop.headers is first.headers


@pytest.mark.parametrize("url", ["https://a.example/", "http://a.example:81/", "http://b.example/"])
def test_credentials_do_not_leave_their_origin(url):
    hop = hop_after(307, url, headers={"authorization": "x", "HOST": "y", "X": "z"}, cookies={"a": "b"})
    assert not any(line.lower().startswith((b"authorization", b"host")) for line in hop.headers)
    assert b"X: z" in hop.headers
    assert hop.cookies == ({} if "b.example" in url else {"a": "b"})


def test_two_different_locations_are_none():
    first = build_request(1, "http://a.example/", {}, {}, FetchSettings())
    with pytest.raises(FetchError, match="2 places"):
        next_hop(first, 302, Head({"Location": "/a,/b"}, {"Location": ["/a", "/b"]}), {})
    assert next_hop(first, 302, Head({"Location": "/a,/a"}, {"Location": ["/a", "/a"]}), {}).url.endswith("/a")


@pytest.mark.parametrize(("status", "follows"), [(300, False), (301, True), (304, False), (305, False), (308, True)])
def test_some_statuses_redirect(status, follows):
    request = build_request(1, "http://a.example/", {}, {}, FetchSettings())
    assert is_redirect(request, status, Head({"Location": "/x"}, {})) is follows
    assert not is_redirect(request, status, Head({}, {}))


def test_robots_rules_are_asked_for_again_after_a_day():
    cache, origin = RobotsCache(), Origin("http://a:80", True)
    assert cache.allows(origin, "http://a/x", "bot", 0.0) is None
    cache.learn(origin, 200, b"\xef\xbb\xbfUser-agent: *\nDisallow: /x\xff\nDisallow: /y", 0.0)
    assert cache.allows(origin, "http://a/y", "bot", ROBOTS_TTL_S - 1) is False
    assert cache.allows(origin, "http://a/z", "bot", ROBOTS_TTL_S - 1) is True
    assert cache.allows(origin, "http://a/z", "bot", ROBOTS_TTL_S) is None
    assert cache.allows(Origin("http://a:80", False), "http://a/z", "bot", 1.0) is None


def test_an_unreachable_robots_txt_forbids_for_a_while():
    cache, origin = RobotsCache(), Origin("http://a:80", True)
    cache.learn(origin, 599, b"", 0.0)
    assert cache.allows(origin, "http://a/", "bot", 1.0) is False
    assert cache.allows(origin, "http://a/", "bot", 1000.0) is None


def test_robots_rules_of_so_many_origins_are_remembered_and_no_more():
    cache = RobotsCache()
    for number in range(ORIGINS_MAX + 1):
        cache.learn(Origin(f"http://h{number}:80", True), 404, b"", 0.0)
    assert cache.allows(Origin("http://h0:80", True), "http://h0/", "bot", 1.0) is None
    assert cache.allows(Origin(f"http://h{ORIGINS_MAX}:80", True), "http://h/", "bot", 1.0) is True


def test_big_robots_files_push_out_older_ones():
    cache = RobotsCache()
    big = b"User-agent: *\nDisallow: /" + b"x" * 300_000
    origins = [Origin(f"http://h{number}:80", True) for number in range(5)]
    for origin in [*origins, origins[4], origins[4]]:
        cache.learn(origin, 200, big, 0.0)
    known = [cache.allows(origin, "http://h/", "bot", 1.0) is not None for origin in origins]
    assert known == [False, False, True, True, True]


@given(st.binary(max_size=200))
def test_any_bytes_are_some_robots_txt(content):
    cache, origin = RobotsCache(), Origin("http://a:80", True)
    cache.learn(origin, 200, content, 0.0)
    assert cache.allows(origin, "http://a/x", "bot", 1.0) in (True, False)


def test_a_failure_has_the_shape_of_a_result_and_a_bounded_text():
    fetched = failure(7, "http://a/", "x" * 10_000, 1.5)
    assert fetched.result["status_code"] == 599
    assert fetched.result["error"].startswith("HTTP 599: xxx")
    assert len(fetched.result["error"]) < 600
    assert (fetched.result["url"], fetched.result["orig_url"], fetched.content) == ("http://a/", "http://a/", b"")
