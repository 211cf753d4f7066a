"""The frontier while some hosts may not be asked, against a list that plays the database."""

from collections import deque

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from zspider.hosts import host_hash, host_of
from zspider.scheduler.frontier import Frontier
from zspider.scheduler.host_queues import SkippedSpans
from zspider.scheduler.order import END, position_of
from zspider.task import Ref, Task, task_key

HOSTS = ["a.example", "b.example", "c.example", "d.example"]


def task(name, host=HOSTS[0], run=0, priority=0, seq=0, due_ms=0):
    ref = Ref(1, task_key(str(name)))
    return Task(ref, str(name), f"http://{host}/", b"", run=run, priority=priority, seq=seq, due_ms=due_ms)


def copy(row):
    return Task(**{name: getattr(row, name) for name in row.__struct_fields__})


def host(row):
    return host_hash(host_of(row.url))


class Database:
    """Rows that wait or are leased, in the two orders."""

    def __init__(self):
        self.rows = {}

    def behind(self, kind, after, until=END):
        found = [row for row in self.rows.values() if position_of(row)[0] == kind]
        found = [row for row in found if (after is None or position_of(row)[1] > after)]
        return sorted((x for x in found if position_of(x)[1] <= until), key=lambda row: position_of(row)[1])

    def page(self, kind, after, limit):
        found = [copy(row) for row in self.behind(kind, after)[:limit]]
        return found, len(found) < limit

    def tasks_of_hosts(self, part, entries, limit):
        rows = self.behind(part.kind, part.after, part.until)
        reached = position_of(rows[entries - 1])[1] if len(rows) > entries else part.until
        fitting = [row for row in rows[:entries] if (host(row) in part.hosts) != part.is_others]
        limit = min(limit, part.limit)
        if len(fitting) > limit:
            reached = position_of(fitting[limit - 1])[1]
        return [copy(row) for row in fitting[:limit]], reached


