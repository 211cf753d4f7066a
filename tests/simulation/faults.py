"""What goes wrong: each takes the world, does it, and says what it did (None: there was nothing to do it to)."""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulation.machines import MasterMachine, SlaveMachine
    from tests.simulation.world import World

Fault = Callable[["World"], str | None]
FAULTS: dict[str, Fault] = {}
RECOVERY_S = 8.0  # after a fault of its connections a slave is granted for so long what may be fetched twice


def _fault(function: Fault) -> Fault:
    FAULTS[function.__name__] = function
    return function


def _master(world: "World") -> "MasterMachine | None":
    master = world.serving()
    return master if master is not None and not master.is_stopped else None


def _slave(world: "World") -> "SlaveMachine | None":
    slaves = [one for one in world.live_slaves() if not one.is_stopped]
    return world.chance.choice(slaves) if slaves else None


# --- the master


@_fault
def master_kill(world: "World") -> str | None:
    if (master := _master(world)) is None:
        return None
    master.kill()
    return master.name


@_fault
def master_kill_at_database(world: "World") -> str | None:
    """At some call within the next transactions."""
    if (master := _master(world)) is None:
        return None
    master.plan.kill_in_calls = world.chance.randint(1, 40)
    return f"{master.name} in {master.plan.kill_in_calls} calls"


@_fault
def master_kill_after_commit(world: "World") -> str | None:
    """Before anybody hears of it."""
    if (master := _master(world)) is None:
        return None
    master.plan.kill_in_commits = world.chance.randint(1, 6)
    return f"{master.name} in {master.plan.kill_in_commits} commits"


@_fault
def master_kill_after_ack(world: "World") -> str | None:
    if (master := _master(world)) is None:
        return None
    master.plan.kill_in_acks = world.chance.randint(1, 6)
    return f"{master.name} in {master.plan.kill_in_acks} acknowledgements"


@_fault
def master_stop(world: "World") -> str | None:
    """SIGSTOP, for a while."""
    if (master := _master(world)) is None:
        return None
    seconds = world.chance.choice([1.0, world.chance.uniform(1.0, 15.0)])
    master.stop(seconds)
    return f"{master.name} for {seconds:.1f} s"


@_fault
def master_clock_jump(world: "World") -> str | None:
    """Somebody sets its wall clock."""
    if (master := _master(world)) is None:
        return None
    seconds = world.chance.choice([-20, -3, 5, 3600])
    master.clock.jumped_ms += 1000 * seconds
    return f"{master.name} by {seconds} s"


@_fault
def master_takeover(world: "World") -> str | None:
    """It hangs; another one takes its address and its database; then it goes on."""
    if (master := _master(world)) is None or master.loop is None:
        return None
    seconds = world.chance.uniform(1.0, 10.0)
    master.stop(seconds)
    is_cut_off = world.chance.random() < 0.5  # or some slaves stay on their old connections
    for connection in master.hub.all():
        if is_cut_off or world.chance.random() < 0.5:
            connection.break_(0.0, seconds)
    world.touch_all()
    world.touch_all()  # what the old one grants until it notices
    other = world.start_master()
    return f"{other.name} takes over from {master.name}, which hangs for {seconds:.1f} s"


# --- the database


@_fault
def database_away(world: "World") -> str | None:
    if world.server.is_away:
        return None
    seconds = world.chance.choice([0.5, world.chance.uniform(1.0, 20.0)])
    world.server.is_away = True

    def back() -> None:
        world.server.is_away = False

    world.timeline.after(seconds, back)
    return f"for {seconds:.1f} s"


@_fault
def database_slow(world: "World") -> str | None:
    seconds, factor = world.chance.uniform(1.0, 20.0), world.chance.choice([20.0, 200.0])
    world.server.slow = factor

    def quick() -> None:
        world.server.slow = 1.0

    world.timeline.after(seconds, quick)
    return f"{factor:g} times, for {seconds:.1f} s"


@_fault
def commit_in_doubt(world: "World") -> str | None:
    """Its answer is lost."""
    if (master := _master(world)) is None:
        return None
    master.plan.doubt_in_commits = world.chance.randint(1, 6)
    return f"{master.name} in {master.plan.doubt_in_commits} commits"


@_fault
def connection_to_database_breaks(world: "World") -> str | None:
    if (master := _master(world)) is None:
        return None
    master.plan.break_in_calls = world.chance.randint(1, 40)
    return f"{master.name} in {master.plan.break_in_calls} calls"


# --- connections


@_fault
def connection_breaks(world: "World") -> str | None:
    """What is on its way is lost; each end notices in its own time."""
    if (slave := _slave(world)) is None or not (connections := slave.link.all()):
        return None
    connection = world.chance.choice(connections)
    learns = [world.chance.choice([0.0, 0.5, world.chance.uniform(0.0, 10.0)]) for _ in range(2)]
    connection.break_(*learns)
    kind = "outcomes" if connection.is_bulk else "control"
    return f"{kind} of {slave.name}, which learns it in {learns[0]:.1f} s, the master in {learns[1]:.1f} s"


