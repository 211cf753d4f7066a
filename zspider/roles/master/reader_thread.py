"""The thread that reads for the administration, on a connection of its own, so that no export holds up a commit."""

from collections.abc import Callable

from zspider.roles.master.helper_threads import HelperThreads
from zspider.storage import Reader


class ReaderThread(HelperThreads[Reader]):
    """Runs reads one after the other; `finished` runs their consequences in the master's loop."""

    def __init__(self, open_reader: Callable[[], Reader], wake: Callable[[], None]) -> None:
        super().__init__("reader", open_reader, wake)
