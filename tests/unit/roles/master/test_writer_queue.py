"""The order of the writer's work: bounded groups, fair by project, calls between them; and the bounds beside it."""

from hypothesis import given
from hypothesis import strategies as st
from zspider.delivery import End, Follow, Outcome
from zspider.roles.master.backlog import PUT_OFF_MAX, ROWS_MAX, SESSION_BYTES_MAX, SESSION_ROWS_MAX, Backlog
from zspider.roles.master.follow_limit import FollowLimit
from zspider.roles.master.received import CUT_FOLLOWS, ReceivedOutcome, received
from zspider.roles.master.writer_queue import Call, Group, Last, WriterQueue
from zspider.task import Ref

ROWS = 2000


def outcome(project=1, follows=0, end=End.PART, body=b"", taskid="t", attempt=1):
    made = [Follow(str(number), "http://h/", body) for number in range(follows)]
    return Outcome(project, taskid, 0, attempt, b"", end, follows=made)


def one(id, project=1, follows=0, end=End.PART, body=b"", session=b"s", user=b""):
    return received(session, id, outcome(project, follows, end, body), user, 100 + follows * (30 + len(body)))


def nothing(*_):
    """What comes after a job."""


def call(name, project=0):
    return Call(name, nothing, None, project)


def put(queue, *ones):
    queue.put(Group(list(ones), nothing))


def drained(queue):
    """All that it says is next; the outcomes of a group as a list of (id, rows)."""
    said = []
    while (job := queue.next()) is not None:
        if isinstance(job, Group):
            said.append([(one.id, one.rows) for one in job.received])
        else:
            said.append(job.work if isinstance(job, Call) else "last")
    assert not queue
    assert queue.rows == queue.bytes == 0
    return said


def test_a_group_ends_at_a_number_of_rows_and_of_bytes():
    queue = WriterQueue(ROWS)
    put(queue, *(one(id, follows=1000) for id in range(5)))
    assert [len(group) for group in drained(queue)] == [2, 2, 1]
    put(queue, *(one(id, follows=500, body=bytes(4000)) for id in range(3)))
    assert [len(group) for group in drained(queue)] == [1, 1, 1]


def test_a_large_outcome_is_written_in_pieces_and_other_projects_come_between_them():
    queue = WriterQueue(ROWS)
    put(queue, one(1, follows=20_000, end=End.SUCCESS), one(2, project=2, end=End.SUCCESS))
    groups = drained(queue)
    assert (2, 1) in groups[0]
    assert sum(rows for group in groups for id, rows in group if id == 1) == 20_001
    assert all(sum(rows for _, rows in group) <= ROWS for group in groups)


def test_an_end_with_as_many_follows_as_honest_slaves_send_stays_whole():
    assert not one(1, follows=CUT_FOLLOWS, end=End.SUCCESS, body=bytes(20_000)).is_large
    assert one(1, follows=CUT_FOLLOWS, body=bytes(20_000)).is_large


def test_calls_come_between_two_groups_and_not_before_the_outcomes_of_their_project():
    queue = WriterQueue(ROWS)
    put(queue, *(one(id, follows=1000) for id in range(4)))
    queue.put(Last(None))
    queue.put(call("refill", project=1))
    queue.put(call("verb"))
    assert [job if isinstance(job, str) else "group" for job in drained(queue)] == [
        "verb",
        "group",
        "group",
        "refill",
        "last",
    ]


def test_between_two_rounds_of_calls_there_is_a_group():
    queue = WriterQueue(ROWS)
    put(queue, *(one(id, follows=1000) for id in range(4)))
    queue.put(call("first"))
    assert queue.next().work == "first"
    queue.put(call("second"))
    assert isinstance(queue.next(), Group)
    assert queue.next().work == "second"


def test_a_part_without_follows_is_committed_and_acknowledged_as_well():
    queue = WriterQueue(ROWS)
    put(queue, one(1))
    assert drained(queue) == [[(1, 1)]]


