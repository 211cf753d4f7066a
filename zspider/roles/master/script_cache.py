"""The master's scripts by their hashes: read from the database when a slave asks, and kept for the next."""

from collections import OrderedDict
from collections.abc import Callable

import structlog

from zspider.errors import ZspiderError
from zspider.roles.machine.clock import SYSTEM_CLOCK, Clock
from zspider.roles.master.limited_log import RateLimitedLog
from zspider.roles.master.writer_thread import WriterThread

log = structlog.get_logger(__name__)
KEPT_MAX = 200  # texts in memory
READS_MAX = 100  # at once; a slave that is not answered asks again


class ScriptCache:
    """Keeps the texts of scripts that were asked for last. A text never changes under its hash."""

    def __init__(self, writer: WriterThread, clock: Clock = SYSTEM_CLOCK) -> None:
        self._writer = writer
        self._limited_log = RateLimitedLog(log, clock)
        self._texts: OrderedDict[bytes, str] = OrderedDict()
        self._waiting: dict[bytes, dict[tuple[bytes, str], Callable[[str], object]]] = {}

    def with_text(self, script: bytes, asker: tuple[bytes, str], then: Callable[[str], object]) -> None:
        """Call `then` with a script's text, now or when it is read.

        It is never called for a script that the database does not have, nor while READS_MAX others are read. asker: the
        slave's route and a word for the purpose; of several calls of one asker while the text is read, only the last
        one counts.
        """
        text = self._texts.get(script)
        if text is not None:
            then(text)
            return
        if script in self._waiting:
            self._waiting[script][asker] = then
        elif len(self._waiting) < READS_MAX:
            self._waiting[script] = {asker: then}
            self._writer.call(
                lambda storage: storage.script(script),
                lambda found: self._read(script, found),
                lambda error: self._failed(script, error),
            )

    def _read(self, script: bytes, text: str) -> None:
        self._texts[script] = text
        while len(self._texts) > KEPT_MAX:
            self._texts.popitem(last=False)
        for then in self._waiting.pop(script).values():
            then(text)

    def _failed(self, script: bytes, error: ZspiderError) -> None:
        del self._waiting[script]
        self._limited_log.warning("script_unknown", script=script.hex()[:12], reason=str(error))
