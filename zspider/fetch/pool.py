"""Many fetches at once over libcurl's multi interface, driven from outside: it never blocks and has no thread."""

import errno
import os
from collections.abc import Collection
from functools import partial
from time import monotonic

import pycurl

from zspider.errors import FetchError
from zspider.fetch import results
from zspider.fetch.addresses import is_private_host, refusal
from zspider.fetch.handle import Handle
from zspider.fetch.headers import header_set
from zspider.fetch.hops import Hops
from zspider.fetch.receiver import Stop
from zspider.fetch.redirects import is_redirect, next_hop
from zspider.fetch.request import Request
from zspider.fetch.results import Fetched
from zspider.fetch.robots import Origin, RobotsCache, origin_for, robots_request
from zspider.fetch.room import Room
from zspider.fetch.transfer import Transfer, answer_at_once
from zspider.fetch.urls import hostname_of
from zspider.settings import FetchSettings

# What libcurl says, without an error number of the system, when it cannot open a socket.
_WITHOUT_DESCRIPTOR = (pycurl.E_COULDNT_CONNECT, pycurl.E_COULDNT_RESOLVE_HOST)
# Limits of libcurl's own: the Content-Length told, and 300 KiB of headers or 5,000 lines (CURLE_TOO_LARGE).
_LIBCURLS_LIMITS = {pycurl.E_FILESIZE_EXCEEDED: Stop.BODY, 100: Stop.HEADERS}


