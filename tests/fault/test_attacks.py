"""Who has a join token is in, and may do a slave's work only: whatever else it says changes nothing and ends nobody."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgpack
import msgspec
import psutil
import pytest
from tests.support.cluster import FAST, PORT, Cluster, Master, zspiderd
from tests.support.process import eventually
from tests.support.rogue import Rogue, success
from zspider.broker import messages as m
from zspider.broker.address import Address
from zspider.broker.admin import AdminClient
from zspider.broker.codec import encode_outcome
from zspider.broker.token import Token
from zspider.delivery import TRACK_BYTES_MAX, Follow, Grant, Message
from zspider.errors import DeniedError
from zspider.task import CRONJOB, GET_INFO, ScriptInfo

pytestmark = pytest.mark.timeout(300)
SLAVES_MAX = 5
WINDOW = 1000  # room for what other tests have left
MIB = 1024 * 1024
SCRIPT = """
from zspider import BaseHandler

class Handler(BaseHandler):
    def on_start(self):
        self.crawl("{url}", callback=self.page)

    def page(self, response):
        return {{"url": response.url}}
"""


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Master]:
    """One for all attacks: what one of them leaves behind is the next one's trouble."""
    with Cluster(tmp_path_factory.mktemp("attacked")) as cluster:
        yield cluster.master(master={**FAST, "slaves_max": SLAVES_MAX}).start()


@pytest.fixture(scope="module")
def admin(master: Master) -> Iterator[AdminClient]:
    """Verbs without a process for each."""
    token = Token.parse((master.data_dir / "admin.token").read_text())
    with AdminClient(Address(master.address, PORT), token) as client:
        yield client


@pytest.fixture
def rogue(master: Master, admin: AdminClient) -> Iterator[Rogue]:
    """It ends, and the master must be there, and have room for slaves, when it has."""
    with Rogue(master) as rogue:
        yield rogue
        rogue.link.send(m.Leave(rogue.session))
        master.check_alive()
        eventually(lambda: not admin.call("status")["slaves"], 15, "the master has forgotten the rogue")


def info_grant(master: Master, rogue: Rogue, project: str) -> Grant:
    """Make a project, and have its first task, that of learning what it declares, granted to the rogue."""
    master.push(project, f"# {project}{SCRIPT.format(url='http://127.0.0.1:1/')}")  # each text is asked once
    (grant,) = rogue.until(lambda: rogue.grants(project), "a grant")
    assert grant.taskid == GET_INFO
    return grant


def start_grant(master: Master, rogue: Rogue, project: str) -> Grant:
    """The same, and its on_start."""
    return started(master, rogue, project, info_grant(master, rogue, project), ScriptInfo())


def script_grant(master: Master, rogue: Rogue, project: str, script: str) -> Grant:
    """Push a script that wants to know when nothing is left, and have its on_start granted to the rogue."""
    master.push(project, script)
    rogue.join(window=WINDOW)
    (asked,) = rogue.until(lambda: rogue.grants(project), "a grant")
    return started(master, rogue, project, asked, ScriptInfo(has_on_finished=True))


def started(master: Master, rogue: Rogue, project: str, asked: Grant, info: ScriptInfo) -> Grant:
    """Answer what the script declares, start the project, which asks it again, and return its on_start."""
    declares = msgspec.msgpack.encode(info)
    rogue.report(success(asked, info=declares))
    master.ask("project", "start", project)
    (again,) = rogue.until(lambda: rogue.grants(project)[1:2], "asked anew")
    rogue.report(success(again, info=declares))
    return rogue.until(lambda: rogue.grants(project)[2:], "on_start")[0]


# --- verbs -----------------------------------------------------------------------------------------


def test_a_join_token_gets_no_verb_through(master: Master, rogue: Rogue) -> None:
    with AdminClient(Address(master.address, PORT), rogue.token, 5.0) as client:
        for verb in ("status", "project.push", "project.rm", "results", "task", "no such verb"):
            with pytest.raises(DeniedError, match="cannot administer"):
                client.call(verb, project="x", name="x", text="x")
    assert master.status()["projects"] is not None


# --- outcomes --------------------------------------------------------------------------------------


