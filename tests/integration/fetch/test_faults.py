"""Broken and hostile servers: every fault is a 599 with a reason, in time and within bounds."""

import resource
import socket
import time
from pathlib import Path

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from tests.support.fetching import fetch_pool, finish, get
from tests.support.site import Site
from zspider.fetch import build_request


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/drop", "Empty reply from server"),
        ("/reset", "reset"),
        ("/reset-body", "reset"),
        ("/truncated", "991 bytes"),
        ("/garbage", "HTTP/0.9"),
        ("/http09", "HTTP/0.9"),
        ("/bad-chunk", "chunk"),
        ("/huge-length", "body larger than"),
        ("/duplicate-location", "ocation"),
        ("/redirect-loop", "Maximum (5) redirects followed"),
    ],
)
def test_a_fault_is_a_599_with_its_reason_and_harms_no_other_page(pool, site: Site, path, words):
    fetched = get(pool, site.url(path))
    assert fetched.result["status_code"] == 599
    assert fetched.result["error"].startswith("HTTP 599: ")
    assert words in fetched.result["error"]
    assert (fetched.content, fetched.result["url"]) == (b"", site.url(path))
    assert get(pool, site.url("/hello")).content == b"hello"


def test_a_server_that_is_not_there_is_said_to_refuse(pool):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody else can answer there
        fetched = get(pool, f"http://127.0.0.1:{taken.getsockname()[1]}/")
    assert fetched.result["status_code"] == 599
    assert "connect" in fetched.result["error"]


def test_a_name_that_does_not_exist_is_said_not_to_resolve(pool):
    fetched = get(pool, "http://no-such-host.invalid/", timeout=15)
    assert "resolve" in fetched.result["error"]


@pytest.mark.parametrize("path", ["/silent", "/drip?s=0.05", "/slow?s=30"])
def test_the_time_limit_holds_whatever_the_server_does(pool, site: Site, path):
    started = time.monotonic()
    fetched = get(pool, site.url(path), timeout=0.5)
    assert 0.4 < time.monotonic() - started < 3
    assert fetched.result["error"].startswith("HTTP 599: Operation timed out after ")
    assert " milliseconds with " in fetched.result["error"]


def test_one_deadline_holds_for_all_redirects_together(pool, site: Site):
    started = time.monotonic()
    fetched = get(pool, site.url("/slow-redirect?s=0.3&n=5"), timeout=0.8)
    assert 0.7 < time.monotonic() - started < 3
    assert fetched.result["error"].startswith("HTTP 599: Operation timed out after 8")
    assert len(site.log) == 3


def test_an_endless_body_is_cut_at_the_limit(site: Site):
    with fetch_pool(body_bytes_max=1 << 20) as pool:
        started = time.monotonic()
        fetched = get(pool, site.url("/endless"))
        assert fetched.result["error"] == "HTTP 599: body larger than 1048576 bytes"
        assert time.monotonic() - started < 5


def test_a_body_of_exactly_the_limit_is_whole(site: Site):
    with fetch_pool(body_bytes_max=2000) as pool:
        assert len(get(pool, site.url("/bytes?n=2000")).content) == 2000
        assert "larger than 2000" in get(pool, site.url("/bytes?n=2001")).result["error"]


def test_a_gzip_bomb_is_stopped_before_it_fills_the_memory(site: Site):
    with fetch_pool(body_bytes_max=4 << 20) as pool:
        get(pool, site.url("/gzip-bomb?mb=1"))
        before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        get(pool, site.url("/hello"))  # the bomb is packed in this process: its memory counts as ours
        fetched = get(pool, site.url("/gzip-bomb?mb=100"))
        assert fetched.result["error"] == "HTTP 599: body larger than 4194304 bytes"
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 32 * 1024


def test_headers_that_never_end_are_cut(site: Site):
    with fetch_pool() as pool:
        fetched = get(pool, site.url("/header-bomb"))
        assert fetched.result["status_code"] == 599
        assert "header" in fetched.result["error"]
    with fetch_pool(header_bytes_max=10_000) as pool:
        assert get(pool, site.url("/header-bomb?kb=5")).content == b"ok"
        fetched = get(pool, site.url("/header-bomb?kb=20"))
        assert fetched.result["error"] == "HTTP 599: headers larger than 10000 bytes"


def test_slow_servers_delay_nobody_else(pool, site: Site):
    for tag in range(10):
        pool.start(build_request(tag, site.url("/slow?s=3"), {}, {}, pool.settings))
    started = time.monotonic()
    for tag in range(10, 110):
        pool.start(build_request(tag, site.url("/hello"), {}, {}, pool.settings))
    answers = finish(pool)
    assert all(answers[tag].content == b"slow" for tag in range(10))
    fast = [answers[tag] for tag in range(10, 110)]
    assert all(fetched.content == b"hello" for fetched in fast)
    assert max(fetched.result["time"] for fetched in fast) < 2.5
    assert time.monotonic() - started < 10


CRUMBS = [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 302 Found\r\n", b"HTTP/1.1 103 Hints\r\n\r\n", b"\r\n", b"\r\n\r\n", b"\n"]
CRUMBS += [
    b"Location: /hello\r\n",
    b"Location: http://\xff\xfe/\r\n",
    b"Content-Length: ",
    b"5\r\n",
    b"-1\r\n",
    b"hello",
]
CRUMBS += [
    b"Transfer-Encoding: chunked\r\n",
    b"Content-Encoding: \xff, gzip, br\r\n",
    b"Set-Cookie: \xff=\x01\xfe; path\r\n",
]
CRUMBS += [
    b"Set-Cookie: a=\xe4\r\n",
    b"X\xff: \xff\r\n",
    b"no colon\r\n",
    b" folded\r\n",
    b"X: \0\r\n",
    b"X: \r\r\n",
    b"0\r\n",
]
answers_of_any_kind = st.lists(st.sampled_from(CRUMBS) | st.binary(max_size=20), max_size=12).map(b"".join)


@given(answers_of_any_kind)
@settings(max_examples=200, deadline=None)
def test_whatever_a_server_sends_is_one_answer_that_can_be_packed(served, raw):
    pool, server = served
    fetched = get(pool, server.url(f"/raw?hex={raw.hex()}"), timeout=5)
    msgpack.packb(fetched.result)
    assert isinstance(fetched.content, bytes)
    assert "timed out" not in fetched.result.get("error", "")


@pytest.fixture(scope="module")
def served():
    """One server and one pool for many examples: what one leaves behind may harm the next."""
    with Site() as server, fetch_pool() as pool:
        yield pool, server
        assert get(pool, server.url("/hello")).content == b"hello"


def test_failing_and_refused_transfers_leave_no_descriptor_open(pool, site: Site, other: Site):
    def open_fds() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    def some_of_each() -> None:
        for path in ("/drop", "/truncated", "/redirect?to=/hello", "/close"):
            get(pool, other.url(path))
        guarded = structs.replace(build_request(1, site.url("/hello"), {}, {}, pool.settings), private_ok=False)
        pool.start(guarded)
        assert "refused" in finish(pool)[1].result["error"]

    some_of_each()
    before = open_fds()
    for _ in range(20):
        some_of_each()
    assert open_fds() <= before + 4  # a connection may be kept for the next request, on both its ends


def test_a_handle_whose_transfer_failed_serves_the_next(pool, site: Site):
    for _ in range(5):
        get(pool, site.url("/truncated"))
        get(pool, site.url("/drop"))
        assert get(pool, site.url("/cookies/set?a=b")).result["cookies"] == {"a": "b"}
        assert get(pool, site.url("/hello")).result["cookies"] == {}
