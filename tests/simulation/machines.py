"""The machines of a history: masters and slaves that run the real loops."""

import copy
import functools
import random
import tempfile
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from tests.simulation.checks import Violation
from tests.simulation.database import KNOWN, FaultyDatabase, MasterKilled, Plan
from tests.simulation.network import Hub, Link
from tests.simulation.timeline import Machine
from tests.simulation.writer import SimulatedWriter
from zspider.broker.codec import decode_outcome, encode_outcome
from zspider.broker.keys import MasterKeys
from zspider.broker.messages import Page
from zspider.errors import OwnedElsewhere
from zspider.fetch import Fetched
from zspider.roles.machine.signals import Signals
from zspider.roles.master.admin.threads import AdminThreads, compilers
from zspider.roles.master.consequences import reraise
from zspider.roles.master.coordinator import Coordinator
from zspider.roles.master.daemon import Master
from zspider.roles.master.loop import Loop
from zspider.roles.master.reader_thread import ReaderThread
from zspider.roles.master.takeover import take_over
from zspider.roles.processor.repeats import Repeats
from zspider.roles.slave.daemon import Slave
from zspider.roles.slave.leases import Lease, SlaveLeases
from zspider.roles.slave.processors.import_requests import ImportRequests
from zspider.roles.slave.processors.page_owner import PageOwner
from zspider.roles.slave.processors.script_cache import ScriptCache
from zspider.roles.slave.work import Work
from zspider.scheduler.rules import SchedulerRules
from zspider.settings import (
    FrontierSettings,
    MasterFile,
    MasterSettings,
    SchedulerSettings,
    SlaveFile,
    SlaveSettings,
    StorageSettings,
)
from zspider.storage import Storage

if TYPE_CHECKING:
    from tests.simulation.world import World

TURN_MAX_S = 1.0


@functools.cache
def _keys() -> MasterKeys:
    """One cluster's secret for all histories."""
    with tempfile.TemporaryDirectory() as directory:
        return MasterKeys(Path(directory) / "keys")


@functools.cache
def _signals() -> Signals:
    """No signal comes to the masters of histories."""
    return Signals()


class MasterMachine(Machine):
    """One start of a master, from its first look at the database to its end."""

    def __init__(self, world: "World", name: str, settings: MasterFile) -> None:
        super().__init__(world.timeline)
        self.world = world
        self.name = name
        self.settings = settings
        self.plan = Plan()
        self.is_up = True
        self.hub = Hub(world.network, self, lambda route, message: world.told_by_master(self, route, message))
        self._rules = SchedulerRules()
        self.coordinator: Coordinator | None = None
        self.loop: Loop | None = None
        self.storage: Storage | None = None
        self._master = Master(settings, clock=self.clock)
        self.writer = SimulatedWriter(
            self,
            world.server,
            self.kill,
            self._open,
            settings.storage,
            self.hub.wake,
            self.clock,
        )
        self.writer.call(lambda storage: take_over(storage, name, self.clock.wall_ms()), self._booted, reraise)

    def _open(self) -> Storage:
        database = FaultyDatabase(self.world.server, self.plan, self._wrote)
        self.storage = Storage(database, self._rules, KNOWN)
        return self.storage

    def _wrote(self) -> None:
        assert self.storage is not None
        self.world.checks.wrote(self.name, self.storage._epoch_guard._epoch)

    def _booted(self, boot: Any) -> None:
        self.coordinator = self._master.coordinator(self.hub, _keys(), self._rules, self.writer, boot)
        reader = ReaderThread(lambda: None, self.hub.wake)  # type: ignore[arg-type,return-value]
        threads = AdminThreads(self.coordinator, self.writer, reader, compilers(self.hub.wake))
        self.loop = self._master.loop(self.hub, _keys(), self.coordinator, self.writer, threads, None, _signals())
        self.world.say(f"{self.name} serves in epoch {boot.epoch}, waits for {len(boot.sessions)} sessions")

    def turn(self) -> float:
        try:
            if self.loop is None:
                self.writer.finished()
                return TURN_MAX_S
            self.loop.step()
            return self.loop.wait_s()
        except MasterKilled:
            self.kill()
        except OwnedElsewhere:
            self.world.say(f"{self.name} finds another owner and ends")
            self.end(0.0)
        except AssertionError as exc:  # its memory contradicts itself
            raise exc if isinstance(exc, Violation) else Violation(f"{self.name}: {exc}") from exc
        return TURN_MAX_S

    def sent_ack(self) -> None:
        """It may have been the last thing."""
        if self.plan.is_due("kill_in_acks"):
            raise MasterKilled

    def kill(self) -> None:
        """kill -9."""
        self.world.say(f"{self.name} is killed")
        self.end(self.world.chance.choice([0.0, 0.0, 0.5]))

    def end(self, slaves_learn_s: float) -> None:
        """The process is gone; its kernel, or nobody, tells the slaves."""
        if not self.is_up:
            return
        self.is_up = False
        self.writer.end()
        for connection in self.hub.all():
            connection.break_(slaves_learn_s, 0.0)
        if self.world.network.hub is self.hub:
            self.world.network.hub = None
        self.world.master_ended(self)


