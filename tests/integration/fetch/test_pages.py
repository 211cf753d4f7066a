"""Ordinary fetches against a real server: what is sent, and what comes back."""

import os
import shutil
import socket
import subprocess
import time

import msgpack
import pytest
from tests.support.fetching import fetch_pool, finish, get, turn
from tests.support.site import Site, as_json, make_certificate
from zspider.errors import FetchError
from zspider.fetch import FetchPool, build_request
from zspider.settings import FetchSettings


def test_a_page_comes_back_with_everything_a_response_is_made_of(pool, site: Site):
    fetched = get(pool, site.url("/hello"))
    assert fetched.content == b"hello"
    seconds = fetched.result.pop("time")
    assert 0 < seconds < 5
    assert fetched.result == {
        "status_code": 200,
        "url": site.url("/hello"),
        "orig_url": site.url("/hello"),
        "headers": {
            "X-Http-Reason": "OK",
            "Content-Type": "text/html; charset=utf-8",
            "Content-Length": "5",
        },
        "cookies": {},
    }


def test_a_plain_request_carries_the_default_headers_and_no_others(pool, site: Site):
    get(pool, site.url("/hello"))
    assert dict(site.log[0].headers) == {
        "Host": f"127.0.0.1:{site.port}",
        "User-Agent": FetchSettings().user_agent,
        "Accept": "*/*",
        "Accept-Encoding": "gzip, deflate, br",
    }


def test_headers_of_the_task_win_whatever_their_case(pool, site: Site):
    headers = {"user-agent": "mine", "ACCEPT": "text/html", "X-Empty": "", "X-Not": None}
    get(pool, site.url("/hello"), headers=headers)
    asked = site.log[0]
    assert (asked.header("User-Agent"), asked.header("Accept"), asked.header("X-Empty")) == ("mine", "text/html", "")
    assert asked.header("X-Not") is None


def test_an_accept_encoding_copied_from_a_browser_offers_only_what_can_be_decoded(pool, site: Site):
    get(pool, site.url("/hello"), headers={"Accept-Encoding": "gzip, deflate, br, zstd"})
    assert site.log[0].header("Accept-Encoding") == "gzip, deflate, br"


def test_a_post_is_a_form_unless_it_says_otherwise(pool, site: Site):
    get(pool, site.url("/echo"), method="POST", data="a=1")
    get(pool, site.url("/echo"), method="post", data=b"\x00\xff", headers={"Content-Type": "x/y"})
    form, binary = site.log
    assert (form.method, form.header("Content-Type"), form.body) == (
        "POST",
        "application/x-www-form-urlencoded",
        b"a=1",
    )
    assert (binary.method, binary.header("Content-Type"), binary.body) == ("POST", "x/y", b"\x00\xff")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_a_method_that_wants_a_body_sends_an_empty_one_when_it_has_none(pool, site: Site, method):
    fetched = get(pool, site.url("/echo"), method=method)
    assert fetched.result["status_code"] == 200
    asked = site.log[0]
    assert (asked.method, asked.body, asked.header("Content-Length")) == (method, b"", "0")
    assert asked.header("Content-Type") is None


@pytest.mark.parametrize("method", ["GET", "DELETE", "OPTIONS", "PUT", "PATCH", "QUERY"])
def test_any_method_may_have_a_body(pool, site: Site, method):
    fetched = get(pool, site.url("/echo"), method=method, data="body")
    assert as_json(fetched.content)["method"] == method
    assert site.log[0].body == b"body"
    assert site.log[0].header("Content-Type") is None


def test_a_body_over_a_megabyte_waits_for_nobody(pool, site: Site):
    fetched = get(pool, site.url("/echo"), method="PUT", data=b"x" * 1_500_000)
    assert fetched.result["status_code"] == 200
    assert len(site.log[0].body) == 1_500_000
    assert site.log[0].header("Expect") is None


def test_head_brings_headers_without_a_body(pool, site: Site):
    fetched = get(pool, site.url("/hello"), method="HEAD")
    assert (fetched.result["status_code"], fetched.content) == (200, b"")
    assert fetched.result["headers"]["Content-Length"] == "5"


def test_head_of_a_page_that_would_be_too_large_is_no_failure(pool, site: Site):
    fetched = get(pool, site.url("/huge-length"), method="HEAD", timeout=5)
    assert fetched.result["status_code"] == 200
    assert fetched.result["headers"]["Content-Length"] == "1000000000000"


def test_a_handle_that_posted_gets_again(pool, site: Site):
    for options in ({"method": "POST", "data": "a"}, {}, {"method": "HEAD"}, {}, {"cookies": {"a": "b"}}, {}):
        get(pool, site.url("/echo"), **options)
    assert [asked.method for asked in site.log] == ["POST", "GET", "HEAD", "GET", "GET", "GET"]
    assert site.log[5].header("Cookie") is None
    assert site.log[5].body == b""
    assert {asked.connection for asked in site.log} == {1}


