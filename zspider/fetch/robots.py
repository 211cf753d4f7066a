"""The verdicts of robots.txt files (RFC 9309), remembered per origin within bounds. Pure: fetching is the pool's."""

from collections import OrderedDict
from math import inf
from typing import NamedTuple

from protego import Protego

from zspider.fetch.request import Request
from zspider.fetch.urls import origin_of

ROBOTS_TTL_S = 24 * 3600.0  # RFC 9309 section 2.4: no longer than a day
UNREACHABLE_TTL_S = 300.0  # everything is disallowed meanwhile; a server may come back
PARSED_BYTES_MAX = 500 * 1024  # RFC 9309 section 2.5: at least this much is read
ORIGINS_MAX = 1000
TEXT_BYTES_MAX = 1024 * 1024  # of all files remembered; parsed they take some thirty times that at worst
TIMEOUT_S = 30.0
CONNECT_TIMEOUT_S = 10.0


class Origin(NamedTuple):
    """An origin with a robots.txt, and whether it may be fetched from a private address."""

    url: str
    private_ok: bool


class _Rules(NamedTuple):
    expires: float
    parsed: Protego | None  # None: the same answer for every URL
    answer: bool
    text_bytes: int = 0


class RobotsCache:
    """The verdicts of the origins asked last, at most ORIGINS_MAX of them and TEXT_BYTES_MAX of files.

    A file that was just learnt is kept whatever its size. Times are monotonic seconds.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[Origin, _Rules] = OrderedDict()
        self._text_bytes = 0

    def allows(self, origin: Origin, url: str, user_agent: str, now: float) -> bool | None:
        """Return whether the URL may be fetched by this agent; None when robots.txt has to be asked first."""
        rules = self._known.get(origin)
        if rules is None or rules.expires <= now:
            return None
        self._known.move_to_end(origin)
        if rules.parsed is None:
            return rules.answer
        return bool(rules.parsed.can_fetch(url, user_agent))

    def crawl_delay_s(self, origin: Origin, user_agent: str) -> float:
        """Return the seconds that the origin wants between this agent's requests.

        0.0 if it names none, or is unknown.
        """
        rules = self._known.get(origin)
        delay_s = rules.parsed.crawl_delay(user_agent) if rules is not None and rules.parsed is not None else None
        return delay_s if delay_s is not None and 0 < delay_s < inf else 0.0

    def learn(self, origin: Origin, status: int, content: bytes, now: float) -> None:
        """Remember the answer to a request for robots.txt; status 599: there was none.

        4xx: no rules, all is allowed. 5xx or none: all is disallowed, for a while.
        """
        if 200 <= status <= 299:
            text = content[:PARSED_BYTES_MAX].decode("utf-8", "replace").removeprefix("\ufeff")
            rules = _Rules(now + ROBOTS_TTL_S, Protego.parse(text), True, len(text))
        elif status < 500:
            rules = _Rules(now + ROBOTS_TTL_S, None, True)
        else:
            rules = _Rules(now + UNREACHABLE_TTL_S, None, False)
        if old := self._known.pop(origin, None):
            self._text_bytes -= old.text_bytes
        self._known[origin] = rules
        self._text_bytes += rules.text_bytes
        while len(self._known) > ORIGINS_MAX or (self._text_bytes > TEXT_BYTES_MAX and len(self._known) > 1):
            self._text_bytes -= self._known.popitem(last=False)[1].text_bytes


def robots_request(origin: Origin, hop: Request, headers: tuple[bytes, ...]) -> Request:
    """Return the request for the robots.txt that `hop` needs, on the same way (proxy, certificates) as `hop`."""
    url = f"{origin.url}/robots.txt"
    return Request(
        tag=-1,
        url=url,
        orig_url=url,
        headers=headers,
        timeout_s=TIMEOUT_S,
        connect_timeout_s=CONNECT_TIMEOUT_S,
        proxy=hop.proxy,
        validate_cert=hop.validate_cert,
        private_ok=origin.private_ok,
    )


def origin_for(hop: Request, private_ok: bool) -> Origin:
    """Return the origin whose robots.txt decides about `hop`."""
    return Origin(origin_of(hop.url), private_ok)
