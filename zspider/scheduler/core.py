"""The master's decisions: events and the time go in, actions come out. No I/O, no clock.

`now` is monotonic seconds, `now_ms` wall-clock milliseconds. The role calls one method per event and then
`step`, which grants what can be granted and says by when it wants to be called again.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from zspider.delivery import Answer
from zspider.hosts import host_hash, host_of
from zspider.scheduler.actions import Action, Paused, Tell, tell_holders
from zspider.scheduler.granting import Granting
from zspider.scheduler.host_queues import Range
from zspider.scheduler.hosts import HostLimits
from zspider.scheduler.leases import Lease, LeaseTable, Session
from zspider.scheduler.load_failure import RETRY_S
from zspider.scheduler.membership import Condition, Greeting, HeldLease, Timing
from zspider.scheduler.pause import NEVER, PauseLimits, Phase
from zspider.scheduler.project_queue import ProjectQueue
from zspider.scheduler.projects import CronRun, ProjectState, storage_requests
from zspider.scheduler.script_loads import ScriptLoads
from zspider.scheduler.slaves import Slaves
from zspider.scheduler.story import END_OF, LATE, REPLACED, VOID, WAITS, Story
from zspider.scheduler.task_choice import AHEAD_S, RATE_LOOK_S, takes_token
from zspider.settings import PolitenessSettings
from zspider.task import Kind, Position, Project, ProjectStatus, Ref, Task

__all__ = ["Condition", "Core", "Greeting", "HeldLease", "Timing"]

NO_LIMITS = PolitenessSettings(silent_share=1.0)


class Core:
    """The projects, leases and slaves of one master, and what is granted next.

    What slaves say goes to `slaves`; what happens to projects and tasks goes to the core itself.
    """

    def __init__(
        self,
        timing: Timing,
        *,
        window: int,
        expected: Iterable[bytes],
        now: float,
        has_cron: bool = True,
        pausing: PauseLimits = NEVER,
        politeness: PolitenessSettings | None = None,
        script_retry_s: float = RETRY_S,
    ) -> None:
        """script_retry_s: after so long slaves that could not load a script are asked again, later after longer."""
        self.hosts = HostLimits(politeness or NO_LIMITS)
        self.leases = LeaseTable(self.hosts)
        self.projects: dict[int, ProjectState] = {}
        self.story = Story()
        self._queue = ProjectQueue()
        self.slaves = Slaves(
            timing,
            expected,
            now,
            leases=self.leases,
            hosts=self.hosts,
            projects=self.projects,
            queue=self._queue,
            story=self.story,
        )
        self._granting = Granting(self.projects, self.slaves, self.leases, self.hosts, self._queue, self.story)
        self._window = window
        self._has_cron = has_cron
        self._pausing = pausing
        self._script_retry_s = script_retry_s
        self.scripts = ScriptLoads(self.projects, self.slaves.sessions, self._queue)

    @property
    def sessions(self) -> dict[bytes, Session]:
        """The slaves that are in."""
        return self.slaves.sessions

    # --- projects -------------------------------------------------------------------------------

    def set_project(self, project: Project, now: float, now_ms: int) -> list[Action]:
        """Take up a new or changed project. The leases of one that is not worked on any more are recalled."""
        self._queue.touch(project.id)
        state = self.projects.get(project.id)
        if state is None:
            self.projects[project.id] = ProjectState(
                project,
                window=self._window,
                now=now,
                now_ms=now_ms,
                has_cron=self._has_cron,
                pausing=self._pausing,
                script_retry_s=self._script_retry_s,
            )
            return []
        state.change(project, now, now_ms)
        if not state.is_active:
            return tell_holders("recall", self.leases.of_project(project.id))
        return self._recall_pages(project.id) if project.status is ProjectStatus.PAUSED else []

    def unpause(self, project: int) -> None:
        """End a project's auto-pause: what failed before does not count any more."""
        self.projects[project].pause.clear()
        self._queue.touch(project)

    def remove_project(self, project: int) -> list[Action]:
        """Forget a project that is gone with all its tasks."""
        self.projects.pop(project, None)
        return self.slaves.release(self.leases.of_project(project))

    # --- outcomes -------------------------------------------------------------------------------

    def arrived(
        self, ref: Ref, run: int, answer: Answer | None, fetch_s: float, now: float, by: Session | None = None
    ) -> None:
        """Note that a run's final outcome (not a PART) has arrived and will be committed: its lease takes no more room.

        answer: what the host's response says about how it wants to be asked; None for a usual 200. fetch_s: seconds
        that the fetch took; None for a usual 200. by: whose outcome it is.
        """
        lease = self.leases.get(ref)
        if lease is None or lease.task.run != run:
            return
        if (answer is not None or self.hosts.is_used) and not lease.has_arrived:
            self._hear_host(lease, answer, fetch_s, now, by or lease.session)
        self.leases.arrive(lease)

    def ended(
        self, ref: Ref, run: int, by: bytes, *, is_late: bool, is_success: bool | None = None, error: str = ""
    ) -> list[Action]:
        """Note that a run ended in the database, by an outcome of session `by`; another holder is told to stop.

        is_late: the run had ended before; the task may wait for its next run already. is_success: whether a page
        succeeded; None for a message or a task of zspider's own. error: why the run failed.
        """
        self._queue.touch(ref.project)
        self.story.note(LATE if is_late else END_OF[is_success], ref, by, 0, error)
        if not is_late and (state := self.projects.get(ref.project)) is not None:
            state.frontier.end(ref, run)
            if is_success is not None:
                state.pause.ended(is_success, error)
        lease = self.leases.get(ref)
        if lease is None or lease.task.run > run:
            return []
        self.leases.end(lease)
        if is_late and lease.newest is not None and lease.newest.run > run:  # else it enters, with what this run saved
            self.slaves.let_wait(lease.newest)
        return [] if lease.session.id == by else [Tell("release", lease.session, [lease.number])]

    def cron_ended(self, project: int, tick_s: int, error: str, now_ms: int) -> None:
        """Note that a project's @every methods ran for the ticks up to `tick_s`, which is the run of a cron task.

        error: "" if all went well.
        """
        if (state := self.projects.get(project)) is not None:
            state.last_cron = CronRun(tick_s, now_ms, error)

    def void(self, refs: Iterable[Ref]) -> list[Action]:
        """End the leases of tasks that were deleted, and take them out of the frontier."""
        actions: list[Action] = []
        for ref in refs:
            self._queue.touch(ref.project)
            if (state := self.projects.get(ref.project)) is not None:
                state.frontier.take(ref)
            if (lease := self.leases.get(ref)) is not None:
                actions += self.slaves.release([lease])
            self.story.note(VOID, ref)
        return actions

    def replaced(self, refs: Iterable[Ref]) -> None:
        """Note that tasks were restarted or cancelled, which may be leased: such a run goes on, ends and counts.

        Those that wait again enter then, and are granted after that end.
        """
        for ref in refs:
            self._queue.touch(ref.project)
            if (state := self.projects.get(ref.project)) is not None:
                state.frontier.take(ref)
            self.story.note(REPLACED if self.leases.replace(ref) else VOID, ref)

    def entered(self, tasks: Iterable[Task]) -> None:
        """Take in committed tasks that wait now: new, restarted, to be tried again, or charged."""
        for task in tasks:
            state = self.projects.get(task.ref.project)
            if state is not None and not self.leases.hold_back(task):
                state.frontier.offer(task)
                self.story.note(WAITS, task.ref)
                self._queue.touch(task.ref.project)

    def refilled(
        self,
        project: int,
        kind: Kind,
        after: Position | None,
        tasks: Sequence[Task],
        is_last: bool,
    ) -> None:
        """Take in the answer to a Refill."""
        if (state := self.projects.get(project)) is not None:
            state.frontier.refill(kind, after, tasks, is_last, self.leases.hold_back)
            self._queue.touch(project)

    def scanned(self, project: int, part: Range, tasks: Sequence[Task], reached: Position) -> None:
        """Take in the answer to a ScanHosts. reached: the position up to which everything was looked at."""
        if (state := self.projects.get(project)) is not None:
            state.frontier.scanned(part, tasks, reached, self.leases.hold_back)
            self._queue.touch(project)

    def finish_answered(self, project: int) -> None:
        """Note that a Finish was done; the task that it submitted, if any, has entered."""
        if (state := self.projects.get(project)) is not None:
            state.is_finish_asked = False
            self._queue.touch(project)

    def reload(self) -> None:
        """Forget all waiting tasks, because memory may be wrong: the database is asked again."""
        self.leases.forget_newest()
        for state in self.projects.values():
            state.frontier.reset()
            self._queue.touch(state.project.id)

    # --- time -----------------------------------------------------------------------------------

    def step(self, now: float, now_ms: int) -> list[Action]:
        """Let time pass, then grant what can be granted."""
        self.story.stamp_time(now_ms)
        actions = self.slaves.step(now)
        if self.is_adopting(now):
            return actions
        self._granting.open_hosts(now)
        self.scripts.step(now)
        self._queue.wake(self.projects, now)
        actions += self._pauses(now)
        actions += self._granting.step(now, now_ms)
        actions += storage_requests(map(self.projects.get, self._queue.end_step()), self.leases)
        return actions

    def is_adopting(self, now: float) -> bool:
        """Return whether it waits for the slaves of before a restart, whose leases must not be granted twice."""
        return self.slaves.is_adopting(now)

    def wait_s(self, now: float) -> float:
        """Return the seconds until `step` has something to do, if nothing happens; at most one."""
        if self._granting.is_cut_short:
            return 0.0
        wait_s = self._queue.wait_s(now)
        if (host_s := self.hosts.next_s(now)) < wait_s:
            wait_s = min(wait_s, RATE_LOOK_S + max(0.0, host_s - AHEAD_S))
        return wait_s

    def assert_invariants(self) -> None:
        """Raise AssertionError when memory contradicts itself: an error of ours. It looks at all that is there."""
        self.leases.assert_invariants(self.sessions)
        self.hosts.assert_invariants(Counter(lease.host for lease in self.leases if lease.host))
        self._granting.turns.assert_invariants()
        awaited = set(map(host_hash, self.hosts.awaited))
        for state in self.projects.values():
            state.frontier.assert_invariants(self.leases.is_leased, awaited)

    # --- inside ---------------------------------------------------------------------------------

    def _pauses(self, now: float) -> list[Action]:
        """Pause projects whose pages all fail, and let paused ones try again."""
        actions: list[Action] = []
        for project in self._queue.touched:
            state = self.projects.get(project)
            if state is not None and state.pause.decide(now):
                actions.append(Paused(project, state.pause.phase, state.pause.reason))
                actions += self._recall_pages(project) if state.pause.phase is Phase.PAUSED else []
        return actions

    def _recall_pages(self, project: int) -> list[Action]:
        """Recall pages that no slave has begun, to wait here. Tasks that go on while a project is paused stay."""
        return tell_holders("recall", [one for one in self.leases.of_project(project) if takes_token(one.task)])

    def _hear_host(self, lease: Lease, answer: Answer | None, fetch_s: float, now: float, by: Session) -> None:
        name = lease.host or host_of(lease.task.url)
        if name and takes_token(lease.task):
            self.hosts.answered(name, answer, fetch_s, lease.granted, now, (by.id, by.host))
