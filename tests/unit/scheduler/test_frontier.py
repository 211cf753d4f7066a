"""The window on a project's waiting tasks, against a list that plays the database."""

from collections import deque

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from zspider.scheduler.frontier import Frontier
from zspider.scheduler.order import delayed_position, ready_position
from zspider.task import Ref, Task, task_key


def task(name, run=0, priority=0, seq=0, due_ms=0):
    return Task(Ref(1, task_key(str(name))), str(name), "u", b"", run=run, priority=priority, seq=seq, due_ms=due_ms)


def copy(row):
    return Task(**{name: getattr(row, name) for name in row.__struct_fields__})


def position(row):
    return delayed_position(row) if row.due_ms else ready_position(row)


class Waiting(RuleBasedStateMachine):
    """Rows come, are given, end, wait again; reads of the database are answered late, in the order of its writes.

    The order that is promised: a better task than the one given lies behind the edge of an order that ran empty
    (ready), or behind the edge, or behind `size` other due tasks (delayed). With both orders loaded and fewer than
    `size` due tasks there is none.
    """

    @initialize(size=st.integers(2, 20), limit=st.integers(1, 20))
    def begin(self, size, limit):
        self.size, self.limit = size, min(size, limit)
        self.frontier = Frontier(size)
        self.rows = {}  # ref -> Task: waiting or leased, as in the database
        self.leased = {}  # ref -> the object that `next` gave
        self.reads = deque()  # asked, and what the database said once it was asked
        self.now_ms = 1000
        self.seq = 0
        self.given = set()

    def _arrive(self, row):
        self.rows[row.ref] = row
        self.leased.pop(row.ref, None)
        self._settle_reads()  # the database works in order: what was asked before this write does not know it
        self.frontier.take(row.ref)
        self.frontier.offer(copy(row))

    def _next_seq(self):
        self.seq += 1
        return self.seq

    def _settle_reads(self):
        while self.reads:
            kind, after, found = self.reads.popleft()
            self.frontier.refill(kind, after, found, len(found) < self.limit, self._is_leased)

    def _is_leased(self, row):
        lease = self.leased.get(row.ref)
        return lease is not None and lease.run == row.run

    @rule(
        name=st.integers(0, 60),
        priority=st.integers(-2, 3),
        due_s=st.sampled_from([0, 0, 0, -500, -1, 1, 2, 50]),
        burst=st.sampled_from([1, 1, 1, 25]),
    )
    def a_task_enters(self, name, priority, due_s, burst):
        for n in range(burst):
            key = name + 100 * n
            old = self.rows.get(task(key).ref)
            due_ms = max(1, self.now_ms + due_s) if due_s else 0
            run = 0 if old is None else old.run + 1  # a restart has a new place in the order
            self._arrive(task(key, run=run, priority=priority, seq=self._next_seq(), due_ms=due_ms))

    @rule(data=st.data())
    def a_task_is_cancelled(self, data):
        if self.rows:
            ref = data.draw(st.sampled_from(sorted(self.rows)))
            del self.rows[ref]
            self.leased.pop(ref, None)
            self._settle_reads()
            self.frontier.take(ref)

    @rule()
    def the_database_is_asked(self):
        for kind, window in self.frontier.wants():
            window.is_refilling = True
            after = window.after
            rows = sorted((x for x in self.rows.values() if bool(x.due_ms) == (kind == "delayed")), key=position)
            found = [copy(x) for x in rows if after is None or position(x) > after][: self.limit]
            self.reads.append((kind, after, found))

    @rule()
    def the_database_answers(self):
        if self.reads:
            kind, after, found = self.reads.popleft()
            self.frontier.refill(kind, after, found, len(found) < self.limit, self._is_leased)

    @rule(ms=st.sampled_from([1, 2, 60]))
    def time_passes(self, ms):
        self.now_ms += ms

    @rule(n=st.sampled_from([1, 1, 3, 30]))
    def tasks_are_given(self, n):
        for _ in range(n):
            self._give()

    def _give(self):
        is_ready_empty = not len(self.frontier.ready.tasks)
        had = self.frontier.has_ready(self.now_ms)
        due_is_full = len(self.frontier._due) >= self.size
        found = self.frontier.peek(self.now_ms)
        assert (found is not None) == had
        assert found is None or self.frontier.pop() is found
        waiting = [x for ref, x in self.rows.items() if ref not in self.leased and x.due_ms <= self.now_ms]
        if found is None:
            assert not (self.frontier.is_loaded and waiting)
            return None
        row = self.rows[found.ref]
        assert found.ref not in self.leased
        assert found.run == row.run
        assert found.due_ms <= self.now_ms
        for other in waiting:
            if ready_position(other) < ready_position(row):
                if other.due_ms:
                    assert delayed_position(other) > self.frontier.delayed.edge or due_is_full
                else:
                    assert is_ready_empty
                    assert ready_position(other) > self.frontier.ready.edge
        self.leased[found.ref] = found
        return found

    @precondition(lambda self: self.leased)
    @rule(data=st.data())
    def a_lease_ends_and_its_task_waits_again(self, data):
        ref = data.draw(st.sampled_from(sorted(self.leased)))
        self.frontier.offer(self.leased.pop(ref))

    @precondition(lambda self: self.leased)
    @rule(data=st.data())
    def a_leased_task_is_done(self, data):
        ref = data.draw(st.sampled_from(sorted(self.leased)))
        del self.rows[ref], self.leased[ref]
        self._settle_reads()
        self.frontier.take(ref)

    @rule()
    def everything_is_forgotten(self):
        self.frontier.reset()

    @invariant()
    def memory_is_bounded(self):
        if hasattr(self, "frontier"):
            heaps = [self.frontier.ready.tasks, self.frontier.delayed.tasks, self.frontier._due]
            for heap, limit in zip(heaps, [2 * self.size, 2 * self.size, self.size], strict=True):
                assert len(heap) <= limit
                assert len(heap._heap) <= 2 * limit + 65
            self.frontier.assert_invariants(lambda task: task.ref in self.leased)

    @invariant()
    def every_waiting_task_is_in_memory_once_or_behind_the_edge(self):
        if not hasattr(self, "frontier"):
            return
        f = self.frontier
        for ref, row in self.rows.items():
            held = [heap.get(ref) for heap in (f.ready.tasks, f.delayed.tasks, f._due)]
            held = [x for x in held if x is not None]
            window = f.delayed if row.due_ms else f.ready
            if ref in self.leased:
                assert not held
            elif held:
                assert [x.run for x in held] == [row.run]
            else:
                assert position(row) > window.edge
        assert len(f) <= len(self.rows)

    def teardown(self):
        if not hasattr(self, "frontier"):
            return
        self.now_ms += 10_000
        waiting = {ref for ref in self.rows if ref not in self.leased}
        given = []
        for _ in range(4 * len(self.rows) + 8):
            self.the_database_answers()
            self.the_database_is_asked()
            while (found := self._give()) is not None:
                given.append(found.ref)
        assert self.frontier.is_loaded
        assert sorted(given) == sorted(waiting)  # all of them, each once


