"""`links()`, `css()`, `xpath()` and `follow()`: what zspider adds to pyspider's Response."""

from urllib.parse import urljoin, urlsplit

import pytest
from cssselect import SelectorError
from hypothesis import given
from hypothesis import strategies as st
from lxml.etree import XPathError
from tests.support.scripts import opened, ran
from zspider.script.crawl.options import checked_url
from zspider.script.page import tree
from zspider.script.page.response import Response
from zspider.script.page.tree import MET_CHARS_MAX, _MetLinks

BASE = "http://site.example/dir/page.html?q=1"
PAGE = b"""<html><head><link href="style.css"><base href="http://elsewhere.example/"></head><body>
<nav><a href="/">home</a> <a href=" next.html ">next</a> <a name="here">no link</a></nav>
<a href="next.html#part">part</a> <a href="next.html">again</a> <map><area href="../up"></map>
<a href="HTTPS://other.example/x">https</a> <a href="mailto:m@x">m</a> <a href="javascript:go()">j</a>
<a href="http://[bad">bad</a> <a href="https:///x">no host</a> <a href="ftp://f.example/">ftp</a>
<img src="a.png" data-big="b.png"><iframe src="//f.example/i"></iframe></body></html>"""
LINKS = [
    "http://site.example/",
    "http://site.example/dir/next.html",
    "http://site.example/dir/next.html#part",
    "http://site.example/up",
    "HTTPS://other.example/x",
]


def response(content: bytes = PAGE) -> Response:
    return Response({"status_code": 200, "url": BASE}, content)


def test_links_are_absolute_in_page_order_and_each_once():
    assert response().links() == LINKS


def test_a_selector_says_which_elements_are_looked_at():
    assert response().links("nav a") == LINKS[:2]
    assert response().links("nav") == []
    assert response().links("link, area") == ["http://site.example/dir/style.css", LINKS[3]]
    assert response().links("a:first") == LINKS[:1]


def test_another_attribute_is_looked_for_in_every_element():
    assert response().links(attribute="src") == ["http://site.example/dir/a.png", "http://f.example/i"]
    assert response().links("img", attribute="data-big") == ["http://site.example/dir/b.png"]
    assert response(b"<!-- c --><p>").links(attribute="src") == []


def test_links_leave_the_tree_alone_and_see_what_is_changed_in_it():
    changed = response()
    assert changed.links() == LINKS
    assert changed.etree.xpath("//a/@href")[1] == " next.html "
    assert changed.doc("a").attr.href == LINKS[0]
    assert changed.links() == LINKS
    changed.doc("nav").remove()
    assert changed.links() == [LINKS[2], LINKS[1], *LINKS[3:]]


def test_an_element_that_is_the_whole_fragment_is_found():
    assert response(b'<a href="x">x</a>').links() == ["http://site.example/dir/x"]


hrefs = st.text("ab/.:?#[]@ \t%é中-", max_size=12) | st.sampled_from(
    [
        "http://" + "é" * 70 + ".example/",
        "http://a.example/" + "x" * 9000,
        "//h/p",
        "http:x",
        "HTTP://A.b",
        "http://h:port/",
    ]
)


@given(st.lists(hrefs, max_size=8), st.booleans())
def test_every_link_may_be_crawled_and_is_what_a_loop_over_doc_finds(values, is_doc_first):
    quoted = [value.replace("&", "&amp;").replace('"', "") for value in values]
    found = response("".join(f'<a href="{value}">x</a>' for value in quoted).encode())
    if is_doc_first:
        assert found.doc("a").length == len(values)
        assert found.doc("a[href]").length == len(values)
    absolute = [link.attr.href.strip() for link in response(found.content).doc("a").items()]
    assert found.links() == [url for url in dict.fromkeys(absolute) if is_of_the_web(url)]


def is_of_the_web(url: str) -> bool:
    try:
        parts = urlsplit(checked_url(url))
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.netloc != ""


def test_css_and_xpath_give_what_lxml_gives():
    found = response()
    assert [element.get("href") for element in found.css("nav a[href]")] == ["/", " next.html "]
    assert found.css("nav a:first")[0] is found.etree.xpath("//a")[0]
    assert found.css("nothing") == []
    assert found.xpath("//nav/a/text()") == ["home", "next", "no link"]
    assert all(type(text) is str for text in found.xpath("//nav/a/text()"))
    assert (found.xpath("string(//a)"), found.xpath("count(//area)"), found.xpath("//b = 1")) == ("home", 1.0, False)
    assert found.xpath("//area") == found.css("area")


