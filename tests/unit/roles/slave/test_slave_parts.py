"""The slave's small pure parts: the session, held leases, relayed pages, scripts, output, task dicts."""

import msgspec
import pytest
from zspider.broker import messages as m
from zspider.delivery import End, Grant
from zspider.roles.slave.late_config import LateConfig
from zspider.roles.slave.leases import SlaveLeases, Stage
from zspider.roles.slave.master_session import HELLO_AGAIN_S, PROTOCOL_RETRY_S, Due, Joined, MasterSession
from zspider.roles.slave.pages import BadTask, Projects, failed, task_of, time_limit_s
from zspider.roles.slave.processors.output_log import LINE_CHARS_MAX, LINES_PER_S, OutputLog
from zspider.roles.slave.processors.script_cache import ASK_AGAIN_S, GIVE_UP_S, ScriptCache
from zspider.roles.slave.relay_outbox import RESEND_S, RelayOutbox

ODD_LIMITS = [  # a `process_time_limit` of a task, and what it comes to
    (float("inf"), 86_400.0),
    (9.3e9, 86_400.0),
    (10**30, 86_400.0),
    (float("nan"), 30.0),
    (True, 30.0),
    (-1, 30.0),
    (-float("inf"), 30.0),
]

SCRIPT = b"s" * 32
INFO = m.ProjectInfo(7, "demo", "news", "RUNNING", 1.0, 3.0, 1_500, SCRIPT, msgspec.msgpack.encode({"timeout": 9}))


def welcome(cluster=b"c" * 16, epoch=1):
    return m.Welcome(m.PROTOCOL, cluster, epoch, 1, 2, 3, heartbeat_s=2.0, quiet_s=20.0, rebuild_s=10.0)


def grant(number=1, taskid="t", **fields):
    body = fields.pop("body", msgspec.msgpack.encode({"process": {"callback": "page"}}))
    return Grant(number, 7, taskid, "http://a/", 3, 1, b"p" * 16, SCRIPT, body, **fields)


def page(taskid="t"):
    return m.Page(1, 7, "demo", "RUNNING", SCRIPT, taskid, 3, 1, b"p" * 16, {}, {}, b"content")


class TestMasterSession:
    def test_hello_is_said_first_and_again_until_it_is_answered(self):
        session = MasterSession(0.0)
        assert session.due(0.0, is_refused=False) is Due.HELLO
        session.said(True, 0.0)
        assert session.due(HELLO_AGAIN_S - 0.1, is_refused=False) is None
        assert session.due(HELLO_AGAIN_S, is_refused=False) is Due.HELLO
        assert session.welcomed(welcome(), 3.0) is Joined.FIRST
        assert session.due(3.0, is_refused=False) is Due.BEAT
        session.said(True, 3.0)
        assert session.due(4.9, is_refused=False) is None
        assert session.wait_s(4.0, is_refused=False) == pytest.approx(1.0)

    def test_after_silence_the_sockets_are_rebuilt_and_after_more_it_is_quiet(self):
        session = MasterSession(0.0)
        session.welcomed(welcome(), 0.0)
        assert session.due(9.9, is_refused=False) is not Due.REBUILD
        assert session.due(12.1, is_refused=False) is Due.REBUILD
        assert not session.is_quiet(20.0)
        assert session.is_quiet(20.1)
        session.heard(None, 21.0)
        assert not session.is_quiet(21.0)

    def test_a_refused_client_tries_again_within_two_seconds(self):
        session = MasterSession(0.0)
        for at in range(0, 50, 3):
            assert session.due(at + 2.01, is_refused=True) is Due.REBUILD
            session.rebuilt(at + 3.0)

    def test_a_master_of_another_version_is_tried_after_ten_seconds(self):
        session = MasterSession(0.0)
        session.refused("protocol", 0.0)
        assert session.due(PROTOCOL_RETRY_S - 0.1, is_refused=False) is None
        assert session.due(PROTOCOL_RETRY_S, is_refused=False) is Due.REBUILD
        assert session.is_news("protocol")
        assert not session.is_news("protocol")

    def test_words_of_a_former_master_do_not_count(self):
        session = MasterSession(0.0)
        session.welcomed(welcome(epoch=5), 0.0)
        assert not session.heard(4, 50.0)
        assert session.silent_s(50.0) == 50.0
        assert session.welcomed(welcome(epoch=4), 50.0) is Joined.STALE
        assert session.welcomed(welcome(epoch=6), 50.0) is Joined.AGAIN
        assert session.welcomed(welcome(b"d" * 16, epoch=1), 50.0) is Joined.OTHER_CLUSTER
        assert session.epoch == 1

    def test_a_new_connection_or_an_unknown_session_means_hello(self):
        for event in ("connected", "unknown", "new_session"):
            session = MasterSession(0.0)
            session.welcomed(welcome(), 0.0)
            before = session.id
            getattr(session, event)(1.0)
            assert session.due(1.0, is_refused=False) is Due.HELLO
            assert (session.id != before) == (event == "new_session")

    def test_several_answers_that_we_are_unknown_mean_one_hello(self):
        session = MasterSession(0.0)
        session.welcomed(welcome(), 0.0)
        session.unknown(1.0)
        session.said(True, 1.0)
        session.unknown(1.1)
        assert session.due(1.1, is_refused=False) is None


