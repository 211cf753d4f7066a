"""Fetching: options become a request, a pool of libcurl transfers answers it. Knows no scripts and no master."""

from zspider.fetch.pool import FetchPool
from zspider.fetch.request import Request, build_request
from zspider.fetch.results import Fetched, failure

__all__ = ["FetchPool", "Fetched", "Request", "build_request", "failure"]
