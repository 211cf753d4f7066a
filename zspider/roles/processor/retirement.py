"""When a processor ends so that another one takes its place."""

import gc
from time import monotonic  # by itself: a script may replace what `time` holds

from zspider.roles.machine.limits import has_met_memory_limit, memory_limit_lifter, peak_bytes, resident_bytes
from zspider.roles.processor.options import ProcessorOptions
from zspider.script.errors import is_a, is_of_memory

WEIGH_S = 0.25  # how often the resident memory is looked at, between two pages
GARBAGE_PART = 16  # of processor.memory_bytes: grown by this much, it looks for garbage at once


class Retirement:
    """Counts pages and looks at the memory between them."""

    def __init__(self, options: ProcessorOptions) -> None:
        self.make_room = memory_limit_lifter()  # of memory; it needs none itself
        self._options = options
        self._pages = 0  # run so far
        self._weigh_at = monotonic() + WEIGH_S
        self._weight = 0  # when garbage was looked for the last time because of it
        self._is_exhausted = False  # it has met its memory limit
        self.is_damaged = False  # a script has changed what we need ourselves

    def reason(self) -> str:
        """Return why another process shall take the next page; "": this one does. Call it once after each page."""
        self._pages += 1
        if self._is_exhausted:
            return "processor.memory_bytes"
        if self.is_damaged:
            return "a script has damaged its process"
        if self._pages == self._options.recycle_tasks:
            return f"{self._pages} pages (processor.recycle_tasks)"
        now = monotonic()
        if now < self._weigh_at:
            return ""
        self._weigh_at = now + WEIGH_S
        try:
            weight = self._weigh()
        except OSError as exc:  # it has no descriptor left
            return str(exc)
        limit = self._options.recycle_bytes
        return f"{weight >> 20} MiB (processor.recycle_mib)" if limit and weight > limit else ""

    def on_memory_error(self, error: BaseException) -> str:
        """Say how much memory was used if an error means that the limit was met; "": it does not.

        The limit is lifted, so that there is room to say so, and the process ends after this page.
        """
        if not is_a(error, MemoryError) and not (is_of_memory(error) and has_met_memory_limit()):
            return ""
        self.make_room()
        self._is_exhausted = True
        limit = self._options.memory_bytes >> 20
        return f"over {limit:,} MiB (processor.memory_bytes), peak resident memory {peak_bytes() >> 20:,} MiB"

    def _weigh(self) -> int:
        """Return the resident memory; after a page that left much of it in cycles, what remains without them.

        The next page would meet the limit because of them.
        """
        weight = resident_bytes()
        if weight > self._weight + self._options.memory_bytes // GARBAGE_PART:
            gc.collect()
            weight = self._weight = resident_bytes()
        return weight
