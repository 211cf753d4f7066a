"""Many fetches at once over libcurl's multi interface, driven from outside: it never blocks and has no thread.

libcurl says which sockets and which timer it waits for; the sockets are in an epoll set of our own,
whose descriptor can be waited for together with anything else.
"""

import errno
import os
import select
from collections.abc import Collection
from functools import partial
from time import monotonic

import pycurl

from zspider.errors import FetchError, is_shortage
from zspider.fetch import results
from zspider.fetch.addresses import is_private_host
from zspider.fetch.handle import Handle
from zspider.fetch.headers import header_set
from zspider.fetch.redirects import is_redirect, next_hop
from zspider.fetch.request import Request
from zspider.fetch.results import Fetched
from zspider.fetch.robots import Origin, RobotsCache, origin_for, robots_request
from zspider.fetch.transfer import Transfer, answer_at_once
from zspider.fetch.urls import host_of
from zspider.settings import FetchSettings

# What libcurl says, without an error number of the system, when it cannot open a socket.
_WITHOUT_DESCRIPTOR = (pycurl.E_COULDNT_CONNECT, pycurl.E_COULDNT_RESOLVE_HOST)
UNWATCHED_S = 0.05  # how often a socket is tried to be watched that could not be
IDLE_CONNECTIONS_MAX = 1000  # kept open for the next request to the same server, unless more work at once

_EPOLL_FLAGS = {
    pycurl.POLL_IN: select.EPOLLIN,
    pycurl.POLL_OUT: select.EPOLLOUT,
    pycurl.POLL_INOUT: select.EPOLLIN | select.EPOLLOUT,
}


