"""One request on its way through its hops, and the answers that need no network at all."""

from collections.abc import Callable
from time import monotonic

from zspider.errors import FetchError
from zspider.fetch import data_url, results
from zspider.fetch.handle import Handle
from zspider.fetch.request import Request
from zspider.fetch.results import Fetched


class Transfer:
    """The state of a request between its start and its answer. Times are monotonic seconds."""

    __slots__ = (
        "crawl_delay_s",
        "deadline",
        "done",
        "handle",
        "hop",
        "hops",
        "inside",
        "redirects",
        "request",
        "started",
    )

    def __init__(self, request: Request, inside: bool, done: Callable[["Transfer", Fetched], None]) -> None:
        self.request = request
        self.hop = request  # what is being sent now
        self.hops = 0  # redirects that servers asked for
        self.redirects: tuple[tuple[int, str], ...] = ()
        self.started = monotonic()
        self.deadline = self.started + request.timeout_s
        self.inside = inside  # may talk to private addresses: no public page has led it here
        self.done = done
        self.crawl_delay_s = 0.0  # that the robots.txt of the request's own host asks for
        self.handle: Handle | None = None  # kept from hop to hop: the fetch's cookies are in it

    def left_s(self) -> float:
        """Seconds until the deadline; exactly the request's limit when nothing has taken time yet."""
        if not self.hops and not self.request.robots_txt:
            return self.request.timeout_s
        return self.deadline - monotonic()

    def seconds(self) -> float:
        """How long the fetch has taken so far."""
        return monotonic() - self.started

    def timeout_text(self, received_bytes: int = 0) -> str:
        """libcurl's words, for all hops together: libcurl itself knows the last hop only."""
        return (
            f"Operation timed out after {self.seconds() * 1000:.0f} milliseconds with {received_bytes} bytes received"
        )


def answer_at_once(request: Request) -> Fetched | None:
    """The answer to a request that no server is asked for; None when one must be."""
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