def test_headers_of_one_task_are_not_sent_for_the_next(pool, site: Site):
    get(pool, site.url("/hello"), headers={"X-One": "1"})
    get(pool, site.url("/hello"))
    assert site.log[0].header("X-One") == "1"
    assert site.log[1].header("X-One") is None


@pytest.mark.parametrize("path", ["/gzip", "/deflate"])
def test_packed_pages_are_unpacked(pool, site: Site, path):
    assert get(pool, site.url(path)).content == b"packed " * 100


def test_without_use_gzip_nothing_packed_is_asked_for(pool, site: Site):
    assert get(pool, site.url("/gzip"), use_gzip=False).content == b"packed " * 100
    assert site.log[0].header("Accept-Encoding") == "identity"


@pytest.mark.parametrize(("status", "phrase"), [(404, "Not Found"), (500, "Internal Server Error"), (999, "Odd")])
def test_a_status_that_is_no_success_is_an_error_with_its_page(pool, site: Site, status, phrase):
    fetched = get(pool, site.url(f"/status/{status}"))
    assert fetched.result["status_code"] == status
    assert fetched.result["error"] == f"HTTP {status}: {phrase}"
    assert fetched.content == b"body of a status"


def test_a_page_with_an_unknown_charset_is_handed_over_as_it_came(pool, site: Site):
    fetched = get(pool, site.url("/bad-charset"))
    assert fetched.content == b"k\xf6ln"
    assert fetched.result["headers"]["Content-Type"] == "text/html; charset=no-such-thing"


def test_a_page_seen_before_is_asked_for_conditionally(pool, site: Site):
    track = {"process": {"ok": True}, "fetch": {"headers": {"etag": '"one"'}}}
    fetched = get(pool, site.url("/etag"), track)
    assert (fetched.result["status_code"], fetched.content) == (304, b"")
    assert fetched.result["error"] == "HTTP 304: Not Modified"
    assert get(pool, site.url("/etag"), track, etag=False).content == b"fresh"
    assert get(pool, site.url("/etag"), {**track, "process": {"ok": False}}).content == b"fresh"


def test_interim_answers_and_trailers_do_not_get_into_the_headers(pool, site: Site):
    fetched = get(pool, site.url("/interim?n=3"))
    assert fetched.content == b"at last"
    assert "Link" not in fetched.result["headers"]
    fetched = get(pool, site.url("/trailers"))
    assert fetched.content == b"hello"
    assert fetched.result["headers"]["X-Before"] == "yes"
    assert "X-After" not in fetched.result["headers"]


def test_spaces_and_letters_from_abroad_are_encoded_on_the_wire(pool, site: Site):
    fetched = get(pool, site.url("/echo?q=two words&r=ü"))
    assert site.log[0].target == "/echo?q=two%20words&r=%C3%BC"
    assert fetched.result["orig_url"].endswith("/echo?q=two words&r=ü")
    assert fetched.result["url"].endswith("/echo?q=two%20words&r=%C3%BC")


def test_the_fragment_stays_here(pool, site: Site):
    fetched = get(pool, site.url("/hello#part"))
    assert site.paths() == ["/hello"]
    assert fetched.result["url"] == site.url("/hello#part")


def test_one_connection_serves_many_pages(pool, site: Site):
    for _ in range(20):
        get(pool, site.url("/hello"))
    assert site.connections == 1


def test_a_server_that_closes_is_connected_to_again(pool, site: Site):
    assert [get(pool, site.url("/close")).content for _ in range(3)] == [b"closing"] * 3
    assert site.connections == 3


def test_data_urls_and_missing_browsers_are_answered_by_the_next_step(pool):
    settings = pool.settings
    pool.start(build_request(7, "data:,a%20b,c", {}, {}, settings))
    pool.start(build_request(8, "http://example.org/", {"fetch_type": "js"}, {}, settings))
    assert (pool.wait_s(), pool.in_flight) == (0.0, 2)
    data, js = pool.step()
    assert (data.tag, data.result["status_code"], data.content) == (7, 200, b"a b,c")
    assert (js.tag, js.result["status_code"], js.content) == (8, 501, b"phantomjs is not enabled.")
    assert "error" not in js.result
    assert pool.in_flight == 0


def test_data_urls_say_what_they_are(pool):
    fetched = get(pool, "data:text/html;charset=gbk;base64,xOO6ww==")
    assert fetched.content.decode("gbk") == "你好"
    assert fetched.result["headers"] == {"Content-Type": "text/html;charset=gbk"}
    assert get(pool, "data:nothing").result["error"] == "HTTP 599: data: URL without a comma"


