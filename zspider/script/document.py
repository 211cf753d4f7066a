"""The parsed page: an lxml tree, and a PyQuery over it whose links are absolute (pyspider.md 2.8).

Making links absolute costs more than finding a title, and most callbacks look at no link. So it is done when
somebody could see one: `Veiled` selections can be selected from, counted and read as text; whatever else is
asked of them first makes the links of the whole tree absolute and turns the selection into an ordinary PyQuery.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from lxml import etree
from lxml.html import HtmlElement, HTMLParser, document_fromstring, fromstring
from pyquery import PyQuery
from pyquery.text import extract_text

from zspider.script.charset import split_bom
from zspider.script.urls import Joiner

LINK_ATTRIBUTES = {"a": "href", "link": "href", "script": "src", "img": "src", "iframe": "src", "form": "action"}


def parse(content: bytes, encoding: str) -> HtmlElement:
    """Parse a page; fragments get a wrapping element as lxml.html.fromstring does it. Never raises for content."""
    encoding = encoding.lower()
    mark, content = split_bom(content)
    if encoding.startswith(("utf-16", "utf-32")) or mark.startswith(("utf-16", "utf-32")) or not _knows(encoding):
        content, encoding = _decode(content, mark or encoding).encode("utf-8", "replace"), "utf-8"
    if b"\0" in content:  # the parser would stop there
        content = content.replace(b"\0", b"")
    try:
        return fromstring(content, parser=_parser(encoding))
    except (etree.ParserError, etree.XMLSyntaxError, AssertionError):  # nothing in it
        return document_fromstring("<html><head></head><body></body></html>")


@lru_cache(maxsize=64)
def _parser(encoding: str) -> HTMLParser:
    return HTMLParser(encoding=encoding)


def _knows(encoding: str) -> bool:
    try:
        _parser(encoding)
    except LookupError:
        return False
    return True


def _decode(content: bytes, encoding: str) -> str:
    try:
        return content.decode(encoding, "replace")
    except LookupError:
        return content.decode("utf-8", "replace")


class Links:
    """The links of one tree, made absolute at most once."""

    __slots__ = ("_done", "_root", "base")

    def __init__(self, root: HtmlElement, base: str) -> None:
        self._root = root
        self.base = base
        self._done = False

    def make_absolute(self) -> None:
        """Rewrite the links in place. `<base href>` is ignored, as pyspider does."""
        if self._done:
            return
        join = Joiner(self.base)
        for element in self._root.iter(*LINK_ATTRIBUTES):
            name = LINK_ATTRIBUTES[str(element.tag)]
            value = element.get(name)
            if value is None:
                continue
            absolute = join(value)
            if absolute != value:
                try:
                    element.set(name, absolute)
                except ValueError:  # control characters: the parser takes them, `set` does not
                    pass
        self._done = True  # only now: a time limit may have struck above, and joining twice is harmless


class Veiled(PyQuery):  # type: ignore[misc] # pyquery has no types
    """A selection whose tree may still have relative links; see the module."""

    def __getattribute__(self, name: str) -> Any:
        if name in _HARMLESS:
            return object.__getattribute__(self, name)
        _unveil(self)
        return getattr(self, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and not kwargs:
            find = _selector(args[0]) if type(args[0]) is str else None
            if find is not None:
                found = [element for root in _elements(self) for element in find(root)]
                return _veil(found, object.__getattribute__(self, "_links"), self)
        _unveil(self)
        return self(*args, **kwargs)

    def text(self, *args: Any, **kwargs: Any) -> Any:
        """The text of the selected elements; with arguments, what PyQuery does with them."""
        if not args and not kwargs:
            elements = _elements(self)
            if all(element.tag != "textarea" for element in elements):
                return " ".join([extract_text(element) for element in elements])
        _unveil(self)
        return self.text(*args, **kwargs)


_HARMLESS = frozenset({"text", "__class__"})


def _elements(selection: Veiled) -> list[Any]:
    return list.__getitem__(selection, slice(None))  # a plain list, past what makes links absolute


def _veil(elements: list[Any], links: Links, parent: Any = None) -> Veiled:
    """Make a selection without going through PyQuery's constructor."""
    veiled = Veiled.__new__(Veiled)
    list.extend(veiled, elements)
    state = object.__getattribute__(veiled, "__dict__")
    state["_links"] = links
    state["_veiled_parent"] = parent
    return veiled


def _unveil(selection: Veiled) -> None:
    """Make the tree's links absolute and the selection an ordinary PyQuery."""
    if type(selection) is not Veiled:  # done since the caller looked
        return
    state = object.__getattribute__(selection, "__dict__")
    links, parent = state["_links"], state["_veiled_parent"]
    links.make_absolute()
    elements = _elements(selection)
    selection.__class__ = PyQuery
    if parent is None:
        PyQuery.__init__(selection, elements)
        selection._base_url = links.base
    else:
        PyQuery.__init__(selection, elements, parent=parent)


def open_document(root: HtmlElement, links: Links) -> Veiled:
    """A PyQuery over the tree, whose links become absolute before anybody can see them."""
    return _veil([root], links)


# Python looks these up on the class, past __getattribute__.
def _unveiling(name: str) -> Callable[..., Any]:
    def method(self: Any, *args: Any) -> Any:
        _unveil(self)
        return getattr(self, name)(*args)

    method.__name__ = name
    return method


for _name in (
    *("__iter__", "__getitem__", "__setitem__", "__delitem__", "__contains__", "__reversed__"),
    *("__add__", "__iadd__", "__mul__", "__imul__", "__rmul__"),
    *("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__"),
    *("__repr__", "__str__", "__html__", "__unicode__"),
):
    setattr(Veiled, _name, _unveiling(_name))


@lru_cache(maxsize=1000)
def _selector(selector: str) -> Callable[[HtmlElement], list[Any]] | None:
    """A compiled selector that looks at no value of a link; None: leave it to PyQuery."""
    if not selector or selector.startswith("<") or "[" in selector or "\\" in selector:
        return None
    try:
        return etree.XPath(_translator.css_to_xpath(selector, "descendant-or-self::"))
    except Exception:  # cssselect's and lxml's errors: PyQuery shall raise them
        return None


_translator = PyQuery._translator_class(xhtml=False)
