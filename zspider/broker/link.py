"""A slave's sockets: its loop waits here for the master, for processors and for other descriptors."""

from collections.abc import Collection
from typing import Literal, NamedTuple

import structlog
import zmq

from zspider.broker.address import Address
from zspider.broker.channel import Channel
from zspider.broker.codec import FRAMES_MAX, MESSAGE_BYTES_MAX, decode, encode
from zspider.broker.greeting import Asking, Verdict
from zspider.broker.master_addresses import LookUp, MasterAddresses, look_up
from zspider.broker.messages import AnyMessage, Page, Welcome
from zspider.broker.pipe import Pipe
from zspider.broker.receive import Incoming, receive
from zspider.broker.sockets import BULK, CONTROL, ONE_BY_ONE, Socket, Tuning, endpoint, new_context, send_now
from zspider.broker.token import Token
from zspider.errors import ProtocolError, ShortageError, is_shortage
from zspider.waker import wait_ms

log = structlog.get_logger(__name__)
CONTROL_BATCH = 200  # messages taken in one poll
PAGES_BATCH = 8
READABLE, WRITABLE = int(zmq.POLLIN), int(zmq.POLLOUT)  # pyzmq's flags are enums, whose arithmetic is slow


class Polled(NamedTuple):
    """The messages and events of one `Link.poll`."""

    messages: list[AnyMessage]  # from the master, on control
    pages: list[Page]  # from the relay
    ready_fds: set[int]
    ready_pipes: list[Pipe]
    is_control_up: bool  # a new control connection: say Hello
    is_bulk_up: bool  # a new outcomes connection, or room in a full one: push what is not acknowledged
    can_push_page: bool  # room in the relay again after a `push_page` that was False


Refusal = Literal["auth", "protocol", "key", "foreign", "closed"]
WayName = Literal["outcomes", "pages-in", "pages-out"]


class Way(NamedTuple):
    """The state of one of the bulk connections."""

    name: WayName
    port: int  # of the master
    is_up: bool
    connection: int  # another number for each new one
    is_refused: bool = False  # ZeroMQ does not try again by itself
    unanswered_s: float = 0.0  # for which the other end's kernel has not answered; 0.0: it does, or nothing was sent


_VERDICTS: dict[Verdict, Refusal | None] = {
    "curve": "protocol",
    "null": "protocol",
    "foreign": "foreign",
    "closed": "closed",
    "silent": None,
}
_KINDS: dict[WayName, tuple[int, Tuning]] = {
    "outcomes": (zmq.PUSH, BULK),
    "pages-in": (zmq.PUSH, BULK),
    "pages-out": (zmq.PULL, ONE_BY_ONE),
}


