"""Links are absolute whichever way a script looks at them, and reading text does not pay for that."""

from collections.abc import Callable
from typing import Any

import pytest
from lxml.html import tostring
from pyquery import PyQuery
from zspider.script.page.document import Veiled
from zspider.script.page.response import Response
from zspider.script.page.tree import LINK_ATTRIBUTES

BASE = "http://site.example/dir/page.html?q=1"
ABSOLUTE = "http://site.example/dir/x.html"
PAGE = b"""<!DOCTYPE html><html><head><title>T</title><base href="http://elsewhere.example/"></head>
<body><div id="d"><a class="l" href=" x.html ">one</a><p>two</p></div><textarea>t</textarea></body></html>"""


def page(content: bytes = PAGE) -> Response:
    return Response({"status_code": 200, "url": BASE}, content)


def last(items: Any) -> Any:
    *_, item = items
    return item


def seen_by_each(selection: Any) -> Any:
    seen: list[Any] = []
    selection.each(lambda _, element: seen.append(element.get("href")))
    return last(seen)


LOOKS: dict[str, Callable[[Response], Any]] = {
    "attr.href": lambda r: r.doc("a").attr.href,
    "attr['href']": lambda r: r.doc("a").attr["href"],
    "attr('href')": lambda r: r.doc("a").attr("href"),
    "items": lambda r: last(a.attr.href for a in r.doc("a").items()),
    "items of the document": lambda r: last(a.attr.href for a in r.doc.items("a")),
    "iteration": lambda r: last(a.get("href") for a in r.doc("a")),
    "enumerate": lambda r: last(a.get("href") for _, a in enumerate(r.doc("a"))),
    "unpacking": lambda r: last(r.doc("a")).get("href"),
    "list": lambda r: list(r.doc("a")).pop().get("href"),
    "reversed": lambda r: next(reversed(r.doc("a"))).get("href"),
    "index": lambda r: r.doc("a")[0].get("href"),
    "slice": lambda r: r.doc("a")[:][0].get("href"),
    "pop": lambda r: r.doc("a").pop().get("href"),
    "index, attrib": lambda r: r.doc("a")[0].attrib["href"],
    "eq": lambda r: r.doc("a").eq(0).attr.href,
    "find": lambda r: r.doc("div").find("a").attr.href,
    "children": lambda r: r.doc("div").children("a").attr.href,
    "filter": lambda r: r.doc("a").filter(".l").attr.href,
    "closest and end": lambda r: r.doc("a").closest("div").end().attr.href,
    "next's prev": lambda r: r.doc("p").prev().attr.href,
    "map": lambda r: r.doc("a").map(lambda i, e: e.get("href"))[0],
    "each": lambda r: seen_by_each(r.doc("a")),
    "context": lambda r: r.doc("a", r.doc("div")).attr.href,
    "PyQuery of it": lambda r: PyQuery(r.doc("a")).attr.href,
    "PyQuery of an element": lambda r: PyQuery(r.doc("a")[0]).attr.href,
    "concatenation": lambda r: (r.doc("p") + r.doc("a"))[1].get("href"),
    "root": lambda r: r.doc.root.getroot().xpath("//a")[0].get("href"),
    "parent of an element": lambda r: r.doc("p")[0].getprevious().get("href"),
    "after text": lambda r: (r.doc("a").text(), r.doc("a").attr.href)[1],
    "a selection made before another was looked at": lambda r: (r.doc("a"), r.doc("p").attr("id"))[0].attr.href,
    "make_links_absolute": lambda r: r.doc.make_links_absolute()("a").attr.href,
    "selector with an attribute": lambda r: r.doc(f'a[href="{ABSOLUTE}"]').attr.href,
    "etree after doc": lambda r: (r.doc, r.etree)[1].xpath("//a")[0].get("href"),
    "etree after text": lambda r: (r.doc("a").text(), r.etree)[1].xpath("//a/@href")[0],
    "etree before doc": lambda r: (r.etree, r.doc)[0].xpath("//a/@href")[0],
}  # fmt: skip

HTML_LOOKS: dict[str, Callable[[Response], Any]] = {
    "html": lambda r: r.doc("div").html(),
    "outer_html": lambda r: r.doc("div").outer_html(),
    "outerHtml": lambda r: r.doc("div").outerHtml(),
    "str": lambda r: str(r.doc("div")),
    "format": lambda r: f"{r.doc('div')}",
    "__html__": lambda r: r.doc("div").__html__(),
    "clone": lambda r: str(r.doc("div").clone()),
    "lxml tostring": lambda r: tostring(r.doc("div")[0], encoding=str),
    "wrap": lambda r: str(r.doc("a").wrap("<i></i>")),
    "contents": lambda r: "".join(tostring(e, encoding=str) for e in r.doc("div").contents() if not isinstance(e, str)),
}


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS.keys())
def test_a_link_is_absolute_whichever_way_it_is_looked_at(look):
    assert look(page()) == ABSOLUTE


@pytest.mark.parametrize("look", HTML_LOOKS.values(), ids=HTML_LOOKS.keys())
def test_a_link_is_absolute_in_markup(look):
    text = look(page())
    assert f'href="{ABSOLUTE}"' in text


