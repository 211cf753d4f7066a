"""Pages on their way from a slave without processors to slaves that have some."""

from collections.abc import Iterable

from zspider.delivery import End
from zspider.errors import ProtocolError
from zspider.roles.slave.endings import Endings
from zspider.roles.slave.leases import Lease, SlaveLeases, Stage
from zspider.roles.slave.master_port import MasterPort
from zspider.roles.slave.relay_outbox import RelayOutbox


class Relaying:
    """Sends each page that is `put` into the relay, again if need be, until it is dropped."""

    def __init__(self, held: SlaveLeases, port: MasterPort, endings: Endings) -> None:
        self._held = held
        self._port = port
        self._endings = endings
        self._pages = RelayOutbox()
        self._has_room = True

    def wait_s(self, now: float) -> float | None:
        """Seconds until `step` has something to do."""
        return self._pages.wait_s(now) if self._has_room else None

    def put(self, lease: Lease) -> None:
        """Take a lease whose page is to be sent."""
        self._held.move(lease, Stage.RELAYED)
        self._pages.add(lease.serial)

    def drop(self, lease: Lease) -> None:
        """Forget a page: its outcome is committed, or not wanted."""
        self._pages.remove(lease.serial)

    def step(self, now: float) -> None:
        """Send what is due, as long as there is room."""
        while self._has_room and (serial := self._pages.next(now)) is not None:
            lease = self._held.get(serial)
            if lease is None or lease.page is None:
                self._pages.remove(serial)
                continue
            try:
                self._has_room = self._port.push_page(lease.page)
            except ProtocolError as exc:
                self._pages.remove(serial)
                self._endings.fail(lease, End.FATAL, str(exc))
            else:
                if self._has_room:
                    self._pages.sent(now)

    # --- what happened --------------------------------------------------------------------------

    def has_room_again(self) -> None:
        """Note that a page which could not be sent can be now."""
        self._has_room = True

    def taken(self, numbers: Iterable[int]) -> None:
        """Note that another slave processes the pages of these grants."""
        for lease in self._held.by_number(numbers):
            self._pages.taken(lease.serial)

    def resend(self, numbers: Iterable[int]) -> None:
        """Send the pages of these grants again: the slave that had them is gone."""
        for lease in self._held.by_number(numbers):
            self._pages.send_again(lease.serial)

    def rejoined(self, now: float) -> None:
        """Note that a master knows us, perhaps a new one that knows of no claims."""
        self._pages.rejoined(now)
