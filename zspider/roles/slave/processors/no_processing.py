"""The processing of a slave that only fetches."""

from collections.abc import Collection, Iterable
from collections.abc import Set as AbstractSet

from zspider.broker.messages import ProjectScript
from zspider.broker.pipe import Pipe
from zspider.roles.slave.leases import Lease
from zspider.roles.slave.processors.import_requests import ImportRequests
from zspider.roles.slave.processors.script_cache import ScriptCache


class NoProcessing:
    """It has no processors and wants no scripts; pages go into the relay."""

    fds: AbstractSet[int] = frozenset()
    pipes: Collection[Pipe] = ()
    is_broken = False
    complaint = ""
    capacity = 0

    def __init__(self) -> None:
        self.scripts = ScriptCache()
        self.projects = ImportRequests()

    def wait_s(self, now: float) -> float | None:
        """Return None: nothing is ever due."""
        return None

    def expect(self, script: bytes, now: float) -> None:
        """Do nothing."""

    def put(self, lease: Lease, now: float) -> None:
        """Do nothing: no page comes here."""

    def drop(self, lease: Lease) -> None:
        """Do nothing."""

    def script_came(self, script: bytes, text: str) -> None:
        """Do nothing."""

    def project_came(self, answer: ProjectScript, now: float) -> None:
        """Do nothing."""

    def known(self, leases: Iterable[Lease]) -> None:
        """Do nothing."""

    def read(self, ready_fds: AbstractSet[int], ready_pipes: Iterable[Pipe], now: float) -> None:
        """Do nothing."""

    def step(self, now: float, *, may_run: bool) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""
