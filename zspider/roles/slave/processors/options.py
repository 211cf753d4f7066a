"""From a slave's settings to what its processes that run scripts are held to."""

from zspider.roles.processor.options import ProcessorOptions
from zspider.script.limits import ProcessorLimits
from zspider.settings import SlaveFile


def limits_of(settings: SlaveFile) -> ProcessorLimits:
    """Return what one run of a script is held to."""
    return ProcessorLimits(
        process_time_limit_s=settings.processor.process_time_limit_s,
        memory_bytes=settings.processor.memory_bytes,
        follows=settings.limits.follows,
        outcome_bytes=settings.limits.outcome_bytes,
    )


def options_of(settings: SlaveFile) -> ProcessorOptions:
    """Return what a processor is told when it starts."""
    limits = limits_of(settings)
    return ProcessorOptions(
        process_time_limit_s=limits.process_time_limit_s,
        memory_bytes=limits.memory_bytes,
        follows=limits.follows,
        outcome_bytes=limits.outcome_bytes,
        recycle_bytes=settings.processor.recycle_mib << 20,
        recycle_tasks=settings.processor.recycle_tasks,
    )
