"""Stand-ins for Hub and Link: real messages through the real codec, over connections that delay, break and lie still.

What TCP promises holds: order within a connection, no doubles, and what is lost is lost with its connection. Who
learns of a break, and when, is as open as on a real network.
"""

import random
from collections import Counter, deque
from collections.abc import Callable, Collection

from tests.simulation.timeline import Machine, Timeline
from zspider.broker import messages as m
from zspider.broker.codec import decode, decode_outcomes, decode_to_master, encode
from zspider.broker.hub import OUTCOMES_BATCH, Peer, Ports, Received
from zspider.broker.link import CONTROL_BATCH, Polled, Way
from zspider.broker.sockets import BULK, CONTROL

PORTS = Ports(5570, 5571, 5572, 5573)
RECONNECT_S = (0.05, 2.0)  # ZeroMQ's pauses between two tries
Frames = list[bytes]


class Stream:
    """One direction of a connection."""

    def __init__(self, network: "Network", deliver: Callable[[Frames], None], hwm: int) -> None:
        self._network = network
        self._deliver = deliver
        self._hwm = hwm
        self._queue: deque[tuple[float, Frames]] = deque()
        self._last = 0.0
        self.is_cut = False  # a partition: what is sent waits
        self.is_broken = False  # the connection is no more: what is sent is gone
        self.on_room: Callable[[], None] | None = None  # told once when it is not full any more

    @property
    def is_full(self) -> bool:
        return len(self._queue) >= self._hwm

    def send(self, frames: Frames) -> None:
        if self.is_broken:
            return
        timeline = self._network.timeline
        self._last = max(self._last, timeline.now + self._network.delay_s())
        self._queue.append((self._last, frames))
        timeline.at(self._last, self.flush)

    def flush(self) -> None:
        """Deliver what has had its time."""
        while self._queue and not self.is_cut and self._queue[0][0] <= self._network.timeline.now:
            self._deliver(self._queue.popleft()[1])
        if self.on_room is not None and not self.is_full:
            told, self.on_room = self.on_room, None
            told()

    def lose(self) -> None:
        """The connection breaks."""
        self.is_broken = True
        self._queue.clear()

    def end(self) -> None:
        """The sender is gone; its kernel delivers what it has."""
        self.is_broken = True


class Connection:
    """Between one socket of a slave and the master. Each end learns at its own time that it is broken."""

    def __init__(self, link: "Link", hub: "Hub", route: bytes, *, is_bulk: bool) -> None:
        network = link.network
        hwm = BULK.hwm if is_bulk else CONTROL.hwm
        self.route = route
        self.is_bulk = is_bulk
        self.up = Stream(network, lambda frames: hub.arrived(self, frames), hwm)
        self.down = Stream(network, link.arrived, hwm)
        self.up.is_cut, self.down.is_cut = link.is_cut_up or (is_bulk and link.is_bulk_cut), link.is_cut_down
        self.unanswered_since: float | None = None  # nobody answers what is sent from then on
        self._link, self._hub, self._timeline = link, hub, network.timeline

    def end(self) -> None:
        """The slave's process has ended."""
        self.up.end()
        self.down.lose()
        self._timeline.after(4 * self._link.network.latency_s, lambda: self._hub.lost(self))

    def break_(self, slave_learns_s: float, master_learns_s: float) -> None:
        """Whatever is on its way is lost."""
        self.up.lose()
        self.down.lose()
        self._timeline.after(slave_learns_s, lambda: self._link.lost(self))
        self._timeline.after(master_learns_s, lambda: self._hub.lost(self))


class Network:
    """Where the master is, and how slow it is to get there."""

    def __init__(self, timeline: Timeline, chance: random.Random) -> None:
        self.timeline = timeline
        self.chance = chance
        self.hub: Hub | None = None  # the master that listens at the one address
        self.latency_s = chance.choice([0.001, 0.02, 0.2])
        self.sent: Counter[str] = Counter()  # messages, by kind
        self._routes = 0

    def delay_s(self) -> float:
        return self.latency_s * self.chance.uniform(0.5, 2.0)

    def new_route(self) -> bytes:
        self._routes += 1
        return self._routes.to_bytes(5, "big")