def test_nothing_is_reported_that_was_not_granted(master: Master, rogue: Rogue) -> None:
    grant = start_grant(master, rogue.join(window=WINDOW), "forged")
    other = start_grant(master, rogue, "victim")
    result = [b'{"forged": true}']
    forged = [
        success(grant, proof=bytes(16), results=result),
        success(grant, proof=b"", results=result),
        success(grant, run=grant.run + 1, results=result),
        success(grant, attempt=grant.attempt + 1, results=result),
        success(grant, taskid="another", results=result),
        success(grant, project=other.project, results=result),  # another project's task of the same name
        success(grant, taskid=other.taskid, project=other.project, results=result),
    ]
    rogue.report(*forged)  # acknowledged, so that an honest slave would not send them for ever
    assert master.results("forged") == master.results("victim") == []
    assert "no valid proof" in master.log
    rogue.report(success(grant, results=[b'{"honest": true}']))
    assert [row["result"] for row in master.results("forged")] == [{"honest": True}]


def test_a_replayed_outcome_changes_nothing_even_from_another_session(master: Master, rogue: Rogue) -> None:
    grant = start_grant(master, rogue.join(window=WINDOW), "replayed")
    follow = Follow("t", "http://127.0.0.1:1/a", msgpack.packb({"schedule": {}, "fetch": {}, "process": {}}))
    rogue.report(success(grant, results=[b'{"n": 1}'], follows=[follow]))
    before = master.counts("replayed")
    again = success(grant, results=[b'{"n": 2}'], follows=[msgspec.structs.replace(follow, taskid="u")])
    rogue.report(*[again] * 100)
    with Rogue(master) as second:
        second.join().report(again)
        second.link.send(m.Leave(second.session))
    assert [row["result"] for row in master.results("replayed")] == [{"n": 1}]
    after = master.counts("replayed")
    assert {name: after[name] for name in ("done", "results", "new")} == {
        name: before[name] for name in ("done", "results", "new")
    }


def test_names_of_the_masters_own_are_refused_and_the_project_ends_as_always(master: Master, rogue: Rogue) -> None:
    script = SCRIPT.format(url="data:,x") + "\n    def on_finished(self):\n        return {'finished': True}\n"
    grant = script_grant(master, rogue, "reserved", script)
    body = msgpack.packb({"schedule": {}, "fetch": {}, "process": {"callback": "page"}})
    names = [GET_INFO, CRONJOB, "_on_message:", "_on_message:0123456789abcdef"]
    rogue.report(success(grant, follows=[Follow(name, "data:,x", body) for name in names]))
    finished = rogue.until(lambda: rogue.grants("reserved")[3:], "on_finished, as nothing is left")
    assert [one.taskid for one in finished] == ["on_finished"]
    assert master.counts("reserved")["dropped:reserved taskid"] == len(names)
    assert "warning follows_reserved project=reserved dropped=4 " in master.log
    assert "no task" in master.run_verb("task", "reserved", CRONJOB).err


def test_a_message_has_its_sender_from_the_master(master: Master, rogue: Rogue) -> None:
    sender, receiver = start_grant(master, rogue.join(window=WINDOW), "sends"), start_grant(master, rogue, "receives")
    rogue.report(success(receiver))
    forged = {"fetch": {"save": ["trusted", {"order": 66}]}, "process": {"callback": "secret_method"}}
    messages = [Message("receives", "data:,a", msgpack.packb(forged)), Message("receives", "data:,b", b"\xc1")]
    rogue.report(success(sender, messages=messages))
    (grant,) = rogue.until(lambda: rogue.grants("receives")[3:], "the message")
    options = msgpack.unpackb(grant.body)
    assert (options["fetch"], options["process"]) == ({"save": ["sends", {"order": 66}]}, {"callback": "_on_message"})
    assert "messages_unreadable" in master.log


