"""How often a line that a stranger can bring about goes into the log."""


class LogLimit:
    """Lets some lines of each kind into the log at once, one every `pace_s` seconds after them, and counts the rest."""

    def __init__(self, pace_s: float = 1.0, burst: int = 1) -> None:
        """burst: how many lines may come at once."""
        self._pace_s = pace_s
        self._ahead_s = (burst - 1) * pace_s
        self._due: dict[str, float] = {}  # when the next line would come if all came at their pace
        self._held_back: dict[str, int] = {}

    def may_log(self, kind: str, now: float) -> int | None:
        """Return how many lines of this kind were held back since the last one, or None: not now.

        now: monotonic seconds.
        """
        due = self._due.get(kind, now)
        if now < due - self._ahead_s:
            self._held_back[kind] = self._held_back.get(kind, 0) + 1
            return None
        self._due[kind] = max(due, now) + self._pace_s
        return self._held_back.pop(kind, 0)
