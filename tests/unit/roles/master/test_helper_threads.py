"""Helper threads and the writer: what a job raises is that job's answer, and what ends a thread is seen at once."""

import threading

import pytest
from zspider.errors import InternalError, StorageError, ZspiderError
from zspider.roles.master.helper_threads import HelperThreads
from zspider.roles.master.reader_thread import ReaderThread
from zspider.roles.master.writer_thread import WriterThread
from zspider.settings import StorageSettings

DEADLINE_S = 20.0


class Bell:
    """Stands for the hub's wake-up."""

    def __init__(self):
        self._rung = threading.Event()

    def ring(self):
        self._rung.set()

    def wait(self):
        assert self._rung.wait(DEADLINE_S), "nothing came back"
        self._rung.clear()


class Resource:
    closed = 0

    def close(self):
        type(self).closed += 1


def refuse(_):
    raise StorageError("no")


def break_down(_):
    raise RecursionError("nobody foresaw this")


@pytest.fixture
def bell():
    return Bell()


def test_a_read_that_raises_anything_is_answered_and_the_thread_goes_on(bell):
    Resource.closed = 0
    reader = ReaderThread(Resource, bell.ring)
    reader.start()
    answers = []
    for work in (refuse, break_down, lambda _: "well"):
        reader.call(work, answers.append, answers.append)
        bell.wait()
        reader.finished()
    assert [type(one) for one in answers] == [StorageError, InternalError, str]
    assert "look for internal_error mark=" in str(answers[1])
    assert reader.is_alive
    assert reader.waiting == 0
    assert Resource.closed == 1  # the one that the unforeseen error left in an unknown state
    reader.stop()
    assert Resource.closed == 2


def test_a_resource_that_cannot_be_opened_is_that_jobs_answer(bell):
    opened = iter([OSError("too many open files"), None])

    def opener():
        if (error := next(opened)) is not None:
            raise error
        return Resource()

    helpers = HelperThreads("helper", opener, bell.ring)
    helpers.start()
    answers = []
    for _ in range(2):
        helpers.call(lambda _: "well", answers.append, answers.append)
        bell.wait()
        helpers.finished()
    assert [type(one) for one in answers] == [InternalError, str]
    helpers.stop()


def test_a_thread_that_dies_is_raised_in_the_loop(bell):
    helpers = HelperThreads("helper", Resource, bell.ring)
    helpers.start()

    def end(_):
        raise SystemExit("the end")

    helpers.call(end, print, print)
    bell.wait()
    with pytest.raises(SystemExit, match="the end"):
        helpers.finished()
    helpers.stop()
    assert not helpers.is_alive


class NoStorage:
    def commit(self, outcomes, now_ms):
        raise AssertionError("nothing is committed here")

    def close(self):
        pass


def test_a_write_that_raises_anything_is_answered_and_the_writer_goes_on(bell):
    writer = WriterThread(NoStorage, StorageSettings(), bell.ring)
    writer.start()
    answers = []
    for work in (refuse, break_down, lambda _: "well"):
        writer.call(work, answers.append, answers.append)
        bell.wait()
        writer.finished()
    assert [type(one) for one in answers] == [StorageError, InternalError, str]
    assert isinstance(answers[1], ZspiderError)
    assert writer.is_alive
    assert writer.stop(DEADLINE_S)


def test_a_write_of_the_masters_own_that_raises_ends_the_master(bell):
    writer = WriterThread(NoStorage, StorageSettings(), bell.ring)
    writer.start()
    writer.call(break_down)
    bell.wait()
    with pytest.raises(RecursionError):
        writer.finished()
    assert writer.stop(DEADLINE_S)
