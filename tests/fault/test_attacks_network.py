"""Attacks on the ports, on tokens and by false masters, against real daemons: who works goes on working."""

import re
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
import zmq
from tests.conftest import lacking
from tests.support.addresses import loopback_address
from tests.support.cluster import ARTICLE, FAST, PORT, Cluster, Master, zspiderd
from tests.support.nginx import Nginx
from tests.support.process import eventually
from tests.support.rogue import Rogue
from tests.support.wire import outcomes
from zspider.broker import messages as m
from zspider.broker.channel import Channel
from zspider.broker.codec import FRAME_BYTES_MAX
from zspider.broker.hub import Hub
from zspider.broker.keys import MasterKeys
from zspider.broker.sockets import BULK, Context
from zspider.errors import ExitCode

pytestmark = pytest.mark.timeout(240)
DESCRIPTORS = 256
CONNECTIONS = 2000
MIB = 1024 * 1024
NULL_GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"NULL".ljust(20, b"\0") + bytes(32)
CURVE_GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"CURVE".ljust(20, b"\0") + bytes(32)
OPENINGS = [b"", b"GET / HTTP/1.1\r\n\r\n", bytes.fromhex("16030100c8010000c40303"), NULL_GREETING, CURVE_GREETING]
PORTS = range(PORT, PORT + 4)


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """For the attacker, which is this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS + 500
    if hard != resource.RLIM_INFINITY and hard < wanted:
        lacking(f"{wanted} descriptors, the limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def crawl(master: Master, site: Nginx, project: str, pages: int = 50) -> None:
    master.begin(project, ARTICLE.format(site=site.url, pages=pages))
    master.wait_done(project, pages, 30)


def test_a_flood_of_connections_stops_no_slave_that_is_in_and_keeps_no_other_out_for_long(
    cluster: Cluster, site: Nginx, many_descriptors: None
) -> None:
    master = cluster.master().start()
    limit = (DESCRIPTORS, DESCRIPTORS)
    psutil.Process(master.process.pid).rlimit(psutil.RLIMIT_NOFILE, limit)
    cluster.slave(master).start()
    master.wait_slaves(1)
    crawl(master, site, "before")
    process = psutil.Process(master.process.pid)
    memory = process.memory_info().rss
    master.push("during", ARTICLE.format(site=site.url, pages=200), rate=50, burst=5)
    master.ask("project", "start", "during")
    with ExitStack() as stack:
        for number in range(CONNECTIONS):
            made = stack.enter_context(socket.socket())
            made.setblocking(False)
            made.connect_ex((master.address, PORTS[number % 4]))
        eventually(lambda: process.num_fds() > DESCRIPTORS - 10, 10, "the master has no descriptor left")
        before = site.answered()
        eventually(lambda: site.answered() > before + 100, 15, "the slave that is in goes on")
        master.check_alive()
    second = cluster.slave(master).start()
    master.wait_slaves(2, 20)
    master.wait_done("during", 200, 30)
    second.check_alive()
    assert process.num_fds() < DESCRIPTORS / 2
    assert process.memory_info().rss - memory < 50 * MIB


def test_slow_half_open_and_wrong_connections_on_all_ports_are_cut_and_delay_nobody(
    cluster: Cluster, site: Nginx
) -> None:
    master = cluster.master().start()
    cluster.slave(master).start()
    master.wait_slaves(1)
    with ExitStack() as stack:
        opened = []
        for port in PORTS:
            for opening in OPENINGS * 10:
                made = stack.enter_context(socket.create_connection((master.address, port), timeout=5))
                made.sendall(opening)
                opened.append(made)
        crawl(master, site, "beside")
        deadline = time.monotonic() + 10  # HANDSHAKE_MS, and room
        while opened and time.monotonic() < deadline:
            opened = [made for made in opened if not _trickle(made)]
        assert not opened, "each is cut, even one that sends a byte now and then"
    assert "message_dropped" not in master.log


def _trickle(made: socket.socket) -> bool:
    """Send one more byte; whether the master has hung up."""
    try:
        made.settimeout(0.001)
        made.send(b"\0")
        return made.recv(4096) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


@pytest.fixture
def attacked(cluster: Cluster) -> Master:
    return cluster.master().start()


def test_a_frame_over_the_limit_cuts_its_own_connection_on_every_port(attacked: Master) -> None:
    context: Context = zmq.Context()
    try:
        with Rogue(attacked) as rogue:
            rogue.join()
            for port in PORTS[:3]:  # the fourth only sends
                kind = zmq.DEALER if port == PORT else zmq.PUSH
                channel = Channel(context, kind, f"tcp://{attacked.address}:{port}", rogue.token, BULK, ipv6=False)
                try:
                    _until(channel, lambda channel=channel: channel.is_connected)
                    channel.socket.send(bytes(FRAME_BYTES_MAX + 1))
                    _until(channel, lambda channel=channel: not channel.is_connected or channel.connections > 1)
                finally:
                    channel.close()
            rogue.until(lambda: rogue.heard(m.MasterBeat), "its neighbour is heard")
            attacked.check_alive()
    finally:
        context.term()


def _until(channel: Channel, is_so: object) -> None:
    deadline = time.monotonic() + 10
    while not is_so():  # type: ignore[operator]
        assert time.monotonic() < deadline
        channel.monitor.poll(100)
        channel.read_events()


def test_messages_of_many_frames_are_dropped_whole_and_their_sender_is_ignored_at_last(attacked: Master) -> None:
    with Rogue(attacked) as rogue:
        rogue.join()
        control = rogue.link._control.socket
        for _ in range(150):
            control.send_multipart([b"x"] * 2000)
        eventually(lambda: "peer_ignored" in attacked.log, 10, "the sender is ignored")
        assert "the limits are" in attacked.log
        assert attacked.log.count("message_dropped") < 20
    with Rogue(attacked) as honest:  # with the same token: who is ignored is a connection
        honest.join()
    attacked.check_alive()


# --- tokens ----------------------------------------------------------------------------------------


def test_who_used_a_revoked_token_is_out_within_a_heartbeat_and_his_work_goes_to_others(
    cluster: Cluster, site: Nginx, tmp_path: Path
) -> None:
    slow = {**FAST, "suspect_s": 20.0, "quiet_s": 25.0, "lease_s": 60.0}  # nothing here is by silence
    master = cluster.master(master=slow).start()
    made = tmp_path / "made.token"
    made.touch(mode=0o600)
    made.write_text(zspiderd("token", "add", "--data-dir", master.data_dir).out)
    with Rogue(master, made) as rogue:
        rogue.join(window=500)
        master.begin("article", ARTICLE.format(site=site.url, pages=20))
        rogue.until(lambda: rogue.grants(), "it holds work and does nothing")
        began = time.monotonic()
        assert zspiderd("token", "revoke", rogue.token.id, "--data-dir", master.data_dir).code == 0
        (refused, *_) = rogue.until(lambda: rogue.heard(m.Refused), "refused")
        assert time.monotonic() - began < 5.0
        assert refused.reason == "token"
        assert master.slaves() == []
        cluster.slave(master).start()
        master.wait_done("article", 20, 30)
        granted = len(rogue.grants())
        rogue.link.push(outcomes(b"late", session=rogue.session))
        rogue.beat()
        rogue.until(lambda: len(rogue.heard(m.Refused)) > 1, "each word is refused")
        assert len(rogue.grants()) == granted
    again = Rogue(master, made)
    try:
        again.until(lambda: again.link.refusal == "auth", "refused")
        assert not again.link.is_connected
    finally:
        again.link.close()


@pytest.mark.parametrize(("name", "mode"), [("master.key", 0o644), ("cluster.secret", 0o640), ("tokens.yaml", 0o606)])
def test_a_master_whose_secrets_others_can_read_does_not_start(cluster: Cluster, name: str, mode: int) -> None:
    master = cluster.master()
    MasterKeys(master.data_dir)
    (master.data_dir / name).chmod(mode)
    process = master.spawn()
    assert process.wait() == ExitCode.DENIED == 77
    assert f"{name} has mode {mode:04o}" in process.output
    assert "Traceback" not in process.output


def test_a_slave_whose_token_others_can_read_does_not_start(cluster: Cluster, tmp_path: Path) -> None:
    master = cluster.master()
    MasterKeys(master.data_dir)
    open_file = tmp_path / "open.token"
    open_file.write_text(master.join_token.read_text())
    open_file.chmod(0o644)
    process = cluster.slave(master, token_file=open_file).spawn()
    assert process.wait() == 77
    assert "open.token has mode 0644" in process.output


# --- a false master --------------------------------------------------------------------------------


def test_a_false_master_learns_nothing_and_is_told_of_in_one_line(cluster: Cluster, tmp_path: Path) -> None:
    true, false = cluster.master(), MasterKeys(tmp_path / "false")
    MasterKeys(true.data_dir)
    secret = true.join_token.read_text().strip().rpartition(".")[2]
    with Hub(true.address, PORT, false) as hub:
        slave = cluster.slave(true, slave={"processors": 1}).start()
        received = []
        deadline = time.monotonic() + 3.5  # several tries
        while time.monotonic() < deadline:
            received += hub.poll(0.1)
        slave.check_alive()
        assert received == []
        lines = [line for line in slave.log.splitlines() if "refused" in line]
        assert len(lines) == 1, slave.log
        assert re.search("the token in .* is for another master", lines[0])
        assert secret not in slave.log
    true.start()  # in its place: the slave finds its own master by itself
    true.wait_slaves(1)


# --- secrets ---------------------------------------------------------------------------------------


def test_no_secret_is_in_what_is_printed_or_in_the_command_lines(cluster: Cluster, site: Nginx, tmp_path: Path) -> None:
    canary = "canary7f3a"
    master = cluster.master(settings={"fetch": {"private_networks": "allow", "proxy": None}, "log": {"level": "debug"}})
    keys = MasterKeys(master.data_dir)
    master.env = {"ZSPIDER_ADMIN_TOKEN": _text(master, "admin"), "ZSPIDER_TOKEN": _text(master, "join")}
    master.start()
    slave = cluster.slave(master, settings={"fetch": {"private_networks": "allow"}, "log": {"level": "debug"}})
    slave.env = {
        "ZSPIDER_TOKEN": _text(master, "join"),
        "ZSPIDER_FETCH__PROXY": f"user:{canary}@{loopback_address()}:1",
    }
    slave.start()
    master.wait_slaves(1)
    said = [master.run_verb("project", "push", _script(tmp_path, site), "--name", "demo").text]
    master.ask("project", "start", "demo")
    eventually(lambda: master.counts("demo").get("retry"), 20, "the proxy was tried")
    for words in (("status",), ("token", "list"), ("tasks", "demo"), ("task", "demo", "on_start"), ("results", "demo")):
        where = ("--data-dir", master.data_dir) if words[0] == "token" else ()
        said.append(zspiderd(*words, *where).text if where else master.run_verb(*words).text)
    url = f"mysql+pymysql://crawl:{canary}/x@{loopback_address()}:1/crawl"
    wrong = f"mysql+nothing://crawl:{canary}@host/crawl"
    for address in (url, wrong, f"nonsense {canary}:{canary}@x"):
        said.append(zspiderd("db", "check", "--data-dir", tmp_path / "other", env={"ZSPIDER_DATABASE": address}).text)
    said.append(zspiderd("slave", "--token", f"ZS1.{canary}", "--master", "127.0.0.1:1").text)
    damaged = _text(master, "join")[:-3]
    said.append(zspiderd("slave", "--master", "127.0.0.1:1", env={"ZSPIDER_TOKEN": damaged}).text)
    running = [*master.process.family(), *slave.process.family()]
    said += [" ".join(one.cmdline()) for one in running]
    assert any("zspider.roles.processor" in line for line in said)
    secrets = [canary, damaged.rpartition(".")[2]]
    secrets += [_text(master, kind).rpartition(".")[2] for kind in ("join", "admin")]
    secrets += [keys.curve_secret.decode(), keys.secret.hex(), repr(keys.secret)]
    for text in (*said, master.log, slave.log):
        assert not [secret for secret in secrets if secret in text], text
    stored = [path for path in master.data_dir.iterdir() if path.stat().st_mode & 0o077 and path.is_file()]
    for path in stored:
        content = path.read_bytes()
        assert not [secret for secret in secrets if secret.encode() in content], path


def _text(master: Master, kind: str) -> str:
    return (master.data_dir / f"{kind}.token").read_text().strip()


def _script(directory: Path, site: Nginx) -> Path:
    file = directory / "demo.py"
    file.write_text(ARTICLE.format(site=site.url, pages=1))
    return file
