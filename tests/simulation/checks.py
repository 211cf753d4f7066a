"""What must be true: at each moment, and of what is left when a history is over (invariants of the design)."""

from collections import Counter
from typing import TYPE_CHECKING

import msgspec
from tests.simulation.site import FIRST, RETRIES, Page, mark_url, page_url, read_mark
from zspider.activity import SINCE_FINISHED
from zspider.broker import messages as m
from zspider.broker.codec import decode_outcome
from zspider.delivery import End, Follow, Outcome
from zspider.roles.slave.leases import Stage
from zspider.task import INTERNAL, ON_FINISHED, ON_START, Status, is_message, task_key, usual_taskid

if TYPE_CHECKING:
    from tests.simulation.machines import MasterMachine, SlaveMachine
    from tests.simulation.world import World


class Violation(AssertionError):
    """Something that must not be."""


class Checks:
    """Looks on while a history runs, and at what is left of it."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._pushed: dict[tuple[bytes, int], list[Outcome]] = {}  # by session and item
        self._epoch = world.server.epoch()

    # --- at each moment

    def wrote(self, master: str, epoch: int | None) -> None:
        """A master committed something, thinking that it is the owner in this epoch."""
        found = self._world.server.epoch()
        if found == self._epoch + 1:  # with this it took over, perhaps once more
            self._epoch = found
        elif not found == self._epoch == epoch:
            raise Violation(f"{master} of epoch {epoch} wrote into a database of epoch {found}")

    def pushed(self, message: m.Outcomes) -> None:
        """Somebody sends outcomes; clones may use the same numbers."""
        for item in message.items:
            known = self._pushed.setdefault((message.session, item.id), [])
            outcome = decode_outcome(item.outcome)
            if outcome not in known:
                known.append(outcome)

    def acknowledged(self, session: bytes, ids: list[int]) -> None:
        """What is acknowledged is committed."""
        for item in ids:
            outcomes = self._pushed[session, item]
            if not any(self._is_committed(outcome) for outcome in outcomes):
                raise Violation(f"acknowledged and not committed: {outcomes[0].taskid} in run {outcomes[0].run}")

    def left_out(self, follows: list[Follow]) -> None:
        """Only what has a row is not submitted."""
        for follow in follows:
            if not self._is_known(follow.taskid):
                raise Violation(f"left out and not there: {follow.taskid}")

    def granted(self, master: "MasterMachine", session: bytes) -> None:
        """Nobody gets more than he wants."""
        found = master.coordinator.core.sessions[session]
        if len(found.leases) - found.arrived > found.window:
            raise Violation(f"{len(found.leases)} leases, {found.arrived} arrived, in a window of {found.window}")

    def slave_turned(self, machine: "SlaveMachine") -> None:
        """A slave never goes back to a former master."""
        epoch = machine.slave.master_session.epoch
        if epoch < machine.epoch:
            raise Violation(f"{machine.name} went back from epoch {machine.epoch} to {epoch}")
        machine.epoch = epoch

    def _is_committed(self, outcome: Outcome) -> bool:
        if outcome.taskid in INTERNAL:
            return True
        rows = self._world.server.rows("SELECT run FROM tasks WHERE key = ?", task_key(outcome.taskid))
        if not rows:
            return is_message(outcome.taskid)  # heard
        if (hub := self._world.site.hub_of(outcome.taskid)) is not None:
            return self._has_counted(hub, outcome)
        if outcome.end is End.PART:
            return rows[0][0] > outcome.run or all(self._is_known(follow.taskid) for follow in outcome.follows)
        return bool(rows[0][0] > outcome.run)

    def _has_counted(self, hub: int, outcome: Outcome) -> bool:
        """What a run of a hub led to is there, however often the hub was submitted meanwhile, or a later run ended."""
        if all(self._is_known(follow.taskid) for follow in outcome.follows):
            return True
        ended = self._marks().get(hub, {-1})
        return max(ended) > outcome.run or (outcome.end is End.PART and outcome.run in ended)

    def _marks(self) -> dict[int, set[int]]:
        """The runs of each hub that ended, by what they led to."""
        found: dict[int, set[int]] = {}
        for (url,) in self._world.server.rows("SELECT url FROM tasks"):
            if (mark := read_mark(url.decode())) is not None:
                found.setdefault(mark[0], set()).add(mark[1])
        return found

    def _is_known(self, taskid: str) -> bool:
        return bool(self._world.server.rows("SELECT 1 FROM tasks WHERE key = ?", task_key(taskid)))

    # --- at the end

    def finish(self) -> None:
        """All of it."""
        self._rows()
        self._results()
        self._hubs()
        self._counters()
        self._memory()
        self._fetches()

    def _rows(self) -> None:
        """Rows are the closure of the first page under the site's links; each has ended as its page does."""
        site, found = self._world.site, self._tasks()
        wanted: dict[str, Page] = {ON_START: Page([])} | site.taskids()
        marks = [mark_url(hub, run) for hub, runs in self._marks().items() for run in runs]
        wanted |= {usual_taskid(url): Page([]) for url in marks}
        if site.has_on_finished:
            wanted[ON_FINISHED] = Page([])
        if missing := wanted.keys() - found.keys():
            raise Violation(f"{len(missing)} tasks are lost: {sorted(missing)[:3]}")
        if strange := found.keys() - wanted.keys():
            raise Violation(f"tasks out of thin air: {sorted(strange)[:3]}")
        for taskid, (status, *_) in found.items():
            should = Status.FAILED if wanted[taskid].fails > RETRIES else Status.SUCCESS
            if status != should:
                raise Violation(f"{taskid} is {Status(status).word}, should be {should.word}")

    def _results(self) -> None:
        rows = self._world.server.rows("SELECT taskid, result FROM results")
        found = {taskid.decode(): result for taskid, result in rows}
        visits = {taskid: itag or FIRST for taskid, (_, _, itag, _) in self._tasks().items()}
        wanted = self._world.site.results(visits, self._marks())
        if len(found) != len(rows):
            raise Violation("a result is there twice")
        if found != wanted:
            wrong = sorted(key for key in {*found, *wanted} if found.get(key) != wanted.get(key))
            raise Violation(f"wrong results: {[(key, found.get(key), wanted.get(key)) for key in wrong[:3]]}")

    def _hubs(self) -> None:
        """Each hub ran, and saved what its last run saved."""
        marks, saved = self._marks(), dict(self._world.server.rows("SELECT taskid, track FROM tasks"))
        if marks.keys() != set(self._world.site.hubs):
            raise Violation(f"hubs {self._world.site.hubs}, but runs of {sorted(marks)} ended")
        for hub, runs in marks.items():
            found = msgspec.msgpack.decode(saved[usual_taskid(page_url(hub)).encode()] or b"\xc0")
            if found != {"save": max(runs)}:
                raise Violation(f"hub {hub} saved {found}, its last run was {max(runs)}")

    def _counters(self) -> None:
        server = self._world.server
        counters = Counter(dict(server.rows("SELECT name, value FROM counters")))
        statuses = Counter(dict(server.rows("SELECT status, count(*) FROM tasks GROUP BY status")))
        told = {
            **{status.word: statuses[status] for status in Status},
            "results": server.rows("SELECT count(*) FROM results")[0][0],
            "new": sum(statuses.values()) + counters["messages"],
        }
        if not self._world.site.hubs:
            told |= self._ends(counters, statuses)
        for name, value in told.items():
            if counters[name] != value:
                raise Violation(f"counter {name} is {counters[name]}, counted {value}")
        if counters[SINCE_FINISHED] and self._world.site.has_on_finished:
            raise Violation(f"on_finished was not submitted after {counters[SINCE_FINISHED]} runs")

    def _ends(self, counters: Counter[str], statuses: Counter[int]) -> dict[str, int]:
        """How many runs should have ended, and how, where no page has another one crawled again."""
        site, asked = self._world.site, self._world.asked
        runs = {taskid: run for taskid, (_, run, *_) in self._tasks().items()}
        finished = runs.get(ON_FINISHED, 0)  # made and restarted: of two changes of its run, one is an end
        restarts = finished // 2 + asked.total()
        retries = sum(min(page.fails, RETRIES) * (1 + asked[taskid]) for taskid, page in site.taskids().items())
        ends = counters["success"] + counters["retry"] + counters["failed_total"]
        if ends + restarts != sum(runs.values()):
            raise Violation(f"{ends} runs ended and {restarts} were replaced; the rows say {sum(runs.values())}")
        return {"messages": site.messages(), "success": statuses[Status.SUCCESS] + restarts, "retry": retries}

    def _memory(self) -> None:
        """Nobody holds anything, on either side."""
        world = self._world
        master = world.serving()
        assert master is not None
        core = master.coordinator.core
        core.assert_invariants()
        if len(core.leases):
            raise Violation(f"{len(core.leases)} leases without a task")
        for session in core.sessions.values():
            if session.leases or session.arrived:
                raise Violation(f"a session has {len(session.leases)} leases, {session.arrived} arrived")
        for state in core.projects.values():
            if len(state.frontier):
                raise Violation(f"{len(state.frontier)} tasks in the frontier")
            counts = {name: value for name, value in state.project.counts.items() if value and name in _GAUGES}
            told = dict(world.server.rows("SELECT name, value FROM counters"))
            if counts != {name: value for name, value in told.items() if value and name in _GAUGES}:
                raise Violation(f"the master counts {counts}, its database {told}")
        persisted = {row[0] for row in world.server.rows("SELECT session FROM sessions")}
        if persisted != core.sessions.keys():
            raise Violation(f"{len(persisted)} sessions in the database, {len(core.sessions)} in memory")
        for slave in world.live_slaves():
            self._slave_memory(slave)

    def _slave_memory(self, machine: "SlaveMachine") -> None:
        work = machine.slave.work
        left = {
            "leases": len(work.held),
            "outcomes": len(work.outbox),
            "bytes of outcomes": work.outbox.size,
            "bytes of pages": work.held.page_bytes,
            "starts": len(work.fetching.pacer),
            "fetches": len(machine.pool),
            "pages in processors": len(machine.processors),
            **{f"leases counted as {stage}": work.held.count(stage) for stage in Stage},
        }
        if any(left.values()):
            raise Violation(f"{machine.name} still has { {name: n for name, n in left.items() if n} }")

    def _fetches(self) -> None:
        """Once for each run, and once more for each fault that touched a session which held it."""
        world, marks = self._world, self._marks()
        for taskid, (_, runs, *_) in self._tasks().items():
            fetched, allowed = world.fetches[taskid], world.touched[taskid] + world.touched_all
            hub = world.site.hub_of(taskid)
            least, most = self._runs(taskid, runs) if hub is None else (len(marks[hub]), len(marks[hub]))
            if not least <= fetched <= most + allowed:
                text = f"{least} runs" if least == most else f"{least} to {most} runs"
                raise Violation(f"{taskid} was fetched {fetched} times in {text}, {allowed} faults touched it")
            world.refetches += max(0, fetched - most)

    def _runs(self, taskid: str, runs: int) -> tuple[int, int]:
        """How many runs of a task came to an end: least and most."""
        page = self._world.site.taskids().get(taskid, Page([]))
        if taskid == ON_FINISHED:
            return (runs + 1) // 2, (runs + 1) // 2
        ended = (min(page.fails, RETRIES) + 1) * (1 + self._world.asked[taskid])
        return ended, ended

    def _tasks(self) -> dict[str, tuple[int, int, str | None, int]]:
        rows = self._world.server.rows("SELECT taskid, status, run, itag, attempt FROM tasks")
        return {row[0].decode(): row[1:] for row in rows}


_GAUGES = {"results", "success", "retry", *(status.word for status in Status)}