class TestSlaveLeases:
    def test_leases_are_named_by_what_is_done_with_them(self):
        held = SlaveLeases()
        first, second = held.take(grant(1), INFO), held.take(grant(5, "u"), INFO)
        assert held.take(grant(1), INFO) is None
        held.move(first, Stage.OUTBOX)
        assert held.named() == ([5], [1])
        assert [(one.number, one.taskid, one.in_outbox) for one in held.in_full()] == [(1, "t", True), (5, "u", False)]
        assert held.seen == 5
        held.end(first)
        held.end(first)
        assert held.by_number([1, 5, 9]) == [second]
        assert (held.count(Stage.OUTBOX), held.count(Stage.WAITING), len(held)) == (0, 1, 1)

    def test_pages_are_counted_while_they_are_kept(self):
        held = SlaveLeases()
        lease = held.take_page(page())
        assert held.take_page(page()) is None
        assert held.page_bytes == len(b"content")
        assert held.named() == ([], [])
        held.drop_page(lease)
        held.end(lease)
        assert held.page_bytes == 0
        assert held.take_page(page()) is not None


class TestRelayOutbox:
    def test_an_unclaimed_page_is_sent_again_after_ten_seconds(self):
        relay = RelayOutbox()
        relay.add(1)
        assert relay.next(0.0) == 1
        assert relay.next(0.0) == 1  # it could not go
        relay.sent(0.0)
        assert relay.next(RESEND_S - 1) is None
        assert relay.wait_s(RESEND_S - 1) == pytest.approx(1.0)
        assert relay.next(RESEND_S) == 1

    def test_a_claimed_page_is_sent_again_only_when_the_master_asks(self):
        relay = RelayOutbox()
        relay.add(1)
        relay.next(0.0)
        relay.sent(0.0)
        relay.taken(1)
        assert relay.next(100.0) is None
        assert relay.wait_s(100.0) is None
        relay.send_again(1)
        relay.send_again(1)
        assert relay.next(100.0) == 1
        relay.sent(100.0)
        relay.remove(1)
        relay.send_again(1)
        assert relay.next(200.0) is None
        assert len(relay) == 0

    def test_a_claim_ends_with_the_session_in_which_the_master_told_it(self):
        relay = RelayOutbox()
        for page in (1, 2, 3):
            relay.add(page)
        for page in (1, 2):
            assert relay.next(0.0) == page
            relay.sent(0.0)
        relay.taken(1)
        relay.rejoined(5.0)  # page 1 was claimed, 2 is on its way, 3 could not go yet
        assert relay.next(5.0) == 3
        relay.sent(5.0)
        assert relay.next(RESEND_S) == 2
        relay.sent(RESEND_S)
        assert relay.next(5.0 + RESEND_S) == 1  # the master may have forgotten who has it, and that he is gone
        relay.sent(5.0 + RESEND_S)
        assert relay.next(5.0 + RESEND_S) == 3


