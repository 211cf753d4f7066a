"""The leases granted to this slave and the pages that came through the relay, and how far each is."""

from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from typing import Any

from msgspec import Struct

from zspider.broker.messages import Held, Page, ProjectInfo
from zspider.delivery import Grant
from zspider.hosts import host_of

HOST_CHARS = 256  # Held.host; no real name is longer


class Stage(StrEnum):
    """How far a lease is. It only goes forward; a page whose processor died stays `FETCHED`."""

    WAITING = "waiting"  # for its time, and for a free place among the fetches
    FETCHING = "fetching"
    FETCHED = "fetched"  # its page is here, for a processor of ours
    RELAYED = "relayed"  # its page is kept until another slave's outcome is committed
    OUTBOX = "outbox"  # its outcome is made and waits for the acknowledgement


class Lease(Struct, eq=False):
    """The right to work on one delivery of a task; `serial` names it inside this slave and is never used twice."""

    serial: int
    number: int  # of the grant; 0: the page came through the relay
    project: int
    taskid: str
    run: int
    attempt: int
    proof: bytes
    script: bytes
    grant: Grant | None = None  # until its fetch begins
    info: ProjectInfo | None = None
    task: dict[str, Any] = {}  # what the callback will see
    stage: Stage = Stage.WAITING
    page: Page | None = None  # from the fetch until the outcome
    page_bytes: int = 0
    deaths: int = 0  # processors that died while they ran it
    processor: int | None = None  # which has made its outcome

    @property
    def is_granted(self) -> bool:
        """Whether the lease was granted to this slave, and is no page of another slave's."""
        return self.number > 0

    @property
    def url(self) -> str:
        """Its task's URL, until the outcome is made; "" from then on."""
        if self.grant is not None:
            return self.grant.url
        task = self.task if self.page is None else self.page.task
        return str(task.get("url", ""))

    @property
    def delivery(self) -> tuple[int, str, int, int]:
        """The name of this delivery of its task, the same in every slave."""
        return (self.project, self.taskid, self.run, self.attempt)


class SlaveLeases:
    """All leases of this slave, by serial and by grant number, counted by stage."""

    def __init__(self) -> None:
        self.seen = 0  # highest grant number of the session
        self.page_bytes = 0  # of all pages in memory
        self._next_serial = 1
        self._by_serial: dict[int, Lease] = {}
        self._by_number: dict[int, Lease] = {}
        self._relayed: dict[tuple[int, str, int, int], Lease] = {}  # pages of other slaves, by delivery
        self._counts = dict.fromkeys(Stage, 0)

    def __len__(self) -> int:
        return len(self._by_serial)

    def __iter__(self) -> Iterator[Lease]:
        return iter(list(self._by_serial.values()))

    def get(self, serial: int) -> Lease | None:
        """Return the lease with this serial; None when it is not held."""
        return self._by_serial.get(serial)

    def fetched(self, serial: int) -> Lease | None:
        """Return the lease if its page is here and its outcome is not. (A slow processor's page may be run twice.)"""
        lease = self._by_serial.get(serial)
        return lease if lease is not None and lease.stage is Stage.FETCHED else None

    def by_number(self, numbers: Iterable[int]) -> list[Lease]:
        """Return the leases of those grants that are held."""
        return [self._by_number[number] for number in numbers if number in self._by_number]

    def count(self, stage: Stage) -> int:
        """Return how many leases are at this stage."""
        return self._counts[stage]

    def take(self, grant: Grant, info: ProjectInfo) -> Lease | None:
        """Begin to hold a grant; None when it is held already."""
        self.seen = max(self.seen, grant.number)
        if grant.number in self._by_number:
            return None
        lease = Lease(
            serial=self._next_serial,
            number=grant.number,
            project=grant.project,
            taskid=grant.taskid,
            run=grant.run,
            attempt=grant.attempt,
            proof=grant.proof,
            script=grant.script,
            grant=grant,
            info=info,
        )
        self._by_number[lease.number] = lease
        return self._keep(lease)

    def take_page(self, page: Page) -> Lease | None:
        """Begin to hold a page of another slave's; None when it is here already (it was sent again)."""
        lease = Lease(
            serial=self._next_serial,
            number=0,
            project=page.project,
            taskid=page.taskid,
            run=page.run,
            attempt=page.attempt,
            proof=page.proof,
            script=page.script,
            stage=Stage.FETCHED,
        )
        if lease.delivery in self._relayed:
            return None
        self._relayed[lease.delivery] = lease
        self._keep(lease)
        self.keep_page(lease, page)
        return lease

    def move(self, lease: Lease, stage: Stage) -> None:
        """Note that the lease is at another stage."""
        self._counts[lease.stage] -= 1
        self._counts[stage] += 1
        lease.stage = stage

    def keep_page(self, lease: Lease, page: Page) -> None:
        """Hold the page in memory until `drop_page` or `end`."""
        lease.page = page
        lease.page_bytes = len(page.content)
        self.page_bytes += lease.page_bytes

    def drop_page(self, lease: Lease) -> None:
        """Forget the page: it is not needed any more. Safe to repeat."""
        self.page_bytes -= lease.page_bytes
        lease.page, lease.page_bytes = None, 0

    def end(self, lease: Lease) -> None:
        """Forget the lease. Safe to repeat."""
        if self._by_serial.pop(lease.serial, None) is None:
            return
        self._by_number.pop(lease.number, None)
        if not lease.is_granted:
            del self._relayed[lease.delivery]
        self.drop_page(lease)
        self._counts[lease.stage] -= 1

    def named(self) -> tuple[list[int], list[int]]:
        """Return the numbers that a heartbeat names: of grants in work, and of grants whose outcome waits."""
        held: list[int] = []
        outbox: list[int] = []
        for lease in self._by_number.values():
            (outbox if lease.stage is Stage.OUTBOX else held).append(lease.number)
        return held, outbox

    def in_full(self) -> list[Held]:
        """Return the leases as Hello names them: with all that a restarted master must know to adopt them."""
        return [
            Held(
                number=lease.number,
                project=lease.project,
                taskid=lease.taskid,
                run=lease.run,
                attempt=lease.attempt,
                proof=lease.proof,
                in_outbox=lease.stage is Stage.OUTBOX,
                host=host_of(lease.url)[:HOST_CHARS],
            )
            for lease in self._by_number.values()
        ]

    def where(self, wanted: Callable[[Lease], bool]) -> list[Lease]:
        """Return all leases for which `wanted` is true. It looks at every one: not for every step."""
        return [lease for lease in self._by_serial.values() if wanted(lease)]

    def _keep(self, lease: Lease) -> Lease:
        self._next_serial += 1
        self._by_serial[lease.serial] = lease
        self._counts[lease.stage] += 1
        return lease
