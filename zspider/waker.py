"""Wake a loop that waits: an eventfd that any thread may ring, and how long a wait lasts for poll."""

import math
import os
import select
import threading


def wait_ms(wait_s: float) -> int:
    """Return seconds as milliseconds for poll: never fewer than asked, so that a deadline is over when it returns."""
    return max(0, math.ceil(wait_s * 1000))


class Waker:
    """An eventfd to register in a poller. It stays readable until it is cleared."""

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._is_open = True
        # Writing to a closed descriptor could hit another file. Re-entrant: a signal handler may ring, too.
        self._lock = threading.RLock()

    def ring(self) -> None:
        """Wake the listener, now or when it next listens. From any thread; nothing happens once it is closed."""
        with self._lock:
            if self._is_open:
                os.eventfd_write(self.fd, 1)

    def clear(self) -> None:
        """Forget the rings so far."""
        try:
            os.eventfd_read(self.fd)
        except BlockingIOError:
            pass  # nobody rang

    def wait(self, wait_s: float) -> bool:
        """Sleep until the waker is rung, and clear it. Returns False if it was not rung in time."""
        poller = select.poll()
        poller.register(self.fd, select.POLLIN)
        is_rung = bool(poller.poll(wait_ms(wait_s)))
        self.clear()
        return is_rung

    def close(self) -> None:
        """Safe to repeat."""
        with self._lock:
            if self._is_open:
                self._is_open = False
                os.close(self.fd)
