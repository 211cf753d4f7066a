"""Servers that make much work out of few bytes: bounded in each step, ended with a reason, counted in memory."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.fetching import finish, get, turn
from tests.support.hostile import Hostile
from tests.support.process import Process
from tests.support.site import Site
from zspider.fetch import FetchPool, build_request
from zspider.fetch.gates import REPEATS_MAX
from zspider.fetch.room import GRAIN_BYTES_MAX

STEP_PIECES = 2048 + 256  # what a step may hand over, with one transfer that had waited


class Apart:
    """A `Hostile` in a process of its own: it works hard, and would take turns with the pool."""

    def __init__(self, port: int) -> None:
        self._port = port

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self._port}{path}"


@pytest.fixture(scope="module")
def hostile() -> Iterator[Apart]:
    """Its faults are URLs."""
    argv = [sys.executable, "-m", "tests.support.hostile", "hostile", "127.0.0.1", "0"]
    with Process(argv, name="hostile") as process:
        yield Apart(int(process.wait_for(r"listening (\d+)")[1]))


def start(pool: FetchPool, tag: int, url: str, **options: object) -> None:
    pool.start(build_request(tag, url, options, {}, pool.settings))


def pieces_by_step(pool: FetchPool, steps: int = 60, deadline_s: float = 90.0) -> list[int]:
    """How many pieces of body each of the next steps took in."""
    counts = [0]
    for transfer in list(pool._hops._busy.values()):
        got = transfer.handle.got
        taken = got.on_body

        def counted(piece: bytes, taken=taken) -> int | None:
            counts[-1] += 1
            return taken(piece)

        transfer.handle.easy.setopt(transfer.handle.easy.WRITEFUNCTION, counted)
    end = time.monotonic() + deadline_s
    while len(counts) <= steps:
        assert time.monotonic() < end
        turn(pool)
        counts.append(0)
    return counts


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_body_of_absurdly_small_chunks_ends_with_a_reason(pool, hostile: Apart, size):
    start(pool, 1, hostile.url(f"/chunks?size={size}"), timeout=60)
    fetched = finish(pool, 60)[1]
    assert fetched.result["error"] == "HTTP 599: body in too many pieces of less than 8 bytes"
    assert pool.held_bytes == 0


@pytest.mark.parametrize(
    ("size", "count"), [(1, 18_000), (4, 30_000), (8, 200_000), (12, 200_000), (20, 500_000), (40, 250_000)]
)
def test_an_honest_server_that_flushes_each_line_is_read_to_its_end(pool, hostile: Apart, size, count):
    start(pool, 1, hostile.url(f"/flushed?size={size}&count={count}"), timeout=60)
    fetched = finish(pool, 60)[1]
    assert "error" not in fetched.result
    assert fetched.content == (b"x" * (size - 1) + b"\n") * count


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/lines", "more than 4000 header lines"),
        ("/interim", "more than 4000 header lines"),
        ("/trailers", "more than 4000 header lines"),
        ("/empty-blocks?times=2", "packed more than once"),
        ("/empty-blocks?times=3", "packed more than once"),
        ("/gzip?mb=1&times=2", "packed more than once"),
        ("/gzip?mb=40", "body larger than 33554432 bytes"),
    ],
)
def test_much_work_for_few_bytes_ends_with_a_reason(pool, hostile: Apart, path, words):
    fetched = get(pool, hostile.url(path))
    assert words in fetched.result["error"]
    assert get(pool, hostile.url("/page")).content == b"x" * 100


@pytest.mark.parametrize("path", ["/lines?count=3000", "/interim?count=1500", "/trailers?count=3000"])
def test_many_header_lines_are_no_fault(pool, hostile: Apart, path):
    fetched = get(pool, hostile.url(path))
    assert fetched.content == b"ok"


def test_a_chunk_extension_without_end_has_its_time_and_holds_up_nobody(pool, hostile: Apart, site: Site):
    start(pool, 1, hostile.url("/extension"), timeout=1.5)
    for tag in range(2, 52):
        start(pool, tag, site.url("/hello"))
    answers = finish(pool)
    assert "timed out" in answers[1].result["error"]
    assert all(answers[tag].content == b"hello" for tag in range(2, 52))


@pytest.mark.parametrize("pages", [1, 8, 20])
def test_a_step_takes_a_bounded_number_of_pieces_however_many_send_them(pool, hostile: Apart, pages):
    for tag in range(pages):  # of pieces that are large enough to go on
        start(pool, tag, hostile.url("/chunks?size=10"), timeout=100)
    end = time.monotonic() + 90
    while len(pool._hops._busy) < pages:  # they pass their gate a few at a time
        assert time.monotonic() < end
        assert turn(pool) == []
    counts = pieces_by_step(pool)
    assert max(counts) <= STEP_PIECES + 33 * pages  # the first pieces of each are not held back
    assert sum(counts) > STEP_PIECES


def test_good_pages_pass_pages_of_tiny_chunks(pool, hostile: Apart, site: Site):
    """Each step serves what is ready before it goes on with what waited."""
    for tag in range(20):
        start(pool, tag, hostile.url("/chunks?size=1"), timeout=60)
    for tag in range(100, 200):
        start(pool, tag, site.url("/hello"))
    good, bad_before_last_good = 0, 0
    end = time.monotonic() + 30
    while good < 100:
        assert time.monotonic() < end
        for fetched in turn(pool):
            if fetched.tag >= 100:
                assert fetched.content == b"hello"
                good += 1
            else:
                bad_before_last_good += 1
    assert bad_before_last_good < 20
    assert all("pieces" in fetched.result["error"] for fetched in finish(pool, 60).values())


def test_what_is_received_is_counted_and_given_back(pool, site: Site):
    start(pool, 1, site.url("/drip?n=100000000&s=0.01"), timeout=30)
    turn(pool)
    assert pool.held_bytes == 0
    pool.abort([1])
    start(pool, 2, site.url("/bytes?n=20000000"))
    most = 0
    while pool.in_flight:
        turn(pool)
        most = max(most, pool.held_bytes)
    assert 20_000_000 - 2 * GRAIN_BYTES_MAX <= most <= 20_000_000 + 2 * GRAIN_BYTES_MAX
    assert pool.held_bytes == 0


def test_bodies_wait_while_pages_take_the_memory_and_come_whole_afterwards(pool, site: Site):
    pool.set_pages_bytes(400 << 20)
    for tag in range(10):
        start(pool, tag, site.url("/bytes?n=3000000"))
    start(pool, 10, site.url("/hello"))
    end = time.monotonic() + 20
    while pool.in_flight > 10 or len(pool._hops._paused) < 10:
        assert time.monotonic() < end
        for fetched in turn(pool, 0.05):
            assert fetched.content == b"hello"  # a small page needs no room
    for _ in range(20):
        assert turn(pool, 0.01) == []
    assert pool.held_bytes <= 10 * GRAIN_BYTES_MAX
    assert pool.wait_s() != 0.0
    pool.set_pages_bytes(0)
    assert pool.wait_s() == 0.0
    assert all(fetched.content == b"x" * 3_000_000 for fetched in finish(pool).values())


def test_a_time_limit_holds_for_a_body_that_waits_and_is_not_the_page_s_fault(pool, site: Site):
    pool.set_pages_bytes(400 << 20)
    start(pool, 1, site.url("/bytes?n=3000000"), timeout=1)
    fetched = finish(pool)[1]
    assert "timed out" in fetched.result["error"]
    assert fetched.was_held
    pool.set_pages_bytes(0)
    assert not get(pool, site.url("/silent"), timeout=0.3).was_held


@pytest.mark.parametrize("repeats", [0, REPEATS_MAX], ids=["new", "put off before, for want of room"])
def test_connections_that_were_closed_unannounced_cost_no_page(pool, repeats):
    with Hostile() as hostile:
        for burst in range(8):  # from the second one on it finds more connections that look open than libcurl tries
            for tag in range(20):
                start(pool, 100 * burst + tag, hostile.url("/used-once"))
            for transfer in pool._transfers.values():
                transfer.repeats = repeats
            answers = finish(pool)
            assert {fetched.content for fetched in answers.values()} == {b"x" * 100}
        assert hostile.asked["/used-once"] == 160


def test_a_request_that_is_sent_again_can_be_aborted(pool):
    with Hostile() as hostile:
        again: list[int] = []
        end, tag = time.monotonic() + 60, 0
        while not again:  # until a burst found five connections that had been closed
            assert time.monotonic() < end
            if len(pool._transfers) < 20:
                tag += 1
                start(pool, tag, hostile.url("/used-once"))
            turn(pool)
            again = [tag for tag, transfer in pool._transfers.items() if transfer.repeats]
        pool.abort(again)
        answers = finish(pool)
        assert answers.keys().isdisjoint(again)
        assert {fetched.content for fetched in answers.values()} <= {b"x" * 100}


def test_a_packed_body_without_memory_is_asked_for_again_when_there_is_some(pool):
    with Hostile() as hostile:
        _ask_again(pool, hostile)


def _ask_again(pool: FetchPool, hostile: Hostile) -> None:
    pool.set_pages_bytes(400 << 20)
    start(pool, 1, hostile.url("/gzip?mb=20"))
    end = time.monotonic() + 20
    while not pool._hops._put_off:
        assert time.monotonic() < end
        assert turn(pool) == []
    assert pool.held_bytes == 0
    pool.set_pages_bytes(0)
    assert finish(pool)[1].content == bytes(20 << 20)
    assert hostile.asked["/gzip"] == 2


MEMORY = """
import json, select, sys
from zspider.fetch import FetchPool, build_request
from zspider.settings import FetchSettings

def kib(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name))

pool = FetchPool(FetchSettings(), 100)
before = kib("VmRSS")
for tag in range(40):
    pool.start(build_request(tag, sys.argv[1], {"timeout": 300}, {}, pool.settings))
ended = []
while pool.in_flight:
    select.select([pool.fileno()], [], [], pool.wait_s())
    ended += [fetched.result.get("error", "whole") for fetched in pool.step()]
print(json.dumps([ended, (kib("VmHWM") - before) // 1024]))
"""


@pytest.mark.parametrize("path", ["/page?n=33000000", "/gzip?mb=31", "/chunks?size=1000&count=33000"])
def test_forty_large_bodies_at_once_take_bounded_memory(hostile: Apart, path):
    argv = [sys.executable, "-c", MEMORY, hostile.url(path)]
    ran = subprocess.run(argv, capture_output=True, text=True, timeout=100, cwd=Path(__file__).parents[3], check=True)
    ended, mib = json.loads(ran.stdout)
    assert ended == ["whole"] * 40
    assert mib < 640
