"""Servers that take few connections: opened gradually, used again, and no page lost for it."""

import socket
from collections.abc import Iterator

import pytest
from tests.support.fetching import fetch_pool, finish
from tests.support.hostile import SmallServer
from tests.support.site import Site
from zspider.fetch import FetchPool, build_request
from zspider.fetch.gates import OPEN_AT_FIRST, SILENT_S

PAGES = 300


def ask(pool: FetchPool, url: str, pages: int) -> None:
    for tag in range(pages):
        pool.start(build_request(tag, f"{url}/{tag}", {}, {}, pool.settings))


@pytest.mark.parametrize(
    ("protocol", "accept_s"), [("HTTP/1.1", 0.0), ("HTTP/1.0", 0.0), ("HTTP/1.1", 0.05), ("HTTP/1.0", 0.01)]
)
def test_every_page_comes_from_a_server_with_room_for_five(protocol, accept_s):
    with SmallServer(protocol=protocol, accept_s=accept_s) as server, fetch_pool() as pool:
        ask(pool, server.url(""), PAGES)
        answers = finish(pool, 60)
        assert {fetched.result["status_code"] for fetched in answers.values()} == {200}
        assert max(fetched.result["time"] for fetched in answers.values()) < 30  # nobody was left to the time limit
        assert len(set(server.asked)) == PAGES
        assert len(server.asked) <= PAGES + 20  # what nobody had read was asked for again, and hardly anything else


def test_a_server_for_one_at_a_time_that_keeps_its_connection_is_crawled_through_it():
    """The other connections look accepted and are never read: their requests go over the one that works."""
    with SmallServer(is_threaded=False) as server, fetch_pool() as pool:
        ask(pool, server.url(""), 50)
        answers = finish(pool, SILENT_S + 30)
        assert {fetched.result["status_code"] for fetched in answers.values()} == {200}
        assert server.accepted == 1


class Counting:
    """A server that never accepts; how many connections wait in its queue is seen from outside."""

    def __init__(self) -> None:
        self.server = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self.server.getsockname()[1]
        self.taken: list[socket.socket] = []

    def take(self) -> int:
        """Accept all that are there; how many have come so far."""
        self.server.setblocking(False)
        while True:
            try:
                self.taken.append(self.server.accept()[0])
            except BlockingIOError:
                return len(self.taken)

    def close(self) -> None:
        for one in (self.server, *self.taken):
            one.close()


@pytest.fixture
def counting() -> Iterator[Counting]:
    """Closed at the end."""
    made = Counting()
    yield made
    made.close()


def test_no_more_than_a_few_connections_are_opened_at_once(counting: Counting):
    with fetch_pool() as pool:
        ask(pool, f"http://127.0.0.1:{counting.port}", 100)
        pool.step()
        assert counting.take() == OPEN_AT_FIRST
        assert pool.in_flight == 100


def test_a_silent_server_is_asked_by_all_in_the_end_and_each_has_its_own_time(counting: Counting):
    with fetch_pool() as pool:
        for tag in range(40):
            url = f"http://127.0.0.1:{counting.port}/{tag}"
            pool.start(build_request(tag, url, {"timeout": 2}, {}, pool.settings))
        answers = finish(pool, 30)
        assert counting.take() == 40
        assert all("timed out after 2" in fetched.result["error"] for fetched in answers.values())
        assert all(1.9 < fetched.result["time"] < 6 for fetched in answers.values())


def test_requests_that_wait_can_be_aborted_and_the_rest_goes_on(site: Site):
    with fetch_pool() as pool:
        ask(pool, site.url("/status/200?n="), 60)
        pool.abort(range(0, 60, 2))
        answers = finish(pool)
        assert sorted(answers) == list(range(1, 60, 2))
        assert pool.wait_s() is None or pool.wait_s() > 0
