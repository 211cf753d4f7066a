"""Each field of each word of a slave, with each value that nobody thought of: the master lives, and counts right."""

from types import SimpleNamespace

import msgpack
import msgspec
import pytest
from structlog.testing import capture_logs
from tests.support.coordinator import Writer, opened, slave_messages
from tests.support.storage import Crawl, follow
from zspider.broker import messages as m
from zspider.broker.codec import decode_outcome, decode_to_master, encode_outcome, encode_whole
from zspider.broker.hub import Peer
from zspider.broker.keys import proof
from zspider.delivery import Answer, End, Follow, Message, NewSchedule, Outcome
from zspider.errors import ProtocolError, StorageError
from zspider.json_text import json_fault
from zspider.roles.master.backlog import Backlog
from zspider.task import GET_INFO, ScriptInfo, info_run, is_message, is_reserved

SESSION, PEER = b"s" * 16, Peer(b"route", b"user", "slave", "127.0.0.1")
ODD = [
    None, True, -1, 0, 1, 2**31 - 1, 2**31, 2**53, 2**63, 2**64 - 1, 0.5, float("nan"), float("inf"),
    "", "\x00\x1b[31m\n\u202e", "_on_cronjob", "_on_message:1", "x" * 64, "\U0001f600" * 64, "x" * 8190,
    "\U0001f600" * 8190,
    b"", b"\xff" * 16, b"s" * 16, b"\x91" * 1000, b"\x80" * 32, b"NaN", [], [[]], [None] * 3, [1, 2], ["x"],
    [b"NaN"], {}, {"a": 1},
]  # fmt: skip
HELLO = m.Hello(m.PROTOCOL, SESSION, ["fetcher", "processor"], 10, "host", 1, "0", None, 0, 0)
SAID = [
    HELLO,
    m.Beat(SESSION, 1, 0, [], [], 10),
    m.GiveBack(SESSION, [1], "script", "no such module"),
    m.NeedScript(SESSION, bytes(32)),
    m.NeedProject(SESSION, "shop"),
    m.Took(SESSION, 1, "t", 0, 1, b"p" * 16),
    m.Leave(SESSION),
]
FOLLOW = Follow("next", "http://example.org/next", b"\x83\xa8schedule\x80\xa5fetch\x80\xa7process\x80", age_ms=0)
MESSAGE = Message("shop", "data:,x", msgpack.packb({"fetch": {"save": ["shop", 1]}}))
SCHEDULE = NewSchedule(b"\x80", 1, 2, 0, None, None, False)
ANSWER = Answer(429, 1000, 1000)


class Hub:
    """Sends to nobody."""

    ports = SimpleNamespace(outcomes=1, pages_in=2, pages_out=3)

    def send(self, route, message):
        """Say that it went out, if it can travel."""
        encode_whole(message)
        return True


class CommittingWriter(Writer):
    """Commits at once, too."""

    def __init__(self, crawl):
        super().__init__(crawl.storage)
        self.waiting = Backlog()
        self.crawl = crawl

    def call(self, work, then=lambda _: None, failed=None, project=None):
        """Do it at once, and say what went wrong as the thread does."""
        try:
            done = work(self.storage)
        except StorageError as exc:
            if failed is None:
                raise
            failed(exc)
        else:
            then(done)

    def commit(self, received, then):
        """Write outcomes, and report."""
        if received:
            then(received, self.crawl.commit(*(one.outcome for one in received)))


@pytest.fixture
def crawl(tmp_path):
    with Crawl(f"sqlite:///{tmp_path / 'shop.db'}") as crawl:
        yield crawl


@pytest.fixture
def master(tmp_path, crawl):
    """A coordinator with one project and one slave."""
    coordinator = opened(tmp_path, writer=CommittingWriter(crawl), hub=Hub())
    coordinator.set_project(crawl.project)
    return coordinator


def variants(struct):
    """The fields of a message, packed, each with each odd value."""
    values = msgpack.unpackb(encode_whole(struct), strict_map_key=False)
    for at in range(len(values)):
        for odd in ODD:
            yield [*values[:at], odd, *values[at + 1 :]]


