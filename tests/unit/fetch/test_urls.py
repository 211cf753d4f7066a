"""URLs: what is sent, what is refused, where a Location leads."""

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zspider.errors import FetchError
from zspider.fetch.addresses import is_private, is_private_host
from zspider.fetch.urls import clean_url, hostname_of, join, origin_of


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org",
        "https://example.org:8443/a/../b?x=\"<>\\^`{|}'#frag%20",
        "http://127.0.0.1/%zz",
        "http://under_score.example/",
    ],
)
def test_printable_ascii_is_left_alone(url):
    assert clean_url(url) == url


@pytest.mark.parametrize(
    ("url", "cleaned"),
    [
        ("HTTP://Example.org/", "http://Example.org/"),
        ("http://münchen.de/straße?q=ü#ö", "http://xn--mnchen-3ya.de/stra%C3%9Fe?q=%C3%BC#%C3%B6"),
        ("http://中文.example/", "http://xn--fiq228c.example/"),
        ("http://m%C3%BCnchen.de/", "http://xn--mnchen-3ya.de/"),
        ("http://１２７.0.0.1/", "http://127.0.0.1/"),
        ("http://a/two words\tand tab", "http://a/two%20words%09and%20tab"),
        ("  http://a/ ", "http://a/"),
        ("http://us er:p\u00e4ss@a/", "http://us%20er:p%C3%A4ss@a/"),
        ("http://[::1]:80/", "http://[::1]:80/"),
        ("http://[0:0::1]/", "http://[::1]/"),
        ("http://a:/x", "http://a/x"),
    ],
)
def test_everything_else_is_encoded(url, cleaned):
    assert clean_url(url) == cleaned
    assert clean_url(cleaned) == cleaned


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.org",
        "/path",
        "//example.org/",
        "ftp://a/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "http:/a/",
        "http://",
        "http:///x",
        "http://:80/",
        "http://a\r\nHost: b/",
        "http://a/\r\nX: y",
        "http://a/\nX",
        "http://a/\0",
        "http://a b/",
        "http://a\\b/",
        "http://a%00b/",
        "http://a%2Fb/",
        "http://[::1/",
        "http://[fe80::1%25eth0]/",
        "http://a:99999/",
        "http://a:8o/",
        "http://a:-1/",
        "http://a/\ud800",
        "http://" + "ü" * 300 + "/",
        "http://a/" + "x" * 8190,
        "http://a/" + "ü" * 3000,
    ],
)
def test_what_is_no_web_address_is_refused(url):
    with pytest.raises(FetchError):
        clean_url(url)


@given(st.text(max_size=30), st.text(max_size=30))
def test_a_clean_url_has_one_plain_host_for_every_parser(host, rest):
    try:
        url = clean_url(f"http://{host}/{rest}")
    except FetchError:
        return
    assert url.isascii()
    assert url.isprintable()
    assert " " not in url
    assert clean_url(url) == url
    assert urlsplit(url).hostname
    assert origin_of(url).startswith("http://" + hostname_of(url))


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("http://A.example/x", "http://a.example:80"),
        ("https://u:p@a.example", "https://a.example:443"),
        ("http://[::1]:8080/", "http://[::1]:8080"),
    ],
)
def test_an_origin_is_scheme_host_and_port(url, origin):
    assert origin_of(url) == origin


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("/x", "http://a/x"),
        ("y?z", "http://a/b/y?z"),
        ("//c/d", "http://c/d"),
        ("https://c", "https://c"),
        ("?q", "http://a/b/c?q"),
        ("/k\u00c3\u00b6ln", "http://a/k%C3%B6ln"),  # UTF-8 read as Latin-1
        ("/k\u00f6ln", "http://a/k%F6ln"),
        ("http://m\u00c3\u00bcnchen.de/", "http://xn--mnchen-3ya.de/"),
        ("/two words", "http://a/two%20words"),
    ],
)
def test_a_location_is_joined_and_encoded(location, url):
    assert join("http://a/b/c", location) == url


@given(st.text(st.characters(max_codepoint=255), max_size=50))
def test_any_location_leads_to_a_clean_url_or_is_refused(location):
    try:
        url = join("http://a/b", location)
    except FetchError:
        return
    assert clean_url(url) == url


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fe80::1%eth0",
        "fd00::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "/run/socket",
        "",
    ],
)
def test_addresses_that_are_not_the_public_internet(address):
    assert is_private(address)


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]
)
def test_addresses_of_the_public_internet(address):
    assert not is_private(address)


@pytest.mark.parametrize(
    ("host", "private"),
    [
        ("localhost", True),
        ("LOCALHOST.", True),
        ("x.localhost", True),
        ("127.0.0.1", True),
        ("2130706433", True),
        ("0x7f.1", True),
        ("[::1]", True),
        ("1.1.1.1", False),
        ("example.org", False),
        ("10.example", False),
    ],
)
def test_hosts_that_look_private(host, private):
    assert is_private_host(host) is private
