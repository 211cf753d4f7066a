"""The least that fetches and parses pages: one CurlMulti loop and lxml. No state, no limits, no retries."""

import io
from collections.abc import Callable
from functools import lru_cache
from urllib.parse import urldefrag, urljoin

import lxml.etree
import lxml.html
import pycurl

CONCURRENCY = 100
_PARSER = lxml.html.HTMLParser(encoding="utf-8")
_HREFS = lxml.etree.XPath("//a/@href", smart_strings=False)  # smart ones keep their whole page alive


def title_of(body: bytes) -> str:
    """The text of the page's <title>."""
    return str(lxml.html.document_fromstring(body, parser=_PARSER).findtext(".//title") or "")


def title_and_links_of(body: bytes, url: str) -> tuple[str, list[str]]:
    """The page's title, and the URLs that it links to, each once and without fragment."""
    root = lxml.html.document_fromstring(body, parser=_PARSER)
    place = url[: url.rindex("/") + 1]
    links = dict.fromkeys(_joined(place, href) for href in _HREFS(root))
    return str(root.findtext(".//title") or ""), list(links)


@lru_cache(100_000)
def _joined(place: str, href: str) -> str:
    """`urljoin` costs 8 us; the pages of one directory have most links in common."""
    return urldefrag(urljoin(place, href)).url


class CurlLoop:
    """Keeps up to CONCURRENCY requests in flight and hands each answer on: on_page(tag, status, body)."""

    def __init__(self, on_page: Callable[[int, int, bytes], None]) -> None:
        self._on_page = on_page
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_MAXCONNECTS, CONCURRENCY)
        self._free = [self._handle() for _ in range(CONCURRENCY)]
        self._handles = tuple(self._free)  # a handle that is collected while it runs takes libcurl with it
        self._running: dict[pycurl.Curl, tuple[int, io.BytesIO]] = {}

    @staticmethod
    def _handle() -> pycurl.Curl:
        handle = pycurl.Curl()
        handle.setopt(pycurl.NOSIGNAL, 1)
        handle.setopt(pycurl.TIMEOUT, 60)
        handle.setopt(pycurl.USERAGENT, "zspider-bench")
        return handle

    @property
    def free(self) -> int:
        """How many more requests `start` takes now."""
        return len(self._free)

    def start(self, tag: int, url: str) -> None:
        handle, body = self._free.pop(), io.BytesIO()
        handle.setopt(pycurl.URL, url)
        handle.setopt(pycurl.WRITEDATA, body)
        self._running[handle] = (tag, body)
        self._multi.add_handle(handle)

    def step(self, wait_s: float) -> None:
        """Act on what arrived; wait up to `wait_s` when nothing did and something is in flight."""
        while self._multi.perform()[0] == pycurl.E_CALL_MULTI_PERFORM:
            pass
        finished = 0
        while True:
            waiting, done, failed = self._multi.info_read()
            for handle in done:
                self._finish(handle, handle.getinfo(pycurl.RESPONSE_CODE))
            for handle, _, _ in failed:
                self._finish(handle, 599)
            finished += len(done) + len(failed)
            if not waiting:
                break
        if self._running and not finished:
            self._multi.select(wait_s)

    def _finish(self, handle: pycurl.Curl, status: int) -> None:
        self._multi.remove_handle(handle)
        tag, body = self._running.pop(handle)
        self._free.append(handle)
        self._on_page(tag, status, body.getvalue())
