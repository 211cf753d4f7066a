"""The pipe between a slave and a processor, which is another process."""

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from zspider.broker import messages as m
from zspider.broker.pipe import Pipe
from zspider.errors import ProtocolError

ECHO = """
import sys
from zspider.broker import messages as m
from zspider.broker.pipe import Pipe
pipe = Pipe.inherited(int(sys.argv[1]))
while True:
    message = pipe.receive(20)
    assert message is not None, "nothing came in time"
    if isinstance(message, m.Stop):
        break
    pipe.queue(m.Processed(message.number, False, b""))
    pipe.queue(m.Processed(message.number, True, message.content))
    pipe.flush(wait=True)
pipe.queue(m.Processed(999, False, b""))
pipe.flush(wait=True)
"""


def page(number: int, size: int = 10) -> m.Page:
    return m.Page(number, 1, "p", "RUNNING", b"h" * 32, "t", 1, 1, b"p" * 16, {}, {}, bytes([number % 256]) * size)


@pytest.fixture
def ends() -> Iterator[tuple[Pipe, Pipe]]:
    ours, theirs = Pipe.pair()
    other = Pipe(theirs)
    yield ours, other
    ours.close()
    other.close()


@pytest.fixture
def echo() -> Iterator[tuple[Pipe, subprocess.Popen[bytes]]]:
    ours, theirs = Pipe.pair()
    with theirs:
        child = subprocess.Popen([sys.executable, "-c", ECHO, str(theirs.fileno())], pass_fds=[theirs.fileno()])
    yield ours, child
    child.kill()
    child.wait()
    ours.close()


def take(pipe: Pipe, number: int) -> list[m.AnyMessage]:
    taken = []
    for _ in range(number):
        message = pipe.receive(20)
        assert message is not None, "nothing came in time"
        taken.append(message)
    return taken


def send(pipe: Pipe, *messages: m.AnyMessage) -> None:
    for message in messages:
        pipe.queue(message)
    assert pipe.flush(wait=True)


def test_pages_go_to_a_process_and_come_back_and_its_last_word_is_not_lost(
    echo: tuple[Pipe, subprocess.Popen[bytes]],
) -> None:
    ours, child = echo
    for number in (1, 2):
        large = page(number, size=number * 5_000_000)
        send(ours, large)
        assert take(ours, 2) == [m.Processed(number, False, b""), m.Processed(number, True, large.content)]
    send(ours, m.Stop())
    assert child.wait(20) == 0
    assert take(ours, 1) == [m.Processed(999, False, b"")]  # it was gone before we read
    assert ours.receive(20) is None
    assert ours.is_closed


def test_nothing_there_is_none_after_the_time_given(ends: tuple[Pipe, Pipe]) -> None:
    ours, _ = ends
    assert ours.receive() is None
    began = time.monotonic()
    assert ours.receive(0.2) is None
    assert time.monotonic() - began >= 0.2
    assert not ours.is_closed


def test_an_end_that_does_not_read_holds_nobody_up_and_gets_everything_in_order(ends: tuple[Pipe, Pipe]) -> None:
    ours, other = ends
    sent = [page(number, 200_000) for number in range(20)]
    for one in sent:
        ours.queue(one)
        assert ours.flush()  # returns at once although nobody reads
    assert ours.has_unsent
    taken = []
    while len(taken) < len(sent):
        message = other.receive()
        if message is None:
            assert ours.flush()
        else:
            taken.append(message)
    assert taken == sent
    assert not ours.has_unsent


def test_many_small_messages_arrive_whole_and_in_order(ends: tuple[Pipe, Pipe]) -> None:
    ours, other = ends
    for number in range(1, 1001):
        ours.queue(m.Processed(number, False, b""))
    assert ours.flush()
    assert [one.number for one in take(other, 1000)] == list(range(1, 1001))  # type: ignore[union-attr]


def test_a_killed_process_is_noticed_by_reader_and_writer(echo: tuple[Pipe, subprocess.Popen[bytes]]) -> None:
    ours, child = echo
    send(ours, page(1))
    take(ours, 2)
    child.kill()
    child.wait()
    ours.queue(page(2))
    assert not ours.flush()
    assert not ours.has_unsent
    assert ours.receive(20) is None
    assert ours.is_closed


def test_a_message_of_nonsense_is_an_error_once_and_the_next_one_arrives(ends: tuple[Pipe, Pipe]) -> None:
    ours, other = ends
    other._socket.sendall(b"\x01\0\0\0\0\0\0\0\xc1")
    send(other, m.Processed(1, False, b""))
    with pytest.raises(ProtocolError, match="cannot decode"):
        ours.receive(20)
    assert take(ours, 1) == [m.Processed(1, False, b"")]


def test_a_length_over_the_limit_ends_the_pipe(ends: tuple[Pipe, Pipe]) -> None:
    ours, other = ends
    other._socket.sendall(b"\xff" * 8)
    with pytest.raises(ProtocolError, match="the limit is"):
        ours.receive(20)
    assert ours.is_closed


def test_a_page_over_the_limit_is_refused_before_it_is_sent(ends: tuple[Pipe, Pipe]) -> None:
    ours, _ = ends
    with pytest.raises(ProtocolError, match="the limit is"):
        ours.queue(page(1, 49 * 1024 * 1024))
    assert not ours.has_unsent


def test_closing_twice_is_safe(ends: tuple[Pipe, Pipe]) -> None:
    for pipe in (*ends, *ends):
        pipe.close()