@_fault
def partition(world: "World") -> str | None:
    """In one direction or both; then what waited arrives, or the connections break."""
    if (slave := _slave(world)) is None:
        return None
    up, down = world.chance.choice([(True, True), (True, False), (False, True)])
    seconds = world.chance.choice([1.0, world.chance.uniform(1.0, 25.0)])
    world.touch(slave, seconds + RECOVERY_S)
    slave.link.cut(up=up, down=down)
    breaks = world.chance.random() < 0.5

    def heal() -> None:
        world.touch(slave)
        if breaks:
            for connection in slave.link.all():
                connection.break_(world.chance.uniform(0.0, 2.0), world.chance.uniform(0.0, 5.0))
        slave.link.heal()

    world.timeline.after(seconds, heal)
    return f"{slave.name} {'up ' * up}{'down ' * down}for {seconds:.1f} s"


@_fault
def bulk_cut(world: "World") -> str | None:
    """The way of a slave's outcomes, while control lives: for so long that it cannot keep its leases, or less."""
    if (slave := _slave(world)) is None:
        return None
    resets = world.chance.random() < 0.5
    seconds = world.chance.choice([5.0, world.chance.uniform(5.0, 60.0)])
    world.touch(slave, seconds + RECOVERY_S)
    slave.link.cut_bulk(resets=resets)

    def heal() -> None:
        world.touch(slave)
        slave.link.heal()

    world.timeline.after(seconds, heal)
    return f"{slave.name} {'resets ' * resets}for {seconds:.1f} s"


@_fault
def bulk_forgotten(world: "World") -> str | None:
    """By a router: a new connection would work."""
    if (slave := _slave(world)) is None or not slave.link.forget_bulk():
        return None
    return slave.name


# --- slaves


@_fault
def slave_kill(world: "World") -> str | None:
    if (slave := _slave(world)) is None:
        return None
    world.touch(slave)
    slave.end()
    return slave.name


@_fault
def slave_stop(world: "World") -> str | None:
    """SIGSTOP, for a while."""
    if (slave := _slave(world)) is None:
        return None
    seconds = world.chance.choice([1.0, world.chance.uniform(1.0, 30.0)])
    world.touch(slave, seconds + RECOVERY_S)
    slave.stop(seconds)
    world.timeline.after(seconds, lambda: world.touch(slave))
    return f"{slave.name} for {seconds:.1f} s"


@_fault
def slave_suspend(world: "World") -> str | None:
    """Its virtual machine: its monotonic clock stands still, too."""
    if (slave := _slave(world)) is None:
        return None
    seconds = world.chance.uniform(1.0, 40.0)
    world.touch(slave, seconds + RECOVERY_S)
    slave.stop(seconds)

    def resume() -> None:
        slave.clock.suspended_s += seconds
        world.touch(slave)

    world.timeline.after(seconds, resume)
    return f"{slave.name} for {seconds:.1f} s"


@_fault
def slave_clone(world: "World") -> str | None:
    """Its virtual machine is copied while it runs."""
    if (slave := _slave(world)) is None or len(world.live_slaves()) > 5:
        return None
    world.touch(slave, RECOVERY_S)
    twin = world.clone_slave(slave)
    world.touch(twin, RECOVERY_S)
    return f"{slave.name} as {twin.name}"


@_fault
def slave_drain(world: "World") -> str | None:
    """SIGTERM."""
    if (slave := _slave(world)) is None or slave.slave._drain.has_begun:
        return None
    slave.drain()
    return slave.name


@_fault
def processors_die(world: "World") -> str | None:
    """All of a slave."""
    if (slave := _slave(world)) is None:
        return None
    slave.processors.die()
    return slave.name


MASTER = ["master_kill", "master_kill_at_database", "master_kill_after_commit", "master_kill_after_ack"]
DATABASE = ["database_away", "database_slow", "commit_in_doubt", "connection_to_database_breaks"]
SLAVES = ["slave_kill", "slave_stop", "slave_suspend", "slave_drain", "slave_clone", "processors_die"]
NETWORK = ["connection_breaks", "partition", "bulk_cut", "bulk_forgotten"]
# Which faults a history has. In the first six, and where outcomes are forgotten, nothing may be fetched twice.
MODES: dict[str, list[str]] = {
    "calm": ["slave_drain", "processors_die"],
    "master": MASTER,
    "hung master": ["master_stop", "master_clock_jump"],
    "database": DATABASE,
    "master and database": [*MASTER, *DATABASE],
    "connections": ["connection_breaks"],
    "partitions": ["partition"],
    "outcomes cut": ["bulk_cut", "bulk_forgotten"],
    "outcomes forgotten": ["bulk_forgotten"],
    "slaves": SLAVES,
    "takeover": ["master_takeover", "master_kill"],
    "mixed": [*MASTER, "master_stop", "master_clock_jump", *DATABASE, *NETWORK, *SLAVES],
}
