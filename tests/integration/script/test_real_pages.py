"""Pages that nobody here wrote: Debian's copy of SQLite's manual, and its own FAQ in two more scripts."""

import re
from functools import cache
from pathlib import Path

import pytest
from html5lib._inputstream import HTMLBinaryInputStream  # the only door to its sniffing
from zspider.script.page.response import Response

MANUAL = Path("/usr/share/doc/sqlite3")
FAQ = Path("/usr/share/doc/debian/FAQ")
SITE = "http://manual.example/"


@cache
def pages() -> dict[str, bytes]:
    """500 pages by their URL."""
    manual = sorted(MANUAL.resolve().rglob("*.html"))
    faq = sorted(FAQ.rglob("*.html"))
    return {SITE + path.as_posix().lstrip("/"): path.read_bytes() for path in [*faq, *manual][:500]}


def response(url: str, content: bytes, content_type: str = "") -> Response:
    return Response({"status_code": 200, "url": url, "headers": {"Content-Type": content_type}}, content)


def test_500_pages_are_read_in_every_way_and_all_ways_agree():
    assert len(pages()) == 500
    for url, content in pages().items():
        page = response(url, content)
        titles = [" ".join(title.text.split()) for title in page.xpath("//title")]  # one page has two
        assert page.doc("title").text() == " ".join(titles), url
        assert page.etree is page.doc[0]
        looped = [link.attr.href for link in page.doc("a[href^=http]").items()]
        untouched = response(url, content)
        assert untouched.links("a") == list(dict.fromkeys(looped)), url
        assert len(untouched.css("a[href]")) == len(page.doc("a[href]")), url


def test_500_pages_are_decoded_as_html5lib_decodes_them():
    for url, content in pages().items():
        theirs = HTMLBinaryInputStream(content, useChardet=False).charEncoding[0]
        assert response(url, content).text == theirs.codec_info.decode(content, "replace")[0].removeprefix("\ufeff"), (
            url
        )


@pytest.mark.parametrize(
    ("language", "label", "codec"),
    [
        ("ja", "EUC-JP", "euc_jp"),
        ("ja", "x-sjis", "cp932"),
        ("ja", "iso-2022-jp", "iso2022_jp"),
        ("ru", "koi8-r", "koi8_r"),
        ("ru", "cp1251", "cp1251"),
        ("ru", "cyrillic", "iso8859_5"),
        ("ru", "gb2312", "gb18030"),
        ("ja", "big5", "big5hkscs"),
    ],
)
def test_real_pages_are_read_in_the_encodings_of_before_utf_8(language, label, codec):
    files = sorted((FAQ / language).glob("*.html"))
    assert len(files) > 10
    for file in files:
        utf8 = file.read_text()
        old, replaced = re.subn("(?i)charset=utf-8", f"charset={label}", utf8)
        assert replaced == 1, file
        content = old.encode(codec, "xmlcharrefreplace")
        page = response(SITE, content)
        assert page.text == content.decode(codec), file
        assert page.doc("body").text() == response(SITE, utf8.encode()).doc("body").text(), file
        headed = response(SITE, content.replace(label.encode(), b"nonsense"), f"text/html; charset={label}")
        assert headed.doc("body").text() == page.doc("body").text(), file
