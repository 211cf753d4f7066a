"""One request on its way through its hops, and the answers that need no network at all."""

from collections.abc import Callable
from time import monotonic

from zspider.errors import FetchError
from zspider.fetch import data_url, results
from zspider.fetch.gates import Gate
from zspider.fetch.handle import Handle, Reach, is_safe
from zspider.fetch.request import Request
from zspider.fetch.results import Fetched


class Transfer:
    """The state of a request between its start and its answer. Times are monotonic seconds."""

    __slots__ = (
        "crawl_delay_s",
        "deadline",
        "done",
        "gate",
        "handle",
        "hop",
        "inside",
        "is_fresh",
        "redirect_count",
        "redirects",
        "repeats",
        "request",
        "started",
        "waits_since",
    )

    def __init__(self, request: Request, inside: bool, done: Callable[["Transfer", Fetched], None]) -> None:
        self.request = request
        self.hop = request  # what is being sent now
        self.redirect_count = 0  # that servers asked for
        self.redirects: tuple[tuple[int, str], ...] = ()
        self.started = monotonic()
        self.deadline = self.started + request.timeout_s
        self.inside = inside  # may talk to private addresses: no public page has led it here
        self.done = done
        self.crawl_delay_s = 0.0  # that the robots.txt of the request's own host asks for
        self.gate: Gate[Transfer] | None = None  # that it has passed
        self.repeats = 0  # how often a hop was sent again
        self.is_fresh = False  # the hop is sent on a new connection: those that were kept open have ended
        self.waits_since: float | None = None  # for its turn to be sent, which is no time of the server's
        self.handle: Handle | None = None  # kept from hop to hop: the fetch's cookies are in it

    def left_s(self) -> float:
        """Return seconds until the deadline; exactly the request's limit when nothing has taken time yet."""
        if not (self.redirect_count or self.repeats or self.request.robots_txt):
            return self.request.timeout_s
        return self.deadline - monotonic()

    def wait(self, now: float) -> None:
        """Stop the transfer's clock from now on. Safe to repeat."""
        if self.waits_since is None:
            self.waits_since = now

    def go_on(self, now: float) -> None:
        """Let the transfer's clock run again."""
        if self.waits_since is not None:
            self.started += now - self.waits_since
            self.deadline += now - self.waits_since
            self.waits_since = None

    @property
    def server(self) -> str:
        """The server of the hop: scheme, host and port as written in its URL, and its proxy."""
        url, proxy = self.hop.url, self.hop.proxy
        end = url.find("/", 8)
        origin = url if end < 0 else url[:end]
        return f"{proxy.url} {origin}" if proxy else origin

    @property
    def has_answer(self) -> bool:
        """Whether the first byte of the hop's answer has come."""
        return self.handle is not None and bool(self.handle.got.lines)

    @property
    def is_safe(self) -> bool:
        """Whether the hop may be sent twice."""
        return is_safe(self.hop)

    @property
    def connect_s(self) -> float:
        """How long the hop's connection took to be made."""
        return self.handle.connect_s if self.handle is not None else 0.0

    def reach(self) -> Reach:
        """Return how far the hop has come that has no answer yet."""
        return self.handle.reach() if self.handle is not None else Reach.UNKNOWN

    def seconds(self) -> float:
        """Return how long the fetch has taken so far."""
        return monotonic() - self.started

    def timeout_text(self, received_bytes: int = 0) -> str:
        """Return libcurl's text of a time-out, for all hops together: libcurl itself knows the last hop only."""
        return (
            f"Operation timed out after {self.seconds() * 1000:.0f} milliseconds with {received_bytes} bytes received"
        )


def answer_at_once(request: Request) -> Fetched | None:
    """Return the answer to a request that no server is asked for; None when one must be."""
    if data_url.is_data_url(request.url):
        return _data_page(request)
    if request.renderer:
        result = {
            "status_code": 501,
            "url": request.url,
            "orig_url": request.orig_url,
            "headers": {},
            "cookies": {},
            "time": 0.0,
        }
        return Fetched(request.tag, result, f"{request.renderer} is not enabled.".encode())
    return None


def _data_page(request: Request) -> Fetched:
    try:
        media_type, content = data_url.decode(request.url)
    except FetchError as exc:
        return results.failure(request.tag, request.orig_url, str(exc))
    result = {
        "status_code": 200,
        "url": request.url,
        "orig_url": request.orig_url,
        "headers": {"Content-Type": media_type} if media_type else {},
        "cookies": {},
        "time": 0.0,
    }
    return Fetched(request.tag, result, content)