@pytest.mark.parametrize("query", ["a[", "", "a::text", "p:nonsense"])
def test_what_is_no_selector_is_refused(query):
    with pytest.raises(SelectorError):
        response().css(query)
    with pytest.raises(SelectorError):
        response().links(query)


def test_what_is_no_xpath_is_refused():
    with pytest.raises(XPathError):
        response().xpath("//a[")


FOLLOW = """
def page(self, response):
    {body}
def other(self, response): pass
"""


def followed(body: str) -> list[str]:
    """The URLs that this line in a callback submits on PAGE."""
    outcome = ran(FOLLOW.format(body=body), "page", PAGE, url=BASE)
    assert not outcome.reason, outcome.reason
    return [follow.url for follow in outcome.follows]


@pytest.mark.parametrize(
    ("link", "url"),
    [
        ("'next.html#x'", "http://site.example/dir/next.html#x"),
        ("'?q=2'", "http://site.example/dir/page.html?q=2"),
        ("'http://o.example/'", "http://o.example/"),
        ("response.css('nav a')[1]", LINKS[1]),
        ("response.doc('nav a').eq(1)", LINKS[1]),
        ("response.doc('nav a')", LINKS[0]),
        ("response.doc('area')[0]", LINKS[3]),
        ("response.css('img')[0]", "http://site.example/dir/a.png"),
    ],
)
def test_a_link_is_followed(link, url):
    assert followed(f"response.follow({link}, callback=self.other)") == [url]


def test_an_element_without_a_link_is_skipped():
    assert followed("assert response.follow(response.css('a[name]')[0]) is None") == []
    assert followed("assert response.follow(response.doc('nothing')) is None") == []
    assert followed("assert response.follow(None) is None") == []


def test_follow_has_crawls_options_and_result():
    body = "self.save = response.follow('x', callback=self.other, priority=3, save=[1])['url']"
    outcome = ran(FOLLOW.format(body=body), "page", PAGE, url=BASE)
    (follow,) = outcome.follows
    assert (follow.url, follow.priority, opened(follow)["fetch"]) == (urljoin(BASE, "x"), 3, {"save": [1]})
    assert outcome.save == follow.url


def test_only_a_link_can_be_followed_and_only_while_a_task_runs():
    assert "follow() needs a URL or an element, not int" in ran(FOLLOW.format(body="response.follow(1)"), "page").reason
    with pytest.raises(RuntimeError, match="only while a task runs"):
        response().follow("x")


def test_every_link_of_a_page_may_be_given_to_crawl():
    outcome = ran(FOLLOW.format(body="self.crawl(response.links(), callback=self.other)"), "page", PAGE, url=BASE)
    assert not outcome.reason
    assert [follow.url for follow in outcome.follows] == [url.replace("HTTPS", "https") for url in LINKS]


def links_of(url: str, *hrefs: str) -> list[str]:
    content = "".join(f'<a href="{href}">x</a>' for href in hrefs).encode()
    return Response({"status_code": 200, "url": url}, content).links()


def test_pages_of_one_folder_share_what_links_mean_and_other_folders_do_not():
    hrefs = ("x", "?q", "#f", "", "mailto:m@x", "../y")
    for _ in range(2):  # the second time from what was met
        assert links_of("http://s.example/a/1.html", *hrefs) == [
            "http://s.example/a/x", "http://s.example/a/1.html?q", "http://s.example/a/1.html#f",
            "http://s.example/a/1.html", "http://s.example/y",
        ]  # fmt: skip
        assert links_of("http://s.example/a/2.html", *hrefs) == [
            "http://s.example/a/x", "http://s.example/a/2.html?q", "http://s.example/a/2.html#f",
            "http://s.example/a/2.html", "http://s.example/y",
        ]  # fmt: skip
        assert links_of("http://s.example/b/1.html", "x", "../y") == ["http://s.example/b/x", "http://s.example/y"]
        assert links_of("http://t.example/a/1.html", "x") == ["http://t.example/a/x"]


def test_however_many_links_and_folders_are_met_few_are_remembered(monkeypatch):
    monkeypatch.setattr(tree, "MET_LINKS_MAX", 100)
    met = _MetLinks()
    for number in range(1000):
        met.of(f"http://s.example/{number % 170}/").update({f"{number}": "http://s.example/", "same": ""})
        assert len(met._folders) + sum(map(len, met._folders.values())) <= 100 + 3
    long = "x" * (MET_CHARS_MAX + 1)
    assert links_of("http://long.example/", long, "short") == [
        f"http://long.example/{long}",
        "http://long.example/short",
    ]
    assert tree._met_links.of("http://long.example/").keys() == {"short"}
