"""What a page's answer tells the master about its host: refusals, Retry-After, Crawl-delay. Pure."""

from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from zspider.delivery import Answer
from zspider.hosts import host_of
from zspider.task import DAY_MS

_REFUSALS = (429, 503)
_STATUS_MAX = 999
UNKNOWN = Answer(0)  # nobody was asked, or it is not known what came


def answer_of(fetch: Mapping[str, Any], now_s: float) -> Answer | None:
    """Return what a fetch result says of its host; None for the usual 200. now_s: wall-clock seconds since the epoch.

    Source: docs/pyspider-behaviour.md 3.4.
    """
    status = fetch.get("status_code")
    if status == 200 and "crawl_delay" not in fetch:
        return None
    if not isinstance(status, int) or not 0 <= status <= _STATUS_MAX:
        return UNKNOWN
    retry_after_ms = 0
    if status in _REFUSALS:
        if host_of(fetch["url"]) != host_of(fetch["orig_url"]):  # a redirect's target has refused, not the task's host
            status = 0
        else:
            headers = fetch.get("headers") or {}
            retry_after_ms = _capped(retry_after_s(str(headers.get("Retry-After", "")), headers.get("Date"), now_s))
    return Answer(status, retry_after_ms, _capped(fetch.get("crawl_delay", 0.0)))


def retry_after_s(value: str, date: str | None, now_s: float) -> float:
    """Return the seconds that a Retry-After header asks for; 0.0 when it asks for none or cannot be read.

    A date is measured from the answer's own Date, if it has one: the server's clock may be wrong.
    Source: RFC 9110 section 10.2.3.
    """
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value[:12])
    until_s, begun_s = _seconds(value), _seconds(date or "")
    return 0.0 if until_s is None else max(0.0, until_s - (now_s if begun_s is None else begun_s))


def _seconds(date: str) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, OverflowError, TypeError):
        return None


def _capped(seconds: float) -> int:
    return int(1000 * min(seconds, DAY_MS / 1000))
