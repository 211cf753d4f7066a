"""Pages that nobody here wrote: Debian's copy of SQLite's manual, crawled by its links, against wget."""

import html
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.cluster import zspiderd
from tests.support.nginx import Nginx
from tests.support.process import run

MANUAL = Path("/usr/share/doc/sqlite3")
TITLE = re.compile("(?is)<title>(.*?)</title>")

SCRIPT = """\
# rate: 100000
# burst: 100000
from urllib.parse import urldefrag

from pyspider.libs.base_handler import *


class Handler(BaseHandler):
    crawl_config = {{'retries': 0}}

    def on_start(self):
        self.crawl('{site}/index.html', callback=self.page)

    def page(self, response):
        for link in response.doc('a[href]').items():
            url = urldefrag(link.attr.href)[0]
            if url.startswith('{site}/') and url.endswith('.html'):
                self.crawl(url, callback=self.page)
        return {{'title': response.doc('title').text(), 'headings': len(response.doc('h1, h2, h3'))}}
"""


@pytest.fixture
def manual(tmp_path: Path) -> Iterator[Nginx]:
    with Nginx(MANUAL.resolve(), tmp_path / "nginx") as nginx:
        yield nginx


def pages_of_wget(site: Nginx, directory: Path) -> dict[str, int]:
    """The HTML pages that `wget --recursive` asks for from the index, and the status it gets."""
    argv = ["wget", "--recursive", "--level=inf", "--no-parent", "--quiet", f"--directory-prefix={directory}"]
    found = run([*argv, f"{site.url}/index.html"])
    assert found.code in (0, 8), found  # 8: the server answered one of the requests with an error
    pages = {request.uri: request.status for request in site.requests() if request.uri.endswith(".html")}
    site.forget()
    return pages


def titles(uri: str) -> str:
    """What stands between the title tags of a page's file, as a reader sees it."""
    text = (MANUAL / uri.lstrip("/")).read_text(encoding="utf-8", errors="replace")
    return " ".join(html.unescape(" ".join(TITLE.findall(text))).split())


@pytest.mark.timeout(300)
def test_a_crawl_by_links_finds_what_wget_finds(manual: Nginx, tmp_path: Path) -> None:
    known = pages_of_wget(manual, tmp_path / "wget")
    there = {uri for uri, status in known.items() if status == 200}
    assert len(there) > 500, "the manual is there"
    script = tmp_path / "manual.py"
    script.write_text(SCRIPT.format(site=manual.url))
    ran = zspiderd("run", script)
    assert ran.code == 0, str(ran)

    data_dir = tmp_path / "manual.py.zspider"
    exported = zspiderd("results", "manual", "--data-dir", data_dir)
    rows = [json.loads(line) for line in exported.out.splitlines()]
    stored = {row["url"].removeprefix(manual.url): row["result"]["title"] for row in rows}
    assert stored == {uri: titles(uri) for uri in there}  # and no difference is left to explain
    assert {uri for uri, number in manual.counts().items() if number != 1} == set()

    listing = ("--status", "failed", "--limit", str(len(known)), "--data-dir", data_dir, "--json")
    failed = json.loads(zspiderd("tasks", "manual", *listing).out)
    assert {task["url"].removeprefix(manual.url) for task in failed} == known.keys() - there  # links that lead nowhere
