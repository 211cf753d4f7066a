"""How a slave joins, is refused, waits, comes back and leaves."""

import os
import shutil
import signal
import sys
import time

import pytest
import structlog
from tests.integration.slave.conftest import SCRIPT
from tests.support.process import Process
from tests.support.scripted_master import step_until
from zspider.broker import messages as m
from zspider.broker.keys import find_token
from zspider.errors import ConfigError
from zspider.roles.slave.daemon import Slave


@pytest.fixture
def events():
    with structlog.testing.capture_logs() as entries:
        yield entries


def names(events):
    return [entry["event"] for entry in events]


def test_hello_says_who_it_is(world):
    world.slave(fetch_concurrency=30)
    (hello,) = world.master.said(m.Hello)
    assert (hello.roles, hello.window, hello.pid) == (["fetcher", "processor"], 90, os.getpid())
    assert (hello.cluster, hello.seen, hello.held) == (None, 0, [])


def test_a_slave_without_a_token_waits_and_joins_when_the_file_appears(world, tmp_path, events):
    late = tmp_path / "late.token"
    settings = world.settings(token_file=str(late))
    slave = Slave(settings, lambda: find_token("join", late, tmp_path, {}))
    world.slaves.append(slave)
    slave.start()
    end = time.monotonic() + 2.5
    world.until(lambda: time.monotonic() > end, "two more looks")
    assert names(events).count("token_missing") == 1
    shutil.copy(tmp_path / "master" / "join.token", late)
    world.until(lambda: slave.master_session.is_joined, "joined")


def test_a_malformed_token_is_the_operators_mistake(world, tmp_path):
    bad = tmp_path / "bad.token"
    bad.touch(mode=0o600)
    bad.write_text("ZS1.oops")
    slave = Slave(world.settings(), lambda: find_token("join", bad, tmp_path, {}))
    world.slaves.append(slave)
    with pytest.raises(ConfigError, match="token"):
        slave.start()


def test_a_refused_token_is_said_once_and_a_good_one_in_its_place_is_used(world, tmp_path, events):
    token = world.master.keys.add_token("join")
    file = tmp_path / "mine.token"
    file.touch(mode=0o600)
    file.write_text(token.text)
    world.master.keys.revoke(token.id)
    slave = Slave(world.settings(), lambda: find_token("join", file, tmp_path, {}))
    world.slaves.append(slave)
    slave.start()
    world.until(lambda: "refused" in names(events), "refused")
    end = time.monotonic() + 2
    world.until(lambda: time.monotonic() > end, "more tries")
    (refused,) = [entry for entry in events if entry["event"] == "refused"]
    assert str(file) in refused["advice"]
    shutil.copy(tmp_path / "master" / "join.token", file)
    world.until(lambda: slave.master_session.is_joined, "joined", deadline_s=6)


def test_a_silent_master_is_said_once_and_the_sockets_are_built_anew(world, events):
    world.master.timing |= {"rebuild_s": 0.5, "quiet_s": 1.0}
    slave = world.slave()
    step_until(lambda: "master_silent" in names(events), [lambda: slave.step(0.05)], "the slave notices", 10)
    step_until(lambda: slave.work.is_quiet, [lambda: slave.step(0.05)], "it is quiet", 10)
    world.until(lambda: slave.master_session.is_joined, "joined again")
    assert names(events).count("master_silent") == 1
    assert names(events)[-1] == "rejoined"


def test_a_slave_with_outcomes_for_an_absent_master_sleeps(world):
    slave = world.slave()
    world.master.acknowledges = False
    script = world.master.project(SCRIPT)
    world.master.grant(script, world.site.url("/hello"))
    world.until(world.master.ended, "an outcome")
    world.master.close()
    step_until(lambda: not slave._link.is_connected, [lambda: slave.step(0.05)], "the slave notices")
    turns = []
    end = time.monotonic() + 1.0
    step_until(lambda: time.monotonic() > end, [slave.step, lambda: turns.append(1)], "a second")
    assert len(turns) < 50
    world.master.open()
    world.until(lambda: len(world.master.outcomes) == 2, "sent again")


def test_a_quiet_slave_begins_nothing_more_of_what_it_holds(world):
    world.master.timing |= {"quiet_s": 0.3}
    slave = world.slave()
    script = world.master.project(SCRIPT)
    world.master.grant(script, world.site.url("/hello"), start_ms=800)
    world.until(lambda: len(slave.work.held) == 1, "held")
    end = time.monotonic() + 1.5
    step_until(lambda: time.monotonic() > end, [lambda: slave.step(0.05)], "the master says nothing")
    assert world.site.paths() == []
    world.until(world.master.ended, "done when the master is back")


