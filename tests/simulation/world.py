"""One history: a seed makes a site, machines and faults; then everything heals, and what is left is looked at."""

import random
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from tests.simulation.checks import Checks, Violation
from tests.simulation.database import Server
from tests.simulation.faults import FAULTS, MODES
from tests.simulation.machines import MasterMachine, SlaveMachine, master_settings, slave_settings
from tests.simulation.network import Network
from tests.simulation.site import SECOND, Site, follow
from tests.simulation.timeline import Timeline
from zspider.activity import SINCE_FINISHED
from zspider.broker import messages as m
from zspider.delivery import Follow
from zspider.storage import Committed
from zspider.task import Status

FAULTS_S = (10.0, 45.0)  # how long things go wrong
IDLE_S = 2.5  # nothing is left for so long: it is over
ASK_AGAIN_S = 5.0
HEAL_S = 600.0  # in which everything must come to its end


class Told(NamedTuple):
    """What there is to tell of a history that held."""

    seed: int
    mode: str
    simulated_s: float
    tasks: int
    faults: Counter[str]
    refetches: int


class World:
    """The machines, the site and the database of one history."""

    def __init__(self, seed: int, mode: str | None = None, say: Callable[[str], None] | None = None) -> None:
        self.seed = seed
        self.chance = random.Random(seed)
        drawn = self.chance.choice(list(MODES))  # always: the seed means the same with a mode named and without
        self.mode = mode or drawn
        self.timeline = Timeline()
        self.site = Site(self.chance)
        self.server = Server(self.chance)
        self.network = Network(self.timeline, self.chance)
        self.checks = Checks(self)
        self.fetches: Counter[str] = Counter()
        self.touched: Counter[str] = Counter()  # faults, by the tasks they may have had fetched again
        self.touched_all = 0
        self.refetches = 0
        self.faults: Counter[str] = Counter()
        self.asked: Counter[str] = Counter()  # tasks that somebody wants crawled once more
        self._storms = 0  # not over: somebody submits a hub again and again
        self.is_healed = False
        self._say = say
        self._mean_fetch_s = self.chance.choice([0.3, 1.0, 2.5])
        self._settings = master_settings(self.chance)
        self._masters = 0
        self._slaves = 0
        self.masters: list[MasterMachine] = []
        self.slaves: list[SlaveMachine] = []

    # --- a history

    def run(self) -> Told:
        """All of it; raises Violation, or what the code under test raised."""
        try:
            self._begin()
            self.timeline.run(self._plan_faults())
            self._heal()
            self._wait_until_idle()
            self.checks.finish()
        finally:
            self._close()
        return Told(
            self.seed,
            self.mode,
            self.timeline.now,
            len(self.site.pages),
            self.faults,
            self.refetches,
        )

    def _begin(self) -> None:
        self.start_master()
        for _ in range(self.chance.randint(2, 4)):
            self.timeline.at(self.chance.uniform(0.0, 2.0), self.start_slave)
        if self.chance.random() < 0.3:
            self.timeline.at(self.chance.uniform(3.0, 20.0), self._ask_again)
        for _ in range(self.chance.randint(0, 4) if self.site.hubs else 0):
            self._storms += 1
            self.timeline.at(self.chance.uniform(1.0, 35.0), self._storm)

    def _plan_faults(self) -> float:
        """Have faults happen at random times; returns when the last one is over."""
        until = self.chance.uniform(*FAULTS_S)
        kinds = MODES[self.mode]
        for _ in range(self.chance.randint(1, 8) if kinds else 0):
            name = self.chance.choice(kinds)
            self.timeline.at(self.chance.uniform(0.5, until), lambda name=name: self._fault(name))
        return until

    def _fault(self, name: str) -> None:
        if (told := FAULTS[name](self)) is not None:
            self.faults[name] += 1
            self.say(f"FAULT {name}: {told}")

    def _heal(self) -> None:
        """No more faults; those that last end by themselves."""
        self.say("--- no more faults")
        self.is_healed = True
        self.server.is_away, self.server.slow = False, 1.0
        for slave in self.live_slaves():
            slave.link.heal()
        if not self.live_slaves():
            self.start_slave()

    def _wait_until_idle(self) -> None:
        end, idle_s = self.timeline.now + HEAL_S, 0.0
        while idle_s < IDLE_S:
            if self.timeline.now > end:
                raise Violation(f"not idle after {HEAL_S:g} s: {self._unfinished()}")
            self.timeline.run(self.timeline.now + 0.5)
            idle_s = 0.0 if self._unfinished() else idle_s + 0.5

    def _unfinished(self) -> str:
        """What there is to do; "" when nothing is."""
        master = self.serving()
        if master is None or master.loop is None:
            return "no master serves"
        if master.coordinator.core.is_adopting(master.clock.monotonic()):
            return "the master waits for slaves of before"
        waiting = self.server.rows("SELECT count(*) FROM tasks WHERE status = ?", int(Status.ACTIVE))[0][0]
        if waiting:
            return f"{waiting} tasks wait"
        if not all(map(self._has_heard, self.asked)):
            return "somebody has not been heard yet who wants a page again"
        if self._storms:
            return "a hub is to be submitted again"
        if not master.writer.is_idle:
            return "the writer has something to do"
        if busy := [slave.name for slave in self.slaves if slave.is_up and not slave.is_idle]:
            return f"{', '.join(busy)} hold something"
        live = {slave.slave.session for slave in self.live_slaves()}
        if master.coordinator.core.sessions.keys() != live:
            return f"the master knows {len(master.coordinator.core.sessions)} slaves, {len(live)} live"
        since = self.server.rows("SELECT value FROM counters WHERE name = ?", SINCE_FINISHED)
        return "on_finished is to come" if self.site.has_on_finished and since and since[0][0] else ""

    def _close(self) -> None:
        for slave in self.slaves:
            slave.slave.close()
        for master in self.masters:
            master.writer.end()
        self.server.close()

    # --- machines

    def start_master(self) -> MasterMachine:
        """At the one address; slaves find it there."""
        self._masters += 1
        machine = MasterMachine(self, f"master{self._masters}", self._settings)
        if self.masters:
            machine.clock.jumped_ms = self.masters[-1].clock.jumped_ms  # the same machine, or one that is right
        self.masters.append(machine)
        self.network.hub = machine.hub
        return machine

    def start_slave(self) -> SlaveMachine:
        """A machine more."""
        self._slaves += 1
        machine = SlaveMachine(self, f"slave{self._slaves}", slave_settings(self.chance))
        self.slaves.append(machine)
        return machine

    def clone_slave(self, machine: SlaveMachine) -> SlaveMachine:
        """A copy of a running machine."""
        self._slaves += 1
        twin = machine.clone(f"slave{self._slaves}")
        self.slaves.append(twin)
        return twin

    def serving(self) -> MasterMachine | None:
        """The master that slaves reach."""
        return next((one for one in self.masters if one.is_up and one.hub is self.network.hub), None)

    def live_slaves(self) -> list[SlaveMachine]:
        return [one for one in self.slaves if one.is_up]

    def master_ended(self, machine: MasterMachine) -> None:
        """Somebody starts it again, unless another one serves."""
        down_s = self.chance.choice([0.1, 1.0, self.chance.uniform(0.0, 15.0)])
        self.timeline.after(down_s, lambda: None if self.network.hub is not None else self.start_master())

    def slave_ended(self, machine: SlaveMachine) -> None:
        """Somebody starts it again."""
        if not self.is_healed or not self.live_slaves():
            self.timeline.after(self.chance.uniform(0.5, 20.0), self.start_slave)

    # --- what machines ask and tell

    def fetch_s(self) -> float:
        """How long a page takes."""
        return self.chance.expovariate(1 / self._mean_fetch_s)

    def process_s(self, taskid: str) -> float:
        """How long its script takes; that of a hub may take long."""
        is_hub = self.site.hub_of(taskid) is not None
        return self.chance.choice([0.01, 1.0, 5.0] if is_hub else [0.01, 0.01, 0.3])

    def fetched(self, machine: SlaveMachine, serial: int, url: str) -> None:
        """The site is asked for a page."""
        lease = machine.slave.work.held.get(serial)
        assert lease is not None
        self.fetches[lease.taskid] += 1
        self.say(f"{machine.name} fetches {url} run {lease.run} attempt {lease.attempt} ({lease.taskid[:6]})")

    def told_by_slave(self, message: m.AnyMessage) -> None:
        """A slave sends this."""
        self.network.sent[type(message).__name__] += 1
        if isinstance(message, m.Outcomes):
            self.checks.pushed(message)

    def told_by_master(self, machine: MasterMachine, route: bytes, message: m.AnyMessage) -> None:
        """A master sends this."""
        self.network.sent[type(message).__name__] += 1
        if not isinstance(message, m.Grants | m.Ack):
            return
        session = next(one for one in machine.coordinator.core.sessions.values() if one.route == route)
        if isinstance(message, m.Ack):
            self.checks.acknowledged(session.id, message.ids)
            machine.sent_ack()
            return
        self.checks.granted(machine, session.id)
        for slave in self.live_slaves():
            if slave.slave.session == session.id and self.timeline.now < slave.suffers_until:
                self.touched.update(grant.taskid for grant in message.grants)

    def touch(self, machine: SlaveMachine, suffers_s: float = 0.0) -> None:
        """A fault touches what a slave holds, and what it is granted while it suffers."""
        taskids = {lease.taskid for lease in machine.slave.work.held}
        for master in self.masters:
            if master.is_up and master.loop is not None:
                session = master.coordinator.core.sessions.get(machine.slave.session)
                taskids |= {lease.task.taskid for lease in session.leases.values()} if session is not None else set()
        self.touched.update(taskids)
        machine.suffers_until = max(machine.suffers_until, self.timeline.now + suffers_s)

    def touch_all(self) -> None:
        """A fault that may have any task fetched again."""
        self.touched_all += 1

    def say(self, text: str) -> None:
        """A line of the trace."""
        if self._say is not None:
            self._say(f"{self.timeline.now:9.3f}  {text}")

    # --- the operator

    def _ask_again(self) -> None:
        """Somebody wants a page that is done to be crawled again."""
        done = {row[0].decode() for row in self.server.rows("SELECT taskid FROM tasks WHERE status = 2")}
        pages = [
            number
            for number, (taskid, page) in enumerate(self.site.taskids().items())
            if taskid in done and not (page.is_hub or page.message) and page.forces is None
        ]
        if pages:
            wanted = follow(self.chance.choice(pages), visit=SECOND)
            self.asked[wanted.taskid] = 1
            self._submit(wanted)

    def _storm(self) -> None:
        """Somebody submits a hub again and again, or cancels it; in the end it is to be crawled once more."""
        hub, seconds = self.chance.choice(self.site.hubs), 0.0
        for _ in range(self.chance.randint(1, 6)):
            wanted = follow(hub, force_update=True, cancel=self.chance.random() < 0.3)
            self.timeline.after(seconds, lambda wanted=wanted: self._call(wanted, lambda: None))
            seconds += self.chance.choice([0.0, 0.05, 1.0])
        self.timeline.after(seconds, lambda: self._insist(hub, []))

    def _insist(self, hub: int, heard: list[bool]) -> None:
        """Submit a hub until a master says that it is in the database."""
        if heard:
            self._storms -= 1
            return
        self._call(follow(hub, force_update=True), lambda: heard.append(True))
        self.timeline.after(ASK_AGAIN_S, lambda: self._insist(hub, heard))

    def _call(self, wanted: Follow, then: Callable[[], None]) -> None:
        """Have a master submit this, if there is one."""
        master = self.serving()
        if master is None or master.loop is None:
            return
        self.say(f"somebody {'cancels' if wanted.cancel else 'forces'} {wanted.url}")
        (project,), coordinator, clock = master.coordinator.core.projects, master.coordinator, master.clock

        def written(report: Committed) -> None:
            coordinator.apply(report)
            then()

        master.writer.call(lambda storage: storage.submit(project, [wanted], clock.wall_ms()), written)

    def _submit(self, wanted: Follow) -> None:
        """Again and again, until it is in the database."""
        if self._has_heard(wanted.taskid):
            return
        master = self.serving()
        if master is not None and master.loop is not None:
            self.say(f"somebody asks for {wanted.url} again")
            (project,) = master.coordinator.core.projects
            clock = master.clock
            master.writer.call(
                lambda storage: storage.submit(project, [wanted], clock.wall_ms()), master.coordinator.apply
            )
        self.timeline.after(ASK_AGAIN_S, lambda: self._submit(wanted))

    def _has_heard(self, taskid: str) -> bool:
        """The database knows that this page is wanted again."""
        return bool(self.server.rows("SELECT 1 FROM tasks WHERE taskid = ? AND itag = ?", taskid.encode(), SECOND))