class Pool:
    """Stands for FetchPool: asks the site, which counts."""

    held_bytes = 0

    def __init__(self, machine: "SlaveMachine") -> None:
        self._machine = machine
        self._running: dict[int, tuple[float, Fetched]] = {}

    def __len__(self) -> int:
        return len(self._running)

    def fileno(self) -> int:
        return -1

    def wait_s(self) -> float | None:
        now = self._machine.clock.boottime()  # servers answer while we sleep
        dues = [due for due, _ in self._running.values()]
        return max(0.0, min(dues) - now) if dues else None

    def set_pages_bytes(self, pages_bytes: int) -> None:
        pass

    def start(self, request: Any) -> None:
        world = self._machine.world
        world.fetched(self._machine, request.tag, request.url)
        result = {"status_code": 200, "url": request.url, "orig_url": request.orig_url, "headers": {}, "cookies": {}}
        due = self._machine.clock.boottime() + world.fetch_s()
        self._running[request.tag] = (due, Fetched(request.tag, result, b"page"))

    def step(self) -> list[Fetched]:
        now = self._machine.clock.boottime()
        done = [tag for tag, (due, _) in self._running.items() if due <= now]
        return [self._running.pop(tag)[1] for tag in done]

    def abort(self, tags: Collection[int]) -> None:
        for tag in tags:
            self._running.pop(tag, None)

    def close(self) -> None:
        self._running.clear()


class Processors:
    """Stands for Processing: the site's script runs in simulated time, in processes that may die."""

    fds: Collection[int] = frozenset()
    pipes: Collection[Any] = ()
    is_broken = False
    complaint = ""
    capacity = 8

    def __init__(self, machine: "SlaveMachine", held: SlaveLeases, owner: PageOwner) -> None:
        self.scripts = ScriptCache()
        self.projects = ImportRequests()
        self._machine = machine
        self._held = held
        self._owner = owner
        self._waiting: list[int] = []  # for their script's text
        self._running: dict[int, float] = {}
        self._repeats = Repeats()

    def __len__(self) -> int:
        return len(self._waiting) + len(self._running)

    def wait_s(self, now: float) -> float | None:
        return max(0.0, min(self._running.values()) - now) if self._running else None

    def expect(self, script: bytes, now: float) -> None:
        self.scripts.want(script, now)

    def put(self, lease: Lease, now: float) -> None:
        if self.scripts.get(lease.script) is None:
            self.scripts.want(lease.script, now)
            self._waiting.append(lease.serial)
        else:
            self._running[lease.serial] = now + self._machine.world.process_s(lease.taskid)

    def drop(self, lease: Lease) -> None:
        self._running.pop(lease.serial, None)
        if lease.serial in self._waiting:
            self._waiting.remove(lease.serial)

    def die(self) -> None:
        """All processes are killed; others begin their pages anew."""
        self._repeats = Repeats()
        for serial in self._running:
            self._begin(serial)

    def script_came(self, script: bytes, text: str) -> None:
        self.scripts.put(script, text)
        waiting, self._waiting = self._waiting, []
        for serial in waiting:
            self._begin(serial)

    def _begin(self, serial: int) -> None:
        lease = self._held.get(serial)
        assert lease is not None
        self._running[serial] = self._machine.clock.monotonic() + self._machine.world.process_s(lease.taskid)

    def read(self, ready_fds: set[int], ready_pipes: Iterable[Any], now: float) -> None:
        """Nothing comes but by `step`."""

    def step(self, now: float, *, may_run: bool) -> None:
        if not may_run:
            return
        for serial in [serial for serial, due in self._running.items() if due <= now]:
            del self._running[serial]
            lease = self._held.get(serial)
            assert lease is not None
            assert lease.page is not None
            *parts, last = self._machine.world.site.run(lease.page)
            for part in parts:
                self._owner.on_part(lease, part)
            self._owner.on_outcome(lease, self._without_repeats(lease.page, last))

    def _without_repeats(self, page: Page, packed: bytes) -> bytes:
        """What a script's `crawl()` would have left out is left out."""
        outcome, known = decode_outcome(packed), self._repeats.known(page)
        repeats = [one for one in outcome.follows if one.asks_nothing and known.get(one.url) == one.taskid]
        follows = [one for one in outcome.follows if one not in repeats]
        self._repeats.ran(page, known, follows)
        self._machine.world.checks.left_out(repeats)
        return encode_outcome(msgspec.structs.replace(outcome, follows=follows, repeats=len(repeats)))

    def known(self, leases: Iterable[Lease]) -> None:
        self._repeats.confirmed(lease.serial for lease in leases)

    def close(self) -> None:
        self._running.clear()