def test_a_restarted_master_is_told_everything_that_is_held(world):
    slave = world.slave(window=2500, fetch_concurrency=1)
    script = world.master.project(SCRIPT)
    for _ in range(5):
        world.master.grant(script, *[world.site.url(f"/hello?{i}") for i in range(500)], start_ms=60_000)
    world.until(lambda: len(slave.work.held) == 2500, "held")
    before = len(world.master.said(m.Hello))
    world.master.close()
    world.master.open()
    world.master.epoch = 2
    world.until(lambda: len(world.master.said(m.Hello)) >= before + 3, "three pages of Hello")
    pages = world.master.said(m.Hello)[before : before + 3]
    assert [page.pages_left for page in pages] == [2, 1, 0]
    assert sorted(held.number for page in pages for held in page.held) == list(range(1, 2501))
    assert {page.seen for page in pages} == {2500}
    world.until(lambda: slave.master_session.epoch == 2 and slave.master_session.is_joined, "joined the new master")


def test_a_former_masters_words_are_ignored(world):
    world.master.epoch = 5
    slave = world.slave()
    script = world.master.project(SCRIPT)
    world.master.epoch = 4
    world.master.grant(script, world.site.url("/hello"))
    world.master.epoch = 5
    world.master.tell(m.Script(b"s" * 32, "later"))
    world.master.grant(script, world.site.url("/other"))
    world.until(world.master.ended, "an outcome")
    assert world.site.paths() == ["/other"]
    assert slave.master_session.epoch == 5


def test_another_cluster_gets_nothing_of_what_was_made_for_the_first(world, events):
    slave = world.slave()
    world.master.acknowledges = False
    script = world.master.project(SCRIPT)
    world.master.grant(script, world.site.url("/hello"))
    world.master.grant(script, world.site.url("/hello"), start_ms=60_000)
    world.until(world.master.ended, "an outcome")
    world.master.close()
    world.master.cluster = b"d" * 16
    world.master.outcomes.clear()
    world.master.open()
    world.until(lambda: slave.master_session.cluster == b"d" * 16, "joined the other")
    assert len(slave.work.outbox) == len(slave.work.held) == 0
    (lost,) = [entry for entry in events if entry["event"] == "other_cluster"]
    assert (lost["leases"], lost["outcomes"], lost["log_level"]) == (1, 1, "warning")
    script = world.master.project(SCRIPT)
    (grant,) = world.master.grant(script, world.site.url("/hello"))
    world.until(lambda: grant.taskid in world.master.ended(), "work for the other")


def test_a_clone_draws_a_new_session_drops_its_leases_and_keeps_its_outbox(world):
    slave = world.slave()
    world.master.acknowledges = False
    script = world.master.project(SCRIPT)
    (done,) = world.master.grant(script, world.site.url("/hello"))
    world.master.grant(script, world.site.url("/hello"), start_ms=60_000)
    world.until(world.master.ended, "an outcome")
    old = world.master.session
    world.master.tell(m.NewSession(old))
    world.until(lambda: len(world.master.routes) == 2, "Hello under another session")
    hello = world.master.said(m.Hello)[-1]
    assert hello.session != old
    assert (hello.held, hello.seen) == ([], 0)
    assert len(slave.work.held) == 0
    world.until(lambda: len(world.master.outcomes) == 2, "the outcome again")
    item, outcome = world.master.outcomes[-1]
    assert (item.number, outcome.taskid) == (0, done.taskid)


def test_a_slave_that_has_drawn_a_new_session_draws_no_second_one_when_it_is_told_late_again(world):
    slave = world.slave()
    script = world.master.project(SCRIPT)
    first = world.master.session
    world.master.tell(m.NewSession(first))
    world.until(lambda: len(world.master.routes) == 2, "Hello under another session")
    second = slave.session
    assert world.master.say(second, m.NewSession(first))  # the answer to a Hello that was said before
    del world.master.routes[first]
    (grant,) = world.master.grant(script, world.site.url("/hello"))
    world.until(lambda: grant.taskid in world.master.ended(), "work under the second session")
    assert slave.session == second


def test_a_master_of_another_version_is_refused_once_and_tried_slowly(world, events):
    world.master.answers_hello = False
    slave = world.slave(joins=False)
    world.until(lambda: world.master.said(m.Hello), "Hello")
    peer_route = slave.session
    world.master.answers_hello = True
    world.until(lambda: slave.master_session.is_joined, "joined")
    world.master.say(peer_route, m.Refused("protocol", "install the same version on both"))
    world.until(lambda: "refused" in names(events), "refused")
    hellos = len(world.master.said(m.Hello))
    end = time.monotonic() + 3
    world.until(lambda: time.monotonic() > end, "three seconds")
    assert len(world.master.said(m.Hello)) == hellos


