"""URL building and joining, against the standard library."""

from urllib.parse import urljoin, urlparse, urlunparse

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from zspider.script.crawl.urls import Joiner, build_url, encode_params, quote_chinese


@pytest.mark.parametrize(
    ("url", "params", "built"),
    [
        (" http://a.com ", None, "http://a.com/"),
        ("http://a.com?x=1", None, "http://a.com/?x=1"),
        ("http://a.com/#part", None, "http://a.com/#part"),
        ("http://A.com/B c", None, "http://A.com/B c"),
        ("HTTP://a.com/", None, "http://a.com/"),
        ("http://bücher.example/ü?q=中#é", None, "http://xn--bcher-kva.example/%C3%BC?q=%E4%B8%AD#%C3%A9"),
        ("http://user:p@bücher.example:81/", None, "http://user:p@xn--bcher-kva.example:81/"),
        ("http://例え.テスト:81/", None, "http://xn--r8jz45g.xn--zckzah:81/"),
        ("http://a.com/?", None, "http://a.com/"),
        ("http://a.com/", {"a": 1, "b": ["x", "y"], "c": None}, "http://a.com/?a=1&b=x&b=y"),
        ("http://a.com/?z=0#f", [("a", "x y")], "http://a.com/?z=0&a=x+y#f"),
        ("http://a.com/", "ready=1", "http://a.com/?ready=1"),
        ("http://a.com/%7e", {}, "http://a.com/%7e"),
        ("data:,on_start", None, "data:,on_start"),
        ("relative/x", None, "relative/x"),
        ("http://a.com/\ud800", None, "http://a.com/%ED%A0%80"),
    ],
)
def test_a_url_is_built_as_pyspider_builds_it(url, params, built):
    assert build_url(url, params) == built


def test_a_host_that_has_no_ascii_form_is_refused():
    with pytest.raises(ValueError, match="label"):
        build_url("http://" + "ü" * 80 + ".example/")


# --- docs/pyspider-behaviour.md 2.3 step 4 once more: URLs put together from parts whose form is known -----

HOSTS = {  # as IDNA 2003 writes them
    "a.example": "a.example",
    "A-1.Example": "A-1.Example",
    "bücher.example": "xn--bcher-kva.example",
    "BÜCHER.example": "xn--bcher-kva.example",
    "faß.example": "fass.example",
    "例え.テスト": "xn--r8jz45g.xn--zckzah",
    "127.0.0.1": "127.0.0.1",
    "[::1]": "[::1]",
}
letters = st.text("ab%20 +~'\"<>|ü中é😀\x7f&=.,()", max_size=8).map(lambda text: text + "x")  # no space at its end
paths = st.lists(letters | st.just(""), max_size=3).map(lambda parts: "".join(f"/{part}" for part in parts))
params_values = st.none() | st.integers() | st.text("aü &=+/", max_size=3)
params_lists = st.lists(
    st.tuples(st.text("kü ", min_size=1, max_size=2), params_values | st.lists(params_values, max_size=3)), max_size=3
)


def percent(text: str) -> str:
    return "".join(c if ord(c) < 128 else "".join(f"%{byte:02X}" for byte in c.encode()) for c in text)


def form(text: object) -> str:
    kept = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-~"
    return "".join(
        "+" if c == " " else c if c in kept else "".join(f"%{byte:02X}" for byte in c.encode()) for c in str(text)
    )


def added(params: list) -> str:
    flat = [(key, one) for key, value in params for one in (value if isinstance(value, list) else [value])]
    return "&".join(f"{form(key)}={form(value)}" for key, value in flat if value is not None)


@settings(max_examples=3000)
@given(
    start=st.tuples(st.sampled_from(["http://", "https://"]), st.sampled_from(["", "jo@", "jö:p@"])),
    host=st.sampled_from(sorted(HOSTS)),
    rest=st.tuples(st.sampled_from(["", ":81"]), paths, st.just("") | letters, st.just("") | letters),
    around=st.sampled_from(["", " ", "\n\t"]),
    params=params_lists,
)
def test_a_url_put_together_from_parts_is_built_as_the_page_says(start, host, rest, around, params):
    port, path, query, fragment = rest
    end = f"#{fragment}" if fragment else ""
    url = "".join((*start, host, port, path, f"?{query}" if query else "", end))
    whole_query = "&".join(filter(None, [query, added(params)]))
    expected = "".join((*start, HOSTS[host], port, path or "/", f"?{whole_query}" if whole_query else "", end))
    assert build_url(around + url + around, params) == percent(expected)


def test_params_are_form_encoded():
    assert encode_params({"a": "ü", "b": (1, None, 2)}) == "a=%C3%BC&b=1&b=2"
    assert encode_params("as=it&is") == "as=it&is"
    assert quote_chinese("a b/中") == "a b/%E4%B8%AD"


pieces = st.sampled_from(
    ["http://", "https://", "HTTP://", "//", "..", "../", "./", "?q=1", "#f", "%20", "mailto:x", "javascript:"]
)
texts = st.lists(pieces | st.sampled_from("/aB.?#;:@[]ü&= \t\n"), max_size=8).map("".join)


@given(texts)
def test_a_plain_url_is_what_parsing_it_would_give(text):
    try:
        built = build_url("http://h/" + text)
        parts = urlparse(("http://h/" + text).strip())
    except ValueError:
        return
    assert built == quote_chinese(urlunparse(parts._replace(path=parts.path or "/")))


bases = [
    "http://h",
    "http://h?q",
    "http://h/a/b/c.html?q=/x/y#f",
    "https://h:1/a//b/",
    "http://h/a/./b",
    "http://h/a/b/c/",
]


@given(st.sampled_from(bases) | texts, texts)
def test_a_fast_join_is_a_join(base, url):
    try:
        expected = urljoin(base, url.strip())
    except ValueError:
        expected = url.strip()
    assert Joiner(base)(url) == expected


pages = st.sampled_from(["c.html", "d.html?q=/x/y#f", "", "e;p=1/", "f?x#y"])


@given(st.sampled_from(["http://h/", "https://h:1/a/b/"]), pages, pages, texts)
def test_a_link_of_a_folder_means_the_same_on_all_its_pages(folder, page, other, url):
    one, another = Joiner(folder + page), Joiner(folder + other)
    if one.folder == another.folder and Joiner.is_of_folder(url):
        assert one(url) == another(url)


@pytest.mark.parametrize("base", ["http://h?q", "http://h/a/./b", "https://h:1/a//b/", "", "mailto:x"])
def test_an_odd_page_has_no_folder(base):
    assert Joiner(base).folder == ""


@pytest.mark.parametrize(
    "url", ["", " ", "?q", "#f", " #f", ";p", "http:", "http:?q", "http:x", "x:y", "//", "/\t/", "..#f"]
)
def test_a_link_without_a_path_of_its_own_is_of_its_page(url):
    assert not Joiner.is_of_folder(url)


@pytest.mark.parametrize("url", ["x", " x ", "/x", "../x?q#f", "./x", "/", "http://h/x"])
def test_a_link_with_a_path_of_its_own_is_of_its_folder(url):
    assert Joiner.is_of_folder(url)