def test_a_slave_reads_any_projects_script_and_no_other_text(master: Master, rogue: Rogue) -> None:
    master.push("secrets", "PASSWORD = 'hunter2'\n" + SCRIPT.format(url="data:,x"))
    master.ask("project", "stop", "secrets")
    rogue.join()
    for name in ("secrets", "no_such", "../admin.token", "\x00"):
        rogue.say(m.NeedProject(rogue.session, name))
    told = rogue.until(lambda: len(rogue.heard(m.ProjectScript)) == 4 and rogue.heard(m.ProjectScript), "answers")
    texts = {one.name: one.text for one in told}
    assert "hunter2" in texts.pop("secrets")  # as docs/security.md says: any script may import it
    assert set(texts.values()) == {""}


@pytest.mark.parametrize("bad", [b"not json {", b"\x00\x01", b'{"price": NaN}', b'"\x1b[2J"', b'"\xff"'])
def test_a_result_that_is_no_json_fails_its_run_alone(master: Master, rogue: Rogue, bad: bytes) -> None:
    name = f"unread{bad.hex()[:8]}"
    grant, other = start_grant(master, rogue.join(window=WINDOW), name), start_grant(master, rogue, f"{name}b")
    rogue.report(success(grant, results=[b'{"n": 1}', bad]), success(other, results=[b'{"n": 2}']))
    assert master.results(name) == []
    assert [row["result"] for row in master.results(f"{name}b")] == [{"n": 2}]
    assert "its slave sent a result that is no JSON (number 2): " in master.ask("task", name, "on_start")


def test_outcomes_of_a_session_that_never_said_hello_are_not_heard(master: Master, rogue: Rogue) -> None:
    grant = start_grant(master, rogue.join(window=WINDOW), "strange")
    ids = rogue.push(encode_outcome(success(grant, results=[b"{}"])), session=os.urandom(16))
    rogue.report(success(grant, results=[b'{"heard": true}']))
    assert not set(ids) & {one for ack in rogue.heard(m.Ack) for one in ack.ids}
    assert [row["result"] for row in master.results("strange")] == [{"heard": True}]


def test_a_session_belongs_to_the_token_that_made_it(master: Master, rogue: Rogue, tmp_path: Path) -> None:
    grant = start_grant(master, rogue.join(window=WINDOW), "mine")
    stolen = tmp_path / "other.token"
    stolen.write_text(zspiderd("token", "add", "--data-dir", master.data_dir).out)
    with Rogue(master, stolen) as thief:
        thief.session = rogue.session
        thief.link.send(m.Leave(rogue.session))
        thief.link.send(m.GiveBack(rogue.session, [grant.number]))
        thief.link.send(m.Beat(rogue.session, 1, 2**53, [], [], 10))
        thief.until(lambda: len(thief.heard(m.Unknown)) == 3, "each is answered: say Hello")
        assert not thief.grants()
    rogue.report(success(grant, results=[b'{"still": "mine"}']))
    assert [row["result"] for row in master.results("mine")] == [{"still": "mine"}]


HOSTILE = {
    "bad text": b"\x81\xa5error\xa1\xff",
    "depth": b"\x81\xa1x" + b"\x91" * 100_000,
    "another type": b"\x93\x01\x02\x03",
    "nothing": b"",
    "cut short": b"\x81\xa5err",
    "bad numbers": msgpack.packb({"retry_delay": {"": float("nan"), "0": float("inf")}, "min_tick": 2**31 - 1}),
}


def test_what_a_script_is_said_to_declare_ends_no_master(master: Master, rogue: Rogue) -> None:
    rogue.join(window=WINDOW)
    for number, declared in enumerate(HOSTILE.values()):
        rogue.report(success(info_grant(master, rogue, f"info_{number}"), info=declared))
        master.check_alive()


def test_options_that_nobody_can_read_are_shown_as_such(master: Master, rogue: Rogue, admin: AdminClient) -> None:
    bodies = {f"t{number}": packed for number, packed in enumerate(HOSTILE.values())}
    follows = [Follow(taskid, f"http://127.0.0.1:1/{taskid}", packed) for taskid, packed in bodies.items()]
    grant = start_grant(master, rogue.join(window=WINDOW), "bodies")
    rogue.report(success(grant, follows=follows, track=HOSTILE["depth"]))
    for taskid in (*bodies, "on_start"):
        assert admin.call("task", project="bodies", taskid=taskid)["taskid"] == taskid
    assert "unreadable" in admin.call("task", project="bodies", taskid="t0")
    assert "unreadable" in admin.call("task", project="bodies", taskid="on_start")["track"]