class Waiting(RuleBasedStateMachine):
    """Rows come, are given, end and wait again, while hosts are blocked and freed; reads are answered late."""

    @initialize(size=st.integers(4, 20), limit=st.integers(1, 20), entries=st.integers(1, 30))
    def begin(self, size, limit, entries):
        self.size, self.limit, self.entries = size, min(size, limit), entries
        self.frontier = Frontier(size)
        self.db = Database()
        self.leased = {}
        self.reads = deque()
        self.blocked = set()
        self.awaited = set()
        self.now_ms = 1000
        self.seq = 0

    def _is_leased(self, row):
        lease = self.leased.get(row.ref)
        return lease is not None and lease.run == row.run

    @rule(
        name=st.integers(0, 60),
        host=st.sampled_from([*HOSTS, HOSTS[0], HOSTS[0]]),
        priority=st.integers(-1, 1),
        due_s=st.sampled_from([0, 0, 0, -500, -1, 2, 50]),
        burst=st.sampled_from([1, 1, 8, 40]),
    )
    def tasks_enter(self, name, host, priority, due_s, burst):
        for n in range(burst):
            key = name + 100 * n
            old = self.db.rows.get(task(key).ref)
            self.seq += 1
            due_ms = max(1, self.now_ms + due_s) if due_s else 0
            row = task(key, host, 0 if old is None else old.run + 1, priority, self.seq, due_ms)
            self._settle_reads()  # what was asked before this write does not know it
            self.db.rows[row.ref] = row
            self.leased.pop(row.ref, None)
            self.frontier.offer(copy(row))

    @rule(data=st.data())
    def a_task_is_cancelled(self, data):
        if self.db.rows:
            ref = data.draw(st.sampled_from(sorted(self.db.rows)))
            self._settle_reads()
            del self.db.rows[ref]
            self.leased.pop(ref, None)
            self.frontier.take(ref)

    @rule()
    def the_database_is_asked(self):
        for kind, window in self.frontier.wants():
            window.is_refilling = True
            beyond = self.frontier.range_beyond() if kind == "ready" else None
            if beyond:
                self._ask_for(beyond)
            else:
                after = window.after
                found, is_last = self.db.page(kind, after, self.limit)
                self.reads.append(
                    lambda x=(kind, after, found, is_last): self.frontier.refill(*x, is_leased=self._is_leased)
                )
        if (part := self.frontier.next_range()) is not None:
            self._ask_for(part)

    def _ask_for(self, part):
        found, reached = self.db.tasks_of_hosts(part, self.entries, self.limit)
        self.reads.append(lambda: self.frontier.scanned(part, found, reached, self._is_leased))

    @rule()
    def the_database_answers(self):
        if self.reads:
            self.reads.popleft()()

    def _settle_reads(self):
        while self.reads:
            self.reads.popleft()()

    @rule(ms=st.sampled_from([1, 2, 60]))
    def time_passes(self, ms):
        self.now_ms += ms

    @rule(hosts=st.sets(st.sampled_from(HOSTS), max_size=3))
    def hosts_are_blocked(self, hosts):
        self.blocked |= hosts

    @rule(host=st.sampled_from(HOSTS))
    def a_host_is_freed(self, host):
        self.blocked.discard(host)
        if host in self.awaited:
            self.awaited.discard(host)
            self.frontier.open(host_hash(host))

    @rule(n=st.sampled_from([1, 1, 3, 30]))
    def tasks_are_given(self, n):
        for _ in range(n):
            self._give()

    def _give(self):
        while (found := self.frontier.peek(self.now_ms)) is not None:
            name = host_of(found.url)
            if name not in self.blocked:
                break
            self.awaited.add(name)
            assert self.frontier.defer()  # fewer hosts than may have skipped tasks
        if found is None:
            return None
        assert self.frontier.pop() is found
        row = self.db.rows[found.ref]
        assert found.ref not in self.leased
        assert (found.run, host(found)) == (row.run, host(row))
        assert found.due_ms <= self.now_ms
        self.leased[found.ref] = found
        return found

    @precondition(lambda self: self.leased)
    @rule(data=st.data())
    def a_lease_ends_and_its_task_waits_again(self, data):
        self.frontier.offer(self.leased.pop(data.draw(st.sampled_from(sorted(self.leased)))))

    @precondition(lambda self: self.leased)
    @rule(data=st.data())
    def a_leased_task_is_done(self, data):
        ref = data.draw(st.sampled_from(sorted(self.leased)))
        self._settle_reads()
        del self.db.rows[ref], self.leased[ref]
        self.frontier.take(ref)

    @rule()
    def everything_is_forgotten(self):
        self.frontier.reset()

    @rule()
    def the_database_is_read_to_its_end(self):
        """Then every host that may be asked has had its turn: a blocked one holds up nobody."""
        for _ in range(2 * len(self.db.rows) + 10):
            self._settle_reads()
            while self._give() is not None:
                pass
            self.the_database_is_asked()
            if not self.reads:
                break
        waiting = [row for ref, row in self.db.rows.items() if ref not in self.leased and row.due_ms <= self.now_ms]
        assert all(host_of(row.url) in self.blocked for row in waiting)

    @invariant()
    def memory_is_bounded(self):
        if hasattr(self, "frontier"):
            deferred = self.frontier.deferred
            assert len(deferred) <= self.size
            assert len(deferred._order) <= 3 * len(HOSTS) + 40
            assert all(len(queue) for queue in deferred._queues.values())
            assert sum(map(len, deferred._queues.values())) == len(deferred)
            assert set(deferred.hosts) - deferred._open <= set(map(host_hash, self.awaited))
            awaited = set(map(host_hash, self.awaited))
            self.frontier.assert_invariants(lambda task: task.ref in self.leased, awaited)

    @invariant()
    def every_waiting_task_is_in_memory_once_or_known_to_be_in_the_database(self):
        if not hasattr(self, "frontier"):
            return
        f = self.frontier
        for ref, row in self.db.rows.items():
            held = [heap.get(ref) for heap in (f.ready.tasks, f.delayed.tasks, f._due, f.deferred)]
            held = [x for x in held if x is not None]
            kind, position = position_of(row)
            window = f.delayed if row.due_ms else f.ready
            if ref in self.leased:
                assert not held
            elif held:
                assert [x.run for x in held] == [row.run]
            else:
                assert position > window.edge or f.deferred.skipped[kind].covers(host(row), position)
        assert len(f) <= len(self.db.rows)

    def teardown(self):
        if not hasattr(self, "frontier"):
            return
        self.now_ms += 10_000
        for name in HOSTS:
            self.a_host_is_freed(name)
        self.the_database_is_read_to_its_end()
        assert sorted(self.leased) == sorted(self.db.rows)  # all of them, each once
        assert self.frontier.is_loaded


