"""Pages that nobody here wrote: Debian's copy of the Python manual, crawled by its links, against wget."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.cluster import zspiderd
from tests.support.nginx import Nginx
from tests.support.process import run

MANUAL = Path("/usr/share/doc/python3.11/html")
# Linked from the manual, but Debian's package leaves it out: both crawlers ask for it and get a 404.
MISSING = "/whatsnew/changelog.html"

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


def pages_of_wget(site: Nginx, directory: Path) -> set[str]:
    """The HTML pages that `wget --recursive` finds from the index."""
    argv = ["wget", "--recursive", "--level=inf", "--no-parent", "--quiet", f"--directory-prefix={directory}"]
    found = run([*argv, f"{site.url}/index.html"])
    assert found.code in (0, 8), found  # 8: the server answered one of the requests with an error
    pages = {request.uri for request in site.requests() if request.status == 200 and request.uri.endswith(".html")}
    site.forget()
    return pages


@pytest.mark.timeout(150)
def test_a_crawl_by_links_finds_what_wget_finds(manual: Nginx, tmp_path: Path) -> None:
    known = pages_of_wget(manual, tmp_path / "wget")
    assert len(known) > 500, "the manual is there"
    script = tmp_path / "manual.py"
    script.write_text(SCRIPT.format(site=manual.url))
    ran = zspiderd("run", script)
    assert ran.code == 0, str(ran)

    data_dir = tmp_path / "manual.py.zspider"
    exported = zspiderd("results", "manual", "--data-dir", data_dir)
    rows = [json.loads(line) for line in exported.out.splitlines()]
    stored = {row["url"].removeprefix(manual.url) for row in rows}
    assert stored == known  # and no difference is left to explain
    assert all(row["result"]["title"] for row in rows)
    assert {uri for uri, number in manual.counts().items() if number != 1} == set()

    failed = json.loads(zspiderd("tasks", "manual", "--status", "failed", "--data-dir", data_dir, "--json").out)
    assert [task["url"] for task in failed] == [manual.url + MISSING]
