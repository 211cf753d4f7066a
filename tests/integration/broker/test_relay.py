"""The page relay: whole messages, one receiver each, bounded."""

import threading

from tests.support.wire import Slave, Wire
from zspider.broker import messages as m
from zspider.broker.codec import FRAME_BYTES
from zspider.broker.keys import Token


def page(number: int, size: int = 10) -> m.Page:
    content = bytes([number % 256]) * size
    return m.Page(
        number, 1, "p", "RUNNING", b"h" * 32, "t", 1, 1, b"p" * 16, {"n": number}, {"status_code": 200}, content
    )


def push_all(wire: Wire, fetcher: Slave, pages: list[m.Page]) -> None:
    for one in pages:
        wire.until(lambda one=one: fetcher.link.push_page(one), "there was room")


def test_pages_of_many_frames_pass_whole_and_reach_one_slave_each(wire: Wire, join: Token) -> None:
    fetchers = [wire.with_bulk(join, sends_pages=True) for _ in range(2)]
    processors = [wire.with_bulk(join, takes_pages=True) for _ in range(2)]
    pages = [page(number, size=number * FRAME_BYTES // 3) for number in range(20)]
    push_all(wire, fetchers[0], pages[::2])
    push_all(wire, fetchers[1], pages[1::2])

    def arrived() -> list[m.Page]:
        return sorted((one for slave in processors for one in slave.pages), key=lambda one: one.number)

    wire.until(lambda: len(arrived()) == len(pages), "all pages came", deadline_s=30)
    assert arrived() == pages
    assert all(slave.pages for slave in processors)


def test_a_page_of_the_largest_size_passes(wire: Wire, join: Token) -> None:
    fetcher, processor = wire.with_bulk(join, sends_pages=True), wire.with_bulk(join, takes_pages=True)
    large = page(1, size=46 * 1024 * 1024)
    push_all(wire, fetcher, [large])
    wire.until(lambda: processor.pages == [large], "it came", deadline_s=60)


def test_without_a_taker_the_pushers_wait_and_are_told_of_room(wire: Wire, join: Token) -> None:
    fetcher = wire.with_bulk(join, sends_pages=True)
    wire.until(lambda: fetcher.link.push_page(page(0)), "the relay is up")
    pushed = 1
    quiet = 0
    while quiet < 20:  # the threads between take what they can hold
        if fetcher.link.push_page(page(pushed, FRAME_BYTES)):
            pushed, quiet = pushed + 1, 0
        else:
            fetcher.link.poll(0.02)
            quiet += 1
        assert pushed < 200
    before = fetcher.times_page_room
    processor = wire.with_bulk(join, takes_pages=True)
    wire.until(lambda: len(processor.pages) == pushed, "all pages came", deadline_s=30)
    assert fetcher.times_page_room > before
    assert fetcher.link.push_page(page(pushed))


def test_a_paused_slave_leaves_pages_to_the_others(wire: Wire, join: Token) -> None:
    fetcher = wire.with_bulk(join, sends_pages=True)
    paused = wire.with_bulk(join, takes_pages=True)
    paused.link.pause_pages(True)
    working = wire.with_bulk(join, takes_pages=True)
    pages = [page(number, FRAME_BYTES) for number in range(60)]
    push_all(wire, fetcher, pages)
    wire.until(lambda: len(working.pages) > 30, "the other one works")
    assert paused.pages == []
    paused.link.pause_pages(False)
    wire.until(lambda: len(working.pages) + len(paused.pages) == 60, "what the paused one held is not lost")
    numbers = sorted(one.number for one in working.pages + paused.pages)
    assert numbers == list(range(60))


def test_the_relay_serves_slaves_without_security(open_wire: Wire) -> None:
    fetcher, processor = open_wire.with_bulk(None, sends_pages=True), open_wire.with_bulk(None, takes_pages=True)
    push_all(open_wire, fetcher, [page(1)])
    open_wire.until(lambda: processor.pages == [page(1)], "it came")


def test_slaves_that_come_and_go_do_not_disturb_the_relay(wire: Wire, join: Token) -> None:
    def threads() -> set[threading.Thread]:
        return {one for one in threading.enumerate() if one.name == "relay"}

    before = threads()
    for number in range(5):
        fetcher, processor = wire.with_bulk(join, sends_pages=True), wire.with_bulk(join, takes_pages=True)
        for _ in range(20):  # connected, and no page yet
            wire.step()
        push_all(wire, fetcher, [page(number)])
        wire.until(lambda: processor.pages == [page(number)], "it came")  # noqa: B023 - called before the next turn
        for slave in (fetcher, processor):
            slave.link.close()
        wire.slaves.clear()
    assert threads() == before
