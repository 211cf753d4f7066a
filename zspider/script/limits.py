"""The limits of one run of a script."""

import msgspec


class ProcessorLimits(msgspec.Struct, frozen=True):
    """Limits of a process that runs scripts; defaults are those of the settings with the same names.

    process_time_limit_s: seconds for a callback, unless its task has its own limit. memory_bytes: address space beyond
    that of the process when it begins. follows, outcome_bytes: most of one run.
    """

    process_time_limit_s: float = 30.0
    memory_bytes: int = 1024**3
    follows: int = 1_000_000
    outcome_bytes: int = 16 * 1024 * 1024


USUAL_LIMITS = ProcessorLimits()
