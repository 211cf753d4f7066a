"""For tests in whose process hypothesis runs, too."""

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def no_garbage_callbacks() -> Iterator[None]:
    """Without what hypothesis has called at each collection: a time limit that strikes in there is lost, and warns."""
    callbacks = gc.callbacks[:]
    gc.callbacks.clear()
    yield
    gc.callbacks[:] = callbacks
