"""Sources of bad messages, and which of them to ignore."""

from collections import OrderedDict
from dataclasses import dataclass

BAD_MAX = 100  # bad messages from one source ...
WITHIN_S = 10.0  # ... in this time, and it is ignored ...
IGNORE_S = 60.0  # ... for so long
SOURCES_MAX = 4096  # remembered; those longest quiet are forgotten first


@dataclass
class _Record:
    since: float
    bad: int = 0
    ignored_until: float = 0.0


class Offenders:
    """Counts bad messages by source and decides which source to ignore. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._records: OrderedDict[bytes, _Record] = OrderedDict()

    def note(self, source: bytes, now: float) -> bool:
        """Count a bad message, and return whether its source is ignored from now on."""
        record = self._records.pop(source, None)
        if record is None or now - record.since > WITHIN_S:
            record = _Record(now)
        self._records[source] = record  # the newest is last
        if len(self._records) > SOURCES_MAX:
            self._records.popitem(last=False)
        record.bad += 1
        if record.bad > BAD_MAX and now >= record.ignored_until:
            record.ignored_until = now + IGNORE_S
            return True
        return False

    def is_ignored(self, source: bytes, now: float) -> bool:
        """Return whether messages of this source are dropped unread."""
        record = self._records.get(source)
        return record is not None and now < record.ignored_until
