"""libcurl's multi handle driven by an epoll set of our own: sockets and timer in, finished transfers out.

It never blocks, and serves sockets in the order in which they became ready, for as long as it is allowed to.
"""

import select
from collections import deque
from time import monotonic

import pycurl

from zspider.errors import is_shortage

IDLE_CONNECTIONS_MAX = 1000  # kept open for the next request to the same server, unless more work at once
EVENTS_MAX = 64  # sockets asked for at a time
FINISHED_MAX = 8  # transfers taken from libcurl at a time
UNWATCHED_S = 0.05  # how often a socket is tried to be watched that could not be

_EPOLL_FLAGS = {
    pycurl.POLL_IN: select.EPOLLIN,
    pycurl.POLL_OUT: select.EPOLLOUT,
    pycurl.POLL_INOUT: select.EPOLLIN | select.EPOLLOUT,
}


class Multi:
    """Easy handles under way. Times are monotonic seconds."""

    def __init__(self, concurrency: int) -> None:
        """concurrency: how many transfers at once connections are kept for."""
        self._epoll = select.epoll()
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._on_socket)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._on_timer)
        self._multi.setopt(pycurl.M_PIPELINING, pycurl.PIPE_MULTIPLEX)
        self._multi.setopt(pycurl.M_MAXCONNECTS, max(concurrency, min(2 * concurrency, IDLE_CONNECTIONS_MAX)))
        self.add = self._multi.add_handle  # begin a transfer; raises pycurl.error
        self.remove = self._multi.remove_handle  # take a transfer out, whether it has ended or not
        self.timer: float | None = None  # when libcurl wants to be called
        self._watched: set[int] = set()
        self._unwatched: dict[int, int] = {}  # sockets that epoll had no memory for, and what for
        self.is_up_to_date = False  # the last `act` has served all that was ready
        self._ready: deque[tuple[int, int]] = deque()  # sockets there was no time for, and what they are ready for

    def fileno(self) -> int:
        """Return a descriptor that is readable when `act` has something to do."""
        return self._epoll.fileno()

    def act(self, now: float, end: float) -> None:
        """Let libcurl read and write where it can, and see to its timer; nothing more is begun after `end`.

        What was ready before and had no turn comes first.
        """
        if self.timer is not None and self.timer <= now:
            self.timer = None
            self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
            self._on_timer(self._multi.timeout())  # it may have found its own clock a moment behind ours
        if self._unwatched:
            self._watch_again()
        self.is_up_to_date = False
        if not self._ready:
            events_now = self._epoll.poll(0, EVENTS_MAX)
            self._ready.extend(events_now)
            self.is_up_to_date = len(events_now) < EVENTS_MAX
        while self._ready:
            fd, events = self._ready.popleft()
            if fd in self._watched:  # an earlier action may have closed it
                self._multi.socket_action(fd, _curl_events(events))
            if monotonic() >= end:
                break
        self.is_up_to_date = self.is_up_to_date and not self._ready

    def finished(self) -> list[tuple[pycurl.Curl, int, str]]:
        """Return a few transfers that have ended, with libcurl's error code and text, 0 and "" for success.

        They are taken out. [] when there are no more.
        """
        _, done, failed = self._multi.info_read(FINISHED_MAX)
        ended: list[tuple[pycurl.Curl, int, str]] = [(easy, 0, "") for easy in done]
        ended += failed
        for easy, _, _ in ended:
            self._multi.remove_handle(easy)
        return ended

    @property
    def due(self) -> float | None:
        """The time at which `act` must be called though nothing is readable; None: never."""
        if not self._unwatched:
            return self.timer
        again = monotonic() + UNWATCHED_S
        return again if self.timer is None else min(again, self.timer)

    @property
    def has_ready(self) -> bool:
        """Whether `act` had no time for some sockets."""
        return bool(self._ready)

    def close(self) -> None:
        """Close all connections."""
        self._multi.close()
        self._epoll.close()

    def _on_socket(self, what: int, fd: int, _multi: object, _data: object) -> None:
        if what == pycurl.POLL_REMOVE:
            self._watched.discard(fd)
            self._unwatched.pop(fd, None)
            try:
                self._epoll.unregister(fd)
            except OSError:
                pass  # closed before we were told: epoll has forgotten it by itself
        elif fd in self._watched:
            self._epoll.modify(fd, _EPOLL_FLAGS[what])
        else:
            try:
                self._epoll.register(fd, _EPOLL_FLAGS[what])
            except OSError as exc:  # no memory: later steps try again, for libcurl takes no no
                if not is_shortage(exc):
                    raise
                self._unwatched[fd] = what
            else:
                self._watched.add(fd)

    def _watch_again(self) -> None:
        for fd, what in list(self._unwatched.items()):
            del self._unwatched[fd]
            self._on_socket(what, fd, None, None)
            if fd in self._watched:
                self._multi.socket_action(fd, 0)  # libcurl looks for itself

    def _on_timer(self, timeout_ms: int) -> None:
        self.timer = None if timeout_ms < 0 else monotonic() + timeout_ms / 1000


def _curl_events(events: int) -> int:
    """Convert epoll's flags to libcurl's; errors and hang-ups count as readable, so that libcurl finds them."""
    action = 0
    if events & ~select.EPOLLOUT:
        action |= pycurl.CSELECT_IN
    if events & select.EPOLLOUT:
        action |= pycurl.CSELECT_OUT
    return action
