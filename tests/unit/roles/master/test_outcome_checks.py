"""What the master reads of a proven outcome before it stores it."""

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from zspider.delivery import End, Follow, Message, Outcome
from zspider.roles.master.outcome_checks import check_outcome
from zspider.script.crawl.message import make_message
from zspider.task import ON_MESSAGE

SUCCESS = Outcome(1, "page", 2, 1, b"p" * 16, End.SUCCESS, fetch_ms=7, process_ms=8)
FOLLOW = Follow("next", "http://e/next", b"\x80")
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def options(message: Message) -> dict[str, object]:
    return msgpack.unpackb(message.body)


@pytest.mark.parametrize("end", [End.SUCCESS, End.FAILURE, End.FATAL])
@pytest.mark.parametrize("bad", [b"not json {", b"\x00\x01", b"", b"NaN", b'"\xff"', b'"\x1b[2J"', b"[" * 100_000])
def test_a_run_with_a_result_that_is_no_json_has_failed_and_leads_to_nothing(end, bad):
    sent = replace(SUCCESS, end=end, results=[b'{"n": 1}', bad], follows=[FOLLOW], track=b"\x80")
    checked = check_outcome(sent, "shop")
    assert checked.refused.startswith("its slave sent a result that is no JSON (number 2): ")
    assert checked.outcome == replace(SUCCESS, end=End.FAILURE, reason=checked.refused)


def test_what_needs_no_check_goes_on_as_it_came():
    for sent in (
        SUCCESS,
        replace(SUCCESS, results=[b'{"n": 1}', b" [] "]),
        replace(SUCCESS, end=End.PART, results=[b"x"]),
    ):
        assert check_outcome(sent, "shop").outcome is sent


@given(PLAIN, st.booleans())
def test_an_honest_message_stays_as_its_script_sent_it(msg, guarded):
    sent = replace(SUCCESS, messages=[make_message("shop", "other", msg, "data:,x", guarded=guarded)])
    assert check_outcome(sent, "shop") == (sent, "", 0)


@given(PLAIN, PLAIN, st.booleans())
def test_a_message_is_from_the_project_whose_run_sent_it_whatever_its_slave_says(sender, msg, guarded):
    forged = {"schedule": {"priority": 1}, "fetch": {"save": [sender, msg], "method": "POST"}, "guarded": guarded}
    forged["process"] = {"callback": "delete_everything"}
    sent = replace(SUCCESS, messages=[Message("other", "data:,x", msgpack.packb(forged))])
    (message,) = check_outcome(sent, "shop").outcome.messages
    honest = {"schedule": {}, "fetch": {"save": ["shop", msg]}, "process": {"callback": ON_MESSAGE}}
    assert msgpack.packb(options(message)) == msgpack.packb(honest | ({"guarded": True} if guarded else {}))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc0",
        b"\xc1",
        b"\x80\x80",
        b"\x91" * 100_000,
        msgpack.packb({}),
        msgpack.packb({"fetch": {}}),
        msgpack.packb({"fetch": {"save": []}}),
        msgpack.packb({"fetch": {"save": ["a", 1, 2]}}),
        msgpack.packb({"fetch": {"save": ["a", 1]}, "guarded": 1}),
        msgpack.packb({"fetch": {"save": ["a", 1]}})[:-1],
    ],
    ids=lambda body: repr(body[:16]),
)
def test_a_message_that_cannot_be_read_is_dropped_and_harms_no_other(body):
    good = make_message("shop", "other", 1, "data:,x")
    sent = replace(SUCCESS, messages=[good, Message("other", "data:,y", body), good], follows=[FOLLOW])
    assert check_outcome(sent, "shop") == (replace(sent, messages=[good, good]), "", 1)
    assert check_outcome(sent, None) == (sent, "", 0)  # of a project that is gone: storage drops it whole
