"""A script that slaves cannot load: why, who says so, and when they are asked again. Pure."""

from math import inf

RETRY_S = 60.0  # a name server, a mount or a forgotten file may be mended by then
RETRY_MAX_S = 3600.0  # each try costs one import a slave


class LoadFailure:
    """What is known of the failures to load one project's script.

    The slaves that failed are granted nothing of it until `until`; the wait doubles with each failure after that, and
    begins anew by an edit, by an operator's wish, or when all went well for as long as the last wait. Times: monotonic
    seconds.
    """

    def __init__(self, retry_s: float) -> None:
        """retry_s: the first wait."""
        self._retry_s = retry_s
        self.clear()

    def clear(self) -> None:
        """Forget all: the next failure is the first one."""
        self.error = ""  # what a slave said last; "": nothing since the last `clear`
        self.host = ""  # of this slave
        self.lacks = ""  # the project that it could not import, if this was it
        self.has_given_up = False  # slaves were lost while they loaded it: no other is asked until then
        self.until = inf  # inf: nobody waits
        self.is_new = False  # noted, and `begin` was not called
        self._wait_s = 0.0  # the last wait
        self._lifted = -inf

    def note(self, error: str, host: str, *, lacks: str = "", has_given_up: bool = False) -> None:
        """Note that a slave on `host` cannot load the script; `begin` is to be called."""
        self.error, self.host, self.lacks = error or self.error, host, lacks
        self.has_given_up |= has_given_up
        self.is_new = True

    def begin(self, now: float) -> float:
        """Return when those that failed are asked again; that stays so until `lift`."""
        self.is_new = False
        if self.until == inf:
            was_well = now - self._lifted > max(self._wait_s, self._retry_s)
            self._wait_s = self._retry_s if was_well else min(2 * self._wait_s, RETRY_MAX_S)
            self.until = now + self._wait_s
        return self.until

    def lift(self, now: float) -> None:
        """Note that those that failed may be asked again now."""
        self.has_given_up = False
        self.until, self._lifted = inf, now
