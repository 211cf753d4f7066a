"""Redirects, and what travels along: cookies, credentials, and where they may not lead."""

from contextlib import ExitStack

import pycurl
import pytest
from tests.support.fetching import fetch_pool, finish, get
from tests.support.site import Site, as_json
from zspider.fetch import build_request
from zspider.fetch.handle import Handle


@pytest.mark.parametrize(
    ("code", "method", "then"),
    [
        (301, "GET", "GET"),
        (301, "POST", "POST"),
        (302, "POST", "GET"),
        (303, "PUT", "GET"),
        (303, "HEAD", "HEAD"),
        (307, "POST", "POST"),
        (308, "PUT", "PUT"),
    ],
)
def test_a_redirect_keeps_or_changes_the_method(pool, site: Site, code, method, then):
    data = None if method in ("GET", "HEAD") else "a=1"
    fetched = get(pool, site.url(f"/redirect?to=/echo&code={code}"), method=method, data=data)
    first, second = site.log
    assert (first.method, second.method, second.target) == (method, then, "/echo")
    assert second.body == (b"a=1" if then in ("POST", "PUT") else b"")
    assert (second.header("Content-Type") is None) == (then in ("GET", "HEAD") or method == "PUT")
    assert fetched.result["url"] == site.url("/echo")
    assert fetched.result["orig_url"] == site.url(f"/redirect?to=/echo&code={code}")
    assert "error" not in fetched.result


def test_the_redirects_that_were_followed_are_told(pool, site: Site):
    first, second = site.url("/redirect-chain?n=2"), site.url("/redirect-chain?n=1")
    fetched = get(pool, first)
    assert fetched.redirects == ((302, first), (302, second))
    assert fetched.result["url"] == site.url("/hello")
    loop = site.url("/redirect-loop")
    assert get(pool, loop, max_redirects=1).redirects == ((302, loop),) * 2  # of a failure, too
    assert get(pool, site.url("/hello")).redirects == ()


def test_a_redirect_is_an_answer_when_it_must_not_be_followed(pool, site: Site):
    fetched = get(pool, site.url("/redirect?to=/hello"), allow_redirects=False)
    assert (fetched.result["status_code"], fetched.content) == (302, b"moved")
    assert fetched.result["error"] == "HTTP 302: Found"
    assert fetched.result["headers"]["Location"] == "/hello"


@pytest.mark.parametrize("code", [300, 304, 305])
def test_other_statuses_lead_nowhere(pool, site: Site, code):
    assert get(pool, site.url(f"/redirect?to=/hello&code={code}")).result["status_code"] == code


def test_an_empty_location_leads_nowhere(pool, site: Site):
    assert get(pool, site.url("/redirect-raw?to=")).result["status_code"] == 302


def test_as_many_redirects_are_followed_as_the_task_allows(pool, site: Site):
    assert get(pool, site.url("/redirect-chain?n=5")).content == b"hello"
    fetched = get(pool, site.url("/redirect-chain?n=6"))
    assert fetched.result["error"] == "HTTP 599: Maximum (5) redirects followed"
    assert get(pool, site.url("/redirect-chain?n=9"), max_redirects=9).content == b"hello"
    fetched = get(pool, site.url("/redirect-chain?n=1"), max_redirects=0)
    assert fetched.result["error"] == "HTTP 599: Maximum (0) redirects followed"


@pytest.mark.parametrize(
    ("raw", "target"),
    [
        ("/k%C3%B6ln", "/k%C3%B6ln"),  # UTF-8 bytes
        ("/k%F6ln", "/k%F6ln"),  # Latin-1 bytes stay these bytes
        ("/two words", "/two%20words"),
        ("?x=1", "/redirect-raw?x=1"),
        ("//HOST/abs", "/abs"),
    ],
)
def test_any_bytes_in_a_location_are_percent_encoded(pool, site: Site, raw, target):
    raw = raw.replace("HOST", f"127.0.0.1:{site.port}").replace(" ", "%20")
    get(pool, site.url(f"/redirect-raw?to={raw}"), max_redirects=1)
    assert site.log[1].target == target


@pytest.mark.parametrize("location", ["ftp://127.0.0.1/", "file:///etc/passwd", "data:,x", "javascript:x"])
def test_a_location_that_is_not_the_web_is_refused(pool, site: Site, location):
    fetched = get(pool, site.url(f"/redirect-raw?to={location}"))
    assert fetched.result["status_code"] == 599
    assert len(site.log) == 1


