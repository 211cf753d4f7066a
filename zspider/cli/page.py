"""A fetched page, shown to people: status, redirects, time, encoding, headers, text."""

from collections.abc import Iterator
from typing import Any

from zspider.cli.text import visible
from zspider.fetch import Fetched
from zspider.script.page.charset import choose_encoding
from zspider.script.page.response import STATUS_UNKNOWN, Response

_TEXT_KEEPS = "\n\t"


def response_of(page: Fetched) -> Response:
    """Return the Response that a callback would get."""
    return Response(page.result, page.content)


def failure_of(page: Fetched) -> str:
    """Return why the page could not be fetched, in one line; "" when a server answered, whatever the status."""
    return visible(str(page.result["error"])) if page.result["status_code"] == STATUS_UNKNOWN else ""


def head_lines(page: Fetched) -> Iterator[str]:
    """Return everything but headers and text."""
    result = page.result
    codec, why = choose_encoding(page.content, Response(result).headers.get("Content-Type", ""))
    yield visible(f"HTTP {result['status_code']} {result['headers'].get('X-Http-Reason', '')}").rstrip()
    yield f"url        {visible(result['url'])}"
    for status, url in page.redirects:
        yield f"redirect   {status} {visible(url)}"
    yield f"time       {result['time']:.3f} s"
    yield f"size       {len(page.content):,} bytes"
    yield f"encoding   {codec} ({why})"


def header_lines(page: Fetched) -> Iterator[str]:
    """Return the response's headers. `X-Http-Reason` is pyspider's, not the server's."""
    for name, value in page.result["headers"].items():
        if name != "X-Http-Reason":
            yield visible(f"{name}: {value}")


def text_of(page: Fetched, chars_max: int | None) -> str:
    """Return the decoded text, safe on a terminal. chars_max: None for all of it."""
    text = response_of(page).text.replace("\r\n", "\n")
    if "\0" in text:
        return f"({len(page.content):,} bytes that are no text)"
    shown = visible(text[:chars_max], len(text), keep=_TEXT_KEEPS)
    left = len(text) - len(text[:chars_max])
    return f"{shown}\n... ({left:,} characters more: --all shows them)" if left else shown


def as_json(page: Fetched) -> dict[str, Any]:
    """Return all that is known, with the text; `save` is the script's own."""
    response = response_of(page)
    codec, why = choose_encoding(page.content, response.headers.get("Content-Type", ""))
    return {
        **{key: value for key, value in page.result.items() if key != "save"},
        "redirects": [{"status_code": status, "url": url} for status, url in page.redirects],
        "encoding": codec,
        "encoding_from": why,
        "bytes": len(page.content),
        "content": response.text,
    }
