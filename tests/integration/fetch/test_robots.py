"""robots.txt on request: asked once per origin, obeyed, and never in the way of other pages."""

import time

import pytest
from tests.support.fetching import finish, get
from tests.support.site import Site
from zspider.fetch import build_request

FORBIDDING = "User-agent: *\nDisallow: /hello\n"


def test_what_robots_txt_forbids_is_a_403_and_is_not_asked_for(pool, site: Site):
    site.robots = (200, FORBIDDING)
    fetched = get(pool, site.url("/hello"), robots_txt=True)
    assert fetched.result["status_code"] == 403
    assert fetched.result["error"] == "HTTP 403: Disallowed by robots.txt"
    assert get(pool, site.url("/echo"), robots_txt=True).result["status_code"] == 200
    assert site.paths() == ["/robots.txt", "/echo"]


def test_without_the_option_nobody_asks(pool, site: Site):
    site.robots = (200, FORBIDDING)
    assert get(pool, site.url("/hello")).content == b"hello"
    assert site.paths() == ["/hello"]


@pytest.mark.parametrize(("status", "allowed"), [(404, True), (403, True), (500, False), (503, False)])
def test_a_missing_file_allows_all_and_a_broken_server_nothing(pool, site: Site, status, allowed):
    site.robots = (status, FORBIDDING)
    fetched = get(pool, site.url("/hello"), robots_txt=True)
    assert fetched.result["status_code"] == (200 if allowed else 403)


def test_redirects_to_the_file_are_followed_and_a_loop_is_no_file(pool, site: Site):
    site.robots = (302, "/echo")
    assert get(pool, site.url("/hello"), robots_txt=True).content == b"hello"
    with Site(robots=(302, "/redirect-loop")) as looping:
        assert get(pool, looping.url("/hello"), robots_txt=True).content == b"hello"


def test_the_rules_are_those_for_the_agent_of_the_task(pool, site: Site):
    site.robots = (200, "User-agent: goodbot\nAllow: /\n\nUser-agent: *\nDisallow: /\n")
    good = {"headers": {"User-Agent": "GoodBot/1.0"}}
    assert get(pool, site.url("/hello"), robots_txt=True, **good).content == b"hello"
    assert get(pool, site.url("/hello"), robots_txt=True).result["status_code"] == 403


def test_many_pages_of_a_site_ask_once_and_pages_of_others_do_not_wait(pool, site: Site):
    site.robots_delay_s = 1.0
    for tag in range(50):
        pool.start(build_request(tag, site.url(f"/bytes?n={tag}"), {"robots_txt": True}, {}, pool.settings))
    pool.start(build_request(50, site.url("/hello"), {}, {}, pool.settings))
    assert pool.in_flight == 51
    answers = finish(pool)
    assert all(len(answers[tag].content) == tag for tag in range(50))
    assert answers[50].result["time"] < 0.9 < answers[0].result["time"]
    assert site.paths().count("/robots.txt") == 1


def test_waiting_for_robots_txt_counts_in_the_time_limit(pool, site: Site):
    site.robots_delay_s = 5.0
    started = time.monotonic()
    fetched = get(pool, site.url("/hello"), robots_txt=True, timeout=0.5)
    assert fetched.result["error"].startswith("HTTP 599: Operation timed out after 5")
    assert time.monotonic() - started < 3


def test_every_hop_asks_the_site_it_leads_to(pool, site: Site):
    with Site("127.0.0.2", robots=(200, FORBIDDING)) as other:
        fetched = get(pool, site.url(f"/redirect?to={other.url('/hello')}"), robots_txt=True)
        assert fetched.result["status_code"] == 403
        assert other.paths() == ["/robots.txt"]


def test_a_request_that_waits_for_robots_txt_can_be_aborted(pool, site: Site):
    site.robots_delay_s = 0.3
    for tag in (1, 2):
        pool.start(build_request(tag, site.url("/hello"), {"robots_txt": True}, {}, pool.settings))
    pool.abort([1])
    assert set(finish(pool)) == {2}


def test_the_crawl_delay_of_the_pages_own_host_is_told_for_those_who_ask_for_robots(pool, site: Site):
    site.robots = (200, "User-agent: *\nCrawl-delay: 2.5\nDisallow: /private\n")
    with Site(robots=(200, "User-agent: *\nCrawl-delay: 9\n")) as other:
        told = get(pool, site.url("/hello"), robots_txt=True).result
        assert told["crawl_delay"] == 2.5
        assert "crawl_delay" not in get(pool, site.url("/hello")).result
        redirected = get(pool, site.url(f"/redirect?to={other.url('/hello')}"), robots_txt=True).result
        assert redirected["crawl_delay"] == 2.5
        assert other.paths() == ["/robots.txt", "/hello"]


@pytest.mark.parametrize("said", ["nan", "inf", "-1", "0", "soon", ""])
def test_a_crawl_delay_that_is_none_is_not_told(pool, site: Site, said):
    site.robots = (200, f"User-agent: *\nCrawl-delay: {said}\n")
    assert "crawl_delay" not in get(pool, site.url("/hello"), robots_txt=True).result
