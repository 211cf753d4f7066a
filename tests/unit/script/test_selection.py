"""`response.doc` against PyQuery over a tree whose links were made absolute one by one: same steps, same results."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urljoin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree
from pyquery import PyQuery
from zspider.script.page.response import Response

BASE = "http://site.example/dir/page.html?q=1"
REWRITTEN = (("a", "href"), ("link", "href"), ("script", "src"), ("img", "src"), ("iframe", "src"), ("form", "action"))

hrefs = st.sampled_from(
    [
        "",
        " x ",
        "/y?a=1",
        "../z",
        "../../../u",
        "#f",
        "?p",
        "//o.example/",
        "http://o.example/a",
        "mailto:m",
        "http://[",
    ]
)
words = st.sampled_from(
    ["", "one", " two  three ", "a\n<b>bold</b> b", "<br>", "é中", "<!-- c -->", "\u00a0", "&lt;b&gt;"]
)
pieces = st.one_of(
    st.builds('<a class="l n" id=i href="{}">{}</a>'.format, hrefs, words),
    st.builds("<a name=x data-u=1>{}</a>".format, words),
    st.builds('<p class=l>{}<span>{}</span> <a href="{}">{}</a></p>'.format, words, words, hrefs, words),
    st.builds('<img src="{}" alt="{}"><script src="{}"></script>'.format, hrefs, st.just("alt"), hrefs),
    st.builds('<form action="{}"><input name=n value=v type=text><textarea>{}</textarea></form>'.format, hrefs, words),
    st.builds("<select name=s><option>{}<option selected value=2></select>".format, words),
    st.builds("<table><tr><td>{}<td>{}</table>".format, words, words),
    st.builds("<ul><li>{}<li><em>{}</em></ul>".format, words, words),
    st.builds('<link href="{}"><iframe src="{}"></iframe><area href=r>'.format, hrefs, hrefs),
    words,
)
full = '<!DOCTYPE html><html><head><title> T  t </title><meta name="d" content="c" /></head><body>{}</body></html>'
pages = st.lists(pieces, max_size=6).map("".join).flatmap(lambda body: st.sampled_from([full.format(body), body]))

SELECTORS = [
    *("a", "a[href]", "a[href^=http]", "A[HREF^='http://site']", "[src]", 'a[href$="z"]', "title", "*", "p a, a, img"),
    *("p > a", "a:first", "a:last", "a:eq(1)", "li:even", ":contains('two')", "p:has(span)", "a:not(.l)", ".l", "#i"),
    *(
        "meta[name=d]",
        "[@class]",
        "a[hre\\66]",
        ":input",
        "a:link",
        "form",
        "textarea",
        "td + td",
        "span ~ a",
        "nothing",
    ),
    *("<i>new</i>", "", "a[", "p:nonsense", "li:nth-child(2)", "option:selected", "html", "body > *"),
]
selectors = st.sampled_from(SELECTORS)
Step = tuple[str, Callable[[Any], Any]]


def step(name: str, do: Callable[[Any], Any]) -> Step:
    return name, do


def with_selector(name: str, do: Callable[[Any, str], Any]) -> st.SearchStrategy[Step]:
    return selectors.map(lambda selector: step(f"{name}({selector!r})", lambda s: do(s, selector)))


def each_link(selection: Any) -> list[Any]:
    seen: list[Any] = []
    selection.each(lambda _, element: seen.append(element.get("href")))
    return seen


# From a selection to another.
steps = st.one_of(
    with_selector("call", lambda s, selector: s(selector)),
    with_selector("call", lambda s, selector: s(selector)),
    with_selector("find", lambda s, selector: s.find(selector)),
    with_selector("filter", lambda s, selector: s.filter(selector)),
    with_selector("children", lambda s, selector: s.children(selector)),
    with_selector("not_", lambda s, selector: s.not_(selector)),
    with_selector("closest", lambda s, selector: s.closest(selector)),
    with_selector("items", lambda s, selector: ([*s.items(selector)] or [s])[-1]),
    with_selector("add", lambda s, selector: s + s(selector)),
    with_selector("add another's", lambda s, selector: s + PyQuery(list(s(selector)))),
    with_selector("extend", lambda s, selector: s("a").extend(PyQuery(list(s(selector))))),
    with_selector("remove", lambda s, selector: s.remove(selector)),
    st.sampled_from(
        [
            step("items", lambda s: ([*s.items()] or [s])[-1]),
            step("eq", lambda s: s.eq(0)),
            step("parent", lambda s: s.parent()),
            step("parents", lambda s: s.parents()),
            step("siblings", lambda s: s.siblings()),
            step("contents", lambda s: s.contents()),
            step("next", lambda s: s.next()),
            step("end", lambda s: s.end()),
            step("clone", lambda s: s.clone()),
            step("remove", lambda s: s("p").remove()),
            step("set attr", lambda s: s.attr("href", "new")),
            step("set attr.x", lambda s: (setattr(s.attr, "href", "new2"), s)[1]),
            step("set attr[]", lambda s: (s.attr.__setitem__("title", "t"), s)[1]),
            step("set attrs", lambda s: s.attr(href="new3", class_="k")),
            step("del attr", lambda s: (delattr(s.attr, "href"), s)[1]),
            step("remove_attr", lambda s: s.remove_attr("href")),
            step("add_class", lambda s: s.add_class("added")),
            step("append", lambda s: s.append('<a href="q">q</a>')),
            step("set html", lambda s: s("p").html('<a href="h">h</a>')),
            step("set html of PyQuery", lambda s: s("p").html(PyQuery('<a href="h">h</a>'))),
            step("set text", lambda s: s("a").text("text")),
            step("wrap", lambda s: s("a").wrap("<u></u>")),
            step("replace_with", lambda s: s("span").replace_with("<q>r</q>")),
            step("PyQuery", lambda s: PyQuery(s)),
        ]
    ),
)

# What a script sees of one.
looks = st.sampled_from(
    [
        step("elements", lambda s: list(s)),
        step("text", lambda s: s.text()),
        step("text of each", lambda s: [i.text() for i in s.items()]),
        step("raw text", lambda s: s.text(squash_space=False)),
        step("attr.href", lambda s: s.attr.href),
        step("attr('href')", lambda s: s.attr("href")),
        step("attr['src']", lambda s: s.attr["src"]),
        step("attr.class_", lambda s: s.attr.class_),
        step("attr('class')", lambda s: s.attr("class")),
        step("attr.content", lambda s: s.attr.content),
        step("attr()", lambda s: s.attr()),
        step("every attr.href", lambda s: [i.attr.href for i in s.items()]),
        step("every attr('href'), text", lambda s: [(i.attr("href"), i.text()) for i in s.items("a")]),
        step("each", each_link),
        step("map", lambda s: list(s.map(lambda i, e: e.get("href")))),
        step("html", lambda s: s.html()),
        step("outer_html", lambda s: s.outer_html()),
        step("str", str),
        step("repr", repr),
        step("val", lambda s: s.val()),
        step("length", lambda s: (len(s), s.length, s.size(), bool(s))),
        step("is_", lambda s: s.is_(".l")),
        step("has_class", lambda s: s.has_class("l")),
        step("index", lambda s: s[0]),
        step("slice", lambda s: s[1:]),
        step("serialize", lambda s: s.serialize()),
        step("css", lambda s: s.css("color", "red").attr("style")),
        step("root", lambda s: s.root.getroot()),
        step("parents of items", lambda s: [i.end() == s for i in s.items()]),
    ]
)


def made_absolute(tree: Any) -> Any:
    """pyspider's rule, word by word."""
    for tag, name in REWRITTEN:
        for element in tree.iter(tag):
            if element.get(name) is not None:
                try:
                    element.set(name, urljoin(BASE, element.get(name).strip()))
                except ValueError:
                    pass
    return tree