def test_a_full_outbox_announces_a_window_of_nothing(world):
    slave = world.slave(outbox_items=100)
    world.master.acknowledges = False
    script = world.master.project(SCRIPT)
    world.master.grant(script, *[f"data:,{i}" for i in range(90)])
    world.until(lambda: world.master.last_beat.window == 0, "no more, please")
    world.until(lambda: len(world.master.ended()) == 90, "all outcomes")
    world.master.acknowledge()
    world.until(lambda: world.master.last_beat.window == 300, "room again")
    assert len(slave.work.outbox) == 0


def test_sigterm_finishes_what_runs_gives_back_the_rest_and_leaves(world, tmp_path):
    config = tmp_path / "slave.yaml"
    config.write_text(
        f"data_dir: {tmp_path / 'master'}\n"
        f"slave: {{master: '{world.master.address}', processors: 1, fetch_concurrency: 2}}\n"
        "fetch: {private_networks: allow}\n"
    )
    with Process([sys.executable, "-m", "tests.support.slave_main", str(config)]) as process:
        world.until(lambda: world.master.routes, "the slave joins")
        script = world.master.project(SCRIPT)
        slow = world.master.grant(script, *[world.site.url(f"/slow?s=1.5&n={i}") for i in range(2)])
        rest = world.master.grant(script, *[world.site.url(f"/hello?{i}") for i in range(5)])
        world.until(lambda: len(world.site.log) == 2, "two fetches run")
        process.signal(signal.SIGTERM)
        world.until(lambda: world.master.said(m.Leave), "the slave leaves")
        assert process.wait(10) == 0
        family = process.family()
    backs = world.master.said(m.GiveBack)
    assert sorted(number for back in backs for number in back.numbers) == [grant.number for grant in rest]
    assert {back.reason for back in backs} == {""}
    assert sorted(world.master.ended()) == sorted(grant.taskid for grant in slow)
    assert world.master.last_beat.window == 0
    assert family == []


def test_a_second_sigterm_ends_at_once(world, tmp_path):
    config = tmp_path / "slave.yaml"
    config.write_text(
        f"data_dir: {tmp_path / 'master'}\n"
        f"slave: {{master: '{world.master.address}', processors: 1}}\n"
        "fetch: {private_networks: allow}\n"
    )
    with Process([sys.executable, "-m", "tests.support.slave_main", str(config)]) as process:
        world.until(lambda: world.master.routes, "the slave joins")
        script = world.master.project(SCRIPT)
        world.master.grant(script, world.site.url("/slow?s=30"))
        world.until(lambda: len(world.site.log) == 1, "a fetch runs")
        process.signal(signal.SIGTERM)
        process.wait_for("draining")
        process.signal(signal.SIGTERM)
        assert process.wait(5) == 0


def test_a_leaving_slave_waits_for_a_master_that_has_not_heard_its_last_word(world):
    slave = world.slave()
    slave.stop(time.monotonic())
    end = time.monotonic() + 0.7
    step_until(lambda: time.monotonic() > end, [lambda: slave.step(0.01)], "the master reads nothing")
    assert not slave.is_done
    world.until(lambda: slave.is_done, "the slave has left")
    end = time.monotonic() + 0.1
    world.until(lambda: time.monotonic() > end, "the master hears all that was said")
    assert len(world.master.said(m.Leave)) == 1
    assert not world.master.routes, "it has not said Hello again"


def test_a_slave_whose_last_word_was_lost_says_it_again(world):
    slave = world.slave()
    slave.stop(time.monotonic())
    end = time.monotonic() + 0.2
    step_until(lambda: time.monotonic() > end, [lambda: slave.step(0.01)], "it says its last word")
    world.master.close()
    world.master.open()
    world.until(lambda: slave.is_done, "the slave has left")
    assert world.master.said(m.Leave)


def test_a_slave_leaves_a_master_that_is_gone(world):
    slave = world.slave()
    world.master.close()
    slave.stop(time.monotonic())
    step_until(lambda: slave.is_done, [lambda: slave.step(0.01)], "the slave ends")


def test_a_slave_that_has_not_joined_ends_at_once(world):
    world.master.answers_hello = False
    slave = world.slave(joins=False)
    world.until(lambda: world.master.said(m.Hello), "Hello")
    slave.stop(time.monotonic())
    assert slave.is_done