TestWaiting = Waiting.TestCase
TestWaiting.settings = settings(max_examples=100, stateful_step_count=40, deadline=None, database=None)


def test_a_window_cut_while_it_is_read_asks_again_and_loses_nothing():
    frontier = Frontier(2)
    ((_, ready), _) = frontier.wants()
    ready.is_refilling = True
    frontier.refill("ready", None, [task(0, seq=5)], True, lambda _: False)
    for seq in (6, 7, 8, 9):
        frontier.offer(task(seq, seq=seq))  # one more than twice the size: the last ones are left to the database
    assert len(frontier) == 2
    assert ready.after == (0, 6)
    frontier.refill("ready", None, [task(9, seq=9)], True, lambda _: False)  # asked before the cut
    assert len(frontier) == 2
    assert not ready.is_complete


def test_a_refill_that_meets_tasks_put_back_meanwhile_stays_within_bounds():
    frontier = Frontier(2)
    frontier.ready.is_refilling = True
    frontier.refill("ready", None, [task(seq, seq=seq) for seq in range(1, 7)], False, lambda _: False)
    assert len(frontier) <= 4
    assert frontier.ready.after == (0, 2)


def test_replacing_a_waiting_task_for_ever_costs_no_memory():
    frontier = Frontier(10)
    frontier.refill("ready", None, [], True, lambda _: False)
    for seq in range(1000):
        frontier.offer(task("same", run=seq, seq=seq))
    assert len(frontier) == 1
    assert len(frontier.ready.tasks._heap) < 100
    assert frontier.peek(0).run == 999