def test_what_came_with_a_revoked_token_is_taken_out():
    queue = WriterQueue(ROWS)
    put(queue, one(1, follows=1000, user=b"bad"), one(2, user=b"good"))
    queue.put(call("refill", project=1))
    assert [found.id for found in queue.drop(lambda found: found.user == b"bad")] == [1]
    assert drained(queue) == [[(2, 1)], "refill"]


@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(0, 5000), st.sampled_from(End), st.integers(0, 4)), max_size=12),
    st.integers(1, 3000),
)
def test_the_order_within_a_project_holds_and_nothing_is_lost(given, rows_max):
    queue, backlog = WriterQueue(rows_max), Backlog()
    ones = [one(id, project, follows, end, bytes(calls)) for id, (project, follows, end, calls) in enumerate(given)]
    backlog.add(ones)
    for found in ones:
        put(queue, found)
        for _ in range(len(found.outcome.follows[:1])):
            queue.put(call((found.id, found.outcome.project), found.outcome.project))
    done, follows = {}, {}
    while (job := queue.next()) is not None:
        if isinstance(job, Call):
            id, project = job.work
            assert done.get(project, [])[-1:] >= [id]  # after the outcomes given before
            continue
        assert len(job.received) == 1 or sum(found.rows for found in job.received) <= rows_max
        backlog.remove(job.received)
        for found in job.received:
            follows.setdefault(found.id, []).extend(follow.taskid for follow in found.outcome.follows)
            if found.is_last:
                done.setdefault(found.outcome.project, []).append(found.id)
            else:
                assert found.outcome.end is End.PART
    assert {project: sorted(ids) for project, ids in done.items()} == done
    assert sorted(id for ids in done.values() for id in ids) == list(range(len(ones)))
    assert all(follows[found.id] == [follow.taskid for follow in found.outcome.follows] for found in ones)
    assert (backlog.outcomes, backlog.rows, backlog.bytes) == (0, 0, 0)


def test_the_backlog_is_full_by_rows_and_a_session_by_bytes():
    backlog = Backlog()
    few = [ReceivedOutcome(b"%d" % id, id, outcome(), rows=ROWS_MAX // 4) for id in range(5)]
    backlog.add(few[:4])
    assert not backlog.is_full
    backlog.add(few[4:])
    assert backlog.is_full
    assert not backlog.room(b"0").is_full
    room = backlog.room(b"0")
    room.take(ReceivedOutcome(b"0", 9, outcome(), size=SESSION_BYTES_MAX + 1))
    assert room.is_full
    backlog.remove(few)
    assert backlog.room(b"0").items == {}


def test_what_a_full_session_could_not_add_is_asked_for_when_half_of_it_is_written():
    backlog = Backlog()
    waiting = [ReceivedOutcome(b"s", id, outcome(), rows=SESSION_ROWS_MAX // 4) for id in range(5)]
    backlog.add(waiting)
    assert backlog.room(b"s").is_full
    backlog.put_off(b"s", [5, 6])
    backlog.put_off(b"s", range(6, 6 + 2 * PUT_OFF_MAX))
    for one in waiting[:2]:
        assert not [*backlog.wanted_again()]
        backlog.remove([one])
    assert not [*backlog.wanted_again()]
    backlog.remove(waiting[2:3])
    assert [*backlog.wanted_again()] == [(b"s", [*range(5, 5 + PUT_OFF_MAX)])]
    assert not [*backlog.wanted_again()]


REF = Ref(1, b"k" * 16)


def test_the_follows_of_one_delivery_are_limited_and_a_part_that_comes_again_is_not_counted_again():
    limit = FollowLimit(2500)
    part = outcome(follows=1000)
    assert [limit.admits(REF, part, (b"s", id)) for id in (1, 2, 2, 1)] == [True] * 4
    assert limit.admits(REF, outcome(follows=1000, attempt=2), (b"s", 3))  # another delivery
    assert limit.admits(REF, outcome(follows=500, end=End.SUCCESS), (b"s", 4))
    assert not limit.admits(REF, part, (b"s", 5))
    assert limit.is_over(REF, 0)
    assert not limit.admits(REF, outcome(end=End.SUCCESS), (b"s", 6))
    assert limit.ended(REF, 0)
    assert not limit.is_over(REF, 0)
