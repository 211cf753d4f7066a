"""Settings of the interpreter that a callback may change, and that are put back for the next page."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def kept() -> Iterator[None]:
    """Put recursion limit, trace functions and garbage collection back as they were when the block began.

    What a script sets while it is loaded stays: that is meant for all its pages.
    """
    recursion, trace, profile, collects = sys.getrecursionlimit(), sys.gettrace(), sys.getprofile(), gc.isenabled()
    try:
        yield
    finally:
        sys.settrace(trace)
        sys.setprofile(profile)
        sys.setrecursionlimit(recursion)
        if collects:
            gc.enable()
