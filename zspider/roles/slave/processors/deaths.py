"""Whose fault a processor's death is, and what becomes of the page that it ran."""

import structlog

from zspider.delivery import End
from zspider.roles.slave.leases import SlaveLeases
from zspider.roles.slave.pages import failed
from zspider.roles.slave.processors.dispatch import Dispatch
from zspider.roles.slave.processors.page_owner import PageOwner
from zspider.roles.slave.processors.pool import Death

log = structlog.get_logger(__name__)
DEATHS_MAX = 3  # processors that one page may kill


class Deaths:
    """Charges pages with the processors that died while they ran them."""

    def __init__(self, leases: SlaveLeases, dispatch: Dispatch, owner: PageOwner, memory_bytes: int) -> None:
        """memory_bytes: the memory limit of a processor."""
        self._leases = leases
        self._dispatch = dispatch
        self._owner = owner
        self._memory_bytes = memory_bytes
        self._timed_out: dict[int, int] = {}  # processor that is killed -> the page that took too long

    def expect(self, processor: int, page: int) -> None:
        """Note that a processor is killed because this page took too long."""
        self._timed_out[processor] = page

    def judge(self, processor: int, death: Death) -> None:
        """Have a dead processor's pages wait again, and see what becomes of the one that is to blame."""
        dead = self._dispatch.died(processor)
        overtime = self._timed_out.pop(processor, None)
        if death.was_retired:
            return
        lease = self._leases.fetched(dead.blamed) if dead.blamed is not None else None
        log.warning(
            "processor_died",
            processor=processor,
            how=death.how,
            peak_mib=death.peak_bytes >> 20,
            taskid=lease.taskid if lease else None,
            said=death.output_tail,
        )
        if lease is None:
            return
        if overtime == lease.serial:
            self._dispatch.drop(lease.serial)
            self._owner.on_outcome(lease, failed(lease, End.FAILURE, "TimeoutError: process timeout"))
            return
        lease.deaths += dead.is_charged
        if lease.deaths >= DEATHS_MAX:
            self._dispatch.drop(lease.serial)
            self._owner.on_outcome(lease, failed(lease, End.FATAL, self._reason(death)))
        elif dead.is_unassigned:
            self._dispatch.put(lease.serial, first=True, alone=True)

    def _reason(self, death: Death) -> str:
        said = f"; it last wrote: {death.output_tail}" if death.output_tail else ""
        limit = self._memory_bytes >> 20
        over = f" (over {limit:,} MiB, processor.memory_bytes)" if death.peak_bytes >= self._memory_bytes else ""
        peak = f"{death.peak_bytes >> 20} MiB{over}"
        return f"killed its processor {DEATHS_MAX} times: {death.how}, peak memory {peak}{said}"
