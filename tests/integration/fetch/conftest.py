"""What the tests of fetching share: servers and pools."""

from collections.abc import Iterator

import pytest
from tests.support.fetching import fetch_pool
from tests.support.site import Site, site  # noqa: F401
from zspider.fetch import FetchPool


@pytest.fixture
def other() -> Iterator[Site]:
    """A second server, on another host."""
    with Site("127.0.0.2") as running:
        yield running


@pytest.fixture
def pool() -> Iterator[FetchPool]:
    """A pool with the default settings."""
    with fetch_pool() as running:
        yield running
