"""Deletes script versions that no project uses any more."""

from collections.abc import Sequence

import structlog

from zspider.roles.machine.clock import SYSTEM_CLOCK, Clock
from zspider.roles.master.retention import DAY_MS
from zspider.roles.master.writer_thread import WriterThread

log = structlog.get_logger(__name__)
LOOK_S = 3600.0  # longer than a slave holds a page of a version that was replaced


class ScriptRetention:
    """Deletes what two looks in a row found unused, so that no slave still asks for it.

    The master's loop calls `look` every LOOK_S seconds.
    """

    def __init__(self, scripts_days: float, writer: WriterThread, clock: Clock = SYSTEM_CLOCK) -> None:
        """scripts_days: only versions that were pushed first longer ago are deleted; 0: none are."""
        self._age_ms = int(scripts_days * DAY_MS)
        self._writer = writer
        self._clock = clock
        self._unused: set[bytes] = set()  # at the last look

    def look(self) -> None:
        """Ask for the versions that no project uses; those of which that is known already are deleted."""
        if not self._age_ms or self._writer.is_away:
            return
        before_ms = max(1, self._clock.wall_ms() - self._age_ms)
        self._writer.call(lambda storage: storage.unused_scripts(before_ms), self._found)

    def _found(self, unused: Sequence[bytes]) -> None:
        old = [script for script in unused if script in self._unused]
        self._unused = set(unused).difference(old)
        if old:
            self._writer.call(lambda storage: storage.delete_scripts(old), self._deleted)

    def _deleted(self, number: int) -> None:
        log.info("scripts_deleted", versions=number, setting="retention.scripts_days")
