"""What a holder of the join token may have the master write: `limits.follows` of a run; nothing once it is revoked."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgpack
import msgspec
import pytest
from tests.support.cluster import FAST, Cluster, Master, zspiderd
from tests.support.process import eventually
from tests.support.rogue import Rogue, success
from zspider.broker import messages as m
from zspider.broker.codec import encode_outcome
from zspider.delivery import End, Follow, Grant
from zspider.task import GET_INFO, ScriptInfo

pytestmark = pytest.mark.timeout(120)
WINDOW = 1000
FOLLOWS_MAX = 1000  # of a run, here
PART = 600
BODY = msgpack.packb({"schedule": {}, "fetch": {}, "process": {"callback": "page"}})
SCRIPT = """
from zspider import BaseHandler

class Handler(BaseHandler):
    def on_start(self):
        pass

    def page(self, response):
        pass
"""


def part(grant: Grant, number: int, follows: int) -> bytes:
    """A packed PART of a run, with new URLs."""
    urls = [Follow(f"{number}-{one}", f"http://127.0.0.1:1/{number}-{one}", BODY) for one in range(follows)]
    return encode_outcome(success(grant, end=End.PART, follows=urls))


def start(master: Master, project: str) -> None:
    """Push a project, and start it."""
    master.push(project, f"# {project}{SCRIPT}")  # each text is asked what it declares
    master.ask("project", "start", project)


def on_start_of(project: str, slave: Rogue) -> Grant:
    """Answer as a slave what the project's script declares, until its on_start is granted."""
    answered = 0
    while True:
        grants = slave.until(lambda seen=answered: slave.grants(project)[seen:], f"a grant of {project}")
        answered += len(grants)
        for grant in grants:
            if grant.taskid != GET_INFO:
                return grant
            slave.report(success(grant, info=msgspec.msgpack.encode(ScriptInfo())))


@contextmanager
def locked(master: Master) -> Iterator[None]:
    """Nobody else can write to the master's database meanwhile."""
    with closing(sqlite3.connect(master.data_dir / "zspider.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def test_a_run_that_submits_more_than_it_may_ends_and_the_rest_is_not_written(tmp_path: Path) -> None:
    with Cluster(tmp_path) as cluster:
        master = cluster.master(settings={"limits": {"follows": FOLLOWS_MAX}}).start()
        with Rogue(master) as rogue:
            start(master, "many")
            grant = on_start_of("many", rogue.join(window=WINDOW))
            for number in range(5):
                ids = rogue.push(part(grant, number, PART))
                rogue.until(lambda ids=ids: rogue.is_acknowledged(ids), "each is acknowledged, so that it ends")
            rogue.until(lambda: rogue.heard(m.Release), "the slave is told that the run is over")
            rogue.report(success(grant, results=[b"{}"]))
        counts = master.counts("many")
        assert counts["new"] == 1 + PART  # on_start, and the one part that was within the limit
        assert counts.get("results", 0) == 0
        assert f"more than {FOLLOWS_MAX} URLs submitted by one run" in master.ask("task", "many", "on_start")


def test_what_waits_when_its_token_is_revoked_is_not_written_and_others_do_it(tmp_path: Path) -> None:
    with Cluster(tmp_path) as cluster:
        master = cluster.master(master={**FAST, "slaves_max": 5}).start()
        other_token = tmp_path / "other.token"
        other_token.write_text(zspiderd("token", "add", "--data-dir", master.data_dir).out)
        with Rogue(master) as rogue, Rogue(master, other_token) as other:
            start(master, "flood")
            flood = on_start_of("flood", rogue.join(window=WINDOW))
            start(master, "done")
            done = on_start_of("done", rogue)
            with locked(master):
                rogue.push(part(flood, 0, PART))
                eventually(lambda: "database_away" in master.log, 30, "the first group waits for the database")
                rogue.push(*(part(flood, number, PART) for number in range(1, 11)))
                rogue.push(encode_outcome(success(done, results=[b'{"by": "the revoked"}'])))
                rogue.until(rogue.has_arrived, "all of it has arrived")
                assert zspiderd("token", "revoke", rogue.token.id, "--data-dir", master.data_dir).code == 0
                eventually(lambda: not master.slaves(), 30, "the slave is expelled")
            eventually(lambda: "outcomes_dropped" in master.log, 30, "what waited is dropped")
            again = on_start_of("done", other.join(window=WINDOW))
            other.report(success(again, results=[b'{"by": "another"}']))
        assert [row["result"] for row in master.results("done")] == [{"by": "another"}]
        assert master.counts("flood")["new"] == 1 + PART  # on_start, and what was being committed then


def test_what_a_slave_sent_too_early_is_asked_for_as_soon_as_there_is_room(tmp_path: Path) -> None:
    large = {"title": "x" * 60_000}
    with Cluster(tmp_path) as cluster:
        master = cluster.master().start()
        with Rogue(master) as rogue:
            start(master, "early")
            grant = on_start_of("early", rogue.join(window=WINDOW))
            with locked(master):
                ids = []
                for first in range(0, 160, 10):  # 9.6 MB in all
                    results = [msgspec.json.encode({**large, "number": number}) for number in range(first, first + 10)]
                    ids += rogue.push(encode_outcome(success(grant, end=End.PART, results=results)))
                rogue.until(rogue.has_arrived, "all of it has arrived")
            again = rogue.until(
                lambda: [one for ack in rogue.heard(m.Ack) for one in ack.again], "it is asked for more"
            )
            assert sorted(again) == ids[-len(again) :]
            taken = [one for one in ids if one not in again]
            rogue.until(lambda: rogue.is_acknowledged(taken), "all others are written")
