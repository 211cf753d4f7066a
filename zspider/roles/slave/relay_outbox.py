"""Pages that a slave without processors gives to the relay: when each is sent, and sent again.

Pure: pages are the serials of their leases, times are monotonic seconds.
"""

from collections import OrderedDict, deque

RESEND_S = 10.0  # a page that nobody has claimed for so long is sent again (it may have been lost on its way)


class RelayOutbox:
    """Keeps pages until they are removed: to be sent, sent and unclaimed, or claimed by a processing slave."""

    def __init__(self) -> None:
        self._to_send: deque[int] = deque()
        self._unclaimed: OrderedDict[int, float] = OrderedDict()  # page -> when it is sent again; in that order
        self._pages: set[int] = set()

    def __len__(self) -> int:
        return len(self._pages)

    def add(self, page: int) -> None:
        """Take a page that is to be sent."""
        self._pages.add(page)
        self._to_send.append(page)

    def next(self, now: float) -> int | None:
        """Return the page to be sent now; call `sent` when it went, else ask again later."""
        while self._unclaimed and next(iter(self._unclaimed.values())) <= now:
            self._to_send.append(self._unclaimed.popitem(last=False)[0])
        while self._to_send and self._to_send[0] not in self._pages:
            self._to_send.popleft()
        return self._to_send[0] if self._to_send else None

    def sent(self, now: float) -> None:
        """Note that the page which `next` named has gone."""
        self._unclaimed[self._to_send.popleft()] = now + RESEND_S

    def taken(self, page: int) -> None:
        """Note that a processing slave has it."""
        self._unclaimed.pop(page, None)

    def rejoined(self, now: float) -> None:
        """Forget all claims: the master may not know them, and could not tell when such a slave is gone.

        A slave that has a page claims it anew when it comes again.
        """
        for page in self._pages.difference(self._to_send, self._unclaimed):
            self._unclaimed[page] = now + RESEND_S

    def send_again(self, page: int) -> None:
        """Send a page again whose slave is gone, or never got it. One that is to be sent anyway stays where it is."""
        if page in self._pages and page not in self._to_send:
            self._unclaimed.pop(page, None)
            self._to_send.append(page)

    def remove(self, page: int) -> None:
        """Forget a page: its outcome is committed, or not wanted. Safe to repeat."""
        self._pages.discard(page)
        self._unclaimed.pop(page, None)

    def wait_s(self, now: float) -> float | None:
        """Return the seconds until `next` has something; None when all are claimed."""
        if self._to_send:
            return 0.0
        return max(0.0, next(iter(self._unclaimed.values())) - now) if self._unclaimed else None