def test_a_proxy_is_asked_with_its_credentials(pool, site: Site):
    fetched = get(pool, "http://far.example/page", proxy=f"me:p%40ss@127.0.0.1:{site.port}")
    assert fetched.content == b"by proxy: http://far.example/page"
    assert site.log[0].header("Proxy-Authorization") == "Basic bWU6cEBzcw=="


def test_the_default_proxy_is_used_unless_the_task_says_no(site: Site):
    with fetch_pool(proxy=f"127.0.0.1:{site.port}") as pool:
        assert get(pool, site.url("/hello")).content.startswith(b"by proxy")
        assert get(pool, site.url("/hello"), proxy=False).content == b"hello"


def test_the_environment_names_no_proxy(pool, site: Site, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert get(pool, site.url("/hello")).content == b"hello"


def test_a_certificate_is_checked_unless_the_task_says_no(pool):
    with Site(tls=True) as site:
        refused = get(pool, site.url("/hello", host="localhost"))
        assert refused.result["status_code"] == 599
        assert "certificate" in refused.result["error"]
        assert site.log == []
        assert get(pool, site.url("/hello"), validate_cert=False).content == b"hello"
        assert get(pool, site.url("/hello", host="localhost")).result["status_code"] == 599


NGINX = """
daemon off; master_process off; pid {d}/pid; error_log {d}/error.log; events {{}}
http {{
    access_log off;
    client_body_temp_path {d}/1; proxy_temp_path {d}/2; fastcgi_temp_path {d}/3; uwsgi_temp_path {d}/4;
    scgi_temp_path {d}/5;
    server {{
        listen 127.0.0.1:{port} ssl http2;
        ssl_certificate {d}/cert; ssl_certificate_key {d}/key;
        location / {{ add_header x-protocol $server_protocol; return 200 "page"; }}
    }}
}}
"""


@pytest.fixture
def http2_url(tmp_path):
    """nginx with TLS and HTTP/2, which our own test server does not speak."""
    if not shutil.which("nginx"):
        assert not os.environ.get("CI"), "nginx is missing"
        pytest.skip("nginx is missing")
    make_certificate(tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "conf").write_text(NGINX.format(d=tmp_path, port=port))
    command = ["nginx", "-e", f"{tmp_path}/error.log", "-c", f"{tmp_path}/conf"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as nginx:
        try:
            deadline = time.monotonic() + 10
            while not _listens(port):
                assert nginx.poll() is None, (tmp_path / "error.log").read_text()
                assert time.monotonic() < deadline, "nginx does not listen"
                time.sleep(0.02)
            yield f"https://127.0.0.1:{port}/"
        finally:
            nginx.terminate()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_http2_is_spoken_where_the_server_can(pool, http2_url):
    for tag in range(30):
        pool.start(build_request(tag, http2_url, {"validate_cert": False}, {}, pool.settings))
    for fetched in finish(pool).values():
        assert fetched.content == b"page"
        assert fetched.result["headers"]["X-Protocol"] == "HTTP/2.0"


def test_every_result_can_be_packed(pool, site: Site):
    for path in ("/hello", "/cookies/set?a=b", "/redirect?to=/hello", "/drop", "/status/404"):
        msgpack.packb(get(pool, site.url(path)).result)


def test_a_tag_is_not_used_twice_at_a_time(pool: FetchPool, site: Site):
    request = build_request(1, site.url("/hello"), {}, {}, pool.settings)
    pool.start(request)
    with pytest.raises(ValueError, match="tag 1"):
        pool.start(request)
    finish(pool)
    pool.start(request)
    assert finish(pool)[1].content == b"hello"


def test_an_aborted_request_is_never_answered(pool: FetchPool, site: Site):
    for tag, path in enumerate(["/silent", "/hello", "/silent"]):
        pool.start(build_request(tag, site.url(path), {}, {}, pool.settings))
    pool.start(build_request(3, "data:,x", {}, {}, pool.settings))
    while len(site.log) < 3:
        assert not {fetched.tag for fetched in turn(pool)} & {0, 2}
    pool.abort([0, 2, 3, 99])
    assert set(finish(pool)) <= {1}
    assert get(pool, site.url("/hello")).content == b"hello"


def test_a_pool_can_be_closed_in_the_middle_of_everything(site: Site):
    with fetch_pool() as pool:
        for tag in range(20):
            pool.start(build_request(tag, site.url("/silent"), {}, {}, pool.settings))
        while len(site.log) < 20:
            turn(pool)


def test_what_cannot_be_sent_is_refused_when_it_is_built():
    with pytest.raises(FetchError, match="'ftp' is not fetched"):
        build_request(1, "ftp://example.org/", {}, {}, FetchSettings())
