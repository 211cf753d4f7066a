"""The options that a slave gives a processor when it starts it."""

from zspider.script.limits import ProcessorLimits

IMPORT_WAIT_S = 10.0  # a processor waits no longer for a project that its script imports


class ProcessorOptions(ProcessorLimits, frozen=True):
    """Options of a processor, as JSON on its command line.

    recycle_bytes, recycle_tasks: after so many bytes in use, or pages, the processor ends for another one; 0: never.
    """

    recycle_bytes: int = 0
    recycle_tasks: int = 0
