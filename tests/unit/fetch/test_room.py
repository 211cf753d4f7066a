"""How much may be received: what is counted, who waits, and that one always comes to its end."""

from hypothesis import given
from hypothesis import strategies as st
from zspider.fetch.room import FIRST_BYTES_MAX, GRAIN_BYTES_MIN, GROW_BYTES_MAX, UNCOUNTED_BYTES, Room, Share

BODY_BYTES = 32 << 20


def test_what_is_not_counted_is_bounded_by_how_many_there_may_be():
    for concurrency in (1, 10, 100, 1000, 5000):
        room = Room(concurrency)
        assert concurrency * room.grain <= max(UNCOUNTED_BYTES, concurrency * GRAIN_BYTES_MIN)


def test_only_the_first_grows_above_the_bound_and_not_while_pages_fill_the_memory():
    room = Room(100)
    first, second = Share(), Share()
    room.grow(first, GROW_BYTES_MAX)
    room.grow(second, 1)
    assert room.may_grow(first, 1)
    assert not room.may_grow(second, 1)
    room.pages_bytes = FIRST_BYTES_MAX
    assert not room.may_grow(first, 1)


@given(st.lists(st.integers(0, 19), min_size=1, max_size=400))
def test_whatever_the_order_all_come_to_their_end_within_the_bound(turns):
    """Twenty bodies of the largest size; whoever may not grow waits, a whole one is let go of."""
    room = Room(20)
    shares = [Share() for _ in range(20)]
    done: set[int] = set()
    most = 0
    for turn in [*turns, *list(range(20)) * 2000]:
        if turn in done or not room.may_grow(shares[turn], 1 << 20):
            continue
        room.grow(shares[turn], 1 << 20)
        most = max(most, room.held_bytes)
        if shares[turn].counted >= BODY_BYTES:
            room.give_back(shares[turn])
            done.add(turn)
    assert len(done) == 20
    assert most <= GROW_BYTES_MAX + BODY_BYTES
    assert room.held_bytes == 0