class FetchPool:
    """Requests in, answers out; every request started is answered by exactly one `Fetched`, unless aborted.

    The caller waits for `fileno()` to be readable, at most `wait_s()`, then calls `step()`. How many
    requests run at once is the caller's decision; `concurrency` is what connections are kept for.

    A step is bounded in time and in pieces of body, whatever servers send: a transfer that has made much work waits,
    paused, until the others are served. Bodies wait as well while too much is in memory, and requests until their
    server has answered on enough connections.
    """

    def __init__(self, settings: FetchSettings, concurrency: int) -> None:
        self.settings = settings
        self._room = Room(concurrency)
        self._hops = Hops(
            settings,
            concurrency,
            self._room,
            on_response=self._on_response,
            on_error=self._on_error,
            on_failure=self._fail,
        )
        self._transfers: dict[int, Transfer] = {}
        self._answered: list[Fetched] = []
        self._robots = RobotsCache()
        self._robots_headers = header_set((), settings.user_agent).lines
        self._parked: dict[Origin, list[Transfer]] = {}  # waiting for the robots.txt that is being fetched
        self._asking: set[Origin] = set()
        self._private_ok = settings.private_networks == "allow"

    # -- for the loop outside

    def fileno(self) -> int:
        """Return a descriptor that is readable when `step` has something to do."""
        return self._hops.fileno()

    def wait_s(self) -> float | None:
        """Return in how many seconds `step` must be called even if nothing is readable; None: never."""
        if self._answered:
            return 0.0
        wait_s = self._hops.wait_s()
        if not self._parked:
            return wait_s
        now = monotonic()
        waits = [max(0.0, transfer.deadline - now) for waiting in self._parked.values() for transfer in waiting]
        if wait_s is not None:
            waits.append(wait_s)
        return min(waits, default=None)

    @property
    def held_bytes(self) -> int:
        """Memory of what is received and not answered yet; small bodies are not counted."""
        return self._room.held_bytes

    def set_pages_bytes(self, pages_bytes: int) -> None:
        """Say how much memory the caller's pages take: it counts against the same bound as what is received."""
        self._room.pages_bytes = pages_bytes

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
        """Act on ready sockets and due timers for some milliseconds; returns what is finished. Never blocks."""
        self._hops.step(monotonic())
        if self._parked:
            self._end_overdue(monotonic())
        answered, self._answered = self._answered, []
        return answered

    def abort(self, tags: Collection[int]) -> None:
        """Abort these requests without an answer. Unknown tags are ignored."""
        for tag in tags:
            if transfer := self._transfers.pop(tag, None):
                self._hops.withdraw(transfer)
                for waiting in self._parked.values():
                    if transfer in waiting:
                        waiting.remove(transfer)
        self._answered = [fetched for fetched in self._answered if fetched.tag not in tags]

    def close(self) -> None:
        """End everything and close all connections."""
        for transfer in self._transfers.values():
            self._hops.release(transfer)
        self._hops.close()
        self._transfers.clear()
        self._parked.clear()

    # -- a hop: robots.txt, sending, the answer

    def _enter(self, transfer: Transfer) -> None:
        """Send the transfer's hop, after robots.txt allowed it if that is asked for."""
        hop = transfer.hop
        if not hop.robots_txt:
            self._hops.send(transfer)
            return
        origin = origin_for(hop, transfer.inside)
        match self._robots.allows(origin, hop.url, hop.user_agent, monotonic()):
            case True:
                if not transfer.redirect_count:
                    transfer.crawl_delay_s = self._robots.crawl_delay_s(origin, hop.user_agent)
                self._hops.send(transfer)
            case False:
                self._fail(transfer, "Disallowed by robots.txt", status=403)
            case None:
                self._park(transfer, origin)

    def _on_response(self, transfer: Transfer) -> None:
        handle = transfer.handle
        assert handle is not None
        lines = handle.got.lines
        if handle.got.header_bytes > self.settings.header_bytes_max:
            self._fail(transfer, handle.got.reason(Stop.HEADERS))
            return
        head, status = results.parse_head(lines), handle.status
        if transfer.gate is not None and lines and lines[0][:7] == b"HTTP/2 ":
            transfer.gate.open_wide()
        self._hops.leave(transfer, is_answered=True, is_kept=bool(lines) and _is_kept(lines[0], head))
        if is_redirect(transfer.request, status, head):
            self._redirect(transfer, status, head)
            return
        cookies = transfer.request.cookies
        if transfer.redirect_count or "Set-Cookie" in head.headers:
            cookies = cookies | handle.cookies()
        fetched = results.page(
            transfer.request, transfer.hop.url, status, head, cookies, transfer.seconds(), handle.got.content
        )
        if self._is_public(transfer.hop, handle):
            fetched = fetched._replace(is_public=True)
        self._hops.release(transfer)
        transfer.done(transfer, fetched)

    def _redirect(self, transfer: Transfer, status: int, head: results.Head) -> None:
        handle, request, hop = transfer.handle, transfer.request, transfer.hop
        assert handle is not None
        transfer.redirect_count += 1
        transfer.redirects += ((status, hop.url),)
        if transfer.redirect_count > request.max_redirects:
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
        """Return whether the server that answered `hop` is outside private networks.

        Behind a proxy its name decides.
        """
        if self._private_ok:
            return False
        return not (is_private_host(hostname_of(hop.url)) if hop.proxy else handle.peer_is_private)

    def _on_error(self, transfer: Transfer, code: int, text: str) -> None:
        handle = transfer.handle
        assert handle is not None
        if handle.refused:
            text = refusal(handle.refused)
        elif (stop := handle.got.stop or _LIBCURLS_LIMITS.get(code)) is not None:
            text = handle.got.reason(stop)
        elif code == pycurl.E_OPERATION_TIMEDOUT and (transfer.redirect_count or transfer.repeats):
            # libcurl itself knows the last hop only
            text = transfer.timeout_text(int(handle.easy.getinfo(pycurl.SIZE_DOWNLOAD_T)))
        is_ours = code in _WITHOUT_DESCRIPTOR and not handle.easy.getinfo(pycurl.OS_ERRNO) and not _has_descriptor()
        was_held = handle.got.was_held and handle.got.stop is None
        self._fail(transfer, text or f"libcurl error {code}", is_ours=is_ours, was_held=was_held)

    def _fail(
        self, transfer: Transfer, text: str, status: int = 599, *, is_ours: bool = False, was_held: bool = False
    ) -> None:
        self._hops.leave(transfer)
        self._hops.release(transfer)
        request = transfer.request
        fetched = results.failure(request.tag, request.orig_url, text, transfer.seconds(), status)
        if is_ours or was_held:
            fetched = fetched._replace(is_ours=is_ours, was_held=was_held)
        transfer.done(transfer, fetched)

    def _answer(self, transfer: Transfer, fetched: Fetched) -> None:
        del self._transfers[transfer.request.tag]
        if transfer.crawl_delay_s:
            fetched.result["crawl_delay"] = transfer.crawl_delay_s
        self._answered.append(fetched._replace(redirects=transfer.redirects) if transfer.redirects else fetched)

    # -- robots.txt

    def _park(self, transfer: Transfer, origin: Origin) -> None:
        """Let the transfer wait for robots.txt; the first one that waits has it fetched."""
        waiting = self._parked.setdefault(origin, [])
        waiting.append(transfer)
        if len(waiting) == 1 and origin not in self._asking:
            self._asking.add(origin)
            request = robots_request(origin, transfer.hop, self._robots_headers)
            self._enter(Transfer(request, origin.private_ok, partial(self._on_robots, origin)))

    def _on_robots(self, origin: Origin, transfer: Transfer, fetched: Fetched) -> None:
        """Remember what robots.txt says, and let those go on that waited for it."""
        status = fetched.result["status_code"]
        if transfer.redirect_count > transfer.request.max_redirects:
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


def _has_descriptor() -> bool:
    """Return whether this process may open another one."""
    try:
        os.close(os.dup(0))
    except OSError as exc:
        return exc.errno not in (errno.EMFILE, errno.ENFILE)
    return True


def _is_kept(status_line: bytes, head: results.Head) -> bool:
    """Return whether the server leaves its connection open for the next request (RFC 9112 section 9.3)."""
    said = head.headers.get("Connection")
    if status_line[:8] == b"HTTP/1.0":
        return said is not None and "keep-alive" in said.lower()
    return said is None or "close" not in said.lower()
