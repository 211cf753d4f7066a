"""What a processor takes for known: never more than the master has said."""

from hashlib import sha256

import msgspec
from zspider.broker.messages import Page
from zspider.delivery import Follow
from zspider.roles.processor.repeats import UNCONFIRMED_MAX, Repeats
from zspider.task import usual_taskid

URL = "http://a.com/x"


def page(number: int, generation: bytes = b"g", project: int = 1) -> Page:
    digest = sha256(b"").digest()
    return Page(number, project, "demo", "RUNNING", digest, "t", 0, 1, b"p" * 16, {}, {}, b"", generation=generation)


def follow(url: str = URL, **fields: object) -> Follow:
    return msgspec.structs.replace(Follow(usual_taskid(url), url, b"\x80"), **fields)


def run(repeats: Repeats, page: Page, *follows: Follow) -> None:
    repeats.ran(page, repeats.known(page), follows)


def knows(repeats: Repeats, url: str = URL, **of: object) -> bool:
    return repeats.known(page(99, **of)).get(url) == usual_taskid(url)  # type: ignore[arg-type]


def test_what_a_page_has_submitted_is_known_when_the_master_has_confirmed_it():
    repeats = Repeats()
    run(repeats, page(1), follow())
    run(repeats, page(2), follow(URL + "2"))
    assert not knows(repeats)
    repeats.confirmed([1, 7])
    assert knows(repeats)
    assert not knows(repeats, URL + "2")
    assert not knows(repeats, project=2)
    assert not knows(repeats, generation=b"h")


def test_only_what_asks_for_nothing_under_its_usual_taskid_is_learned():
    repeats = Repeats()
    others = [follow(force_update=True), follow(cancel=True), follow(itag='"1"'), follow(age_ms=0), follow(taskid="t")]
    run(repeats, page(1), *others)
    repeats.confirmed([1])
    assert not knows(repeats)


def test_of_a_page_that_runs_twice_the_first_time_counts_as_it_does_for_its_slave():
    repeats = Repeats()
    run(repeats, page(1), follow())
    run(repeats, page(1), follow(URL + "2"))
    repeats.confirmed([1])
    assert knows(repeats)
    assert not knows(repeats, URL + "2")


def test_what_is_never_confirmed_takes_no_room_and_is_not_mistaken_for_another_run():
    repeats = Repeats()
    for number in range(1, UNCONFIRMED_MAX + 2):
        run(repeats, page(number), follow(f"{URL}{number}"))
        assert len(repeats._unconfirmed) <= UNCONFIRMED_MAX
    run(repeats, page(1), follow())  # again, after its first run was forgotten
    repeats.confirmed([1])
    assert not knows(repeats)
    run(repeats, page(UNCONFIRMED_MAX + 2), follow())
    repeats.confirmed([UNCONFIRMED_MAX + 2])
    assert knows(repeats)


def test_a_new_generation_begins_with_nothing():
    repeats = Repeats()
    run(repeats, page(1), follow())
    run(repeats, page(2, b"h"), follow(URL + "2"))
    repeats.confirmed([1, 2])
    assert knows(repeats, URL + "2", generation=b"h")
    assert not knows(repeats, generation=b"h")
    assert not knows(repeats, URL + "2", generation=b"g")
