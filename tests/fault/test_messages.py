"""Slaves and masters die while messages are on their way: each is heard, and what it led to is there once."""

import pytest
from tests.support.cluster import Cluster
from tests.support.process import eventually

pytestmark = pytest.mark.timeout(300)
MESSAGES = 300

TELLS = f"""\
import time
from zspider import BaseHandler


class Handler(BaseHandler):
    def on_start(self):
        for n in range(1, {MESSAGES} + 1):
            self.send_message(self.project_name, n, url=f"data:,{{n}}")

    def on_message(self, project, msg):
        time.sleep(0.01)
        self.send_message("counts", msg, url=f"data:,{{msg}}")
        return msg
"""

COUNTS = """\
from zspider import BaseHandler


class Handler(BaseHandler):
    def on_message(self, project, msg):
        return [project, msg]
"""


@pytest.mark.parametrize("victim", ["slave", "master"])
def test_messages_in_flight_are_heard_once_when_somebody_is_killed(cluster: Cluster, victim: str) -> None:
    master = cluster.master().start()
    slave = cluster.slave(master).start()
    master.wait_slaves(1)
    master.push("counts", COUNTS)
    master.begin("tells", TELLS)
    eventually(lambda: master.counts("tells").get("messages", 0) > MESSAGES // 5, 40, "messages are being heard")
    if victim == "slave":
        slave.kill()
    else:
        master.kill()
    before = 0 if victim == "master" else master.counts("tells")["messages"]
    assert before < MESSAGES, "it was over before: the test shows nothing"
    (cluster.slave(master) if victim == "slave" else master).start()
    for project in ("tells", "counts"):
        counts = master.wait_done(project, MESSAGES)
        assert counts["messages"] == MESSAGES, counts  # none twice
        assert counts.get("failed", 0) == counts["waiting"] == 0
    assert {row["url"]: row["result"] for row in master.results("counts")} == {
        f"data:,{n}": ["tells", n] for n in range(1, MESSAGES + 1)
    }
