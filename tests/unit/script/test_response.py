"""Response: encodings, odd bodies, status rules, headers (docs/pyspider-behaviour.md 2.8)."""

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zspider.script.page.charset import choose_encoding
from zspider.script.page.response import HTTPError, Response, rebuild_response

RUSSIAN = "Привет, это обычный русский текст о погоде и книгах в большом городе. " * 5

FRENCH = "<p>Les élèves ont déjà mangé à la cantine; où ça sent très bon, même le château en était étonné.</p>" * 3
CHINESE = "<p>今天的天气很好，我们一起去公园散步，看见了许多花和小鸟。</p>"


def response(content: bytes = b"", content_type: str = "", **result) -> Response:
    headers = {"Content-Type": content_type} if content_type else {}
    return Response({"status_code": 200, "url": "http://a.com/d/p.html", "headers": headers} | result, content)


@pytest.mark.parametrize(
    ("content", "content_type", "encoding", "text"),
    [
        ("ü".encode(), "text/html; charset=utf-8", "utf-8", "ü"),
        ("ü".encode("latin-1"), "text/html; charset=ISO-8859-1", "cp1252", "ü"),
        ("ü".encode("latin-1"), "text/html; Charset='latin1'", "cp1252", "ü"),
        ("中文".encode("gb18030"), 'text/html; charset="gb2312"', "gb18030", "中文"),
        ("中文".encode("gb18030"), "text/html; charset=GBK", "gb18030", "中文"),
        (codecs.BOM_UTF8 + "ü".encode(), "text/html; charset=latin1", "utf-8", "ü"),
        (codecs.BOM_UTF16_LE + "ü".encode("utf-16-le"), "", "utf-16-le", "ü"),
        (codecs.BOM_UTF16_BE + "ü".encode("utf-16-be"), "", "utf-16-be", "ü"),
        (codecs.BOM_UTF32_LE + "ü".encode("utf-32-le"), "", "utf-32-le", "ü"),
        (b'<meta charset="big5">' + "中".encode("big5"), "", "big5hkscs", '<meta charset="big5">中'),
        (b"<meta http-equiv=Content-Type content='text/html; charset=koi8-r'>", "text/html", "koi8-r", None),
        (b'<?xml version="1.0" encoding="shift_jis"?><p>', "", "cp932", None),
        (b"<meta charset=utf-16>plain", "", "utf-8", "<meta charset=utf-16>plain"),
        (b"<meta charset=nonsense>\xc3\xbc", "", "utf-8", "<meta charset=nonsense>ü"),
        (b"\xc3\xbc", "text/html; charset=nonsense", "utf-8", "ü"),
        (b"\xc3\xbc", "text/html; charset=idna", "utf-8", "ü"),  # Python has codecs that no page is in
        (b"\xc3\xbc", "text/html; charset=rot13", "utf-8", "ü"),
        (b"<meta charset=zlib>\xc3\xbc", "text/html; charset=zlib", "utf-8", "<meta charset=zlib>ü"),
        (b"<meta charset=unicode_escape>\\u0041", "", "utf-8", "<meta charset=unicode_escape>\\u0041"),
        (b"\x81", "text/html; charset=x-user-defined", "cp1252", "\ufffd"),
        (b"<!-- <meta charset=koi8-r> --><meta charset=big5>", "", "big5hkscs", None),
        (b"<!--><meta charset=big5>", "", "big5hkscs", None),
        (b"<!-- <meta charset=koi8-r>", "", "utf-8", None),
        (b"<p title='<meta charset=koi8-r>'><meta charset=big5>", "", "big5hkscs", None),
        (b"<meta name=keywords content='charset=koi8-r'>", "", "utf-8", None),
        (b"<meta content='text/html; charset=koi8-r' http-equiv=content-type>", "", "koi8-r", None),
        (b"<META\nCHARSET = 'koi8-r' charset=big5>", "", "koi8-r", None),
        (b"<metal charset=koi8-r>", "", "utf-8", None),
        (b"<meta charset=nonsense><meta charset=koi8-r>", "", "koi8-r", None),
        (b" " * 1024 + b"<meta charset=koi8-r>", "", "utf-8", None),
        (b'<?xml version="1.0" encoding="koi8-r"?><meta charset=big5>', "", "big5hkscs", None),
        (b'<?xml version="1.0" encoding="utf-16"?>', "", "utf-8", None),
        (FRENCH.encode("cp1252"), "", "cp1252", FRENCH),
        (("x" * 16382 + "<p>" + CHINESE).encode("gb18030"), "", "utf-8", None),  # nothing to guess from
        ((CHINESE * 500).encode("gb18030"), "", "gb18030", CHINESE * 500),
        (b"\xc3\xbc", "", "utf-8", "ü"),
        (b"x" * 16383 + "ü".encode(), "", "utf-8", "x" * 16383 + "ü"),
        (RUSSIAN.encode("cp1251"), "", "cp1251", RUSSIAN),
        (b"a\xff\xfd", "text/html; charset=utf-8", "utf-8", "a\ufffd\ufffd"),
        (b"", "", "utf-8", ""),
    ],
)
def test_the_encoding_comes_from_mark_header_page_or_a_guess(content, content_type, encoding, text):
    found = response(content, content_type)
    assert found.encoding == encoding
    if text is not None:
        assert found.text == text


