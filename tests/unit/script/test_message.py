"""`send_message()` and `on_message`: what travels, what is refused, what the receiver sees."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.scripts import handler_of, page, ran
from zspider.delivery import MESSAGE_BYTES_MAX, MESSAGES_MAX, End
from zspider.script.crawl.message import make_message
from zspider.script.runner import run
from zspider.task import is_message, message_taskid, usual_taskid


def sends(call: str) -> str:
    return f"def page(self, response): self.send_message({call})"


def heard(body: str, save: object, url: str = "data:,on_message"):
    """Run on_message of a handler with this class body."""
    return run(handler_of(body), *page("_on_message", save=save, url=url))


def test_a_message_carries_its_sender_its_value_and_its_url():
    (message,) = ran(sends("'other', {'n': (1, 'ü', b'\\xff')}, url='http://a/b c#é'")).messages
    assert (message.receiver, message.url) == ("other", "http://a/b c#é")
    assert msgspec.msgpack.decode(message.body) == {
        "schedule": {},
        "fetch": {"save": ["demo", {"n": [1, "ü", b"\xff"]}]},
        "process": {"callback": "_on_message"},
    }


def test_without_a_url_pyspiders_stands_for_it_and_the_order_is_kept():
    outcome = ran("def page(self, response):\n    for n in range(3): self.send_message(self.project_name, n)")
    assert [message.url for message in outcome.messages] == ["data:,on_message"] * 3
    assert [msgspec.msgpack.decode(message.body)["fetch"]["save"] for message in outcome.messages] == [
        ["demo", n] for n in range(3)
    ]
    assert (outcome.end, outcome.follows_count) == (End.SUCCESS, 0)


def test_what_was_sent_before_an_error_is_sent():
    outcome = ran("def page(self, response):\n    self.send_message('other', 1)\n    raise KeyError('gone')")
    assert (outcome.end, len(outcome.messages)) == (End.FAILURE, 1)


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ("'', 1", "ValueError: a project's name has 1 to 64 characters, not 0"),
        ("'x' * 65, 1", "ValueError: a project's name has 1 to 64 characters, not 65"),
        ("'x', 1, url=''", "ValueError: a message's url has 1 to 8190 bytes, not 0"),
        ("'x', 1, url='é' * 5000", "ValueError: a message's url has 1 to 8190 bytes, not 10000"),
    ],
)
def test_what_cannot_be_sent_is_an_error_of_the_call(call, reason):
    outcome = ran(sends(call))
    assert (outcome.end, outcome.reason, outcome.messages) == (End.FAILURE, reason, [])


@pytest.mark.parametrize(
    ("statement", "reason", "kept"),
    [
        (f"self.send_message('x', 'm' * {MESSAGE_BYTES_MAX})", f"the limit is {MESSAGE_BYTES_MAX}", 0),
        (
            f"for n in range({MESSAGES_MAX + 1}): self.send_message('x', n)",
            f"more than {MESSAGES_MAX} messages of one run",
            MESSAGES_MAX,
        ),
        (
            "self.on_result('r' * 3_000_000)\n        for n in range(20): self.send_message('x', 'm' * 1_000_000)",
            "messages of more than 16777216 bytes of one run (limits.outcome_bytes)",
            13,
        ),
    ],
)
def test_a_run_that_sends_too_much_fails_for_good_even_if_it_swallows_the_error(statement, reason, kept):
    outcome = ran(f"def page(self):\n    try:\n        {statement}\n    except Exception: pass")
    assert (outcome.end, len(outcome.messages)) == (End.FATAL, kept)
    assert reason in outcome.reason


def test_there_is_nobody_to_send_for_outside_a_task():
    with pytest.raises(RuntimeError, match="only while a task runs"):
        handler_of("pass").handler.send_message("other", 1)


def test_on_message_sees_sender_and_message_and_what_it_returns_is_a_result():
    body = "def on_message(self, project, msg): return [project, msg, self.task['taskid'], self.response.url]"
    outcome = heard(body, ["other", {"a": 1}], url="http://a/#1")
    assert msgspec.json.decode(outcome.results[0]) == ["other", {"a": 1}, "t1", "http://a/#1"]


@pytest.mark.parametrize(
    "body",
    [
        "def on_message(self, project, msg):\n    yield 1\n    yield 2",
        "async def on_message(self, *both):\n    self.on_result(both[1])\n    return 2",
    ],
)
def test_on_message_may_be_a_generator_or_async(body):
    assert heard(body, ["other", 1]).results == [b"1", b"2"]


def test_on_message_may_crawl_and_send_on():
    body = "def on_message(self, project, msg):\n    self.crawl('http://a/')\n    self.send_message(project, msg)"
    outcome = heard(body, ["other", 1])
    assert ([follow.url for follow in outcome.follows], outcome.messages[0].receiver) == (["http://a/"], "other")


def test_a_handler_without_on_message_hears_it_and_does_nothing():
    assert heard("pass", ["other", 1]).end is End.SUCCESS


def test_a_script_cannot_crawl_a_task_that_looks_like_a_message():
    outcome = ran("def page(self): self.crawl('http://a/', taskid='_on_message:' + '0' * 32)")
    assert "so do messages" in outcome.reason


def test_the_taskid_of_a_result_is_pyspiders():
    assert usual_taskid("data:,on_message") == "0a6b3171c7ff97a5a38728d7ede43d2c"


senders = st.tuples(st.integers(1, 2**31 - 1), st.text(max_size=64), st.integers(0, 100), st.integers(0, 100))


@given(senders, senders)
def test_each_sending_has_an_identity_of_its_own(one, other):
    assert is_message(message_taskid(*one))
    assert len(message_taskid(*one)) == 44
    assert (message_taskid(*one) == message_taskid(*other)) == (one == other)


@given(st.text(), st.text(min_size=1, max_size=64), st.text(min_size=1, max_size=100))
def test_any_text_can_be_sent(msg, receiver, url):
    message = make_message("demo", receiver, msg, url)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(message), type=type(message)) == message
