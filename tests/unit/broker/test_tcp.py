"""What the kernel is asked of a connection: any descriptor may stand there, and none is harmed."""

import os
import socket
import tempfile
import time
from contextlib import ExitStack, closing, suppress

import pytest
from zspider.broker.tcp import unanswered_s


def test_descriptors_that_are_no_such_connection_are_answered_and_stay_open() -> None:
    with ExitStack() as stack:
        file = stack.enter_context(tempfile.TemporaryFile())
        reader, writer = os.pipe()
        stack.callback(os.close, reader)
        stack.callback(os.close, writer)
        pair = [stack.enter_context(one) for one in socket.socketpair()]
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        fds = [file.fileno(), reader, writer, *(one.fileno() for one in pair), listener.fileno()]
        assert [unanswered_s(fd, 5571) for fd in [*fds, -1, 10**6, 2**31 - 1]] == [0.0] * (len(fds) + 3)
        for fd in fds:
            os.fstat(fd)


@pytest.mark.parametrize("is_right_port", [True, False])
def test_a_peer_that_does_not_read_answers_all_the_same(is_right_port: bool) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
        with closing(socket.create_connection(("127.0.0.1", port))) as connection:
            connection.setblocking(False)
            with suppress(BlockingIOError):
                while connection.send(bytes(65536)):
                    pass
            end = time.monotonic() + 2.5  # probes of its window are under way
            while time.monotonic() < end:
                assert unanswered_s(connection.fileno(), port + (not is_right_port)) == 0.0
                time.sleep(0.05)
            os.fstat(connection.fileno())