class Hub:
    """The master's sockets. `machine` is woken; `told` sees every message that is sent."""

    def __init__(self, network: Network, machine: Machine, told: Callable[[bytes, m.AnyMessage], None]) -> None:
        self.ports = PORTS
        self.connections: dict[bytes, Connection] = {}  # as far as the master knows
        self._bulk: dict[bytes, Connection] = {}
        self._network = network
        self._machine = machine
        self._told = told
        self._control: deque[tuple[bytes, Frames]] = deque()
        self._outcomes: deque[Frames] = deque()
        self._is_paused = False

    # --- what the master's loop does with it

    def poll(self, wait_s: float) -> list[Received]:
        received = []
        for _ in range(min(len(self._control), CONTROL_BATCH)):
            route, frames = self._control.popleft()
            received.append(Received(Peer(route, b"", "any", "simulated"), decode_to_master(frames)))
        if not self._is_paused:
            for _ in range(min(len(self._outcomes), OUTCOMES_BATCH)):
                frames = self._outcomes.popleft()
                received.append(Received(Peer(b"", b"", "any", "simulated"), decode_outcomes(frames)))
        return received

    def send(self, route: bytes, message: m.AnyMessage) -> bool:
        connection = self.connections.get(route)
        if connection is None or connection.down.is_full:
            return False
        connection.down.send(encode(message))
        self._told(route, message)
        return True

    def wake(self) -> None:
        self._machine.wake()

    def pause_outcomes(self, is_paused: bool) -> None:
        self._is_paused = is_paused

    # --- what the network does

    def opened(self, connection: Connection) -> None:
        (self._bulk if connection.is_bulk else self.connections)[connection.route] = connection

    def lost(self, connection: Connection) -> None:
        (self._bulk if connection.is_bulk else self.connections).pop(connection.route, None)

    def arrived(self, connection: Connection, frames: Frames) -> None:
        if connection.is_bulk:
            self._outcomes.append(frames)
        else:
            self._control.append((connection.route, frames))
        self._machine.wake()

    def all(self) -> list[Connection]:
        return [*self.connections.values(), *self._bulk.values()]


