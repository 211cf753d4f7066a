"""Who is ignored for sending garbage, and how often that is said."""

from zspider.broker.log_limit import LogLimit
from zspider.broker.offenders import BAD_MAX, SOURCES_MAX, Offenders


def test_a_source_is_ignored_for_a_minute_after_too_many_bad_messages() -> None:
    offenders = Offenders()
    assert not any(offenders.note(b"rogue", 5.0) for _ in range(BAD_MAX))
    assert not offenders.is_ignored(b"rogue", 5.0)
    assert offenders.note(b"rogue", 6.0)
    assert offenders.is_ignored(b"rogue", 65.9)
    assert not offenders.is_ignored(b"rogue", 66.0)
    assert not offenders.is_ignored(b"neighbour", 7.0)


def test_a_few_bad_messages_now_and_then_are_forgiven() -> None:
    offenders = Offenders()
    assert not any(offenders.note(b"clumsy", second) for second in range(0, 10_000, 1))


def test_a_source_that_goes_on_is_ignored_again() -> None:
    offenders = Offenders()
    for now in (0.0, 100.0):
        assert [offenders.note(b"rogue", now) for _ in range(BAD_MAX + 1)].count(True) == 1
        assert offenders.is_ignored(b"rogue", now + 1)


def test_memory_for_offenders_is_bounded() -> None:
    offenders = Offenders()
    for number in range(3 * SOURCES_MAX):
        offenders.note(number.to_bytes(4), 1.0)
    assert len(offenders._records) == SOURCES_MAX


def test_a_kind_is_logged_once_a_second_with_what_was_held_back() -> None:
    log_limit = LogLimit()
    assert log_limit.may_log("malformed", 1.0) == 0
    assert log_limit.may_log("revoked", 1.0) == 0
    assert [log_limit.may_log("malformed", 1.5) for _ in range(3)] == [None] * 3
    assert log_limit.may_log("malformed", 2.0) == 3
    assert log_limit.may_log("malformed", 3.0) == 0


def test_some_lines_of_a_kind_may_come_at_once_and_then_one_a_second() -> None:
    log_limit = LogLimit(burst=3)
    assert [log_limit.may_log("joined", 1.0) for _ in range(5)] == [0, 0, 0, None, None]
    assert [log_limit.may_log("joined", now) for now in (1.9, 2.0, 2.1, 3.0)] == [None, 3, None, 1]
    assert [log_limit.may_log("joined", 60.0) for _ in range(4)] == [0, 0, 0, None]