def test_giant_outcomes_are_refused_whole(master: Master, rogue: Rogue) -> None:
    grant = start_grant(master, rogue.join(window=WINDOW), "giant")
    rogue.report(success(grant, track=bytes(TRACK_BYTES_MAX + 1)), success(grant, reason="x" * 2001))
    many = success(grant, results=[b"{}"] * 20_001)
    rogue.report(many)
    assert master.counts("giant").get("results", 0) == 0
    rogue.report(success(grant, results=[b"{}"]))
    assert master.counts("giant")["results"] == 1


def test_a_log_cannot_be_filled_with_refusals(master: Master, rogue: Rogue) -> None:
    grant = start_grant(master, rogue.join(window=WINDOW), "noisy")
    before = len(master.log)
    for _ in range(20):
        rogue.report(*[success(grant, proof=bytes(16))] * 1000)
    for _ in range(2000):
        rogue.link.send(m.NeedScript(rogue.session, os.urandom(32)))
        rogue.link.send(m.Hello(999, os.urandom(16), ["fetcher"], 1, "x" * 256, 1, "9", None, 0, 0))
    rogue.until(lambda: any(one.reason == "protocol" for one in rogue.heard(m.Refused)), "refused")
    assert len(master.log) - before < 30_000


# --- numbers ---------------------------------------------------------------------------------------


def test_sessions_are_bounded_by_slaves_max_and_the_rest_is_told(master: Master, rogue: Rogue) -> None:
    sessions = [os.urandom(16) for _ in range(500)]
    for session in sessions:
        greeting = m.Hello(m.PROTOCOL, session, ["fetcher"], 0, "many", 1, "0", None, 0, 0, [], 0)
        rogue.say(greeting)
        rogue.step()  # what is not read is not said to it
    rogue.say(m.Leave(os.urandom(16)))
    rogue.until(lambda: rogue.heard(m.Unknown), "it has read all before")
    rogue.until(lambda: len(rogue.heard(m.Welcome)) == SLAVES_MAX, "the first are let in")
    assert {one.reason for one in rogue.heard(m.Refused)} == {"busy"}
    assert len(rogue.heard(m.Welcome)) == len(master.slaves()) == SLAVES_MAX
    for session in sessions:
        rogue.say(m.Leave(session))


def test_hellos_that_never_end_take_no_memory(master: Master, rogue: Rogue) -> None:
    rogue.join()
    held = [m.Held(number, 1, "t" * 64, 1, 1, bytes(16), False) for number in range(1000)]
    process = psutil.Process(master.process.pid)
    sizes = []
    for _ in range(4):
        for number in range(150):
            session = os.urandom(16)
            greeting = m.Hello(m.PROTOCOL, session, ["fetcher"], 0, "h", 1, "0", None, 0, 0, held, number + 1)
            rogue.say(greeting)
        unknown = len(rogue.heard(m.Unknown))
        rogue.say(m.Leave(session))
        rogue.until(lambda unknown=unknown: len(rogue.heard(m.Unknown)) > unknown, "it has read all before")
        sizes.append(process.memory_info().rss)
    assert max(sizes[1:]) - sizes[0] < 20 * MIB, sizes
    assert len(master.slaves()) == 1


def test_a_slave_that_never_reads_holds_nobody_up(master: Master, rogue: Rogue) -> None:
    text = SCRIPT.format(url="http://127.0.0.1:1/") + "# " + "x" * 200_000
    master.push("large", text)
    rogue.join(window=WINDOW)
    (grant,) = rogue.until(lambda: rogue.grants("large"), "a grant")
    process = psutil.Process(master.process.pid)
    before = process.memory_info().rss
    for _ in range(5000):
        rogue.link.send(m.NeedScript(rogue.session, grant.script))  # and nothing is received
    began = time.monotonic()
    assert master.status()
    assert time.monotonic() - began < 5
    assert process.memory_info().rss - before < 256 * 200_000 * 2  # the high-water mark: 256 messages
    rogue.until(lambda: rogue.heard(m.Script), "it reads at last")
