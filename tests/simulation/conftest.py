"""Histories run without a log."""

import gc
from collections.abc import Iterator

import pytest
import structlog
from tests.simulation.run import quiet


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    before = gc.get_threshold()
    quiet()
    yield
    structlog.reset_defaults()
    gc.set_threshold(*before)
