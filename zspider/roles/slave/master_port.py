"""The way from a slave's work to its master."""

from typing import Protocol

from zspider.broker.messages import AnyMessage, Page


class MasterPort(Protocol):
    """Sends messages for a slave's work. Nothing waits, and False means that a message was not sent."""

    @property
    def session(self) -> bytes:
        """The name under which the master knows this slave."""
        ...

    def say(self, message: AnyMessage) -> bool:
        """Send on control."""
        ...

    def push_page(self, page: Page) -> bool:
        """Send into the relay."""
        ...
