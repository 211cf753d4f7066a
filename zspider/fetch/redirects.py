"""Where a redirect leads, and what may travel there (docs/pyspider-behaviour.md 5.2). Pure.

How many redirects are followed: `max_redirects` of a request (fetch/request.py, REDIRECTS_MAX unless the script says
otherwise) is compared in fetch/pool.py.
"""

from msgspec import structs

from zspider.errors import FetchError
from zspider.fetch.request import Request
from zspider.fetch.results import Head
from zspider.fetch.urls import hostname_of, join, origin_of

STATUSES = frozenset({301, 302, 303, 307, 308})
_TO_GET = frozenset({302, 303})  # 301 keeps the method, as pyspider does


def is_redirect(request: Request, status: int, head: Head) -> bool:
    """Return whether this answer is to be followed: an empty Location leads nowhere."""
    return status in STATUSES and request.follow and bool(head.headers.get("Location"))


def next_hop(hop: Request, status: int, head: Head, set_cookies: dict[str, str]) -> Request:
    """Return the request that the answer to `hop` asks for. Raises FetchError for one that is not made.

    The task's cookies stay on their host; a cookie the server set takes the place of one of that
    name. Credentials in the headers, and a Host header, stay on their origin.
    """
    locations = set(head.repeated.get("Location", ()))
    if len(locations) > 1:
        raise FetchError(f"redirect to {len(locations)} places at once")
    url = join(hop.url, locations.pop() if locations else head.headers["Location"])
    headers, cookies = hop.headers, hop.cookies
    if origin_of(url) != origin_of(hop.url):
        headers = _without(headers, b"authorization", b"host")
    if hostname_of(url) != hostname_of(hop.url):
        cookies = {}
    elif cookies and set_cookies:
        cookies = {name: value for name, value in cookies.items() if name not in set_cookies}
    if status in _TO_GET and hop.method not in ("GET", "HEAD"):
        headers = _without(headers, b"content-type", b"content-encoding", b"content-language", b"expect")
        return structs.replace(hop, url=url, headers=headers, cookies=cookies, method="GET", body=None)
    return structs.replace(hop, url=url, headers=headers, cookies=cookies)


def _without(lines: tuple[bytes, ...], *names: bytes) -> tuple[bytes, ...]:
    """Drop these headers; returns the same tuple if there are none, so that a handle need not be told again."""
    kept = tuple(line for line in lines if _name(line) not in names)
    return kept if len(kept) < len(lines) else lines


def _name(line: bytes) -> bytes:
    return line.partition(b":")[0].rstrip(b";").lower()
