"""Fixtures that several folders of tests share, and the rule for what this machine lacks."""

import os
import shutil
from collections.abc import Iterator

import pytest
from hypothesis import Phase, settings
from tests.support.netns import Network

# Without "explain": for it, hypothesis traces every line of every example, which took 9 of 10 seconds of the long ones.
# Without a deadline: how long an example takes says how busy the machine is.
settings.register_profile("zspider", deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink])
settings.load_profile("zspider")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test that needs root says so and is skipped without it; in CI that is a failure."""
    if item.get_closest_marker("root") and os.geteuid() != 0:
        lacking("root (network namespaces)")


def lacking(what: str) -> None:
    """This machine lacks `what`: skip visibly, but fail in CI, where it must be there."""
    if os.environ.get("CI"):
        pytest.fail(f"needs {what}")
    pytest.skip(f"needs {what}")


@pytest.fixture
def network() -> Iterator[Network]:
    """A private network of namespaces, removed afterwards. Mark the test with `root`."""
    if not shutil.which("ip"):
        lacking("iproute2")
    with Network() as net:
        yield net
