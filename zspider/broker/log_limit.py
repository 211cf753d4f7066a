"""How often a line that a stranger can bring about goes into the log."""


class LogLimit:
    """Lets one line per kind and second into the log, and counts what it held back."""

    def __init__(self, pace_s: float = 1.0) -> None:
        self._pace_s = pace_s
        self._last: dict[str, float] = {}
        self._held_back: dict[str, int] = {}

    def may_log(self, kind: str, now: float) -> int | None:
        """Return how many lines of this kind were held back since the last one, or None: not now.

        now: monotonic seconds.
        """
        last = self._last.get(kind)
        if last is not None and now - last < self._pace_s:
            self._held_back[kind] = self._held_back.get(kind, 0) + 1
            return None
        self._last[kind] = now
        return self._held_back.pop(kind, 0)
