"""When a slave reopens its sockets."""

import random

BACKOFF_S = 0.2
BACKOFF_MAX_S = 2.0


class Reconnector:
    """Says when to reopen the sockets. Pure: times are monotonic seconds, given by the caller.

    A silent master gets `rebuild_s` to answer each time; a refusal, after which ZeroMQ would never try
    again, is tried again sooner. Both are spread by a growing random pause, so that a thousand slaves
    do not knock at the same moment.
    """

    def __init__(self, rebuild_s: float, now: float, chance: random.Random | None = None) -> None:
        self.rebuild_s = rebuild_s
        self._since = now  # last word of the master, or last rebuild
        self._tries = 0
        self._chance = chance or random.Random()
        self._pause_s = self._draw()

    def heard(self, now: float) -> None:
        """Note that an authenticated message came from the master."""
        self._since = now
        if self._tries:
            self._tries = 0
            self._pause_s = self._draw()

    def rebuilt(self, now: float) -> None:
        """Note that the sockets are new."""
        self._since = now
        self._tries += 1
        self._pause_s = self._draw()

    def rebuild_at(self, *, is_refused: bool) -> float:
        """Return when to reopen the sockets, unless something is heard before."""
        return self._since + self._pause_s + (0.0 if is_refused else self.rebuild_s)

    def _draw(self) -> float:
        """Full jitter: anything up to a limit that doubles with each try."""
        return self._chance.uniform(0.0, min(BACKOFF_MAX_S, BACKOFF_S * 2.0 ** min(self._tries, 10)))
