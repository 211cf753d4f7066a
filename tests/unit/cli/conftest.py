"""What a test of the log sets up for this process is undone after it: other tests look at what is logged."""

import logging
import sys
import threading
from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def usual_logging() -> Iterator[None]:
    """Logging and the hooks for crashes are again as they were."""
    root = logging.getLogger()
    config, handlers, level = structlog.get_config(), list(root.handlers), root.level
    hooks = sys.excepthook, threading.excepthook
    yield
    structlog.configure(**config)
    logging.captureWarnings(False)
    root.handlers = handlers
    root.setLevel(level)
    sys.excepthook, threading.excepthook = hooks
