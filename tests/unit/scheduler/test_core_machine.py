"""The core in a world where everything that may go wrong does, in any order; and in the end all work is done."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule
from tests.support.scheduler_world import NO_CRON, Slave, World, make_project
from zspider.delivery import Answer
from zspider.scheduler.pause import PauseLimits
from zspider.settings import HostRule, PolitenessSettings
from zspider.task import ProjectStatus, ScriptInfo, Status

NAMES = [f"t{n}" for n in range(30)]
HOST_NAMES = [f"{host}.example/{n}" for n in range(8) for host in ("one", "slow", "slow", "free")]
ANSWERS = [None, None, Answer(429), Answer(503, 3000), Answer(404), Answer(599), Answer(200, 0, 700)]
SOME = st.sampled_from([1, 1, 2, 1000])


class Crawl(RuleBasedStateMachine):
    """Rules are things that happen; each is small, so that any two of them may happen in either order."""

    slaves = Bundle("slaves")
    names = NAMES
    politeness = None

    @initialize(
        target=slaves, window=st.integers(2, 12), limit=st.integers(1, 12), rate=st.sampled_from([2.0, 1e6, 1e6])
    )
    def begin(self, window, limit, rate):
        self.world = World(
            window=window, limit=limit, pausing=PauseLimits(3, 20.0, 2), politeness=self.politeness, entries=2 * limit
        )
        self.rate = rate
        self.world.add_project(make_project(1, rate=rate, burst=5))
        self.world.submit(*self.names[:20])
        self.all = [self.world.slave(4), self.world.slave(3)]
        self.everybody_talks()
        return multiple(*self.all)

    # --- slaves

    @rule(target=slaves, window=st.integers(1, 6))
    def a_slave_joins(self, window):
        if sum(slave.is_up for slave in self.all) >= 5:
            return multiple()
        self.all.append(self.world.slave(window))
        return self.all[-1]

    @rule(target=slaves, slave=slaves)
    def a_slave_is_cloned(self, slave):
        if sum(other.is_up for other in self.all) >= 5 or not slave.is_up:
            return multiple()
        self.all.append(slave.clone())
        return self.all[-1]

    @rule(slave=slaves)
    def a_slave_crashes(self, slave):
        slave.crash()

    @rule(target=slaves, slave=slaves, window=st.integers(1, 6))
    def a_slave_dies_and_another_comes(self, slave, window):
        """The lease runs out between the two."""
        if not slave.is_up:
            return multiple()
        slave.crash()
        self.time_passes_in_peace(32.0)
        self.all.append(self.world.slave(window))
        return self.all[-1]

    @rule(slave=slaves)
    def a_slave_leaves(self, slave):
        if slave.is_up:
            slave.leave()

    @rule(slave=slaves, says_hello=st.booleans())
    def a_connection_breaks(self, slave, says_hello):
        if slave.is_up:
            slave.reconnect(says_hello=says_hello)

    @rule(slave=slaves)
    def a_slave_says_hello_again(self, slave):
        if slave.is_up:
            slave.hello()

    @rule(slave=slaves, n=SOME)
    def a_slave_listens(self, slave, n):
        slave.listen(n)

    @rule(slave=slaves)
    def a_slave_beats(self, slave):
        if slave.is_up:
            slave.beat()

    @rule(slave=slaves, data=st.data(), bar=st.booleans())
    def a_slave_gives_back(self, slave, data, bar):
        if slave.is_up and slave.held:
            slave.give_back([data.draw(st.sampled_from(sorted(slave.held)))], bar=bar)

    @rule(
        slave=slaves,
        data=st.data(),
        is_success=st.sampled_from([True, True, False]),
        answer=st.sampled_from(ANSWERS),
        follows=st.lists(st.tuples(st.just(1), st.integers(0, 29), st.integers(-1, 1)), max_size=3),
        forces=st.lists(st.tuples(st.just(1), st.integers(0, 29)), max_size=1),
    )
    def a_slave_finishes(self, slave, data, is_success, answer, follows, forces):
        if slave.is_up and slave.held:
            number = data.draw(st.sampled_from(sorted(slave.held)))
            slave.finish(
                number,
                is_success=is_success,
                answer=answer,
                follows=tuple((project, self.names[n], priority) for project, n, priority in follows),
                forces=tuple((project, self.names[n]) for project, n in forces),
            )

    @rule(slave=slaves, holder=slaves, data=st.data())
    def a_slave_takes_the_page_of_another(self, slave, holder, data):
        if slave.is_up and holder.held:
            slave.take(holder.held[data.draw(st.sampled_from(sorted(holder.held)))])

    @rule(slave=slaves)
    def a_slave_pushes_its_outbox_again(self, slave):
        if slave.is_up:
            slave.push_again()

    @rule(slave=slaves, data=st.data())
    def a_slave_loses_a_lease(self, slave, data):
        """A fault of its own: it forgets one."""
        if slave.is_up and slave.held:
            del slave.held[data.draw(st.sampled_from(sorted(slave.held)))]

    # --- the master

    @rule(slave=slaves, n=SOME)
    def the_master_hears_a_slave(self, slave, n):
        self.world.hear_slaves(slave.route, n)

    @rule(n=SOME)
    def the_master_hears_outcomes(self, n):
        self.world.hear_outcomes(n)

    @rule(n=SOME)
    def the_database_works(self, n):
        self.world.write(n)

    @rule(n=SOME)
    def the_master_hears_of_the_database(self, n):
        self.world.hear_writer(n)

    @rule()
    def the_master_steps(self):
        self.world.step()
        assert 0 <= self.world.core.wait_s(self.world.now) <= 1

    @rule(seconds=st.sampled_from([0.05, 1.0, 3.0, 7.0, 16.0, 31.0]), steps=st.sampled_from([0, 1, 10]))
    def time_passes(self, seconds, steps):
        """No slave says a word."""
        for _ in range(steps):
            self.world.advance(seconds / steps)
            self.world.step()
        if not steps:  # nor does the master's loop run
            self.world.advance(seconds)

    @rule(seconds=st.sampled_from([2.0, 30.0]))
    def time_passes_in_peace(self, seconds):
        """As it mostly does: everybody listens and beats."""
        for _ in range(int(seconds / 2)):
            for slave in self.all:
                if slave.is_up:
                    slave.listen()
                    slave.beat()
            self.world.hear_slaves()
            self.world.advance(2.0)
            self.world.step()

    @rule()
    def the_master_is_killed_and_starts_again(self):
        self.world.restart_master()

    @rule()
    def everybody_talks(self):
        """What happens most of the time."""
        for slave in self.all:
            slave.listen()
        self.world.hear_slaves()
        self.world.hear_outcomes()
        self.world.write()
        self.world.hear_writer()
        self.world.step()

    @rule(n=st.integers(1, 5))
    def everybody_works(self, n):
        self.everybody_talks()
        for slave in self.all:
            slave.listen()
            for number in list(slave.held)[:n] if slave.is_up else []:
                slave.finish(number)

    @rule(
        numbers=st.lists(st.integers(0, 29), max_size=8, unique=True),
        project=st.integers(1, 3),
        priority=st.integers(-1, 1),
        in_s=st.sampled_from([0, 0, 0, 0.04, 3, 40]),
    )
    def urls_are_submitted(self, numbers, project, priority, in_s):
        if project in self.world.projects:
            names = (self.names[n] for n in numbers)
            self.world.submit(*names, project=project, priority=priority, in_s=in_s)

    @rule(number=st.integers(0, 29))
    def a_task_is_cancelled(self, number):
        self.world.cancel(self.names[number])

    @rule(numbers=st.lists(st.integers(0, 29), max_size=8, unique=True), again=st.integers(1, 3))
    def tasks_are_submitted_again_by_force(self, numbers, again):
        for _ in range(again):
            self.world.force(*(self.names[n] for n in numbers))

    @rule(
        id=st.integers(1, 3),
        status=st.sampled_from(["STOP", "RUNNING", "RUNNING", "PAUSED"]),
        info=st.sampled_from([None, NO_CRON, NO_CRON, ScriptInfo(min_tick=7), ScriptInfo(error="ImportError")]),
    )
    def a_project_is_made_or_changed(self, id, status, info):
        self.world.add_project(make_project(id, rate=self.rate, burst=5, status=ProjectStatus(status), info=info))
        self.world.submit(f"first{id}", project=id)

    @rule()
    def the_frontiers_are_read_again(self):
        """As after a commit in doubt."""
        self.world.core.reload()

    @invariant()
    def everything_is_consistent(self):
        if hasattr(self, "world"):
            self.world.assert_invariants()

    # --- the end

    def teardown(self):
        """All faults stop; a healthy slave comes; everything gets done."""
        if not hasattr(self, "world"):
            return
        world = self.world
        world.assert_rates()
        for project in list(world.projects.values()):
            world.add_project(make_project(project.id))
        healthy = [slave for slave in self.all if slave.is_up] + [world.slave(6)]
        for slave in healthy:
            slave.reconnect()
        for _ in range(400):
            self._calm_second(healthy)
            if not world.waiting and not any(slave.outbox for slave in healthy) and not len(world.core.leases):
                break
            if not any(row.due_ms < world.now_ms for row in world.waiting) and not len(world.core.leases):
                world.advance(25.0)  # retries are due in 30 s
        assert not world.waiting
        assert not any(slave.outbox or slave.held for slave in healthy)
        assert not len(world.core.leases)
        assert {row.status for row in world.rows.values()} <= {Status.SUCCESS, Status.FAILED, Status.BAD}

    def _calm_second(self, healthy: list[Slave]):
        for slave in healthy:
            slave.listen()
            slave.beat()
            slave.finish_all()
            slave.push_again()
        self.world.hear_slaves()
        self.world.hear_outcomes()
        self.world.write()
        self.world.hear_writer()
        self.world.advance(1.0)
        self.world.step()
        self.world.assert_invariants()


class PoliteCrawl(Crawl):
    """The same with hosts that are limited, refuse, and ask for delays; one is not limited until it refuses."""

    names = HOST_NAMES
    politeness = PolitenessSettings(
        rules=(
            HostRule(match="one.example", concurrency=1),
            HostRule(match="slow.*", concurrency=2, delay_s=0.7),
        ),
        back_off_max_s=4.0,
    )


TestCrawl = Crawl.TestCase
TestPoliteCrawl = PoliteCrawl.TestCase
TestCrawl.settings = TestPoliteCrawl.settings = settings(
    max_examples=200,
    stateful_step_count=100,  # 20,000 steps
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
