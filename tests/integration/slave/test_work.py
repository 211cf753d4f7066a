"""Granted tasks are fetched, processed, pushed and acknowledged."""

import time

import msgspec
from tests.integration.slave.conftest import SCRIPT
from tests.support.scripted_master import PROJECT
from zspider.broker import messages as m
from zspider.broker.keys import proof
from zspider.delivery import End
from zspider.task import MESSAGE_PREFIX, message_options, usual_taskid


def test_granted_tasks_are_crawled_and_the_outbox_is_empty_once_they_are_acknowledged(world):
    slave = world.slave()
    script = world.master.project(SCRIPT)
    urls = [world.site.url(f"/hello?{i}") for i in range(20)]
    grants = world.master.grant(script, *urls, save={"a": 1})
    world.until(lambda: len(world.master.ended()) == 20, "20 outcomes")
    assert sorted(result["url"] for result in world.master.results()) == sorted(urls)
    assert all(result["save"] == {"a": 1} for result in world.master.results())
    assert {outcome.proof for outcome in world.master.ended().values()} == {grant.proof for grant in grants}
    world.until(lambda: len(slave.work.outbox) == 0, "acknowledged")
    assert len(slave.work.held) == 0
    assert slave.work.endings.processed == slave.work.fetching.fetched == 20
    assert len(world.master.said(m.NeedScript)) == 1


def test_what_is_not_acknowledged_is_named_as_outbox_and_sent_again_to_a_new_master(world):
    slave = world.slave()
    world.master.acknowledges = False
    script = world.master.project(SCRIPT)
    (grant,) = world.master.grant(script, world.site.url("/hello"))
    world.until(world.master.ended, "an outcome")
    world.until(lambda: world.master.last_beat.outbox == [grant.number], "named in a heartbeat")
    assert world.master.last_beat.held == []
    world.master.close()
    world.master.open()
    world.master.epoch = 2
    world.until(lambda: len(world.master.outcomes) == 2, "sent again")
    hello = world.master.said(m.Hello)[-1]
    assert hello.cluster == world.master.cluster
    assert [(held.number, held.taskid, held.in_outbox) for held in hello.held] == [(grant.number, grant.taskid, True)]
    world.master.acknowledge()
    world.until(lambda: len(slave.work.outbox) == 0 and len(slave.work.held) == 0, "acknowledged")
    assert world.site.paths() == ["/hello"]


def test_crawl_config_fills_gaps_when_the_task_starts(world):
    world.slave()
    config = {"headers": {"X-Config": "1", "X-Both": "c"}, "timeout": 5}
    script = world.master.project(SCRIPT.replace("crawl_config = {}", f"crawl_config = {config}"))
    world.master.grant(script, world.site.url("/hello"), headers={"X-Both": "own"})
    world.until(world.master.ended, "an outcome")
    (asked,) = world.site.log
    assert (asked.header("X-Config"), asked.header("X-Both")) == ("1", "own")


def test_what_the_script_declares_here_counts_and_not_what_another_slave_has_told(world):
    world.slave()
    told = {"proxy": "127.0.0.1:9", "headers": {"X-Told": "1"}, "validate_cert": False}
    script = SCRIPT.replace("crawl_config = {}", "crawl_config = {'headers': {'X-Mine': '1'}}")
    script = world.master.project(script, told)
    world.master.grant(script, *map(world.site.url, ["/hello", "/slow?s=0"]))
    world.until(lambda: len(world.master.ended()) == 2, "both outcomes")
    assert {(asked.header("X-Mine"), asked.header("X-Told")) for asked in world.site.log} == {("1", None)}
    assert len(world.site.log) == 2


HEARS = (
    SCRIPT + "\n    def on_message(self, project, msg):\n"
    "        return [project, msg, self.task['taskid'], self.response.status_code]\n"
)


def message_grant(master, script, url, start_ms=0):
    body = msgspec.msgpack.encode(message_options("other", {"n": 1}))
    grant = master._grant(url, script, body, start_ms)
    taskid = MESSAGE_PREFIX + grant.taskid
    return msgspec.structs.replace(grant, taskid=taskid, proof=proof(master.keys.secret, PROJECT, taskid, 1, 1))


