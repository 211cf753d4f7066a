"""The limits of one run of a script."""

import msgspec


class ProcessorLimits(msgspec.Struct, frozen=True):
    """Limits of a process that runs scripts; defaults are those of the settings with the same names.

    process_time_limit_s: for a callback, unless its task has its own. memory_bytes: of address space, more than the
    process has when it begins. follows, outcome_bytes: of one run.
    """

    process_time_limit_s: float = 30.0
    memory_bytes: int = 1024**3
    follows: int = 1_000_000
    outcome_bytes: int = 16 * 1024 * 1024


USUAL_LIMITS = ProcessorLimits()
