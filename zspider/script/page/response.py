"""Response: what a callback gets of a fetched page. Everything costly is made when first used.

Source: docs/pyspider-behaviour.md 2.8.
"""

import json
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any

from lxml.etree import _Element
from lxml.html import HtmlElement

from zspider.script.crawl.urls import Joiner
from zspider.script.page.charset import FALLBACK, find_encoding, split_bom
from zspider.script.page.document import open_document
from zspider.script.page.tree import LINK_ATTRIBUTES, Links, css, parse, xpath

STATUS_UNKNOWN = 599  # "could not be fetched" (docs/pyspider-behaviour.md 5.5)
_UNSET: Any = object()


class HTTPError(OSError):
    """A response that is not ok. `response` is the Response."""

    def __init__(self, text: str, response: "Response") -> None:
        super().__init__(text)
        self.response = response


class Headers(MutableMapping[str, str]):
    """Headers by name; the case of a name is kept and does not matter."""

    def __init__(self, headers: Mapping[str, str] | None = None) -> None:
        self._items = {name.lower(): (name, value) for name, value in (headers or {}).items()}

    def __getitem__(self, name: str) -> str:
        return self._items[name.lower()][1]

    def __setitem__(self, name: str, value: str) -> None:
        self._items[name.lower()] = (name, value)

    def __delitem__(self, name: str) -> None:
        del self._items[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self._items.values())

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return repr(dict(self))


