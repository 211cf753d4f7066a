"""The web site that a history crawls, and all that a crawl of it must lead to. Pure; the same for each seed."""

import random
from collections.abc import Iterator
from functools import cached_property
from typing import Any, NamedTuple

PAGES = 260
FLAKY_SHARE, GONE_SHARE, SLOW_SHARE, BIG_SHARE = 0.08, 0.04, 0.3, 0.05
SLOW_S = 0.8
BIG_BYTES = 300_000
FAILURES_MAX = 2  # of a flaky page, before it answers
GONE_RETRIES = 1
EXTRA_LINKS = 2
SPEAKS_EVERY = 7
FORCES_EVERY = 5  # so many pages want the hub crawled again, in a stormy world
HUB, MARK = "/hub", "/mark/"

SCRIPT = """\
import time
import uuid

from pyspider.libs.base_handler import *


class Handler(BaseHandler):
    retry_delay = {{0: 0.3, "": 0.5}}
    crawl_config = {{"retries": 20}}

    def on_start(self):
        self.crawl("{site}/page/0", callback=self.page, save={{"mark": "mark 0"}})
        if {is_stormy}:
            self.crawl("{site}/hub", callback=self.hub)

    def page(self, response):
        number = int(response.url.rpartition("/")[2])
        for link in response.doc("a").items():
            options = {{"retries": {gone_retries}}} if link.attr("class") == "gone" else {{}}
            self.crawl(link.attr.href, callback=self.page, save={{"mark": link.text()}}, **options)
        if number % {speaks_every} == 0:
            self.send_message(self.project_name, number, url="data:,said-%d" % number)
        if {is_stormy} and number % {forces_every} == 0:
            self.crawl("{site}/hub", callback=self.hub, force_update=True)
        return {{"number": number, "title": response.doc("title").text(), "mark": response.save["mark"]}}

    def hub(self, response):
        runs = self.save["runs"] = self.save.get("runs", 0) + 1
        time.sleep(0.2)
        self.crawl("{site}/mark/%d-%s" % (runs, uuid.uuid4().hex), callback=self.mark)
        return {{"runs": runs}}

    def mark(self, response):
        return {{"marked": response.url}}

    def on_message(self, project, number):
        return {{"heard": number}}
"""


class Page(NamedTuple):
    """One page, as the server gives it."""

    number: int
    links: tuple[int, ...]
    failures: int  # so many times it answers 503 first
    is_gone: bool  # it answers 404 for ever
    slow_s: float
    size: int

    @property
    def path(self) -> str:
        return f"/page/{self.number}"


class World:
    """The site of one seed: pages that follow each other from page 0."""

    def __init__(self, seed: int) -> None:
        chance = random.Random(f"world {seed}")
        self.pages = list(_pages(chance))
        self.is_stormy = seed % 4 >= 2  # its hub is submitted again and again while it runs

    def html(self, number: int) -> bytes:
        """The body of a page."""
        page = self.pages[number]
        links = (f'<a {self._kind(to)} href="{self.pages[to].path}">mark {to}</a>' for to in page.links)
        text = f"<html><title>page {number}</title><body>{' '.join(links)}<p>{'x' * page.size}</p></body></html>"
        return text.encode()

    def _kind(self, number: int) -> str:
        return 'class="gone"' if self.pages[number].is_gone else ""

    def script(self, site: str) -> str:
        """The script that crawls it."""
        return SCRIPT.format(
            site=site,
            gone_retries=GONE_RETRIES,
            speaks_every=SPEAKS_EVERY,
            forces_every=FORCES_EVERY,
            is_stormy=self.is_stormy,
        )

    @cached_property
    def heard(self) -> list[int]:
        """The numbers that are sent as messages."""
        return [page.number for page in self.pages if not page.is_gone and page.number % SPEAKS_EVERY == 0]

    def results(self, site: str) -> dict[str, Any]:
        """URL -> result, of a whole crawl, but for the hub and what its runs led to."""
        of_pages = {
            site + page.path: {
                "number": page.number,
                "title": f"page {page.number}",
                "mark": f"mark {page.number}",
            }
            for page in self.pages
            if not page.is_gone
        }
        return of_pages | {f"data:,said-{number}": {"heard": number} for number in self.heard}

    def fetches(self, page: Page) -> int:
        """How often a page is asked for when nothing goes wrong."""
        return 1 + (GONE_RETRIES if page.is_gone else page.failures)


def _pages(chance: random.Random) -> Iterator[Page]:
    gone = {n for n in range(PAGES // 4, PAGES) if chance.random() < GONE_SHARE}
    there = [number for number in range(PAGES) if number not in gone]
    links: dict[int, list[int]] = {number: [] for number in range(PAGES)}
    for number in range(1, PAGES):  # a page is linked from one of the pages before it, so that all are found
        before = [one for one in range(max(0, number - PAGES // 5), number) if one not in gone]
        links[chance.choice(before or [0])].append(number)
    for number in there:
        links[number] += chance.choices(there, k=EXTRA_LINKS)
    for number in range(PAGES):
        is_gone = number in gone
        is_flaky = not is_gone and chance.random() < FLAKY_SHARE
        yield Page(
            number,
            tuple(links[number]),
            chance.randint(1, FAILURES_MAX) if is_flaky else 0,
            is_gone,
            SLOW_S if chance.random() < SLOW_SHARE else 0.0,
            BIG_BYTES if chance.random() < BIG_SHARE else chance.randint(0, 5000),
        )
