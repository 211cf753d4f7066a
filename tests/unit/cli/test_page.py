"""How a fetched page is told to people."""

import pytest
from zspider.cli.page import as_json, failure_of, text_of
from zspider.fetch import Fetched, failure

HTML = {"Content-Type": "text/html; charset=utf-8"}


def page(content, headers=HTML, **result):
    return Fetched(1, {"status_code": 200, "url": "http://a/", "headers": headers, "time": 0.5, **result}, content)


def test_a_long_text_is_cut_and_says_how_to_see_all():
    long = page(b"x" * 1000)
    assert text_of(long, 10) == "x" * 10 + "\n... (990 characters more: --all shows them)"
    assert text_of(long, None) == "x" * 1000
    assert text_of(long, 1000) == "x" * 1000


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"\0" * 5000 + b"\xff"])
def test_bytes_that_are_no_text_are_counted_and_not_shown(content):
    assert text_of(page(content, {}), None) == f"({len(content):,} bytes that are no text)"


def test_text_in_utf_16_is_text():
    assert text_of(page("\ufeffgrün".encode("utf-16-le"), {}), None) == "grün"


def test_an_answer_is_no_failure_whatever_its_status():
    assert failure_of(page(b"", status_code=500, error="HTTP 500: Oops")) == ""
    assert failure_of(failure(1, "http://a/", "no\nroute")) == "HTTP 599: no\\nroute"


def test_json_holds_all_but_the_scripts_own_save():
    told = as_json(page(b"<p>", save={"a": 1}))
    assert "save" not in told
    assert (told["content"], told["encoding"], told["encoding_from"]) == ("<p>", "utf-8", "Content-Type header")