def comparable(value: Any) -> Any:
    """A value that is equal for equal trees: elements become the place where they are, and what they are."""
    if isinstance(value, etree._Element):
        return value.getroottree().getpath(value), etree.tostring(value)
    if isinstance(value, etree._ElementTree):
        return comparable(value.getroot())
    if isinstance(value, list | tuple):
        return [comparable(item) for item in value]
    return value


def outcome(document: Any, chain: list[Step], look: Step) -> Any:
    """What the last look sees, or which error ended the steps."""
    try:
        for _, do in chain:
            document = do(document)
        return comparable(look[1](document))
    except Exception as error:
        return type(error).__name__


def page(content: str) -> Response:
    return Response({"status_code": 200, "url": BASE}, content.encode())


@settings(max_examples=500)
@given(pages, st.lists(steps, max_size=4), looks, st.lists(st.tuples(selectors, looks), max_size=2), st.booleans())
def test_any_steps_give_what_pyquery_gives(content, chain, look, before, is_etree_out):
    ours = page(content)
    theirs = PyQuery(made_absolute(page(content).etree))
    if is_etree_out:
        assert ours.etree is not None
    for selector, first_look in before:  # what was seen before must not matter
        chosen = step("call", lambda s, selector=selector: s(selector))
        assert outcome(ours.doc, [chosen], first_look) == outcome(theirs, [chosen], first_look)
    assert outcome(ours.doc, chain, look) == outcome(theirs, chain, look)
    assert etree.tostring(ours.etree) == etree.tostring(theirs[0])


@settings(max_examples=300)
@given(pages, selectors, st.lists(steps, max_size=2), looks)
def test_a_selection_made_early_sees_what_is_changed_later(content, selector, chain, look):
    ours, theirs = page(content).doc, PyQuery(made_absolute(page(content).etree))
    try:
        early = theirs(selector)
    except Exception as error:
        with pytest.raises(type(error)):
            ours(selector)
        return
    early_of_ours = ours(selector)
    outcome(ours, chain, look), outcome(theirs, chain, look)
    assert outcome(early_of_ours, [], look) == outcome(early, [], look)


def test_text_is_read_without_making_links_absolute():
    opened = page(full.format('<h2>a</h2><h2>b</h2><a class=n href="x">c</a>'))
    assert opened.doc("title").text() == "T t"
    assert [heading.text() for heading in opened.doc("h2").items()] == ["a", "b"]
    assert [link.attr.class_ for link in opened.doc.items("a.n")] == ["n"]
    assert opened.doc('meta[name="d"]').attr("content") == opened.doc("meta").attr.content == "c"
    assert opened._tree is not None
    assert opened._tree.xpath("//a/@href") == ["x"]
