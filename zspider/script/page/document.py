"""`response.doc`: a PyQuery whose links are absolute, at a fraction of PyQuery's price.

Two classes, one behaviour: that of PyQuery over a tree whose links were made absolute.

`Selection` takes shorter ways to the same results: selectors are compiled once, and selections are made without
parsing PyQuery's many kinds of arguments. Whatever it does not know is left to PyQuery.

`Veiled` is a Selection whose tree still has the page's links. Making them absolute costs more than finding a title,
and many callbacks look at no link; so it is done when somebody could see one. A Veiled can be selected from, counted,
read as text and asked for other attributes; whatever else is asked of it first makes the links of the whole tree
absolute and turns it into an ordinary Selection.

Source: docs/pyspider-behaviour.md 2.8.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from lxml import etree
from lxml.html import HtmlElement
from pyquery import PyQuery
from pyquery.pyquery import no_default
from pyquery.text import extract_text, squash_html_whitespace

from zspider.script.page.tree import LINK_ATTRIBUTES, Links, css, css_to_xpath, translator

# A selector with one of these words, or with an escape that could spell one, may look at the value of a link.
_may_see_links = re.compile(r"\\|" + "|".join(set(LINK_ATTRIBUTES.values())), re.I).search
_NOT_LINKS = {"class_": "class", "for_": "for"}  # PyQuery's names for what Python keeps for itself
_HARMLESS = frozenset({"__class__", "attr", "items", "length", "size", "text"})  # of a Veiled: none shows a link
_pyquery_attr = vars(PyQuery)["attr"]


def open_document(root: HtmlElement, links: Links) -> "Selection":
    """Return a PyQuery over the tree, whose links become absolute before they can be seen."""
    return _veil([root], links, no_default, base_url=links.base)


class Selection(PyQuery):  # type: ignore[misc] # pyquery has no types
    """PyQuery with shorter ways; see the module."""

    def _copy(self, *args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and kwargs.keys() == {"parent"} and isinstance(args[0], list | etree._Element):
            elements = args[0] if isinstance(args[0], list) else [args[0]]
            parent = kwargs["parent"]
            return _make(Selection, elements, parent, _translator=parent._translator, namespaces=self.namespaces)
        return super()._copy(*args, **kwargs)

    def _css_to_xpath(self, selector: str, prefix: str = "descendant-or-self::") -> str:
        if self._translator is translator:
            return css_to_xpath(selector.replace("[@", "["), prefix)
        return str(super()._css_to_xpath(selector, prefix))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and not kwargs and self._translator is translator and not self.namespaces:
            found = _find(_elements(self), args[0])
            if found is not None:
                return self._copy(found, parent=self)
        return super().__call__(*args, **kwargs)

    def text(self, *args: Any, **kwargs: Any) -> Any:
        """PyQuery's text."""
        elements = _elements(self)
        if args or kwargs or any(element.tag == "textarea" for element in elements):
            return super().text(*args, **kwargs)
        return " ".join([_text_of(element) for element in elements])

    @property
    def attr(self) -> "Attributes":
        """PyQuery's attr: `a.attr.href`, `a.attr["href"]`, `a.attr("href")`, and the same to set."""
        return Attributes(self)

    # PyQuery wants the very class of `self` in these three, and a script may have made its own PyQuery.
    def __add__(self, other: Any) -> Any:
        return super().__add__(_own(other))

    def extend(self, other: Any) -> Any:
        """PyQuery's extend."""
        return super().extend(_own(other))

    def html(self, *args: Any, **kwargs: Any) -> Any:
        """PyQuery's html."""
        return super().html(*map(_own, args), **kwargs)


class Veiled(Selection):
    """A Selection whose tree may still have relative links; see the module."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """When a script calls type(response.doc)(...), make an ordinary Selection that belongs to no page."""
        self.__class__ = Selection
        Selection.__init__(self, *args, **kwargs)

    def __getattribute__(self, name: str) -> Any:
        if name not in _HARMLESS:
            _unveil(self)
        return object.__getattribute__(self, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and not kwargs and type(args[0]) is str and not _may_see_links(args[0]):
            found = _find(_elements(self), args[0])
            if found is not None:
                return _veil(found, _links(self), self)
        _unveil(self)
        return self(*args, **kwargs)

    def items(self, selector: str | None = None) -> Iterator[Any]:
        """PyQuery's items."""
        links = _links(self)
        for element in _elements(self(selector) if selector else self):
            yield _veil([element], links, self)


class Attributes:
    """What `selection.attr` gives. PyQuery makes a new class at each use, which costs more than all the rest."""

    __slots__ = ("_selection",)
    _selection: Selection

    def __init__(self, selection: Selection) -> None:
        object.__setattr__(self, "_selection", selection)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        selection = self._selection
        if type(selection) is Veiled and len(args) == 1 and type(args[0]) is str and not _may_see_links(args[0]):
            elements = _elements(selection)
            return elements[0].get(_NOT_LINKS.get(args[0], args[0])) if elements else None
        return _pyquery_attr.pget(selection, *args, **kwargs)

    __getattr__ = __getitem__ = __setattr__ = __setitem__ = __call__  # as PyQuery has it

    def __delitem__(self, name: str) -> Any:
        return _pyquery_attr.pdel(self._selection, name)

    __delattr__ = __delitem__


def _make(kind: type[Selection], elements: Sequence[Any], parent: Any, **state: Any) -> Selection:
    """Make a selection without going through PyQuery's constructor."""
    made = kind.__new__(kind)
    list.extend(made, elements)
    object.__getattribute__(made, "__dict__").update(_PLAIN, _parent=parent, **state)
    return made


_PLAIN = {"_base_url": None, "parser": None, "_translator": translator, "namespaces": None}


def _veil(elements: Sequence[Any], links: Links, parent: Any, base_url: str | None = None) -> Selection:
    return _make(Selection if links.done else Veiled, elements, parent, _links=links, _base_url=base_url)


def _unveil(selection: Veiled) -> None:
    """Make the tree's links absolute and the selection an ordinary one."""
    _links(selection).make_absolute()
    selection.__class__ = Selection


def _links(selection: Veiled) -> Links:
    links: Links = object.__getattribute__(selection, "__dict__")["_links"]
    return links


def _elements(selection: Selection) -> list[Any]:
    return list.__getitem__(selection, slice(None))  # a plain list, past what makes links absolute


def _own(value: Any) -> Any:
    """Return a PyQuery as a Selection; anything else as it is."""
    return _make(Selection, value, no_default) if type(value) is PyQuery else value


def _find(roots: list[Any], selector: Any) -> list[Any] | None:
    """Return what a selector finds below (and among) the roots; None: leave it to PyQuery, errors included."""
    if type(selector) is not str or not selector or selector.startswith("<"):
        return None
    try:
        return [element for root in roots for element in css(selector.replace("[@", "["))(root)]
    except (etree.XPathError, TypeError, ValueError):  # text or a comment is among the roots, from `contents()`
        return None


def _text_of(element: Any) -> str:
    if not len(element) and type(element.tag) is str:  # the common case, and the rules for blocks do not matter
        return str(squash_html_whitespace(element.text or "").strip())
    return str(extract_text(element))


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