class SlaveMachine(Machine):
    """One start of a slave."""

    def __init__(self, world: "World", name: str, settings: SlaveFile) -> None:
        super().__init__(world.timeline)
        self.world = world
        self.name = name
        self.settings = settings
        self.is_up = True
        self.suffers_until = 0.0  # a fault lasts, or its consequences
        self.epoch = 0  # the highest it has heard
        self.link = Link(world.network, self, world.told_by_slave)
        self.slave = Slave(
            settings,
            security="none",
            clock=self.clock,
            chance=random.Random(world.chance.random()),
            connect=lambda address, token: self.link,  # type: ignore[arg-type,return-value]
            work=self._work,
        )
        self.slave.start()
        self.wake()

    def _work(self, settings: SlaveFile, voice: Any) -> Work:
        def pool(*_: object) -> Any:
            self.pool = Pool(self)
            return self.pool

        def processing(_: SlaveFile, held: SlaveLeases, owner: PageOwner) -> Any:
            self.processors = Processors(self, held, owner)
            return self.processors

        return Work(settings, voice, make_pool=pool, make_processing=processing)

    def turn(self) -> float:
        self.slave.step()
        self.world.checks.slave_turned(self)
        if self.slave.is_done:
            self.world.say(f"{self.name} has left")
            self.end()
            return TURN_MAX_S
        return self.slave._wait_s(self.link, TURN_MAX_S)  # type: ignore[arg-type]

    def drain(self) -> None:
        """SIGTERM."""
        self.slave.stop(self.clock.monotonic())
        self.timeline.after(self.settings.slave.drain_s, self._give_up)
        self.wake()

    def _give_up(self) -> None:
        """What still runs is given back now."""
        if self.is_up:
            self.world.touch(self)

    def end(self) -> None:
        """The process is gone."""
        if self.is_up:
            self.is_up = False
            if len(self.slave.work.outbox):  # nobody has acknowledged it in time
                self.world.touch(self)
            self.slave.close()
            self.world.slave_ended(self)

    @property
    def is_idle(self) -> bool:
        """It has nothing."""
        return not (len(self.slave.work.held) or len(self.slave.work.outbox))

    def clone(self, name: str) -> "SlaveMachine":
        """Copy the running virtual machine: the same memory, on connections that the copy finds dead."""
        world = self.world
        twin = SlaveMachine(world, name, self.settings)
        mine, its = self.slave, twin.slave
        memo: dict[int, Any] = {id(one): one for one in (mine._settings, mine._address, world, world.site)}
        memo |= {id(self): twin, id(mine): its, id(self.link): twin.link, id(self.clock): twin.clock}
        memo |= {id(mine._signals): its._signals, id(mine._notify): its._notify, id(mine._tokens): its._tokens}
        memo[id(mine.master_session._chance)] = its.master_session._chance  # the kernel's randomness is not copied
        kept = ("_signals", "_notify", "_tokens", "_link", "_clock", "_connect", "_reload")
        for attribute, value in vars(mine).items():
            if attribute not in kept:
                setattr(its, attribute, copy.deepcopy(value, memo))
        twin.pool, twin.processors = its.work.fetching.pool, its.work.processing  # type: ignore[assignment,union-attr]
        if self.link.has_bulk:
            twin.link.open_bulk()
        twin.clock.suspended_s, twin.epoch = self.clock.suspended_s, self.epoch
        return twin


def master_settings(chance: random.Random) -> MasterFile:
    """Short times in most histories, the shipped ones in some."""
    short = {
        "heartbeat_s": 2.0,
        "suspect_s": 5.0,
        "lease_s": 12.0,
        "quiet_s": 8.0,
        "rebuild_s": 4.0,
        "adopt_s": 8.0,
    }
    return MasterFile(
        data_dir=Path("/nowhere"),
        master=MasterSettings(security="none", **(short if chance.random() < 0.9 else {})),
        frontier=FrontierSettings(window=100, known=KNOWN),
        scheduler=SchedulerSettings(fail_pause_num=0, check_s=0.5),
        storage=StorageSettings(commit_ms=chance.choice([20, 200, 500])),
    )


def slave_settings(chance: random.Random) -> SlaveFile:
    """A slave that holds a few leases."""
    concurrency = chance.randint(1, 4)
    window = chance.choice([concurrency, 2 * concurrency, 3 * concurrency])
    slave = SlaveSettings(fetch_concurrency=concurrency, window=window, drain_s=5.0)
    return SlaveFile(data_dir=Path("/nowhere"), slave=slave)
