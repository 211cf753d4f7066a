"""The actions that the core wants done: its answers to events and to the passing of time."""

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from zspider.scheduler.host_queues import Range
from zspider.scheduler.leases import Lease, Session
from zspider.scheduler.pause import Phase
from zspider.task import Kind, Position, Ref


class Give(NamedTuple):
    """Grant these leases to their session; each starts not before its number of milliseconds."""

    session: Session
    grants: Sequence[tuple[Lease, int]]


class Welcome(NamedTuple):
    """Tell a slave that it is in."""

    session: Session


class Challenge(NamedTuple):
    """Ask the older holder of a session for a sign of life: a newer one claims the same session."""

    session: Session


class RefuseClone(NamedTuple):
    """Tell the newer holder of a session to draw a new one."""

    route: bytes
    session: bytes


class AskHello(NamedTuple):
    """Ask a slave to say Hello: it speaks for a session from another connection than the session's."""

    route: bytes


class Tell(NamedTuple):
    """Say something about leases to the slave that holds them, by their numbers."""

    what: Literal["release", "recall", "taken", "resend"]
    session: Session
    numbers: Sequence[int]


class Refill(NamedTuple):
    """Read waiting tasks behind a position from the database and call `Core.refilled` with them."""

    project: int
    kind: Kind
    after: Position | None


class ScanHosts(NamedTuple):
    """Read waiting tasks of some hosts in a range of an order, or as far as that is quick, and call `Core.scanned`."""

    project: int
    part: Range


class Charge(NamedTuple):
    """Write down that these deliveries were lost, (task, run, attempt); those that may be tried again enter then."""

    lost: Sequence[tuple[Ref, int, int]]


class Finish(NamedTuple):
    """No task of this project is left: submit on_finished, if the database agrees, and call `Core.finish_answered`."""

    project: int


class Paused(NamedTuple):
    """A project pauses, is probed, or runs as before: for the log. reason: why it was paused last."""

    project: int
    phase: Phase
    reason: str


class Gone(NamedTuple):
    """A slave is gone, or did not come back after a restart: forget its session in the database."""

    session: Session


Action = (
    Give | Welcome | Challenge | RefuseClone | AskHello | Tell | Refill | ScanHosts | Charge | Finish | Paused | Gone
)


def tell_holders(what: Literal["release", "recall", "resend"], leases: Iterable[Lease]) -> list[Action]:
    """Return what says this to each session that holds some of these leases."""
    numbers: dict[bytes, tuple[Session, list[int]]] = {}
    for lease in leases:
        numbers.setdefault(lease.session.id, (lease.session, []))[1].append(lease.number)
    return [Tell(what, session, found) for session, found in numbers.values()]
