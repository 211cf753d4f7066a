"""The demo site's pages: the same for everybody, as large and as linked as real ones."""

import hashlib
import re

from hypothesis import given
from hypothesis import strategies as st
from zspider.roles.demo_site import PAGES, Site, export_site

SITE = Site()
LINK = re.compile(rb'href="([^"]+)"')


@given(st.integers(1, PAGES))
def test_an_article_has_8_to_15_kb_about_30_links_and_a_title_of_its_own(number):
    page = SITE.article(number)
    assert 8_000 <= len(page) <= 15_000
    assert 28 <= len(LINK.findall(page)) <= 34
    assert b"<title>Article %d: " % number in page
    assert page.count(b"<p>") >= 15
    assert page.count(b"<h2>") >= 5


def test_pages_are_the_same_at_every_start_and_with_every_python():
    assert Site().article(7) == Site().article(7)
    assert hashlib.sha256(Site().article(7)).hexdigest() == PAGE_7
    assert len({SITE.article(n) for n in range(1, 500)}) == 499


# A change of the generator makes all measurements incomparable with earlier ones.
PAGE_7 = "3ade83420d7c5d9a5061323f46baf103efd710bcdc437248d792f578bb23716b"


@given(st.integers(1, 250), st.data())
def test_every_link_leads_to_a_page_and_every_page_can_be_reached(pages, data):
    site = Site(pages)
    found, open_ = set(), ["/index.html"]
    while open_:
        path = open_.pop()
        if path in found:
            continue
        found.add(path)
        body = site.page(path)
        assert body is not None, path
        for link in LINK.findall(body):
            target = link.decode()
            open_.append(target if target.startswith("/") else f"/article/{target}")
    assert found | {"/robots.txt"} == set(site.paths())


def test_there_is_nothing_beyond_the_site():
    for path in ("/article/0.html", "/article/11111.html", "/article/01.html", "/index/113.html", "/x", "/article/1"):
        assert SITE.page(path) is None
    assert SITE.page("/") == SITE.page("/index.html")


def test_an_export_holds_what_is_served(tmp_path):
    assert export_site(tmp_path, 120) == 120 + 2 + 2
    site = Site(120)
    files = {f"/{file.relative_to(tmp_path)}" for file in tmp_path.rglob("*") if file.is_file()}
    assert files == set(site.paths())
    assert all((tmp_path / path[1:]).read_bytes() == site.page(path) for path in files)