@pytest.mark.parametrize(
    ("content", "content_type", "chosen"),
    [
        (codecs.BOM_UTF8 + b"x", "text/html; charset=latin1", ("utf-8", "byte order mark")),
        (b"<meta charset=koi8-r>", "text/html; charset=latin1", ("cp1252", "Content-Type header")),
        (b"<meta charset=koi8-r>", "text/html; charset=nonsense", ("koi8-r", "declared in the page")),
        (b"plain", "", ("utf-8", "guessed from the bytes")),
    ],
)
def test_what_named_the_encoding_can_be_told(content, content_type, chosen):
    assert choose_encoding(content, content_type) == chosen


def test_setting_the_encoding_drops_the_text_and_keeps_the_tree():
    page = response("<p>ü</p>".encode("latin-1"), "text/html; charset=utf-8")
    before = page.etree
    assert page.text == "<p>\ufffd</p>"
    page.encoding = "latin-1"
    assert page.text == "<p>ü</p>"
    assert page.etree is before
    for odd in ("no such codec", "idna", "zlib", "undefined"):
        page.encoding = odd
        assert page.text == "<p>\ufffd</p>"


@pytest.mark.parametrize(
    ("content", "content_type", "title"),
    [
        ("<title>ü</title>".encode(), "text/html; charset=utf-8", "ü"),
        ("<title>中文</title>".encode("gb18030"), "text/html; charset=gb2312", "中文"),
        ("<title>中</title>".encode("big5"), "text/html; charset=big5", "中"),
        ("<title>ü</title>".encode("utf-16"), "", "ü"),
        (codecs.BOM_UTF8 + "<title>ü</title>".encode(), "", "ü"),
        (b"<title>a\0b</title>", "", "ab"),
        (b'<?xml version="1.0" encoding="latin-1"?><html><head><title>\xc3\xbc</title></head></html>',
         "text/html; charset=utf-8", "ü"),
        ("<title>ü</title>".encode("mac-roman"), "text/html; charset=macintosh", "ü"),
        (b"", "", ""),
        (b"  \n", "", ""),
        (b"<!-- nothing -->", "", ""),
        (b"\xff\xfe", "", ""),
        (b"plain text", "", ""),
        (b"{}", "application/json", ""),
    ],
)  # fmt: skip
def test_any_body_makes_a_document(content, content_type, title):
    page = response(content, content_type)
    assert page.doc("title").text() == title
    assert page.etree is not None


@given(st.binary(max_size=60), st.sampled_from(["", "utf-8", "utf-16", "big5", "utf-7", "nonsense", "x-user-defined"]))
def test_no_body_makes_a_response_raise(content, charset):
    page = response(content, f"text/html; charset={charset}" if charset else "")
    assert isinstance(page.text, str)
    assert isinstance(page.doc("a").attr.href, str | None)
    page.etree.xpath("//a")
    assert page.json is None or page.json is not None
    assert isinstance(page.start_of_text(5), str)


@pytest.mark.parametrize(
    "charset",
    ["utf-8", "windows-1252", "iso-8859-8", "windows-874", "koi8-r", "gbk", "big5", "shift_jis", "euc-jp", "euc-kr"],
)
def test_what_stands_after_a_wrong_byte_is_in_the_tree(charset):
    page = response(b"<p>a\x81\xff \xa0 b</p><p id=end>end</p>", f"text/html; charset={charset}")
    assert page.doc("#end").text() == "end"
    assert page.etree.text_content() == page.text.replace("<p>", "").replace("</p>", "").replace("<p id=end>", "")