class TestScriptCache:
    def test_a_text_is_asked_for_once_and_again_after_a_while(self):
        scripts = ScriptCache()
        scripts.want(SCRIPT, 0.0)
        scripts.want(SCRIPT, 0.1)
        assert scripts.to_ask(0.1) == [SCRIPT]
        assert scripts.to_ask(0.2) == []
        assert scripts.to_ask(0.1 + ASK_AGAIN_S) == [SCRIPT]
        scripts.ask_again()
        assert scripts.to_ask(6.0) == [SCRIPT]
        scripts.put(SCRIPT, "text")
        scripts.want(SCRIPT, 7.0)
        assert scripts.to_ask(60.0) == []
        assert scripts.get(SCRIPT) == "text"

    def test_a_script_that_never_comes_is_given_up(self):
        scripts = ScriptCache()
        scripts.want(SCRIPT, 0.0)
        assert scripts.overdue(GIVE_UP_S - 1) == []
        assert scripts.overdue(GIVE_UP_S) == [SCRIPT]
        assert not scripts.is_waiting

    def test_the_text_used_longest_ago_goes_first(self):
        scripts = ScriptCache(chars_max=10)
        scripts.put(b"a", "12345")
        scripts.put(b"b", "12345")
        scripts.get(b"a")
        scripts.put(b"c", "12345")
        assert [scripts.get(one) is not None for one in (b"a", b"b", b"c")] == [True, False, True]
        scripts.put(b"d", "x" * 100)
        assert scripts.get(b"d") == "x" * 100  # even one that is too large by itself


class TestOutputLog:
    def test_whole_lines_are_logged_and_the_end_is_kept(self):
        output = OutputLog()
        assert output.feed(b"one\ntw", 0.0).lines == ["one"]
        assert output.feed(b"o\n\nthree", 0.0).lines == ["two"]
        assert output.tail() == "one | two |  | three"

    def test_too_many_lines_are_counted_and_long_ones_cut(self):
        output = OutputLog()
        said = output.feed(b"x\n" * (LINES_PER_S + 5), 0.5)
        assert (len(said.lines), said.left_out) == (LINES_PER_S, 0)
        said = output.feed(b"y" * 10_000 + b"\n", 1.0)
        assert (said.lines, said.left_out) == (["y" * LINE_CHARS_MAX], 5)
        assert output.feed(b"z" * 10_000, 2.0).lines == ["z" * LINE_CHARS_MAX]


class TestPages:
    def test_a_task_is_what_pyspiders_callbacks_see(self):
        track = msgspec.msgpack.encode({"save": 1})
        body = {"schedule": {"age": 5}, "fetch": {"save": 2}, "process": {"callback": "page"}}
        one = grant(body=msgspec.msgpack.encode(body), retried=2, lastcrawl_ms=1500, track=track)
        task = task_of(one, INFO, LateConfig({"timeout": 9}))
        assert task == {
            "taskid": "t",
            "project": "demo",
            "url": "http://a/",
            "status": 1,
            "schedule": {"age": 5, "retried": 2},
            "fetch": {"save": 2, "timeout": 9},
            "process": {"callback": "page"},
            "track": {"save": 1},
            "lastcrawltime": 1.5,
            "type": 1,
            "group": "news",
            "project_md5sum": SCRIPT.hex(),
            "project_updatetime": 1.5,
        }

    @pytest.mark.parametrize("body", [b"\xc1", b"\x01", msgspec.msgpack.encode({"fetch": 5}), b"\x91" * 100_000])
    def test_a_body_that_is_no_options_is_a_bad_task(self, body):
        with pytest.raises(BadTask):
            task_of(grant(body=body), INFO, LateConfig({}))

    def test_an_empty_body_and_a_new_task_have_defaults(self):
        task = task_of(grant(body=b""), msgspec.structs.replace(INFO, group=""), LateConfig({}))
        assert (task["fetch"], task["track"], task["lastcrawltime"], task["group"]) == ({}, {}, None, None)

    def test_only_the_newest_word_on_a_version_counts(self):
        projects = Projects(known_max=2)
        projects.learn(INFO)
        newer = msgspec.structs.replace(INFO, crawl_config=b"\xc1 damaged")
        projects.learn(newer)
        assert projects.get(7, SCRIPT) == newer
        assert projects.config(newer).fetch({}) == {}
        for number in (8, 9):
            projects.learn(msgspec.structs.replace(INFO, project=number))
        assert projects.get(7, SCRIPT) is None

    def test_a_reason_is_cut_and_may_hold_anything(self):
        lease = SlaveLeases().take(grant(), INFO)
        for reason in ("x" * 5000, "\ud800" * 5000):
            outcome = msgspec.msgpack.decode(failed(lease, End.FATAL, reason))
            assert outcome[:5] == [7, "t", 3, 1, b"p" * 16]

    @pytest.mark.parametrize(
        ("own", "limit"), [(3, 3.0), (0, 30.0), (None, 30.0), ("x", 30.0), (2.5, 2.5), *ODD_LIMITS]
    )
    def test_a_tasks_own_time_limit_counts(self, own, limit):
        one = msgspec.structs.replace(page(), task={"process": {"process_time_limit": own}})
        assert time_limit_s(one, 30.0) == limit