class Response:
    """A fetched page. Made from the fetch result (docs/pyspider-behaviour.md 3.4) and the body.

    `text`, `json`, `etree` and `doc` are kept once made. `etree`, `doc`, `css()`, `xpath()` and `links()` share one
    tree, so they see what the script changes in it.
    """

    def __init__(self, result: Mapping[str, Any], content: bytes = b"") -> None:
        self._result = result
        self._headers: Headers | None = None
        self._encoding: str | None = None
        self._text: str | None = None
        self._json: Any = _UNSET
        self._tree: HtmlElement | None = None
        self._links: Links | None = None
        self._tree_is_out = False  # the script has elements in its hands
        self._doc: Any = None
        self._crawl: Callable[..., Any] | None = None  # the handler's, set by the runner
        self.content = content
        self.status_code: int = result.get("status_code", STATUS_UNKNOWN)
        self.url: str = result.get("url", "")
        self.orig_url: str = result.get("orig_url") or self.url
        self.cookies: dict[str, str] = result.get("cookies") or {}
        self.error: str | None = result.get("error")
        self.traceback: str | None = result.get("traceback")
        self.save: Any = result.get("save")
        self.js_script_result: Any = result.get("js_script_result")
        self.time: float = result.get("time") or 0

    def __repr__(self) -> str:
        return f"<Response [{self.status_code}]>"

    def __bool__(self) -> bool:
        return self.ok

    @property
    def headers(self) -> Headers:
        """The response's headers, repeated ones joined by a comma."""
        if self._headers is None:
            self._headers = Headers(self._result.get("headers"))
        return self._headers

    @property
    def known_encoding(self) -> str | None:
        """The encoding if it was needed already, else None."""
        return self._encoding

    @property
    def encoding(self) -> str:
        """A Python codec; setting it drops the text (not `etree` and `doc`, once they are made)."""
        if self._encoding is None:
            self._encoding = find_encoding(self.content, self._content_type())
        return self._encoding

    @encoding.setter
    def encoding(self, value: str) -> None:
        self._encoding = value
        self._text = None
        self._json = _UNSET

    def _content_type(self) -> str:
        headers = self._result.get("headers") or {}
        return str(headers.get("Content-Type") or self.headers.get("Content-Type", ""))

    @property
    def text(self) -> str:
        """The body as text; what cannot be decoded is replaced."""
        if self._text is None:
            self._text = self._decode(self.content)
        return self._text

    def start_of_text(self, chars: int) -> str:
        """Return the first characters of `text`, without decoding the rest."""
        return self._decode(self.content[: 4 * chars + 4])[:chars]

    def _decode(self, content: bytes) -> str:
        if not content:
            return ""
        mark, rest = split_bom(content)
        try:
            return (rest if mark == self.encoding else content).decode(self.encoding, "replace")
        except (LookupError, UnicodeError):  # set by a script: no codec, or one for other things, such as idna
            return content.decode(FALLBACK, "replace")

    @property
    def json(self) -> Any:
        """The body read as JSON, or None when it is none."""
        if self._json is _UNSET:
            try:
                self._json = json.loads(self.text)
            except (ValueError, RecursionError):
                self._json = None
        return self._json

    @property
    def etree(self) -> HtmlElement:
        """The root of the lxml tree. Its links are as in the page until `doc` is used."""
        self._tree_is_out = True
        tree, links = self._parsed()
        if self._doc is not None:
            links.make_absolute()
        return tree

    @property
    def doc(self) -> Any:
        """A PyQuery over the tree, its links absolute."""
        if self._doc is None:
            tree, links = self._parsed()
            if self._tree_is_out:
                links.make_absolute()
            self._doc = open_document(tree, links)
        return self._doc

    def _parsed(self) -> tuple[HtmlElement, Links]:
        if self._tree is None or self._links is None:
            self._tree = parse(self._as_utf8())
            self._links = Links(self._tree, self.url)
        return self._tree, self._links

    def _as_utf8(self) -> bytes:
        if self.encoding == "utf-8" and _is_utf8(self.content):
            return self.content
        return self.text.encode("utf-8", "replace")

    def css(self, query: str) -> list[HtmlElement]:
        """Return the lxml elements that match a CSS selector, in page order; selectors may be those that `doc` takes.

        They belong to the tree of `etree`. Raises cssselect.SelectorError for what is no selector.
        """
        found: list[HtmlElement] = css(query)(self.etree)
        return found

    def xpath(self, query: str) -> Any:
        """Return what an XPath gives on the tree of `etree`: elements and texts in a list, or a text, number or bool.

        Texts are plain str. Raises lxml.etree.XPathError.
        """
        return xpath(query)(self.etree)

    def links(self, selector: str | None = None, *, attribute: str = "href") -> list[str]:
        """Return the absolute URLs that the page links to, in page order, each once.

        `crawl()` takes the list as it is.

        selector: CSS; the elements that match are looked at, not what is in them (`"nav a"`, not `"nav"`). Without
        one: `a` and `area`, or for another attribute every element that has it.
        Each value is joined with the page's URL as `doc` does it: white space around it goes, the fragment stays,
        `<base href>` is ignored. Only http and https URLs with a host that `crawl()` accepts are listed.
        Leaves the tree as it is, and costs a third of the same loop over `doc` (parsing apart).
        """
        return self._parsed()[1].listed(selector, attribute)

    def follow(self, link: Any, **options: Any) -> Any:
        """Submit a link of this page with `crawl()`'s options; returns the task dict.

        link: a URL, relative ones are joined with the page's; an lxml element, whose link is taken; or a selection
        of `doc`, whose first element is. An element without a link is skipped, as `crawl()` skips None, and None
        returned. Raises RuntimeError outside a task, TypeError for another kind of link.
        """
        if self._crawl is None:
            raise RuntimeError("follow() works only while a task runs")
        url = link if isinstance(link, str) else _link_of(link)
        return None if url is None else self._crawl(Joiner(self.url)(url), **options)

    @property
    def ok(self) -> bool:
        """Whether `raise_for_status()` would not raise."""
        return self.isok()

    def isok(self) -> bool:
        """Return `ok`; pyspider's name."""
        return not self._problem(allow_redirects=True)

    def raise_for_status(self, allow_redirects: bool = True) -> None:
        """Raise HTTPError when the page could not be fetched or has a status that is no success; 304 is fine.

        What the fetcher could not do and has a traceback for is raised as a plain Exception with both.
        """
        problem = self._problem(allow_redirects)
        if not problem:
            return
        if self.traceback and problem == self.error:
            error = Exception(problem)
            error.add_note(self.traceback)
            raise error
        raise HTTPError(problem, self)

    def _problem(self, allow_redirects: bool) -> str:
        status = self.status_code
        if status == 304:
            return ""
        if self.error:
            return self.error
        if 300 <= status < 400 and not allow_redirects:
            return f"{status} Redirection"
        if 400 <= status < 500:
            return f"{status} Client Error"
        return f"{status} Server Error" if 500 <= status < 600 else ""


def _is_utf8(content: bytes) -> bool:
    if content.isascii():
        return True
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def _link_of(link: Any) -> str | None:
    element = (link[0] if link else None) if isinstance(link, list) else link
    if element is None:
        return None
    if not isinstance(element, _Element):
        raise TypeError(f"follow() needs a URL or an element, not {type(element).__name__}")
    return element.get(LINK_ATTRIBUTES.get(str(element.tag), "href"))


def rebuild_response(result: Mapping[str, Any]) -> Response:
    """Make a Response from a fetch result with its content in it, bytes or text."""
    content = result.get("content") or b""
    if not isinstance(content, str):
        return Response(result, content)
    response = Response(result, content.encode("utf-8", "replace"))
    response.encoding = "utf-8"
    return response
