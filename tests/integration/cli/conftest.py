"""The web server with its faults, for the verbs that fetch."""

from tests.support.site import site  # noqa: F401
