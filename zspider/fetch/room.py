"""How much all transfers of a pool may receive: in one step, and in memory. Pure; knows no libcurl.

Memory is counted in grains, before it is filled: what a body takes below its first grain is not counted.
"""

from typing import Final

STEP_BYTES = 4 * 1024 * 1024  # of bodies that libcurl hands over in one step: a few milliseconds of work
PIECE_COST_BYTES = 2048  # what taking in a piece costs besides, so no more than 2,048 pieces are taken in
GROW_BYTES_MAX = 320 * 1024 * 1024  # bodies and pages in memory; above it bodies do not grow ...
FIRST_BYTES_MAX = 128 * 1024 * 1024  # ... but for the first in line, unless so much is in pages that are whole
GRAIN_BYTES_MAX = 256 * 1024
GRAIN_BYTES_MIN = 16 * 1024  # a buffer of libcurl's
UNCOUNTED_BYTES = 32 * 1024 * 1024  # which all transfers together may have below their first grains


class Share:
    """The memory that one transfer has of the room: `counted` bytes."""

    __slots__ = ("counted",)

    def __init__(self) -> None:
        self.counted = 0


class Room:
    """The room that all transfers of a pool share.

    `held_bytes` are counted for bodies and headers under way, `pages_bytes` is what the owner of the pool holds
    besides. One transfer, the first of those that hold anything, may always grow to its end, so that there is always
    one that comes to an end; only pages that are not processed can hold it up, and those end by themselves.
    """

    def __init__(self, concurrency: int) -> None:
        """concurrency: how many transfers run at once."""
        most = min(GRAIN_BYTES_MAX, UNCOUNTED_BYTES // max(1, concurrency))
        self.grain: Final = max(GRAIN_BYTES_MIN, most)
        self.step_bytes = STEP_BYTES  # that may still be handed over in this step
        self.held_bytes = 0
        self.pages_bytes = 0
        self._line: dict[Share, None] = {}  # those that hold something, in the order in which they began to

    def has_space(self, wanted_bytes: int = 0) -> bool:
        """Return whether so much more is within the bound."""
        return self.held_bytes + self.pages_bytes + wanted_bytes <= GROW_BYTES_MAX

    def may_grow(self, share: Share, wanted_bytes: int) -> bool:
        """Return whether this transfer may have so many bytes more now."""
        if not wanted_bytes or self.has_space(wanted_bytes):
            return True
        is_first = not self._line or next(iter(self._line)) is share
        return is_first and self.pages_bytes < FIRST_BYTES_MAX

    def grow(self, share: Share, wanted_bytes: int) -> None:
        """Count so many bytes more for this transfer, whether they are within the bound or not."""
        self._line.setdefault(share)
        share.counted += wanted_bytes
        self.held_bytes += wanted_bytes

    def give_back(self, share: Share) -> None:
        """Give back all memory of this transfer. Safe to repeat."""
        self.held_bytes -= share.counted
        share.counted = 0
        self._line.pop(share, None)
