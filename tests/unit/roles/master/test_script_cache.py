"""The master's script texts: each is read once, however often it is asked for meanwhile."""

from collections.abc import Callable
from typing import Any

from zspider.errors import StorageError
from zspider.roles.master.script_cache import KEPT_MAX, READS_MAX, ScriptCache


class Writer:
    """Keeps what it is to do until the test says so."""

    def __init__(self) -> None:
        self.calls: list[tuple[Callable[[str], None], Callable[[StorageError], None]]] = []

    def call(self, work: Any, then: Callable[[str], None], failed: Callable[[StorageError], None]) -> None:
        self.calls.append((then, failed))


def asked(cache: ScriptCache, script: bytes, who: bytes) -> list[str]:
    heard: list[str] = []
    cache.with_text(script, (who, ""), heard.append)
    return heard


def test_a_slave_that_asks_again_before_the_text_is_read_is_answered_once() -> None:
    writer = Writer()
    cache = ScriptCache(writer)  # type: ignore[arg-type]
    first, again, other = asked(cache, b"h", b"one"), asked(cache, b"h", b"one"), asked(cache, b"h", b"two")
    assert len(writer.calls) == 1
    writer.calls[0][0]("text")
    assert (first, again, other) == ([], ["text"], ["text"])
    assert asked(cache, b"h", b"three") == ["text"]


def test_questions_for_scripts_that_nobody_has_are_bounded_and_forgotten() -> None:
    writer = Writer()
    cache = ScriptCache(writer)  # type: ignore[arg-type]
    for number in range(10 * READS_MAX):
        asked(cache, number.to_bytes(32), b"rogue")
    assert len(writer.calls) == READS_MAX
    for _, failed in writer.calls:
        failed(StorageError("no such script"))
    honest = asked(cache, b"h", b"honest")
    writer.calls[-1][0]("text")
    assert honest == ["text"]


def test_of_too_many_texts_the_oldest_go_and_are_read_again() -> None:
    writer = Writer()
    cache = ScriptCache(writer)  # type: ignore[arg-type]
    for number in range(KEPT_MAX + 50):
        asked(cache, number.to_bytes(32), b"slave")
        writer.calls[-1][0]("text")
    assert len(cache._texts) == KEPT_MAX
    newest, oldest = asked(cache, (KEPT_MAX + 49).to_bytes(32), b"slave"), asked(cache, bytes(32), b"slave")
    assert (newest, oldest) == (["text"], [])
