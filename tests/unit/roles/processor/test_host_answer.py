"""What an answer says about its host, as the master hears of it."""

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zspider.broker.codec import decode_outcome, encode_outcome
from zspider.delivery import Answer, End, Outcome
from zspider.roles.processor.host_answer import answer_of, retry_after_s
from zspider.task import DAY_MS

NOW_S = 1_700_000_000.0
URL = "http://a.example/x"


def fetched(status, headers=None, url=URL, **more):
    return {"status_code": status, "url": url, "orig_url": URL, "headers": headers or {}, **more}


@pytest.mark.parametrize(
    ("fetch", "answer"),
    [
        (fetched(200), None),
        (fetched(200, {"Retry-After": "60"}), None),
        (fetched(200, crawl_delay=2.5), Answer(200, 0, 2500)),
        (fetched(404, {"Retry-After": "60"}), Answer(404)),
        (fetched(599), Answer(599)),
        (fetched(429), Answer(429)),
        (fetched(503, {"Retry-After": "60"}), Answer(503, 60_000)),
        (fetched(429, {"Retry-After": formatdate(NOW_S + 90, usegmt=True)}), Answer(429, 90_000)),
        (fetched(429, {"Retry-After": "1" + 30 * "0"}), Answer(429, DAY_MS)),
        (fetched(429, {"Retry-After": "60"}, crawl_delay=1e9), Answer(429, 60_000, DAY_MS)),
        (fetched(429, {"Retry-After": "60"}, url="http://b.example/"), Answer(0)),
        (fetched(503, {"Retry-After": "60"}, url="http://a.example/y"), Answer(503, 60_000)),
        (fetched(None), Answer(0)),
        (fetched(10**6), Answer(0)),
        ({}, Answer(0)),
    ],
)
def test_what_the_master_is_told_of_an_answer(fetch, answer):
    assert answer_of(fetch, NOW_S) == answer


@pytest.mark.parametrize(
    ("value", "date", "seconds"),
    [
        ("120", None, 120.0),
        (" 0 ", None, 0.0),
        ("-5", None, 0.0),
        ("1.5", None, 0.0),
        ("soon", None, 0.0),
        ("", None, 0.0),
        ("٣", None, 0.0),
        (formatdate(NOW_S - 60, usegmt=True), None, 0.0),
        # The server's clock is an hour slow: what it means is 30 s.
        (formatdate(NOW_S - 3570, usegmt=True), formatdate(NOW_S - 3600, usegmt=True), 30.0),
        (formatdate(NOW_S + 30, usegmt=True), "yesterday", 30.0),
        ("Fri, 31 Dec 99999 23:59:59 GMT", None, 0.0),
    ],
)
def test_a_retry_after_is_seconds_or_a_date(value, date, seconds):
    assert retry_after_s(value, date, NOW_S) == seconds


@given(st.text(max_size=40), st.one_of(st.none(), st.text(max_size=40)))
def test_no_retry_after_makes_trouble(value, date):
    assert retry_after_s(value, date, NOW_S) >= 0.0


def test_the_usual_answer_costs_a_byte_of_an_outcome():
    usual = Outcome(1, "x", 0, 1, b"p" * 16, End.SUCCESS)
    told = Outcome(1, "x", 0, 1, b"p" * 16, End.SUCCESS, answer=Answer(429, 60_000))
    assert decode_outcome(encode_outcome(told)).answer == Answer(429, 60_000)
    assert encode_outcome(usual)[-2:] == b"\xc0\x00"  # and that it left nothing out