class Link:
    """A slave's sockets: they connect again by themselves."""

    refusal = None
    gives_up = False
    was_answered = False

    def __init__(self, network: Network, machine: Machine, told: Callable[[m.AnyMessage], None]) -> None:
        self.network = network
        self.is_cut_up = self.is_cut_down = False  # a partition
        self.is_bulk_cut = False  # the way of the outcomes alone
        self._sees_answers = network.chance.random() < 0.5  # its kernel tells what it knows; else only the master does
        self._machine = machine
        self._told = told
        self._control: Connection | None = None
        self._bulk: Connection | None = None
        self._wants_bulk = False
        self._generation = 0  # of the sockets: tries of older ones come to nothing
        self._inbox: deque[Frames] = deque()
        self._is_control_up = self._is_bulk_up = False
        self._is_closed = False
        self._dial(is_bulk=False, after_s=network.delay_s())

    # --- what the slave's loop does with it

    @property
    def is_connected(self) -> bool:
        return self._control is not None

    def poll(self, wait_s: float, fds: Collection[int] = (), pipes: Collection[object] = ()) -> Polled:
        messages = [decode(self._inbox.popleft()) for _ in range(min(len(self._inbox), CONTROL_BATCH))]
        polled = Polled(messages, [], set(), [], self._is_control_up, self._is_bulk_up, False)
        self._is_control_up = self._is_bulk_up = False
        return polled

    def send(self, message: m.AnyMessage) -> bool:
        if self._control is None or self._control.up.is_full:
            return False
        self._control.up.send(encode(message))
        self._told(message)
        return True

    def push(self, message: m.AnyMessage) -> bool:
        if self._bulk is None:
            return False
        if self._bulk.up.is_full:
            self._bulk.up.on_room = self._has_room
            return False
        self._bulk.up.send(encode(message))
        self._told(message)
        return True

    @property
    def has_bulk(self) -> bool:
        """Whether there is an outcomes socket, connected or not."""
        return self._wants_bulk

    def open_bulk(
        self, welcome: m.Welcome | None = None, *, sends_pages: bool = False, takes_pages: bool = False
    ) -> bool:
        if not self._wants_bulk:
            self._wants_bulk = True
            self._dial(is_bulk=True, after_s=self.network.delay_s())
        return True

    @property
    def ways(self) -> list[Way]:
        if not self._wants_bulk:
            return []
        bulk = self._bulk
        if bulk is None:
            return [Way("outcomes", PORTS.outcomes, False, 0)]
        unanswered_s = 0.0
        if self._sees_answers and bulk.unanswered_since is not None:
            unanswered_s = self.network.timeline.now - bulk.unanswered_since
        return [Way("outcomes", PORTS.outcomes, True, int.from_bytes(bulk.route, "big"), False, unanswered_s)]

    def reopen(self, name: str) -> None:
        if (bulk := self._bulk) is not None:
            self._bulk = None
            if bulk.up.is_cut:
                bulk.up.lose()
            bulk.end()
            self._dial(is_bulk=True, after_s=self.network.delay_s())

    def rebuild(self, token: None) -> None:
        self._drop()
        self._dial(is_bulk=False, after_s=self.network.delay_s())

    def close(self) -> None:
        self._is_closed = True
        self._drop()

    # --- what the network does

    def cut(self, *, up: bool, down: bool) -> None:
        """A partition begins, in these directions; it has an end: `heal`."""
        self.is_cut_up |= up
        self.is_cut_down |= down
        for connection in self.all():
            connection.up.is_cut |= up
            connection.down.is_cut |= down

    def cut_bulk(self, *, resets: bool) -> None:
        """The way of the outcomes is cut, until `heal`: packets vanish, or every connection is reset."""
        self.is_bulk_cut = True
        if (bulk := self._bulk) is not None:
            bulk.up.is_cut = True
            bulk.unanswered_since = self.network.timeline.now
            if resets:
                bulk.break_(0.0, 0.0)

    def forget_bulk(self) -> bool:
        """A router forgets the connection of the outcomes, and neither end learns of it; False: there is none."""
        if (bulk := self._bulk) is None:
            return False
        bulk.up.lose()
        bulk.unanswered_since = self.network.timeline.now
        return True

    def heal(self) -> None:
        self.is_cut_up = self.is_cut_down = self.is_bulk_cut = False
        for connection in self.all():
            connection.up.is_cut = connection.down.is_cut = False
            if not connection.up.is_broken:
                connection.unanswered_since = None
            connection.up.flush()
            connection.down.flush()

    def all(self) -> list[Connection]:
        return [one for one in (self._control, self._bulk) if one is not None]

    def arrived(self, frames: Frames) -> None:
        self._inbox.append(frames)
        self._machine.wake()

    def lost(self, connection: Connection) -> None:
        """We learn that it is broken."""
        if connection is self._control:
            self._control = None
            self._dial(is_bulk=False, after_s=self._pause_s())
        elif connection is self._bulk:
            self._bulk = None
            self._dial(is_bulk=True, after_s=self._pause_s())

    # --- inside

    def _pause_s(self) -> float:
        return self.network.chance.uniform(*RECONNECT_S)

    def _dial(self, *, is_bulk: bool, after_s: float) -> None:
        generation = self._generation
        self.network.timeline.after(after_s, lambda: self._connect(generation, is_bulk))

    def _connect(self, generation: int, is_bulk: bool) -> None:
        if self._is_closed or generation != self._generation or (self._bulk if is_bulk else self._control) is not None:
            return
        hub = self.network.hub
        is_cut = self.is_cut_up or self.is_cut_down or (is_bulk and self.is_bulk_cut)
        if hub is None or is_cut or self._machine.is_stopped:
            self._dial(is_bulk=is_bulk, after_s=self._pause_s())
            return
        connection = Connection(self, hub, self.network.new_route(), is_bulk=is_bulk)
        hub.opened(connection)
        if is_bulk:
            self._bulk = connection
        else:
            self._control = connection
        # Messages may be sent and come in before the loop learns that the connection is a new one.
        self.network.timeline.after(self.network.chance.choice([0.0, 0.05]), lambda: self._came_up(connection))

    def _came_up(self, connection: Connection) -> None:
        if connection is self._control:
            self._is_control_up = True
        elif connection is self._bulk:
            self._is_bulk_up = True
        self._machine.wake()

    def _has_room(self) -> None:
        self._is_bulk_up = True
        self._machine.wake()

    def _drop(self) -> None:
        self._generation += 1
        connections, self._control, self._bulk, self._wants_bulk = self.all(), None, None, False
        self._inbox.clear()
        for connection in connections:
            connection.end()