def test_a_message_is_heard_without_a_fetch_whatever_the_rate_says(world):
    slave = world.slave()
    script = world.master.project(HEARS, rate=0.001)
    url = world.site.url("/hello#7")
    grants = [message_grant(world.master, script, url) for _ in range(3)]
    world.master.tell(m.Grants(1, grants))
    world.until(lambda: len(world.master.ended()) == 3, "outcomes")
    assert set(world.master.ended()) == {grant.taskid for grant in grants}
    assert world.master.results() == [["other", {"n": 1}, usual_taskid(url), 200]] * 3
    assert world.site.paths() == []
    assert (slave.work.fetching.fetched, slave.work.endings.processed) == (0, 3)
    world.until(lambda: not len(slave.work.held), "acknowledged")


def test_a_message_goes_through_the_relay(world):
    world.slave(roles=("fetcher",))
    script = world.master.project(HEARS)
    session = world.master.session
    world.slave(roles=("processor",))
    grant = message_grant(world.master, script, world.site.url("/hello"))
    world.master.say(session, m.Grants(1, [grant]))
    world.until(world.master.ended, "an outcome")
    assert world.master.results()[0][:2] == ["other", {"n": 1}]
    assert world.site.paths() == []


def test_messages_that_a_script_sends_are_in_its_outcome(world):
    world.slave()
    script = world.master.project(SCRIPT + "\n    def tell(self): self.send_message('other', [1], url='x')\n")
    world.master.grant(script, world.site.url("/hello"), callback="tell")
    world.until(world.master.ended, "an outcome")
    ((_, outcome),) = world.master.outcomes
    assert [(one.receiver, one.url) for one in outcome.messages] == [("other", "x")]


def test_a_failed_fetch_is_for_the_script_to_see(world):
    world.slave()
    script = world.master.project(SCRIPT)
    world.master.grant(script, "http://127.0.0.1:9/", callback="any_status")
    world.master.grant(script, world.site.url("/status/404"), "gopher://nobody/", callback="page")
    world.until(lambda: len(world.master.ended()) == 3, "outcomes")
    ends = sorted(outcome.end for outcome in world.master.ended().values())
    assert ends == [End.SUCCESS, End.FAILURE, End.FAILURE]
    assert [result["status"] for result in world.master.results()] == [599]


def test_options_that_nobody_can_read_fail_for_good(world):
    slave = world.slave()
    script = world.master.project(SCRIPT)
    grant = world.master._grant(world.site.url("/hello"), script, b"\xc1 no msgpack", 0)
    world.master.tell(m.Grants(1, [grant]))
    world.until(world.master.ended, "an outcome")
    (outcome,) = world.master.ended().values()
    assert outcome.end is End.FATAL
    assert "options cannot be read" in outcome.reason
    world.until(lambda: not len(slave.work.held), "acknowledged")


def test_the_end_of_a_page_with_many_links_comes_after_its_parts_are_acknowledged(world):
    world.slave()
    world.master.acknowledges = False
    script = world.master.project(
        SCRIPT + "\n    def many(self, response):\n"
        "        for i in range(1200): self.crawl(f'http://example.com/{i}', callback=self.page)\n"
    )
    world.master.grant(script, world.site.url("/hello"), callback="many")
    world.until(lambda: len(world.master.outcomes) >= 2, "parts")
    world.until(lambda: len(world.master.said(m.Beat)) > 8, "heartbeats of two seconds")
    assert {outcome.end for _, outcome in world.master.outcomes} == {End.PART}
    world.master.acknowledges = True
    world.master.acknowledge()
    world.until(world.master.ended, "the end")
    assert sum(len(outcome.follows) for _, outcome in world.master.outcomes) == 1200


def test_an_outcome_over_the_limit_becomes_a_failure_that_says_so(world):
    world.slave(limits={"outcome_bytes": 50_000})
    script = world.master.project(SCRIPT + "\n    def large(self, response):\n        return {'x': 'y' * 60_000}\n")
    world.master.grant(script, world.site.url("/hello"), callback="large")
    world.until(world.master.ended, "an outcome")
    (outcome,) = world.master.ended().values()
    assert outcome.end is End.FATAL
    assert "50000" in outcome.reason
    assert outcome.results == []