class FetchPool:
    """Requests in, answers out; every request started is answered by exactly one `Fetched`, unless aborted.

    The caller waits for `fileno()` to be readable, at most `wait_s()`, then calls `step()`. How many
    requests run at once is the caller's decision; `concurrency` is what connections are kept for.
    """

    def __init__(self, settings: FetchSettings, concurrency: int) -> None:
        self.settings = settings
        self._concurrency = concurrency
        self._epoll = select.epoll()
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._on_socket)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._on_timer)
        self._multi.setopt(pycurl.M_PIPELINING, pycurl.PIPE_MULTIPLEX)
        self._multi.setopt(pycurl.M_MAXCONNECTS, max(concurrency, min(2 * concurrency, IDLE_CONNECTIONS_MAX)))
        self._timer: float | None = None  # monotonic; when libcurl wants to be called
        self._watched: set[int] = set()
        self._unwatched: dict[int, int] = {}  # sockets and flags that epoll had no memory for
        self._free: list[Handle] = []
        self._busy: dict[pycurl.Curl, Transfer] = {}
        self._transfers: dict[int, Transfer] = {}
        self._answered: list[Fetched] = []
        self._robots = RobotsCache()
        self._robots_headers = header_set((), settings.user_agent).lines
        self._parked: dict[Origin, list[Transfer]] = {}  # waiting for the robots.txt that is being fetched
        self._asking: set[Origin] = set()
        self._private_ok = settings.private_networks == "allow"

    # -- for the loop outside

    def fileno(self) -> int:
        """A descriptor that is readable when `step` has something to do."""
        return self._epoll.fileno()

    def wait_s(self) -> float | None:
        """In how many seconds `step` must be called even if nothing is readable; None: never."""
        if self._answered:
            return 0.0
        dues = [transfer.deadline for waiting in self._parked.values() for transfer in waiting]
        if self._timer is not None:
            dues.append(self._timer)
        if self._unwatched:
            dues.append(monotonic() + UNWATCHED_S)
        return max(0.0, min(dues) - monotonic()) if dues else None

    @property
    def in_flight(self) -> int:
        """Requests started and not answered yet."""
        return len(self._transfers) + len(self._answered)

    def start(self, request: Request) -> None:
        """Take a request. Its tag must not be in use. Answers come from `step` only, errors too."""
        if request.tag in self._transfers:
            raise ValueError(f"a request with tag {request.tag} is running")
        if fetched := answer_at_once(request):
            self._answered.append(fetched)
            return
        transfer = Transfer(request, self._private_ok or request.private_ok, self._answer)
        self._transfers[request.tag] = transfer
        self._enter(transfer)

    def step(self) -> list[Fetched]:
        """Act on ready sockets and due timers; returns what is finished. Never blocks."""
        if self._timer is not None and self._timer <= monotonic():
            self._timer = None
            self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
            self._on_timer(self._multi.timeout())  # it may have found its own clock a moment behind ours
        for fd in list(self._unwatched):
            if self._watch(fd, self._unwatched.pop(fd)):
                self._multi.socket_action(fd, 0)  # libcurl looks for itself
        for fd, events in self._epoll.poll(0):
            if fd in self._watched:  # an earlier action of this round may have closed it
                self._multi.socket_action(fd, _curl_events(events))
        self._collect()
        if self._parked:
            self._end_overdue(monotonic())
        answered, self._answered = self._answered, []
        return answered

    def abort(self, tags: Collection[int]) -> None:
        """Forget these requests; they get no answer. Tags that are not running are passed over."""
        for tag in tags:
            if transfer := self._transfers.pop(tag, None):
                self._release(transfer)
                for waiting in self._parked.values():
                    if transfer in waiting:
                        waiting.remove(transfer)
        self._answered = [fetched for fetched in self._answered if fetched.tag not in tags]

    def close(self) -> None:
        """End everything and close all connections."""
        for transfer in (*self._transfers.values(), *self._busy.values()):  # robots.txt is in the latter only
            self._release(transfer)
        self._multi.close()
        for handle in self._free:
            handle.close()
        self._free.clear()
        self._transfers.clear()
        self._parked.clear()
        self._epoll.close()

    # -- what libcurl asks for

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
            self._watch(fd, _EPOLL_FLAGS[what])

    def _watch(self, fd: int, flags: int) -> bool:
        """Wait for a socket. False: there is no memory for that; the next steps try again, for libcurl takes no no."""
        try:
            self._epoll.register(fd, flags)
        except OSError as exc:
            if not is_shortage(exc):
                raise
            self._unwatched[fd] = flags
            return False
        self._watched.add(fd)
        return True

    def _on_timer(self, timeout_ms: int) -> None:
        self._timer = None if timeout_ms < 0 else monotonic() + timeout_ms / 1000

    # -- a hop: robots.txt, sending, the answer

    def _enter(self, transfer: Transfer) -> None:
        """Send the transfer's hop, after robots.txt allowed it if that is asked for."""
        hop = transfer.hop
        if not hop.robots_txt:
            self._send(transfer)
            return
        origin = origin_for(hop, transfer.inside)
        match self._robots.allows(origin, hop.url, hop.user_agent, monotonic()):
            case True:
                if not transfer.hops:
                    transfer.crawl_delay_s = self._robots.crawl_delay_s(origin, hop.user_agent)
                self._send(transfer)
            case False:
                self._fail(transfer, "Disallowed by robots.txt", status=403)
            case None:
                self._park(transfer, origin)

    def _send(self, transfer: Transfer) -> None:
        left_s = transfer.left_s()
        if left_s <= 0:
            self._fail(transfer, transfer.timeout_text())
            return
        hop = transfer.hop
        if hop.proxy and not transfer.inside and is_private_host(host_of(hop.url)):
            self._fail(transfer, _refusal(host_of(hop.url)))
            return
        handle = transfer.handle or self._take_handle()
        transfer.handle = handle
        try:
            handle.prepare(hop, left_s, guarded=not transfer.inside)
            self._multi.add_handle(handle.easy)
        except pycurl.error as exc:
            self._fail(transfer, str(exc.args[-1]))
        else:
            self._busy[handle.easy] = transfer

    def _collect(self) -> None:
        """Read what libcurl has finished, and answer it or send the next hop."""
        queued = 1
        while queued:
            queued, done, failed = self._multi.info_read()
            for easy in done:
                self._multi.remove_handle(easy)
                self._on_response(self._busy.pop(easy))
            for easy, code, text in failed:
                self._multi.remove_handle(easy)
                self._on_error(self._busy.pop(easy), code, text)

    def _on_response(self, transfer: Transfer) -> None:
        handle = transfer.handle
        assert handle is not None
        if handle.header_bytes > self.settings.header_bytes_max:
            self._fail(transfer, f"headers larger than {self.settings.header_bytes_max} bytes")
            return
        head, status = results.parse_head(handle.lines), handle.status
        if is_redirect(transfer.request, status, head):
            self._redirect(transfer, status, head)
            return
        cookies = transfer.request.cookies
        if transfer.hops or "Set-Cookie" in head.headers:
            cookies = cookies | handle.cookies()
        fetched = results.page(
            transfer.request, transfer.hop.url, status, head, cookies, transfer.seconds(), handle.content
        )
        if self._is_public(transfer.hop, handle):
            fetched = fetched._replace(is_public=True)
        self._release(transfer)
        transfer.done(transfer, fetched)

    def _redirect(self, transfer: Transfer, status: int, head: results.Head) -> None:
        handle, request, hop = transfer.handle, transfer.request, transfer.hop
        assert handle is not None
        transfer.hops += 1
        transfer.redirects += ((status, hop.url),)
        if transfer.hops > request.max_redirects:
            self._fail(transfer, f"Maximum ({request.max_redirects}) redirects followed")
            return
        try:
            transfer.hop = next_hop(hop, status, head, handle.cookies())
        except FetchError as exc:
            self._fail(transfer, str(exc))
            return
        if self._is_public(hop, handle):
            transfer.inside = False
        self._enter(transfer)

    def _is_public(self, hop: Request, handle: Handle) -> bool:
        """Whether the server that answered `hop` is outside private networks; behind a proxy its name decides."""
        if self._private_ok:
            return False
        return not (is_private_host(host_of(hop.url)) if hop.proxy else handle.peer_is_private)

    def _on_error(self, transfer: Transfer, code: int, text: str) -> None:
        handle = transfer.handle
        assert handle is not None
        if handle.refused:
            text = _refusal(handle.refused)
        elif handle.overflowed or code == pycurl.E_FILESIZE_EXCEEDED:
            text = f"body larger than {self.settings.body_bytes_max} bytes"
        elif code == pycurl.E_OPERATION_TIMEDOUT and transfer.hops:  # libcurl knows the last hop only
            text = transfer.timeout_text(int(handle.easy.getinfo(pycurl.SIZE_DOWNLOAD_T)))
        is_ours = code in _WITHOUT_DESCRIPTOR and not handle.easy.getinfo(pycurl.OS_ERRNO) and not _has_descriptor()
        self._fail(transfer, text or f"libcurl error {code}", is_ours=is_ours)

    def _fail(self, transfer: Transfer, text: str, status: int = 599, *, is_ours: bool = False) -> None:
        self._release(transfer)
        request = transfer.request
        fetched = results.failure(request.tag, request.orig_url, text, transfer.seconds(), status)
        transfer.done(transfer, fetched._replace(is_ours=True) if is_ours else fetched)

    def _answer(self, transfer: Transfer, fetched: Fetched) -> None:
        del self._transfers[transfer.request.tag]
        if transfer.crawl_delay_s:
            fetched.result["crawl_delay"] = transfer.crawl_delay_s
        self._answered.append(fetched._replace(redirects=transfer.redirects) if transfer.redirects else fetched)

    # -- robots.txt

    def _park(self, transfer: Transfer, origin: Origin) -> None:
        """Let the transfer wait; the first one to wait makes us ask for the file."""
        waiting = self._parked.setdefault(origin, [])
        waiting.append(transfer)
        if len(waiting) == 1 and origin not in self._asking:
            self._asking.add(origin)
            request = robots_request(origin, transfer.hop, self._robots_headers)
            self._enter(Transfer(request, origin.private_ok, partial(self._on_robots, origin)))

    def _on_robots(self, origin: Origin, transfer: Transfer, fetched: Fetched) -> None:
        """Remember what robots.txt says, and let those go on that waited for it."""
        status = fetched.result["status_code"]
        if transfer.hops > transfer.request.max_redirects:
            status = 404  # RFC 9309 section 2.3.1.2: after more than five redirects there is no such file
        self._asking.discard(origin)
        if fetched.is_ours:
            for waiter in self._parked.pop(origin, ()):
                self._fail(waiter, "robots.txt could not be asked for", is_ours=True)
            return
        self._robots.learn(origin, status, fetched.content, monotonic())
        for waiter in self._parked.pop(origin, ()):
            self._enter(waiter)

    def _end_overdue(self, now: float) -> None:
        """Answer the parked transfers whose time is up: libcurl's timers do not know them."""
        for waiting in self._parked.values():
            overdue = [transfer for transfer in waiting if transfer.deadline <= now]
            for transfer in overdue:
                waiting.remove(transfer)
                self._fail(transfer, transfer.timeout_text())

    # -- handles

    def _take_handle(self) -> Handle:
        return self._free.pop() if self._free else Handle(self.settings)

    def _release(self, transfer: Transfer) -> None:
        """Take the transfer's handle back, in whatever state it is."""
        handle, transfer.handle = transfer.handle, None
        if handle is None:
            return
        if self._busy.pop(handle.easy, None) is not None:
            self._multi.remove_handle(handle.easy)
        handle.forget()
        if len(self._free) < self._concurrency:
            self._free.append(handle)
        else:
            handle.close()


def _has_descriptor() -> bool:
    """Whether this process may open another one."""
    try:
        os.close(os.dup(0))
    except OSError as exc:
        return exc.errno not in (errno.EMFILE, errno.ENFILE)
    return True


def _curl_events(events: int) -> int:
    """epoll's flags as libcurl's; errors and hang-ups count as readable, where libcurl will find them."""
    action = 0
    if events & ~select.EPOLLOUT:
        action |= pycurl.CSELECT_IN
    if events & select.EPOLLOUT:
        action |= pycurl.CSELECT_OUT
    return action


def _refusal(address: str) -> str:
    return f"private address {address} refused: a public page has led here (fetch.private_networks)"
