"""What a script need not submit again: the memory of it, and what `crawl()` makes of that."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.scripts import handler_of, page
from zspider.delivery import End
from zspider.script.collector import LimitError
from zspider.script.known import Known, SeenUrls
from zspider.script.limits import ProcessorLimits
from zspider.script.runner import RunResult, run
from zspider.task import usual_taskid

URL = "http://a.com/x"
_OPERATIONS = st.lists(
    st.tuples(st.integers(1, 2), st.sampled_from([b"1", b"2"]), st.sets(st.integers(0, 30), max_size=6)), max_size=40
)


def taskids(numbers: set[int]) -> dict[str, str]:
    return {f"u{number}": f"t{number}" for number in numbers}


@given(_OPERATIONS)
def test_only_what_was_learned_in_a_generation_is_known_in_it(operations):
    urls, learned = SeenUrls(8), set()
    for project, generation, numbers in operations:
        urls.learn(project, generation, taskids(numbers))
        learned |= {(project, generation, number) for number in numbers}
        for other in (1, 2):
            for of in (b"1", b"2", b""):
                known = urls.of(other, of)
                for number in range(31):
                    taskid = known.get(f"u{number}")
                    assert taskid in (None, f"t{number}")
                    assert taskid is None or (other, of, number) in learned


@given(st.lists(st.integers(0, 100), max_size=100))
def test_the_last_half_of_the_size_is_always_known_and_it_never_holds_much_more_than_the_size(numbers):
    urls = SeenUrls(20)
    for number in numbers:
        urls.learn(1, b"g", taskids({number}))
    known = urls.of(1, b"g")
    latest = list(dict.fromkeys(reversed(numbers)))
    assert all(known.get(f"u{number}") for number in latest[:10])
    assert sum(known.get(f"u{number}") is not None for number in range(101)) <= 20


def test_what_is_asked_for_and_learned_again_stays_known_while_others_are_forgotten():
    urls = SeenUrls(20)
    urls.learn(1, b"g", {"kept": "k", "lost": "l"})
    for number in range(100):
        urls.learn(1, b"g", taskids({number}))
        known = urls.of(1, b"g")
        assert known.get("kept") == "k"
        urls.learn(1, b"g", known.fading)
    assert urls.of(1, b"g").get("lost") is None


def test_nothing_is_learned_where_nothing_is_promised():
    urls = SeenUrls(20)
    urls.learn(1, b"", {URL: "t"})
    assert urls.of(1, b"").get(URL) is None


def test_projects_and_generations_take_no_more_room_than_what_is_known_of_them():
    urls = SeenUrls(20)
    for number in range(10_000):
        urls.learn(number, b"%d" % (number % 7), taskids({number}))
        assert len(urls._young) + len(urls._old) <= 20


# --- crawl()


def ran(body: str, *known: str, **options: object) -> RunResult:
    """Run `go` of a handler, with URLs that have their usual tasks already."""
    loaded = handler_of("def page(self, response): pass\n" + body)
    taskids = {url: usual_taskid(url) for url in known}
    return run(loaded, *page("go"), known=Known(taskids), **options)  # type: ignore[arg-type]


def go(call: str, *lines: str) -> str:
    return "\n".join([*lines, "def go(self, response):", f"    self.save = self.{call}"])


@pytest.mark.parametrize(
    "call",
    [
        f"crawl('{URL}', callback=self.page)",
        f"crawl('{URL}')",
        f"crawl(' {URL} ', callback='page')",
        f"crawl('{URL}', callback=self.page, priority=3, save={{'a': 1}})",
        f"crawl('{URL}', age=-1, itag='', retries=9)",
    ],
)
def test_a_known_url_that_asks_for_nothing_is_counted_and_not_submitted_and_its_task_is_as_always(call):
    known, unknown = ran(go(call), URL), ran(go(call))
    assert (known.end, known.follows, known.repeats, known.follows_count) == (End.SUCCESS, [], 1, 1)
    assert (len(unknown.follows), unknown.repeats, unknown.follows_count) == (1, 0, 1)
    assert known.save == unknown.save
    assert known.save["taskid"] == usual_taskid(URL)


@pytest.mark.parametrize(
    "call",
    [
        f"crawl('{URL}', age=60)",
        f"crawl('{URL}', age=0, callback=self.page)",
        f"crawl('{URL}', itag='v2')",
        f"crawl('{URL}', force_update=True)",
        f"crawl('{URL}', cancel=True)",
        f"crawl('{URL}', taskid='mine')",
        f"crawl('{URL}', params={{'q': 1}})",
        f"crawl('{URL}#part', callback=self.page)",
    ],
)
def test_what_asks_for_something_or_is_another_task_is_submitted(call):
    found = ran(go(call), URL)
    assert (len(found.follows), found.repeats) == (1, 0)


@pytest.mark.parametrize("schedule", ["age=60", "itag='v2'", "force_update=True"])
@pytest.mark.parametrize("place", ["crawl_config = dict({})", "@config({})\ndef page(self, response): pass"])
def test_what_asks_for_something_by_crawl_config_or_config_is_submitted(schedule, place):
    found = ran(go(f"crawl('{URL}', callback=self.page)", place.format(schedule)), URL)
    assert (len(found.follows), found.repeats) == (1, 0)


def test_where_the_script_decides_on_taskids_everything_is_submitted():
    own = "def get_taskid(self, task): return 'own'"
    found = ran(go(f"crawl('{URL}', callback=self.page)", own), URL)
    assert [follow.taskid for follow in found.follows] == ["own"]
    same = "def get_taskid(self, task):\n    task['schedule']['force_update'] = True\n    return usual(task['url'])"
    usual = "from zspider.task import usual_taskid as usual\nusual = staticmethod(usual)"
    found = ran(go(f"crawl('{URL}', callback=self.page)", usual, same.replace("usual(", "self.usual(")), URL)
    assert (len(found.follows), found.repeats) == (1, 0)


def test_a_known_url_counts_once_in_a_run_however_it_is_submitted():
    body = "def go(self, response):\n    for i in range(3):\n"
    body += f"        self.crawl('{URL}', callback=self.page); self.crawl('{URL}', priority=2)\n"
    body += f"        self.crawl('{URL}', force_update=True)"
    found = ran(body, URL)
    assert (found.follows, found.repeats, found.follows_count) == ([], 1, 1)


def test_known_urls_are_under_the_limit_of_a_run_too():
    urls = [f"{URL}{number}" for number in range(5)]
    found = ran(go(f"crawl({urls}, callback=self.page)"), *urls, limits=ProcessorLimits(follows=4))
    assert found.end is End.FATAL
    assert "more than 4 URLs" in found.reason
    with pytest.raises(LimitError):
        raise LimitError(found.reason)