def test_recalled_and_released_leases_are_not_begun(world):
    slave = world.slave()
    script = world.master.project(SCRIPT)
    late = world.master.grant(script, *[world.site.url(f"/hello?{i}") for i in range(3)], start_ms=60_000)
    world.until(lambda: len(slave.work.held) == 3, "held")
    world.master.tell(m.Recall([late[0].number, 999]))
    world.until(lambda: world.master.said(m.GiveBack), "given back")
    assert [back.numbers for back in world.master.said(m.GiveBack)] == [[late[0].number]]
    world.master.tell(m.Release([late[1].number]))
    world.until(lambda: len(slave.work.held) == 1, "released")
    assert world.site.paths() == []


def test_tasks_start_at_their_offsets(world):
    world.slave()
    script = world.master.project(SCRIPT)
    body = msgspec.msgpack.encode({"process": {"callback": "page"}})
    grants = [world.master._grant(world.site.url(f"/hello?{i}"), script, body, 300 * i) for i in range(3)]
    world.master.tell(m.Grants(1, grants))
    times = []
    for count in (1, 2, 3):
        world.until(lambda count=count: len(world.site.log) == count, f"{count} requests")
        times.append(time.monotonic())
    assert times[1] - times[0] > 0.25
    assert times[2] - times[1] > 0.25


def test_a_page_goes_through_the_relay_from_a_fetcher_to_a_processor(world):
    fetcher = world.slave(roles=("fetcher",))
    script = world.master.project(SCRIPT)
    session = world.master.session
    processor = world.slave(roles=("processor",))
    digest = script
    body = msgspec.msgpack.encode({"fetch": {"save": 5}, "process": {"callback": "page"}})
    grant = world.master._grant(world.site.url("/hello"), digest, body, 0)
    world.master.say(session, m.Grants(1, [grant]))
    world.until(lambda: world.master.said(m.Took), "the page was taken")
    world.master.say(session, m.Taken([grant.number]))
    world.until(world.master.ended, "an outcome")
    ((item, outcome),) = world.master.outcomes
    assert (item.number, outcome.taskid, outcome.end) == (0, grant.taskid, End.SUCCESS)
    world.until(lambda: len(processor.work.held) == 0, "acknowledged")
    assert fetcher.work.held.page_bytes > 0  # kept until the master says that it is committed
    world.master.say(session, m.Resend([grant.number]))
    world.until(lambda: len(world.master.outcomes) == 2, "processed again")
    world.master.say(session, m.Release([grant.number]))
    world.until(lambda: len(fetcher.work.held) == 0, "released")
    assert world.site.paths() == ["/hello"]


def test_a_page_whose_taker_the_master_has_forgotten_is_sent_again(world, monkeypatch):
    monkeypatch.setattr("zspider.roles.slave.relay_outbox.RESEND_S", 0.3)
    fetcher = world.slave(roles=("fetcher",))
    script = world.master.project(SCRIPT)
    session = world.master.session
    processor = world.slave(roles=("processor",))
    body = msgspec.msgpack.encode({"process": {"callback": "page"}})
    grant = world.master._grant(world.site.url("/hello"), script, body, 0)
    world.master.say(session, m.Grants(1, [grant]))
    world.until(lambda: world.master.said(m.Took), "the page was taken")
    world.master.say(session, m.Taken([grant.number]))
    world.until(world.master.ended, "an outcome")
    world.until(lambda: len(processor.work.held) == 0, "acknowledged")
    hellos = len(world.master.said(m.Hello))
    world.master.say(session, m.Unknown(1))  # as when its leases had run out while it was cut off
    world.until(lambda: len(world.master.said(m.Hello)) > hellos, "it joins again")
    world.until(lambda: len(world.master.outcomes) == 2, "processed again")
    world.master.say(session, m.Release([grant.number]))
    world.until(lambda: len(fetcher.work.held) == 0, "released")
    assert world.site.paths() == ["/hello"]
