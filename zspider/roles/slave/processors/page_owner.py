"""Callbacks of whoever hands pages to processors."""

from collections.abc import Sequence
from typing import Protocol

from zspider.roles.slave.leases import Lease


class PageOwner(Protocol):
    """Hands pages to processors, and is told by these calls how each ended."""

    def on_part(self, lease: Lease, packed: bytes) -> None:
        """Take follows, ahead of the outcome."""
        ...

    def on_outcome(self, lease: Lease, packed: bytes) -> None:
        """Take the outcome: it is the end of the page."""
        ...

    def on_unloadable(self, leases: Sequence[Lease], error: str) -> None:
        """Take back leases whose script this machine cannot load. It is barred already."""
        ...

    def on_no_script(self, lease: Lease) -> None:
        """Take back a lease whose script the master does not send."""
        ...