def test_a_location_with_a_bare_return_is_refused(pool, site: Site):
    fetched = get(pool, site.url("/redirect-raw?to=/a%0Dinjected:%20x"))
    assert fetched.result["status_code"] == 599
    assert len(site.log) == 1


def test_a_location_longer_than_any_url_is_refused(pool, site: Site):
    assert get(pool, site.url("/redirect-long?n=8000")).result["status_code"] == 404
    for n in (8189, 100_000):
        assert "the limit is 8190" in get(pool, site.url(f"/redirect-long?n={n}")).result["error"]
    assert len(site.log) == 4


def test_cookies_of_the_task_are_sent_and_are_in_the_result(pool, site: Site):
    fetched = get(pool, site.url("/echo"), cookies={"a": "1"}, headers={"Cookie": "b=2; a=0"})
    assert as_json(fetched.content)["headers"]["Cookie"] == "b=2; a=1"
    assert fetched.result["cookies"] == {"a": "1", "b": "2"}


def test_cookies_of_the_task_stay_on_their_host(pool, site: Site, other: Site):
    get(pool, site.url(f"/redirect?to={other.url('/echo')}"), cookies={"secret": "1"}, headers={"Cookie": "b=2"})
    assert site.log[0].header("Cookie") == "b=2; secret=1"
    assert other.log[0].header("Cookie") is None


def test_localhost_is_another_host_than_its_address(pool, site: Site):
    get(pool, site.url(f"/redirect?to=http://localhost:{site.port}/echo"), cookies={"secret": "1"})
    assert site.log[1].header("Host") == f"localhost:{site.port}"
    assert site.log[1].header("Cookie") is None


def test_cookies_set_on_the_way_stay_on_their_host(pool, site: Site, other: Site):
    back = f"/redirect%3Fto={site.url('/echo')}%26cookie=from_other=2"
    fetched = get(pool, site.url(f"/redirect?cookie=from_site=1&to={other.url(back)}"))
    assert other.log[0].header("Cookie") is None
    assert site.log[1].header("Cookie") == "from_site=1"
    assert fetched.result["cookies"] == {"from_site": "1", "from_other": "2"}


def test_a_cookie_the_server_sets_takes_the_place_of_the_one_sent(pool, site: Site):
    fetched = get(pool, site.url("/redirect?to=/echo&cookie=sid=new"), cookies={"sid": "old", "x": "y"})
    assert sorted(site.log[1].header("Cookie").split("; ")) == ["sid=new", "x=y"]
    assert fetched.result["cookies"] == {"sid": "new", "x": "y"}


def test_cookies_obey_their_path_and_foreign_domains_are_dropped(pool, site: Site):
    get(pool, site.url("/redirect?to=/echo&cookie=a=1; path=/elsewhere"))
    assert site.log[1].header("Cookie") is None
    fetched = get(pool, site.url("/cookies/set?a=1&domain=example.com"))
    assert fetched.result["cookies"] == {}


def test_no_cookie_outlives_its_fetch(pool, site: Site):
    assert get(pool, site.url("/cookies/set?a=1")).result["cookies"] == {"a": "1"}
    get(pool, site.url("/echo"))
    assert site.log[1].header("Cookie") is None


def test_credentials_stay_on_their_origin(pool, site: Site, other: Site):
    headers = {"Authorization": "Bearer secret", "X-Kept": "yes"}
    get(pool, site.url("/redirect?to=/echo"), headers=headers)
    assert site.log[1].header("Authorization") == "Bearer secret"
    get(pool, site.url(f"/redirect?to={other.url('/echo')}"), headers=headers)
    assert (other.log[0].header("Authorization"), other.log[0].header("X-Kept")) == (None, "yes")
    with Site() as other_port:
        get(pool, site.url(f"/redirect?to={other_port.url('/echo')}"), headers=headers)
        assert other_port.log[0].header("Authorization") is None


@pytest.fixture
def public(monkeypatch):
    """Make 127.0.0.2 count as an address of the public Internet, which loopback has none of."""
    monkeypatch.setattr("zspider.fetch.handle.is_private", lambda address: address != "127.0.0.2")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]", "0.0.0.0"])
def test_a_public_page_cannot_redirect_to_a_private_address(pool, site: Site, other: Site, public, host):
    fetched = get(pool, other.url(f"/redirect?to=http://{host}:{site.port}/hello"))
    assert fetched.result["status_code"] == 599
    assert "refused: a public page has led here" in fetched.result["error"]
    assert (site.connections, site.log) == (0, [])


