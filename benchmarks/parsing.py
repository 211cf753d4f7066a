"""What reading a page costs: zspider's Response beside lxml, parsel and pyspider's way; see README.md here.

python -m benchmarks.parsing [--rounds 15] [--pages 40]
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from urllib.parse import urljoin

from lxml.html import HTMLParser, fromstring
from parsel import Selector
from pyquery import PyQuery
from zspider.roles.demo_site import PAGES, Site
from zspider.script.crawl.urls import Joiner
from zspider.script.page.response import Response
from zspider.script.page.tree import xpath

MANUAL = Path("/usr/share/doc/sqlite3")
MANUAL_BYTES = range(25_000, 60_000)  # pages of about 40 KB
URL = "http://site.example/library/page.html"

Way = Callable[[bytes], object]

_PARSER = HTMLParser(encoding="utf-8")
_title = xpath("string(//title)")
_hrefs = xpath("//a/@href")


def doc(content: bytes) -> PyQuery:
    """zspider's `response.doc`."""
    return response(content).doc


def response(content: bytes) -> Response:
    return Response({"status_code": 200, "url": URL, "headers": {"Content-Type": "text/html; charset=utf-8"}}, content)


def upstream(content: bytes) -> PyQuery:
    """pyspider's `response.doc`: PyQuery over the tree, its links made absolute by PyQuery."""
    return PyQuery(fromstring(content, parser=_PARSER)).make_links_absolute(URL)


def lxml_links(content: bytes) -> list[str]:
    return list(map(Joiner(URL), _hrefs(fromstring(content, parser=_PARSER))))


def parsel(content: bytes) -> Selector:
    return Selector(text=content.decode())


def parsel_links(content: bytes) -> list[str]:
    return [urljoin(URL, href) for href in parsel(content).xpath("//a/@href").getall()]


def each_href(selection: PyQuery) -> list[str]:
    found: list[str] = []
    selection.each(lambda _, element: found.append(element.get("href")))
    return found


# PyQuery's idioms, over `doc` and over `upstream`.
IDIOMS: dict[str, Callable[[PyQuery], object]] = {
    "doc('title').text()": lambda d: d("title").text(),
    "doc('a[href]').items(): .attr.href": lambda d: [a.attr.href for a in d("a[href]").items()],
    "doc('a[href^=http]').items(): .attr.href": lambda d: [a.attr.href for a in d("a[href^=http]").items()],
    "doc('a').items(): .attr('href')": lambda d: [a.attr("href") for a in d("a").items()],
    "doc('a').items(): .text()": lambda d: [a.text() for a in d("a").items()],
    "doc('a').each(...)": lambda d: each_href(d("a")),
}

# What is measured, and what it is measured against: each by its ways, ours first.
CASES: dict[str, dict[str, Way]] = {
    "title": {
        "doc('title').text()": lambda c: doc(c)("title").text(),
        "css('title')[0].text": lambda c: response(c).css("title")[0].text,
        "lxml: string(//title)": lambda c: _title(fromstring(c, parser=_PARSER)),
        "parsel": lambda c: parsel(c).css("title::text").get(),
        "pyquery": lambda c: upstream(c)("title").text(),
    },
    "all links": {
        "links()": lambda c: response(c).links(),
        "doc('a[href]').items()": lambda c: IDIOMS["doc('a[href]').items(): .attr.href"](doc(c)),
        "css('a[href]'), get('href')": lambda c: [a.get("href") for a in response(c).css("a[href]")],
        "lxml: //a/@href, our join": lxml_links,
        "parsel, urljoin": parsel_links,
        "pyquery": lambda c: IDIOMS["doc('a[href]').items(): .attr.href"](upstream(c)),
    },
} | {
    idiom: {"zspider": lambda c, do=do: do(doc(c)), "pyquery": lambda c, do=do: do(upstream(c))}
    for idiom, do in IDIOMS.items()
}

# case, way, other way, and the most that way may cost of the other
GOALS = [
    ("title", "doc('title').text()", "lxml: string(//title)", 1.5),
    ("all links", "links()", "lxml: //a/@href, our join", 1.3),
    *((idiom, "zspider", "pyquery", 1 / 3) for idiom in IDIOMS),
]


def demo_pages(number: int) -> list[bytes]:
    site = Site()
    return [site.article(1 + n * PAGES // number) for n in range(number)]


def manual_pages(number: int) -> list[bytes]:
    """Pages of Debian's package sqlite3-doc."""
    files = [file for file in sorted(MANUAL.resolve().rglob("*.html")) if file.stat().st_size in MANUAL_BYTES]
    if not files:
        sys.exit(f"no pages below {MANUAL}: install sqlite3-doc, or run scripts/install-test-packages")
    return [file.read_bytes() for file in files[:number]]


def measure(pages: Sequence[bytes], rounds: int) -> dict[tuple[str, str], float]:
    """Median CPU microseconds per page of each way, parsing included. In each round every way has its turn."""
    times: dict[tuple[str, str], list[float]] = {}
    for round_number in range(rounds + 1):
        for case, ways in CASES.items():
            for name, way in ways.items():
                started = time.process_time()
                for page in pages:
                    way(page)
                if round_number:  # the first warms up
                    spent = (time.process_time() - started) / len(pages) * 1e6
                    times.setdefault((case, name), []).append(spent)
    return {key: median(values) for key, values in times.items()}


def check(pages: Sequence[bytes]) -> None:
    """Ways that are compared must give the same. Raises AssertionError."""
    for page in pages:
        for idiom, do in IDIOMS.items():
            assert do(doc(page)) == do(upstream(page)), idiom
        assert response(page).links("a") == [u for u in dict.fromkeys(lxml_links(page)) if u.startswith("http")]


def report(name: str, pages: Sequence[bytes], cost: dict[tuple[str, str], float]) -> None:
    size = sum(map(len, pages)) / len(pages) / 1000
    print(f"\n{name}: {len(pages)} pages of {size:.1f} KB\n{'us/page':>9}  {'ratio':>6}")
    for case, ways in CASES.items():
        print(f"{'':19}{case}")
        ours = cost[case, next(iter(ways))]
        for way in ways:
            print(f"{cost[case, way]:>9.0f}  {cost[case, way] / ours:>6.2f}  {way}")
    for case, way, other, most in GOALS:
        ratio = cost[case, way] / cost[case, other]
        print(f"{'met' if ratio <= most else 'MISSED':>9}  {ratio:>6.2f} <= {most:.2f}  {case}: {way} / {other}")


def main() -> None:
    arguments = argparse.ArgumentParser(prog="benchmarks.parsing", description="Compare ways to read a page.")
    arguments.add_argument("--rounds", type=int, default=15, help="turns of each way")
    arguments.add_argument("--pages", type=int, default=40, help="different pages in each turn")
    given = arguments.parse_args()
    for name, pages in (("demo site", demo_pages(given.pages)), ("SQLite manual", manual_pages(given.pages))):
        check(pages)
        report(name, pages, measure(pages, given.rounds))


if __name__ == "__main__":
    main()
