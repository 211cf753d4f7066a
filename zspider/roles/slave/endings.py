"""How a slave's leases end: with an outcome for the outbox, or given back to the master."""

from collections.abc import Callable, Sequence

from zspider.broker.messages import GiveBack
from zspider.delivery import End
from zspider.roles.slave.leases import Lease, SlaveLeases, Stage
from zspider.roles.slave.master_port import MasterPort
from zspider.roles.slave.outbox import Outbox
from zspider.roles.slave.pages import failed
from zspider.settings import SlaveFile

NUMBERS_MAX = 10_000  # in one message
CANNOT_LOAD = "script"  # GiveBack.reason by which the master gives us no more of that script


class Endings:
    """Ends leases; what is under way for one is stopped first."""

    def __init__(
        self, settings: SlaveFile, held: SlaveLeases, outbox: Outbox, port: MasterPort, stop: Callable[[Lease], None]
    ) -> None:
        """stop: ends the fetch, processing or relaying of a lease."""
        self.now = 0.0  # of this step
        self.processed = 0  # outcomes made, since the start
        self._limit = settings.limits.outcome_bytes
        self._held = held
        self._outbox = outbox
        self._port = port
        self._stop = stop

    # --- outcomes -------------------------------------------------------------------------------

    def on_part(self, lease: Lease, packed: bytes) -> None:
        """Keep follows that are sent ahead of their page's outcome."""
        if self._fits(lease, packed):
            self._outbox.add(lease.serial, lease.number, packed, self.now, is_final=False)

    def on_outcome(self, lease: Lease, packed: bytes) -> None:
        """Keep a page's outcome until it is acknowledged; the page is not needed any more."""
        if not self._fits(lease, packed):
            return
        self.processed += 1
        self._outbox.add(lease.serial, lease.number, packed, self.now, is_final=True)
        self._held.drop_page(lease)
        lease.grant = lease.info = None
        lease.task = {}
        self._held.move(lease, Stage.OUTBOX)

    def fail(self, lease: Lease, end: End, reason: str) -> None:
        """End a delivery with an outcome that says why it came to nothing."""
        self.on_outcome(lease, failed(lease, end, reason))

    def _fits(self, lease: Lease, packed: bytes) -> bool:
        """False: it is over the limit, and the lease has ended with another outcome that says so."""
        if len(packed) <= self._limit:
            return True
        reason = f"an outcome of {len(packed)} bytes, the limit is {self._limit} (limits.outcome_bytes)"
        self.fail(lease, End.FATAL, reason)
        return False

    # --- without an outcome ---------------------------------------------------------------------

    def on_unloadable(self, leases: Sequence[Lease], error: str) -> None:
        """Give back leases whose script this machine cannot load. Pages of the relay cannot go back: they fail."""
        self.give_back([lease for lease in leases if lease.is_granted], CANNOT_LOAD, error)
        for lease in leases:
            if not lease.is_granted:
                self.fail(lease, End.FAILURE, f"cannot load the script: {error}")

    def on_no_script(self, lease: Lease) -> None:
        """Give back a lease whose script the master does not have any more, or does not send."""
        if lease.is_granted:
            self.give_back([lease])
        else:
            self.fail(lease, End.FAILURE, "the master did not send the script")

    def give_back(self, leases: Sequence[Lease], reason: str = "", error: str = "") -> None:
        """Let these leases go and tell the master; if it does not hear it, the next heartbeat does not name them."""
        for lease in leases:
            self.let_go(lease)
        self.say_given_back([lease.number for lease in leases if lease.is_granted], reason, error)

    def give_back_waiting(self) -> None:
        """Give back all leases that are not begun."""
        self.give_back(self._held.where(lambda lease: lease.stage is Stage.WAITING))

    def give_back_undone(self) -> None:
        """Give back all leases whose outcome is not made."""
        self.give_back(self._held.where(lambda lease: lease.stage is not Stage.OUTBOX))

    def say_given_back(self, numbers: Sequence[int], reason: str = "", error: str = "") -> None:
        """Tell the master that these grants are not worked on."""
        for at in range(0, len(numbers), NUMBERS_MAX):
            self._port.say(GiveBack(self._port.session, list(numbers[at : at + NUMBERS_MAX]), reason, error))

    def let_go(self, lease: Lease) -> None:
        """Forget a lease, and stop what is done for it."""
        self._stop(lease)
        self._held.end(lease)

    def drop_granted(self) -> int:
        """Forget what was granted: it belongs to another session, or to none. The outcomes are kept.

        Returns how many leases had no outcome yet.
        """
        leases = self._held.where(lambda lease: lease.is_granted)
        undone = sum(lease.stage is not Stage.OUTBOX for lease in leases)
        for lease in leases:
            self.let_go(lease)
        self._held.seen = 0
        self._outbox.disown()
        return undone

    def drop_everything(self) -> tuple[int, int]:
        """Forget all. Returns how many leases that had no outcome yet, and how many outcomes, are lost."""
        outcomes = len(self._outbox)
        leases = self.drop_granted()
        for lease in self._held:
            self.let_go(lease)
        self._outbox.clear()
        return leases, outcomes