@pytest.mark.parametrize("charset", ["utf-8", "utf-16", "koi8-r", "cp1252", "gb18030", "utf-32"])
def test_the_tree_says_what_the_text_says(charset):
    page = response("<p>–é Привет 中</p>".encode(charset, "ignore"))
    page.encoding = charset
    assert page.etree.text == page.text.removeprefix("<p>").removesuffix("</p>")


@given(st.text("\ud800\udcffü\u212a\0=;\"' utf-8koi", max_size=8))
def test_no_label_makes_a_response_raise(label):
    page = response(b"<p>\xc3\xbc</p>", f"text/html; charset={label}")
    assert isinstance(page.encoding, str)
    assert isinstance(page.doc("p").text(), str)


def test_a_label_with_half_a_character_is_none():
    page = response(b"<p>\xc3\xbc</p>", "text/html; charset=utf-8\ud800")
    assert (page.encoding, page.doc("p").text()) == ("utf-8", "ü")


def test_fragments_get_a_wrapping_element():
    assert response(b"<p>a</p><p>b</p>").etree.tag == "div"
    assert response(b"<p>a</p>").etree.tag == "p"
    assert response(b"a<b>c</b>").etree.tag == "span"


@pytest.mark.parametrize(
    ("status", "error", "ok", "raised"),
    [
        (200, None, True, None),
        (204, None, True, None),
        (304, "HTTP 304: Not Modified", True, None),
        (301, "HTTP 301: Moved Permanently", False, "HTTP 301: Moved Permanently"),
        (302, None, True, None),
        (404, "HTTP 404: Not Found", False, "HTTP 404: Not Found"),
        (404, None, False, "404 Client Error"),
        (500, None, False, "500 Server Error"),
        (599, "HTTP 599: Operation timed out", False, "HTTP 599: Operation timed out"),
        (100, None, True, None),
        (600, None, True, None),
    ],
)
def test_what_is_ok_and_what_is_raised(status, error, ok, raised):
    page = response(status_code=status, error=error)
    assert (page.ok, bool(page), page.isok()) == (ok, ok, ok)
    if raised is None:
        page.raise_for_status()
        return
    with pytest.raises(HTTPError, match=f"^{raised}$") as caught:
        page.raise_for_status()
    assert caught.value.response is page


def test_redirects_are_raised_when_asked_for():
    with pytest.raises(HTTPError, match="302 Redirection"):
        response(status_code=302).raise_for_status(allow_redirects=False)


def test_a_fetchers_traceback_is_raised_with_the_error():
    with pytest.raises(Exception, match="HTTP 599: boom") as caught:
        response(status_code=599, error="HTTP 599: boom", traceback="Traceback: there").raise_for_status()
    assert type(caught.value) is Exception
    assert caught.value.__notes__ == ["Traceback: there"]


def test_attributes_are_those_of_the_fetch_result():
    page = Response({"url": "http://a/", "save": [1], "time": 0.5, "cookies": {"a": "b"}, "headers": {"X-A": "1"}})
    assert (page.status_code, page.url, page.orig_url) == (599, "http://a/", "http://a/")
    assert (page.save, page.time, page.cookies, page.error, page.traceback) == ([1], 0.5, {"a": "b"}, None, None)
    assert page.headers["x-a"] == page.headers.get("X-a") == "1"
    assert "x-A" in page.headers
    assert dict(page.headers) == {"X-A": "1"}
    assert repr(page) == "<Response [599]>"


def test_headers_can_be_changed():
    headers = response().headers
    headers["A"] = "1"
    headers["a"] = "2"
    assert dict(headers) == {"a": "2"}
    del headers["A"]
    assert len(headers) == 0


@pytest.mark.parametrize(
    ("content", "value"), [(b'{"a": [1]}', {"a": [1]}), (b"nonsense", None), (b"", None), (b"[" * 99999, None)]
)
def test_json_is_none_when_it_is_none(content, value):
    assert response(content).json == value


def test_a_response_is_rebuilt_from_a_result_with_text_or_bytes():
    assert rebuild_response({"content": '<meta charset="gb2312">中', "url": "u"}).text == '<meta charset="gb2312">中'
    assert rebuild_response({"content": b"x"}).content == b"x"
    assert rebuild_response({}).content == b""
