"""A token bucket. A token may be taken shortly before it exists; the caller is told how long to wait."""


class TokenBucket:
    """Lets at most `rate * t + burst` tasks start in any t seconds.

    A reservation may take a token that is not there yet, together with the time to wait for it: the
    master grants a little ahead, and the slave starts each task at its time. A bucket starts with one
    token (docs/pyspider-behaviour.md 4.5); a burst below 1 never gives any. A token is spent when its task is granted,
    whatever becomes of that (as in pyspider): one that came back when the bucket had been full since would be one too
    many.
    """

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self.rate = rate
        self.burst = burst
        self._tokens = min(1.0, burst)  # below zero: taken ahead
        self._at = now

    def change(self, rate: float, burst: float, now: float) -> None:
        """Use other limits from now on; tokens above the new burst are lost."""
        self._refill(now)
        self.rate = rate
        self.burst = burst
        self._tokens = min(self._tokens, burst)

    def reserve(self, now: float, ahead_s: float) -> float | None:
        """Take one token and return in how many seconds it is there; None if that is more than `ahead_s`.

        now: monotonic seconds, never earlier than in the last call. A refusal takes nothing.
        """
        wait_s = self.wait_s(now)
        if wait_s is None or wait_s > ahead_s:
            return None
        self._tokens -= 1.0
        return wait_s

    def wait_s(self, now: float) -> float | None:
        """Return the seconds until the next token is there: 0.0 if it is, None if never."""
        self._refill(now)
        if self.burst < 1:
            return None
        if self._tokens >= 1.0:
            return 0.0
        if self.rate <= 0:
            return None
        return (1.0 - self._tokens) / self.rate

    def _refill(self, now: float) -> None:
        self._tokens = min(self.burst, self._tokens + (now - self._at) * self.rate)
        self._at = now
