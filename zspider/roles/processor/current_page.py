"""Which page a processor runs: a word in memory that it shares with its slave, and that outlives it."""

import mmap
import os
from typing import Self

_BYTES = 8


class CurrentPage:
    """One end of it. `page` is the number of the page that is run now, 0 between pages.

    Writing it costs no system call and wakes no process, and it is right however suddenly the processor dies.
    """

    def __init__(self, fd: int) -> None:
        """Map the memory behind a descriptor, and close that."""
        try:
            self._memory = mmap.mmap(fd, _BYTES)
        finally:
            os.close(fd)
        self._word = memoryview(self._memory).cast("Q")  # aligned: never seen half written

    @classmethod
    def pair(cls) -> tuple[Self, int]:
        """Return our end, and a descriptor for a child to inherit: close it here once the child has it.

        Raises OSError when there is no descriptor or memory for them.
        """
        fd = os.memfd_create("zspider-running")
        try:
            os.truncate(fd, _BYTES)
            return cls(os.dup(fd)), fd
        except BaseException:
            os.close(fd)
            raise

    @property
    def page(self) -> int:
        """The number of the page that is run now; a damaged process may have written anything."""
        return self._word[0]

    @page.setter
    def page(self, number: int) -> None:
        self._word[0] = number

    def close(self) -> None:
        """Give the memory back. Safe to repeat."""
        self._word.release()
        self._memory.close()
