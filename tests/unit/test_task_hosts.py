"""Whose page a URL is: the quick way against the standard library's."""

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zspider.hosts import host_hash, host_of


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://example.com/a", "example.com"),
        ("HTTP://Example.COM:80/a", "example.com"),
        ("https://example.com:443", "example.com"),
        ("http://example.com:443/", "example.com:443"),
        ("https://EXAMPLE.com:8443?q=1", "example.com:8443"),
        ("http://user:pass@example.com:8080/", "example.com:8080"),
        ("http://a@b@c.example/", "c.example"),
        ("http://[::1]:5000/x", "[::1]:5000"),
        ("http://[2001:DB8::1]/x", "[2001:db8::1]"),
        ("http://bücher.example/", "bücher.example"),
        ("http://example.com:080/", "example.com"),
        (" http://example.com/ ", "example.com"),
        ("http://127.0.0.1#x", "127.0.0.1"),
        ("http://example.com:99999/", ""),
        ("http://[::1/", ""),
        ("http:///nothing", ""),
        ("ftp://example.com/", ""),
        ("data:,on_start", ""),
        ("data:text/html,http://example.com/", ""),
        ("example.com/http://other.example/", ""),
        ("", ""),
    ],
)
def test_the_host_of_a_url(url, host):
    assert host_of(url) == host


LABEL = st.text("abcXYZ019-_", min_size=1, max_size=8)
NAMES = st.lists(LABEL, min_size=1, max_size=4).map(".".join)


@given(
    scheme=st.sampled_from(["http", "https", "HTTP", "hTTps"]),
    user=st.sampled_from(["", "", "me@", "me:secret@"]),
    name=NAMES,
    port=st.one_of(st.none(), st.sampled_from([0, 80, 443]), st.integers(1, 65535)),
    rest=st.text("/?#@:.abc%5B", max_size=12).map(lambda text: text if text[:1] in "/?#" else "/" + text),
)
def test_it_is_what_urlsplit_says(scheme, user, name, port, rest):
    url = f"{scheme}://{user}{name}{'' if port is None else f':{port}'}{rest}"
    parts = urlsplit(url)
    usual = {"http": 80, "https": 443}[parts.scheme]
    expected = parts.hostname if parts.port in (None, 0, usual) else f"{parts.hostname}:{parts.port}"
    assert host_of(url) == expected


@given(st.text(max_size=40))
def test_any_text_has_a_host_or_none_and_a_hash(text):
    assert host_of(text) == host_of(text).lower() or not text.isascii()
    assert -(2**31) <= host_hash(host_of(text)) < 2**31


def test_only_no_host_has_the_hash_0():
    assert host_hash("") == 0
    assert host_hash("example.com") not in (0, host_hash("example.org"))