@pytest.mark.parametrize("said", SAID, ids=lambda said: type(said).__name__)
def test_no_field_of_a_slaves_word_ends_or_confuses_the_master(master, crawl, said):
    messages, read, refused = slave_messages(master), 0, 0
    with capture_logs() as logs:
        for values in variants(said):
            messages.handle(PEER, HELLO)
            try:
                message = decode_to_master([msgpack.packb(values)])
            except ProtocolError:
                refused += 1
                continue
            read += 1
            messages.handle(PEER, message)
            master.step(float(read))
            master.core.assert_invariants()
    assert [log for log in logs if log["event"] == "internal_error"] == []
    assert min(read, refused) > 0


def outcome(master, crawl, name, **fields):
    """A success of a task that is there, with something in each field."""
    master.apply(crawl.submit(follow(name)))
    whole = {"follows": [FOLLOW], "results": [b"{}"], "track": b"\x80", "messages": [MESSAGE], "schedule": SCHEDULE}
    return Outcome(crawl.project.id, name, 0, 1, b"", **{"end": End.SUCCESS, "answer": ANSWER, **whole, **fields})


def odd_outcomes(master, crawl, part):
    """Proven outcomes, packed, with one odd field each: of their own, or of a part of theirs."""
    names = Outcome.__struct_fields__
    odd_parts = [one for struct in PARTS[part] for one in variants(struct)]
    for number, value in enumerate(odd_parts or [(at, odd) for at in range(len(names)) for odd in ODD]):
        end = End.FAILURE if part == "schedule" else End.SUCCESS
        made = outcome(master, crawl, f"{part} {number}", end=end)
        made = msgspec.structs.replace(made, proof=proof(master._keys.secret, 1, made.taskid, 0, 1))
        packed = msgpack.unpackb(encode_outcome(made))
        if odd_parts:
            packed[names.index(part)] = [value] if part.endswith("s") else value
        else:
            packed[value[0]] = value[1]
        yield msgpack.packb(packed)


PARTS = {"": [], "follows": [FOLLOW], "messages": [MESSAGE], "schedule": [SCHEDULE], "answer": [ANSWER]}


@pytest.mark.parametrize("part", PARTS)
def test_no_field_of_an_outcome_ends_or_confuses_the_master(master, crawl, part):
    messages, read, refused = slave_messages(master), 0, 0
    messages.handle(PEER, HELLO)
    with capture_logs() as logs:
        for number, packed in enumerate(odd_outcomes(master, crawl, part), 1):
            try:
                decode_outcome(packed)
                read += 1
            except ProtocolError:
                refused += 1
            messages.handle(PEER, m.Outcomes(SESSION, 1, [m.OutcomeItem(number, 0, packed)], number))
    assert [log for log in logs if log["event"] == "internal_error"] == []
    assert min(read, refused) > 0
    master.core.assert_invariants()
    assert crawl.gauges() == crawl.recounted()
    counts = master.core.projects[1].project.counts
    assert {name: counts[name] for name in crawl.gauges()} == crawl.gauges()
    stored = crawl.reader.tasks(1, after=b"", limit=5000)
    assert all(is_message(row.taskid) for row in stored if is_reserved(row.taskid))
    assert not [row for row in stored if is_message(row.taskid) and row.url != MESSAGE.url and part != "messages"]
    assert not [text for results in crawl.results().values() for text in results if json_fault(text.encode())]


@pytest.mark.parametrize("name", ScriptInfo.__struct_fields__)
def test_no_field_of_what_a_script_declares_ends_or_confuses_the_master(master, crawl, name):
    messages, secret, script = slave_messages(master), master._keys.secret, crawl.project.script
    messages.handle(PEER, HELLO)
    run = info_run(script)
    mac = proof(secret, 1, GET_INFO, run, 1)
    with capture_logs() as logs:
        for number, odd in enumerate(ODD, 1):
            master.set_project(crawl.project)  # as if nothing was declared yet
            info = msgpack.packb({name: odd})
            packed = encode_outcome(Outcome(1, GET_INFO, run, 1, mac, End.SUCCESS, info=info))
            messages.handle(PEER, m.Outcomes(SESSION, 1, [m.OutcomeItem(number, 0, packed)], number))
            state = master.core.projects[1]
            assert state.project.info is not None or state.load_failure.error
            master.step(float(number))
            master.core.assert_invariants()
    assert [log for log in logs if log["event"] == "internal_error"] == []