def test_etree_alone_has_the_links_of_the_page():
    assert page().etree.xpath("//a/@href") == [" x.html "]


def test_every_attribute_that_pyspider_rewrites_is_rewritten_and_no_other():
    marks = "".join(f"<{tag} {name}=' y '></{tag}>" for tag, name in LINK_ATTRIBUTES.items())
    content = f"<html><body>{marks}<area href=y><a src=y></a><img href=y></body></html>".encode()
    opened = page(content)
    tree = (opened.doc, opened.etree)[1]
    for tag, name in LINK_ATTRIBUTES.items():
        assert tree.xpath(f"//{tag}/@{name}") == ["http://site.example/dir/y"], tag
    assert tree.xpath("//area/@href | //a/@src | //img/@href") == ["y", "y", "y"]


@pytest.mark.parametrize(
    ("href", "absolute"),
    [
        ("/x", "http://site.example/x"),
        ("?p=2", "http://site.example/dir/page.html?p=2"),
        ("#top", "http://site.example/dir/page.html?q=1#top"),
        ("../up", "http://site.example/up"),
        ("//other.example/x", "http://other.example/x"),
        ("https://other.example/x", "https://other.example/x"),
        ("mailto:me@x", "mailto:me@x"),
        ("javascript:go()", "javascript:go()"),
        ("", "http://site.example/dir/page.html?q=1"),
        ("http://[bad", "http://[bad"),
        ("中?q=ü", "http://site.example/dir/中?q=ü"),
    ],
)
def test_a_link_is_joined_with_the_pages_url(href, absolute):
    assert page(f'<html><body><a href="{href}">x</a></body></html>'.encode()).doc("a").attr.href == absolute


def test_a_link_with_control_characters_does_no_harm():
    assert (
        page(b"<html><body><a href='\x01x'>a</a><a href='y'>b</a></body></html>")
        .doc("a")[1]
        .get("href")
        .endswith("/dir/y")
    )


def test_reading_text_leaves_the_links_alone():
    opened = page()
    assert opened.doc("title").text() == "T"
    assert opened.doc("div")("p").text() == "two"
    assert len(opened.doc("a")) == 1
    assert bool(opened.doc("em")) is False
    assert type(opened.doc) is Veiled
    assert opened._tree is not None
    assert opened._tree.xpath("//a/@href") == [" x.html "]


@pytest.mark.parametrize(
    "selector",
    [
        "title",
        "#d a.l",
        "div > *",
        "a, p",
        "p:first",
        "a:eq(0)",
        ":contains('two')",
        "p:not(.l)",
        "nothing",
        "textarea",
        "*",
    ],
)
def test_a_selection_is_what_pyquery_would_give(selector):
    ours, theirs = page().doc(selector), PyQuery(page().etree)(selector)
    assert ours.text() == theirs.text()
    assert len(ours) == len(theirs)
    assert [e.tag for e in ours] == [e.tag for e in theirs]


@pytest.mark.parametrize("selector", ["a[", "p:nonsense", "<b>new</b>", ""])
def test_an_odd_selector_does_what_pyquery_does(selector):
    try:
        expected: Any = str(PyQuery(page().etree)(selector))
    except Exception as error:
        with pytest.raises(type(error)):
            page().doc(selector)
    else:
        assert str(page().doc(selector)) == expected


def test_text_can_be_set_and_has_pyquerys_options():
    opened = page()
    opened.doc("p").text("new")
    assert opened.doc("p").text() == "new"
    assert opened.doc("div").text(squash_space=False) == PyQuery(opened.etree)("div").text(squash_space=False)


def test_attributes_are_set_and_deleted_in_every_way():
    link = page().doc("a")
    link.attr.href = "1"
    assert link.attr("href") == "1"
    link.attr["href"] = "2"
    assert link.attr.href == "2"
    del link.attr.href
    assert link.attr.href is None
    del link.attr["class"]
    assert not link.has_class("l")
    assert link.attr(title="t", class_="k") is link
    assert (link.attr.title, link.attr.class_) == ("t", "k")
    with pytest.raises(ValueError, match="Invalid arguments"):
        link.attr()


def test_the_document_is_one_object_and_a_pyquery():
    opened = page()
    assert opened.doc is opened.doc
    assert isinstance(opened.doc, PyQuery)
    assert opened.doc.base_url == BASE
    opened.doc("a").remove()
    assert opened.doc("a").length == 0


def test_a_comment_among_the_selected_has_nothing_below_it():
    doc = page(b"<div><!-- c --><b>y</b><a href='/z'>z</a></div>").doc
    around = doc("b").siblings()
    assert [type(element.tag) is str for element in around] == [False, True]
    assert [a.get("href") for a in around("a[href]")] == ["http://site.example/z"]
    assert len(around("a")) == 1


def test_the_class_of_the_document_makes_documents_of_their_own():
    opened = page()
    made = type(opened.doc)("<p><a href='x'>new</a></p>")
    assert (made("a").text(), made("a").attr.href) == ("new", "x")  # a link of no page
    assert [a.text() for a in opened.doc.__class__("a", opened.doc[0]).items()] == ["one"]
