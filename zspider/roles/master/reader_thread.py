"""The admin's reads: a thread with a database connection of its own, so that no export holds up a commit."""

from collections.abc import Callable

from zspider.roles.master.helper_threads import HelperThreads
from zspider.storage import Reader


class ReaderThread(HelperThreads[Reader]):
    """Runs reads in order; their consequences come back to the master's loop by `finished`."""

    def __init__(self, open_reader: Callable[[], Reader], wake: Callable[[], None]) -> None:
        super().__init__("reader", open_reader, wake)
