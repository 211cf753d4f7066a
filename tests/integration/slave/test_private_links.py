"""Links of public pages do not lead into private networks, from the page that has them to the task they become."""

import msgspec
import pytest
from tests.integration.slave.conftest import World
from tests.support.scripted_master import PROJECT
from tests.support.site import Site
from zspider.broker import messages as m
from zspider.broker.keys import proof
from zspider.delivery import Grant
from zspider.task import GUARDED, MESSAGE_PREFIX

SCRIPT = """
from zspider import BaseHandler

class Handler(BaseHandler):
    def on_start(self):
        self.crawl("http://10.0.0.1/", callback=self.page)

    def page(self, response):
        self.crawl("http://10.0.0.1/", callback=self.page)
        self.crawl("http://10.0.0.2/", callback=self.page, headers={"X": "1"})
        self.send_message("demo", "http://10.0.0.3/")

    def on_message(self, project, msg):
        self.crawl(msg)
"""


@pytest.fixture
def public(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make 127.0.0.2 count as an address of the public Internet, which loopback has none of."""
    monkeypatch.setattr("zspider.fetch.handle.is_private", lambda address: address != "127.0.0.2")


def submitted(world: World) -> tuple[list[bool], list[bool]]:
    """Whether each URL, and each message, that the latest outcome brought is guarded."""
    _, outcome = world.master.outcomes[-1]
    assert outcome.reason == ""
    bodies = [one.body for one in outcome.follows], [one.body for one in outcome.messages]
    follows, messages = ([msgspec.msgpack.decode(body).get(GUARDED, False) for body in some] for some in bodies)
    return follows, messages


def crawl(world: World, script: bytes, url: str, **options: object) -> tuple[list[bool], list[bool]]:
    before = len(world.master.outcomes)
    world.master.grant(script, url, **options)
    world.until(lambda: len(world.master.outcomes) > before, "an outcome")
    return submitted(world)


def test_what_a_public_page_leads_to_is_guarded_and_what_the_operator_names_is_not(world: World, public: None) -> None:
    world.slave(fetch={"private_networks": "deny"})
    script = world.master.project(SCRIPT)
    with Site("127.0.0.2") as outside:
        assert crawl(world, script, "data:,on_start", callback="on_start") == ([False], [])
        assert crawl(world, script, world.site.url("/hello")) == ([False, False], [False])
        assert crawl(world, script, outside.url("/hello")) == ([True, True], [True])
        assert crawl(world, script, world.site.url(f"/redirect?to={outside.url('/hello')}")) == ([True, True], [True])
        assert crawl(world, script, world.site.url("/hello")) == ([False, False], [False])


def test_a_guarded_task_reaches_no_private_address_and_passes_its_guard_on(world: World, public: None) -> None:
    world.slave(fetch={"private_networks": "deny"})
    text = SCRIPT.replace("import", "import catch_status_code_error,").replace(
        "    def page", "    @catch_status_code_error\n    def page"
    )
    script = world.master.project(text)
    before = world.site.connections
    world.master.grant(script, world.site.url("/hello"), guarded=True)
    world.until(world.master.outcomes.__len__, "an outcome")
    assert submitted(world) == ([True, True], [True])
    track = msgspec.msgpack.decode(world.master.outcomes[-1][1].track or b"")
    assert "private address 127.0.0.1 refused" in track["fetch"]["error"]
    assert world.site.connections == before


def test_a_message_that_a_public_page_led_to_passes_the_guard_on(world: World, public: None) -> None:
    world.slave(fetch={"private_networks": "deny"})
    script = world.master.project(SCRIPT)
    for number, guarded in enumerate((True, False), 1):
        options = {
            "schedule": {},
            "fetch": {"save": ["demo", "http://10.0.0.3/"]},
            "process": {"callback": "_on_message"},
        }
        body = msgspec.msgpack.encode(options | ({GUARDED: True} if guarded else {}))
        taskid = f"{MESSAGE_PREFIX}{number}"
        sign = proof(world.master.keys.secret, PROJECT, taskid, 1, 1)
        grant = Grant(number, PROJECT, taskid, "data:,on_message", 1, 1, sign, script, body)
        world.master.tell(m.Grants(world.master.epoch, [grant]))
        world.until(lambda number=number: len(world.master.outcomes) == number, "an outcome")
        assert submitted(world) == ([guarded], [])


def test_where_private_networks_are_allowed_nothing_is_guarded(world: World, public: None) -> None:
    world.slave(fetch={"private_networks": "allow"})
    script = world.master.project(SCRIPT)
    with Site("127.0.0.2") as outside:
        assert crawl(world, script, outside.url("/hello")) == ([False, False], [False])