TestWaiting = Waiting.TestCase
TestWaiting.settings = settings(max_examples=150, stateful_step_count=40, deadline=None, database=None)


def test_a_host_with_ten_thousand_tasks_fills_neither_memory_nor_the_way_of_another():
    frontier = Frontier(1024)
    frontier.refill("ready", None, [], True, lambda _: False)
    frontier.refill("delayed", None, [], True, lambda _: False)
    for n in range(10_000):
        frontier.offer(task(n, "big.example", seq=n))
        if (first := frontier.peek(0)) and host_of(first.url) == "big.example":
            frontier.defer()
    frontier.offer(task("other", "other.example", seq=10_000))
    assert frontier.peek(0).taskid == "other"
    assert len(frontier) == 1 + 16  # size // 64
    assert not frontier.is_loaded


def test_a_host_that_may_answer_soon_fills_its_queue_and_then_the_order_waits_for_it():
    frontier = Frontier(1024)
    frontier.refill("ready", None, [], True, lambda _: False)
    frontier.refill("delayed", None, [], True, lambda _: False)
    for n in range(100):
        frontier.offer(task(n, "new.example", seq=n))
    held = 0
    while frontier.peek(0) is not None and frontier.defer(may_skip=False):
        held += 1
    assert held == 16  # size // 64
    assert frontier.is_loaded  # nothing is to be read again
    frontier.open(host_hash("new.example"))
    given = []
    while frontier.peek(0) is not None:
        given.append(frontier.pop().taskid)
    assert given == [str(n) for n in range(100)]


def test_many_hosts_have_room_for_a_few_tasks_each():
    frontier = Frontier(1024)
    frontier.refill("ready", None, [], True, lambda _: False)
    for n in range(16 * 200):
        frontier.offer(task(n, f"h{n // 16}.example", seq=n))
        frontier.peek(0)
        frontier.defer()
    queues = frontier.deferred._queues
    assert len(queues) == 200
    assert min(map(len, queues.values())) >= 1
    assert len(frontier.deferred) <= 1024


def test_stretches_serve_all_hosts_in_one_way_and_begin_anew_behind_the_last():
    skipped = SkippedSpans()
    skipped.add(1, (0, 10), (0, 50))
    skipped.add(2, (0, 500), (0, 900))
    assert skipped.next_range([1, 2]) == ((0, 9), (0, 900), {1, 2})
    skipped.was_read({1, 2}, (0, 9), (0, 100))
    skipped.add(1, (0, 20), (0, 30))  # hungry again, but behind: the other one is not made to wait
    assert skipped.next_range([1, 2]) == ((0, 499), (0, 900), {2})
    skipped.was_read({2}, (0, 499), (0, 900))
    assert 2 not in skipped
    assert skipped.next_range([1]) == ((0, 19), (0, 30), {1})


def test_a_task_passed_over_before_a_stretch_while_that_is_read_is_not_taken_for_read():
    skipped = SkippedSpans()
    skipped.add(1, (0, 10), (0, 50))
    hosts = {1, 2}  # nothing of 2 is skipped any more when the answer comes
    assert skipped.next_range([1, 2]) == ((0, 9), (0, 50), {1})
    skipped.add(1, (-1, 3), (-1, 3))
    skipped.was_read(hosts, (0, 9), (0, 50))
    assert skipped.covers(1, (-1, 3))
    assert 2 not in skipped