class Link:
    """A slave's connections to its master. ZeroMQ reconnects; `rebuild` helps where it gives up."""

    def __init__(self, address: Address, token: Token | None, look_up: LookUp = look_up) -> None:
        """Begin to connect. token None: for a master with security none. look_up: finds the addresses of a name.

        Raises ShortageError when no socket can be had now.
        """
        self.bad_frames = 0  # from the master or the relay
        self._address = address
        self._token = token
        self._context = new_context()
        self._poller = zmq.Poller()
        self._watched: dict[int, int] = {}  # the caller's descriptors, and for what they are waited for
        self._master = MasterAddresses(address, look_up)
        self._ports: dict[WayName, int] = {}  # of those that are wanted
        self._pages_paused = False
        self._takes_pages = True
        self._bulk: dict[WayName, Channel] = {}
        self._asking: Asking | None = None  # who it is that hangs up
        try:
            self._control = self._open_control()
        except zmq.ZMQError as exc:
            self._context.destroy(linger=0)
            if is_shortage(exc):
                raise ShortageError(f"no socket can be opened now: {exc}") from exc
            raise

    @property
    def is_connected(self) -> bool:
        """Whether control is up, as far as `poll` has seen."""
        return self._control.is_connected

    @property
    def refusal(self) -> Refusal | None:
        """Why the master does not let us in; None: it does, or does not answer at all.

        "auth": the token. "protocol": only one side encrypts. "key": the token is for another master. "foreign": no
        master listens there. "closed": what listens there closes each connection before it has said anything.
        """
        if not self._control.hangs_up:
            return self._control.refusal
        if self._asking is None:
            self._asking = Asking(self._master.host, self._address.port)
        verdict = self._asking.verdict
        if verdict == ("null" if self._token is None else "curve"):
            return "protocol" if self._token is None else "key"
        return _VERDICTS[verdict] if verdict is not None else None

    @property
    def gives_up(self) -> bool:
        """Whether only `rebuild` helps: we are refused, or nobody is there and the name has another address."""
        return self.refusal is not None or (self._control.has_failed and self._master.has_other)

    @property
    def was_answered(self) -> bool:
        """Whether anything listens there."""
        return self._control.was_answered

    def poll(self, wait_s: float, fds: Collection[int] = (), pipes: Collection[Pipe] = ()) -> Polled:
        """Wait for messages, descriptors and pipes to become readable; return at once if one is.

        Takes a bounded number of messages; a ready pipe is for the caller to flush and to drain.
        """
        wanted = dict.fromkeys(fds, READABLE)
        for pipe in pipes:
            wanted[pipe.fileno()] = READABLE | WRITABLE if pipe.has_unsent else READABLE
        self._watch(wanted)
        ready = dict(self._poller.poll(wait_ms(wait_s)))
        is_control_up = _came_up(self._control, ready)
        outcomes, pages_in, pages_out = map(self._bulk.get, _KINDS)
        is_bulk_up = _came_up(outcomes, ready) | _has_room(self._poller, outcomes, ready)
        can_push_page = _came_up(pages_in, ready) | _has_room(self._poller, pages_in, ready)
        _came_up(pages_out, ready)
        return Polled(
            messages=self._take(self._control, ready, CONTROL_BATCH),
            pages=[page for page in self._take(pages_out, ready, PAGES_BATCH) if isinstance(page, Page)],
            ready_fds={fd for fd in fds if fd in ready},
            ready_pipes=[pipe for pipe in pipes if pipe.fileno() in ready],
            is_control_up=is_control_up,
            is_bulk_up=is_bulk_up,
            can_push_page=can_push_page,
        )

    def send(self, message: AnyMessage) -> bool:
        """Send on control without waiting. False: not connected, or the master does not read."""
        return send_now(self._control.socket, encode(message))

    def push(self, message: AnyMessage) -> bool:
        """Send outcomes without waiting. False: not now; `poll` will say `is_bulk_up`."""
        return self._send_or_watch(self._bulk.get("outcomes"), message)

    def push_page(self, page: Page) -> bool:
        """Send a page to the relay without waiting. False: not now; `poll` will say `can_push_page`."""
        return self._send_or_watch(self._bulk.get("pages-in"), page)

    def pause_pages(self, is_paused: bool) -> None:
        """Leave relayed pages to others for now. Safe to repeat."""
        self._pages_paused = is_paused
        if (pages_out := self._bulk.get("pages-out")) is not None:
            self._poller.modify(pages_out.socket, 0 if is_paused else zmq.POLLIN)

    def take_pages(self, are_wanted: bool) -> None:
        """Open or close the connection for pages: one that is not read would swallow some. Safe to repeat."""
        if are_wanted == self._takes_pages:
            return
        self._takes_pages = are_wanted
        if not are_wanted and (pages_out := self._bulk.pop("pages-out", None)) is not None:
            _drop(self._poller, pages_out)
        elif are_wanted and "pages-out" in self._ports:
            try:
                self._open_way("pages-out")
            except zmq.ZMQError as exc:
                log.warning("no_socket", reason=str(exc))
                self._takes_pages = False  # tried again at the next call

    def open_bulk(self, welcome: Welcome, *, sends_pages: bool = False, takes_pages: bool = False) -> bool:
        """Connect to the ports that the master named. Call it at every Welcome: what is up stays as it is.

        sends_pages: connect to the port for pages in, as a slave without processors does. takes_pages: connect to the
        port for pages out, as a slave without a fetcher does. Returns False if a socket could not be had, as when no
        descriptor is left; none of them is open then.
        """
        ports: dict[WayName, int] = {"outcomes": welcome.outcomes_port}
        ports |= {"pages-in": welcome.pages_in_port} if sends_pages else {}
        ports |= {"pages-out": welcome.pages_out_port} if takes_pages else {}
        if ports == self._ports and all(one.refusal is None for one in self._bulk.values()):
            return True
        self._close_bulk()
        self._ports = ports
        try:
            for name in ports:
                if name != "pages-out" or self._takes_pages:
                    self._open_way(name)
        except zmq.ZMQError as exc:
            log.warning("no_socket", reason=str(exc))
            self._close_bulk()
            return False
        return True

    @property
    def ways(self) -> list[Way]:
        """The state of the bulk connections that `open_bulk` was asked for; each costs some system calls."""
        return [
            Way(name, port, one.is_connected, one.connection, one.refusal is not None, one.unanswered_s(port))
            for name, one in self._bulk.items()
            for port in [self._ports[name]]
        ]

    def reopen(self, name: WayName) -> None:
        """Close one bulk connection and open a new one; what was under way on it may be lost.

        When no socket can be had, everything stays as it is.
        """
        old = self._bulk[name]
        try:
            self._open_way(name)
        except zmq.ZMQError as exc:
            self._bulk[name] = old
            log.warning("no_socket", reason=str(exc))
        else:
            _drop(self._poller, old)

    def rebuild(self, token: Token | None) -> None:
        """Close all connections and reopen them: a client that was refused never tries again by itself.

        The addresses of a name are tried in turn. Bulk connections wait for the next Welcome. When no socket can
        be had, as when no descriptor is left, everything stays as it is.
        """
        self._token = token
        self._master.next()
        try:
            control = self._open_control()
        except zmq.ZMQError as exc:
            log.warning("no_socket", reason=str(exc))
            return
        self._close_bulk()
        _drop(self._poller, self._control)
        self._control, self._asking = control, None

    def close(self) -> None:
        """Close all connections, without waiting. Safe to repeat."""
        self._close_bulk()
        _drop(self._poller, self._control)
        self._context.term()

    # --- sockets ----------------------------------------------------------------------------------

    def _open_control(self) -> Channel:
        channel = self._open(zmq.DEALER, self._master.host, self._address.port, CONTROL)
        self._poller.register(channel.socket, zmq.POLLIN)
        return channel

    def _open_way(self, name: WayName) -> None:
        kind, tuning = _KINDS[name]
        # To where control is: a name may have other addresses.
        host = (self._control.peer(self._address.port) if self._address.is_name else "") or self._master.host
        self._bulk[name] = channel = self._open(kind, host, self._ports[name], tuning)
        if kind != zmq.PUSH:
            self._poller.register(channel.socket, zmq.POLLIN)
        if name == "pages-out":
            self.pause_pages(self._pages_paused)

    def _open(self, kind: int, host: str, port: int, tuning: Tuning) -> Channel:
        ipv6 = ":" in host or self._master.is_ipv6
        to, is_tried = endpoint(host, port), kind == zmq.DEALER and self._address.is_name
        channel = Channel(self._context, kind, to, self._token, tuning, ipv6=ipv6, sees_failures=is_tried)
        self._poller.register(channel.monitor, zmq.POLLIN)
        return channel

    def _close_bulk(self) -> None:
        for channel in self._bulk.values():
            _drop(self._poller, channel)
        self._bulk, self._ports = {}, {}

    def _watch(self, wanted: dict[int, int]) -> None:
        """Bring the poller in line with the caller's descriptors and pipes, which change from call to call."""
        if wanted == self._watched:
            return
        for fd in self._watched.keys() - wanted.keys():
            self._poller.unregister(fd)
        for fd, events in wanted.items():
            self._poller.register(fd, events)  # changes the events of one that is registered
        self._watched = wanted

    # --- one step ---------------------------------------------------------------------------------

    def _take(self, channel: Channel | None, ready: dict[int | Socket, int], most: int) -> list[AnyMessage]:
        messages: list[AnyMessage] = []
        if channel is None or channel.socket not in ready:
            return messages
        for _ in range(most):
            incoming = receive(channel.socket, frames_max=FRAMES_MAX, bytes_max=MESSAGE_BYTES_MAX)
            if incoming is None:
                break
            try:
                messages.append(_decoded(incoming))
            except ProtocolError as exc:
                self.bad_frames += 1
                log.warning("message_dropped", master=str(self._address), reason=str(exc))
        return messages

    def _send_or_watch(self, channel: Channel | None, message: AnyMessage) -> bool:
        if channel is None:
            return False
        is_sent = send_now(channel.socket, encode(message))
        if not is_sent:
            self._poller.register(channel.socket, zmq.POLLOUT)
        return is_sent


def _drop(poller: zmq.Poller, channel: Channel) -> None:
    for socket in (channel.socket, channel.monitor):
        if socket in poller:
            poller.unregister(socket)
    channel.close()


def _has_room(poller: zmq.Poller, channel: Channel | None, ready: dict[int | Socket, int]) -> bool:
    """Return whether a channel that was full has room; it is not waited for any longer then."""
    if channel is None or not ready.get(channel.socket, 0) & WRITABLE:
        return False
    poller.unregister(channel.socket)
    return True


def _came_up(channel: Channel | None, ready: dict[int | Socket, int]) -> bool:
    """Take in what happened to the connection; returns whether it is a new one."""
    if channel is None or channel.monitor not in ready:
        return False
    before = channel.connections
    channel.read_events()
    return channel.connections > before


def _decoded(incoming: Incoming) -> AnyMessage:
    """Decode what was received. Raises ProtocolError."""
    if incoming.problem:
        raise ProtocolError(incoming.problem)
    return decode(incoming.frames)
