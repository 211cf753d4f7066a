"""Single requests on their way to their servers: sent when there is room, paused, and sent again if need be.

Knows nothing of redirects and robots.txt: what becomes of a hop that has ended is its owner's decision.
"""

from collections import deque
from collections.abc import Callable
from time import monotonic

import pycurl

from zspider.fetch.addresses import is_private_host, refusal
from zspider.fetch.gates import LOOK_S, Gate, Gates
from zspider.fetch.handle import Handle
from zspider.fetch.multi import Multi
from zspider.fetch.receiver import Stop
from zspider.fetch.room import STEP_BYTES, Room
from zspider.fetch.transfer import Transfer
from zspider.fetch.urls import hostname_of
from zspider.settings import FetchSettings

# A connection that was kept open, and that its server has closed in the moment in which it is used again.
_LOST_CODES = (pycurl.E_SEND_ERROR, pycurl.E_RECV_ERROR, pycurl.E_GOT_NOTHING)
STEP_S = 0.02  # after which a step begins nothing more; what one socket brings takes a few milliseconds
RESUMED_BYTES = 512 * 1024  # for one transfer that waited, when others have used up the step's


class Hops:
    """The hops under way: each is sent to one server, and ends in exactly one call of the owner, unless withdrawn.

    on_response: called when the server has answered; the hop still has its place, which `leave` frees, and its handle,
    which `release` takes back. on_error: called with libcurl's error code and words. on_failure: called with the reason
    when a hop was not sent at all.
    """

    def __init__(
        self,
        settings: FetchSettings,
        concurrency: int,
        room: Room,
        *,
        on_response: Callable[[Transfer], None],
        on_error: Callable[[Transfer, int, str], None],
        on_failure: Callable[[Transfer, str], None],
    ) -> None:
        self._settings = settings
        self._concurrency = concurrency
        self._room = room
        self._on_response = on_response
        self._on_error = on_error
        self._fail = on_failure
        self._multi = Multi(concurrency)
        self.fileno = self._multi.fileno  # a descriptor that is readable when `step` has something to do
        self._paused: deque[Handle] = deque()  # in the middle of a body: others come first, or there is no memory
        self._put_off: deque[Transfer] = deque()  # sent again when there is memory
        self._gates = Gates[Transfer]()
        self._freed: deque[Gate[Transfer]] = deque()  # where waiting requests may be sent
        self._opening: set[Gate[Transfer]] = set()  # to be looked at
        self._look_at = 0.0
        self._has_finished = False  # transfers that a step had no time for
        self._free: list[Handle] = []
        self._busy: dict[pycurl.Curl, Transfer] = {}

    # -- for the loop outside

    def wait_s(self) -> float | None:
        """Return in how many seconds `step` must be called even if nothing is readable; None: never."""
        if self._multi.has_ready or self._freed or self._has_finished or self._may_go_on():
            return 0.0
        due = self._multi.due
        if self._opening and (due is None or due > self._look_at):
            due = self._look_at
        return None if due is None else max(0.0, due - monotonic())

    def step(self, now: float) -> None:
        """Act on ready sockets and due timers for some milliseconds. Never blocks."""
        end = now + STEP_S
        self._room.step_bytes = STEP_BYTES
        self._multi.act(now, end)
        if self._paused or self._put_off:
            self._go_on(end)
        self._collect(end)
        if self._opening and now >= self._look_at:
            self._look(now)
        while self._freed:
            gate = self._freed.popleft()
            for transfer in gate.next(now):
                self._begin(transfer, gate)

    def close(self) -> None:
        """End what runs, and close all connections."""
        for transfer in tuple(self._busy.values()):
            self.release(transfer)
        self._multi.close()
        for handle in self._free:
            handle.close()
        self._free.clear()

    # -- one hop

    def send(self, transfer: Transfer) -> None:
        """Send the transfer's hop when its server can take it."""
        hop, now = transfer.hop, monotonic()
        if hop.proxy and not transfer.inside and is_private_host(hostname_of(hop.url)):
            self._fail(transfer, refusal(hostname_of(hop.url)))
            return
        gate = self._gates.get(transfer.server, now)
        if gate.waiting or not gate.admit(transfer, now):
            transfer.wait(now)
            gate.waiting.append(transfer)
            return
        self._begin(transfer, gate)

    def leave(self, transfer: Transfer, *, is_answered: bool = False, is_kept: bool = False) -> None:
        """Free the place of a hop that has ended: its connection, or its turn to open one. Safe to repeat."""
        if (gate := transfer.gate) is not None:
            handle = transfer.handle
            transfer.gate = None
            was_new = handle is not None and handle.was_connected
            is_answered = is_answered or transfer.has_answer
            gate.leave(transfer, monotonic(), is_answered=is_answered, is_kept=is_kept, was_new=was_new)
            if gate.waiting:
                self._freed.append(gate)

    def release(self, transfer: Transfer) -> None:
        """Take the transfer's handle back, in whatever state it is. Safe to repeat."""
        handle, transfer.handle = transfer.handle, None
        if handle is None:
            return
        if self._busy.pop(handle.easy, None) is not None:
            self._multi.remove(handle.easy)
        handle.forget()
        if len(self._free) < self._concurrency:
            self._free.append(handle)
        else:
            handle.close()

    def withdraw(self, transfer: Transfer) -> None:
        """Take a hop out of all queues and end it; the owner is not called."""
        if transfer.gate is not None:
            self.leave(transfer)
        elif transfer in self._put_off:
            self._put_off.remove(transfer)
        elif transfer in (waiting := self._gates.get(transfer.server, monotonic()).waiting):
            waiting.remove(transfer)
        self.release(transfer)

    def _begin(self, transfer: Transfer, gate: Gate[Transfer]) -> None:
        """Hand a hop that its gate has admitted to libcurl."""
        if transfer.waits_since is not None:
            transfer.go_on(monotonic())
        transfer.gate = gate
        if gate.opening:
            self._opening.add(gate)
        left_s = transfer.left_s()
        if left_s <= 0:
            self._fail(transfer, transfer.timeout_text())
            return
        handle = transfer.handle or self._take_handle()
        transfer.handle = handle
        try:
            handle.prepare(transfer.hop, left_s, guarded=not transfer.inside, fresh=transfer.is_fresh)
            transfer.is_fresh = False
            self._multi.add(handle.easy)
        except pycurl.error as exc:
            self._fail(transfer, str(exc.args[-1]))
        else:
            self._busy[handle.easy] = transfer

    def _take_handle(self) -> Handle:
        return self._free.pop() if self._free else Handle(self._settings, self._room, self._paused)

    # -- a step's parts

    def _collect(self, end: float) -> None:
        """Read what libcurl has finished, and hand it to the owner."""
        self._has_finished = False
        while ended := self._multi.finished():
            for easy, code, text in ended:
                if code:
                    self._end_with_error(self._busy.pop(easy), code, text)
                else:
                    self._on_response(self._busy.pop(easy))
            if monotonic() >= end:
                self._has_finished = True
                return

    def _end_with_error(self, transfer: Transfer, code: int, text: str) -> None:
        """Hand an error to the owner, or send the hop again: the error was its connection's, or there was no memory."""
        handle = transfer.handle
        assert handle is not None
        if code in _LOST_CODES and _was_closed_before(transfer):
            self._send_afresh(transfer)
            return
        self.leave(transfer)
        if handle.got.stop is Stop.NO_ROOM:
            handle.got.forget()
            transfer.repeats += 1
            transfer.wait(monotonic())
            self._put_off.append(transfer)
            return
        self._on_error(transfer, code, text)

    def _send_afresh(self, transfer: Transfer) -> None:
        """Send a hop again, before others, on a new connection: the one that it was sent on had been closed.

        libcurl does that by itself, but for five connections only, of which each may have been closed. However often it
        was sent for other reasons: no server has seen it this time, and a new connection has not been closed before.
        """
        gate = transfer.gate
        assert gate is not None
        transfer.gate = None
        gate.leave(transfer, monotonic(), is_answered=False)  # and the others are believed to be closed as well
        transfer.repeats += 1
        transfer.is_fresh = True
        gate.waiting.appendleft(transfer)
        self._freed.append(gate)

    def _may_go_on(self) -> bool:
        """Return whether something that waited for its turn or for memory need not wait any longer."""
        if self._put_off and self._has_space():
            return True
        return any(self._may_resume(handle) for handle in self._paused)

    def _may_resume(self, handle: Handle) -> bool:
        return self._room.may_grow(handle.got, handle.got.wanted_bytes)

    def _has_space(self) -> bool:
        """Return whether a body of any size may be asked for."""
        return self._room.has_space(self._settings.body_bytes_max) or not self._room.held_bytes

    def _go_on(self, end: float) -> None:
        """Resume transfers that waited, the longest wait first; at least one of them."""
        for _ in range(len(self._paused)):
            handle = self._paused.popleft()
            if not self._may_resume(handle):
                self._paused.append(handle)
                continue
            self._room.step_bytes = max(self._room.step_bytes, RESUMED_BYTES)
            try:
                handle.resume()
            except pycurl.error as exc:
                self._multi.remove(handle.easy)
                self._end_with_error(self._busy.pop(handle.easy), *exc.args[:2])
            if self._room.step_bytes <= 0 or monotonic() >= end:
                break
        if self._put_off and self._has_space():
            self.send(self._put_off.popleft())

    def _look(self, now: float) -> None:
        """Look at connections without an answer; what no server hears is sent again."""
        self._look_at = now + LOOK_S
        for gate in list(self._opening):
            if not gate.is_opening:
                self._opening.discard(gate)
            elif gate.is_watched:
                for transfer in gate.look(now, is_up_to_date=self._multi.is_up_to_date):
                    self._repeat(transfer)
                self._freed.append(gate)

    def _repeat(self, transfer: Transfer) -> None:
        """Send a hop again, before others, on another connection."""
        handle, gate = transfer.handle, transfer.gate
        assert handle is not None
        assert gate is not None
        del self._busy[handle.easy]
        self._multi.remove(handle.easy)
        transfer.gate = None
        gate.leave(transfer, monotonic(), is_answered=transfer.has_answer)
        transfer.repeats += 1
        gate.waiting.appendleft(transfer)


def _was_closed_before(transfer: Transfer) -> bool:
    """Return whether a hop that may be sent twice went out on a used connection, and nothing came back."""
    handle = transfer.handle
    return transfer.is_safe and not transfer.has_answer and handle is not None and not handle.was_connected