def test_nor_over_a_connection_that_is_open_already(pool, site: Site, other: Site, public):
    assert get(pool, site.url("/hello")).content == b"hello"  # named by the script itself: allowed
    fetched = get(pool, other.url(f"/redirect?to={site.url('/hello')}"))
    assert "refused: a public page has led here" in fetched.result["error"]
    assert len(site.log) == 1


def test_nor_by_way_of_another_public_page(pool, site: Site, other: Site, public):
    to_private = f"/redirect%3Fto={site.url('/hello')}"
    fetched = get(pool, site.url(f"/redirect?to={other.url(to_private)}"))
    assert "refused: a public page has led here" in fetched.result["error"]
    assert [asked.path for asked in site.log] == ["/redirect"]


def test_a_private_page_may_redirect_to_a_private_one_and_anybody_to_a_public_one(
    pool, site: Site, other: Site, public
):
    assert get(pool, site.url("/redirect?to=/hello")).content == b"hello"
    assert get(pool, other.url("/redirect?to=/hello")).content == b"hello"
    assert get(pool, site.url(f"/redirect?to={other.url('/hello')}")).content == b"hello"


def test_the_setting_allows_it(site: Site, other: Site, public):
    with fetch_pool(private_networks="allow") as pool:
        assert get(pool, other.url(f"/redirect?to={site.url('/hello')}")).content == b"hello"


def test_behind_a_proxy_the_name_decides(pool, site: Site):
    with ExitStack() as stack:
        proxy = stack.enter_context(Site(proxied_location="http://127.0.0.1/secret"))
        fetched = get(pool, "http://far.example/page", proxy=f"127.0.0.1:{proxy.port}")
        assert "refused: a public page has led here" in fetched.result["error"]
        assert proxy.paths() == ["http://far.example/page"]


def guarded(pool, url: str, **options):
    """Fetch a URL that a public page has led to."""
    pool.start(build_request(1, url, options, {}, pool.settings, private_ok=False))
    return finish(pool)[1]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "0.0.0.0"])
def test_a_link_from_a_public_page_does_not_lead_to_a_private_address(pool, site: Site, public, host):
    fetched = guarded(pool, f"http://{host}:{site.port}/hello")
    assert "refused: a public page has led here" in fetched.result["error"]
    assert (site.connections, site.log) == (0, [])


def test_nor_over_a_connection_that_the_script_itself_has_opened(pool, site: Site, public):
    assert get(pool, site.url("/hello")).content == b"hello"
    fetched = guarded(pool, site.url("/hello"))
    assert "refused: a public page has led here" in fetched.result["error"]
    assert len(site.log) == 1
    assert get(pool, site.url("/hello")).content == b"hello"  # the same handle, for the script itself


def test_a_name_that_is_private_when_it_is_looked_up_again_is_refused(pool, site: Site, public, monkeypatch):
    found = {"address": "127.0.0.2"}
    original = Handle.prepare

    def resolve(handle, *args, **kwargs):
        original(handle, *args, **kwargs)
        handle.easy.setopt(
            pycurl.RESOLVE, [f"-rebound.test:{site.port}", f"rebound.test:{site.port}:{found['address']}"]
        )

    monkeypatch.setattr(Handle, "prepare", resolve)
    url = f"http://rebound.test:{site.port}/close"
    with Site("127.0.0.2", port=site.port) as outside:
        assert guarded(pool, url).content == b"closing"
        found["address"] = "127.0.0.1"
        assert "private address 127.0.0.1 refused" in guarded(pool, url).result["error"]
        assert (outside.paths(), site.connections) == (["/close"], 0)


def test_a_page_says_whether_it_is_public(pool, site: Site, other: Site, public):
    assert get(pool, other.url("/hello")).is_public
    assert get(pool, other.url("/status/404")).is_public
    assert get(pool, site.url(f"/redirect?to={other.url('/hello')}")).is_public
    assert not get(pool, site.url("/hello")).is_public
    with Site(proxied_location="") as proxy:
        assert get(pool, "http://far.example/page", proxy=f"127.0.0.1:{proxy.port}").is_public
        assert not get(pool, "http://localhost/page", proxy=f"127.0.0.1:{proxy.port}").is_public
    with fetch_pool(private_networks="allow") as open_pool:
        assert not get(open_pool, other.url("/hello")).is_public


def test_a_link_behind_a_proxy_is_judged_by_its_name(pool, public):
    with Site() as proxy:
        for host in ("127.0.0.1", "printer.local", "10.1.2.3", "017700000001"):
            fetched = guarded(pool, f"http://{host}/secret", proxy=f"127.0.0.1:{proxy.port}")
            assert "refused: a public page has led here" in fetched.result["error"]
        assert proxy.connections == 0
