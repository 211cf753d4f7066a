"""The parsed page: an lxml tree, what its selectors mean, and its links (docs/pyspider-behaviour.md 2.8)."""

import codecs
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from lxml import etree
from lxml.html import HtmlElement, HTMLParser, document_fromstring, fromstring
from pyquery import PyQuery

from zspider.script.crawl.options import checked_url
from zspider.script.crawl.urls import Joiner
from zspider.task import URL_BYTES_MAX

LINK_ATTRIBUTES = {"a": "href", "link": "href", "script": "src", "img": "src", "iframe": "src", "form": "action"}

MET_LINKS_MAX = 60_000  # whose meaning is kept: some 15 MiB
MET_CHARS_MAX = 500  # of one that is kept

_PARSER = HTMLParser(encoding="utf-8")
_hrefs = etree.XPath("descendant-or-self::a/@href | descendant-or-self::area/@href", smart_strings=False)
_is_tag = re.compile(r"[a-z][a-z0-9]*\Z").match
_has_web_address = re.compile(r"https?://[^/?#]", re.I).match

translator = PyQuery._translator_class(xhtml=False)  # CSS with jQuery's additions, such as :first and :contains()


def parse(content: bytes) -> HtmlElement:
    """Parse UTF-8; fragments get a wrapping element as lxml.html.fromstring does it. Never raises for content.

    Other encodings are decoded by the caller: where the parser's own decoders meet a byte that is wrong, or only
    unassigned, they drop the rest of the page.
    """
    content = content.removeprefix(codecs.BOM_UTF8)
    if b"\0" in content:  # the parser would stop there
        content = content.replace(b"\0", b"")
    try:
        return fromstring(content, parser=_PARSER)
    except (etree.ParserError, etree.XMLSyntaxError, AssertionError):  # nothing in it
        return document_fromstring("<html><head></head><body></body></html>")


@lru_cache(maxsize=1000)
def css_to_xpath(query: str, prefix: str = "descendant-or-self::") -> str:
    """Return the XPath of a CSS selector. Raises cssselect's SelectorError."""
    return str(translator.css_to_xpath(query, prefix))


@lru_cache(maxsize=1000)
def css(query: str) -> Callable[[HtmlElement], list[HtmlElement]]:
    """Return a compiled CSS selector: called with an element, it gives the elements that match, in page order."""
    path = etree.XPath(css_to_xpath(query))
    if not _is_tag(query):
        return path
    # The same at a fifth of the price; a comment is left to the XPath, which refuses it.
    return lambda root: [*root.iter(query)] if type(root.tag) is str else path(root)


@lru_cache(maxsize=1000)
def xpath(query: str) -> etree.XPath:
    """Return a compiled XPath.

    Its strings are plain ones, which do not keep the tree alive. Raises lxml's XPathError.
    """
    return etree.XPath(query, smart_strings=False)


class Links:
    """The links of one tree: listed as absolute URLs, or made absolute in place, at most once.

    `<base href>` is ignored, as pyspider does, so that a link is the same whether or not the tree was rewritten.
    """

    __slots__ = ("_joiner", "_root", "base", "done")

    def __init__(self, root: HtmlElement, base: str) -> None:
        self._root = root
        self._joiner: Joiner | None = None
        self.base = base
        self.done = False

    def _join(self) -> Joiner:
        """Return the joiner of the base; made for the first link, so that pages without links do not pay for it."""
        if self._joiner is None:
            self._joiner = Joiner(self.base)
        return self._joiner

    def listed(self, selector: str | None, attribute: str) -> list[str]:
        """Return the links as Response.links() describes them."""
        join = self._join()
        met = _met_links.of(join.folder)
        links: dict[str, None] = {}
        for value in self._values(selector, attribute):
            link = met.get(value)
            if link is None:
                link = _link(join, value)
                if len(value) <= MET_CHARS_MAX and join.folder and join.is_of_folder(value):
                    met[value] = link
            if link:
                links[link] = None
        return list(links)

    def _values(self, selector: str | None, attribute: str) -> list[str]:
        if selector is None and attribute == "href":
            hrefs: list[str] = _hrefs(self._root)
            return hrefs
        elements: Any = self._root.iter(etree.Element) if selector is None else css(selector)(self._root)
        values = (element.get(attribute) for element in elements)
        return [value for value in values if value is not None]

    def make_absolute(self) -> None:
        """Rewrite the links in place."""
        if self.done:
            return
        join = self._join()
        absolute: dict[str, str] = {}  # pages repeat their links
        for element in self._root.iter(*LINK_ATTRIBUTES):
            name = LINK_ATTRIBUTES[str(element.tag)]
            value = element.get(name)
            if value is None:
                continue
            joined = absolute.get(value)
            if joined is None:
                joined = absolute[value] = join(value)
            if joined != value:
                try:
                    element.set(name, joined)
                except ValueError:  # control characters: the parser takes them, `set` does not
                    pass
        self.done = True  # only now: a time limit may have struck above, and joining twice is harmless


class _MetLinks:
    """The URLs that links stand for, by the folder of the page: the pages of a site have most links in common.

    When there are too many, all are forgotten.
    """

    def __init__(self) -> None:
        self._folders: dict[str, dict[str, str]] = {}
        self._current: dict[str, str] = {}
        self._before = 0  # length of `_current` when it was given out
        self._total = 0

    def of(self, folder: str) -> dict[str, str]:
        """Return URLs by what stands in a page of this folder, "" for what is no link.

        The dict may be added to, until the next call.
        """
        self._total += len(self._current) - self._before
        if self._total > MET_LINKS_MAX:
            self._folders.clear()
            self._total = 0
        if folder not in self._folders:
            self._folders[folder] = {}
            self._total += 1
        self._current = self._folders[folder]
        self._before = len(self._current)
        return self._current


_met_links = _MetLinks()


def _link(join: Joiner, value: str) -> str:
    """Return the URL of a link, or "" for one that `crawl()` would not take or that is none of the Web."""
    url = join(value).strip()  # as `crawl()` does it: joining drops an empty query, and may leave white space
    if join.origin and url.startswith(join.origin + "/") and url.isascii() and len(url) <= URL_BYTES_MAX:
        return url  # the start of most links, and known to be right
    try:
        return url if _has_web_address(checked_url(url)) else ""
    except ValueError:
        return ""
