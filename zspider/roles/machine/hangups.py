"""Signals while a daemon starts and ends, before and after a loop acts on them.

SIGHUP waits for the loop, and never ends the process; SIGTERM and SIGINT end one that has begun nothing.
This module imports nothing of ours, since a daemon does this before anything else.
"""

import os
import signal
from collections.abc import Callable
from types import FrameType


def hold_hangups() -> None:
    """Keep SIGHUP from now on until `release_hangups`. Main thread only; in another one nothing is done."""
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    except ValueError:  # not the main thread
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})  # what is blocked stays pending, though it is ignored


def end_when_stopped() -> None:
    """End with exit code 0 at SIGTERM and SIGINT, until a loop catches them. Main thread only, as above.

    The process has begun nothing yet: no file, port or database is open that somebody would miss.
    """
    _handle((signal.SIGTERM, signal.SIGINT), _end)


def end_as_usual() -> None:
    """Take back `end_when_stopped`, unless a loop has caught the signals since. Main thread only, as above."""
    for number, usual in ((signal.SIGTERM, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
        if signal.getsignal(number) is _end:
            signal.signal(number, usual)


def ignore_user_signals() -> None:
    """Let SIGUSR1 and SIGUSR2 mean nothing, from now on. Main thread only, as above.

    They are handled rather than ignored, since what is ignored would be so in the children of this process, too.
    """
    _handle((signal.SIGUSR1, signal.SIGUSR2), _do_nothing)


def _handle(numbers: tuple[signal.Signals, ...], handler: Callable[[int, FrameType | None], None]) -> None:
    try:
        for number in numbers:
            signal.signal(number, handler)
    except ValueError:  # not the main thread
        pass


def _end(number: int, frame: FrameType | None) -> None:
    os._exit(0)


def _do_nothing(number: int, frame: FrameType | None) -> None:
    pass


def release_hangups() -> None:
    """Let SIGHUP come again; one that came meanwhile is delivered at once. Safe to repeat."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})


def ignore_hangups() -> None:
    """Ignore SIGHUP from now on: nothing acts on it any more. Main thread only; in another one nothing is done."""
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    except ValueError:  # not the main thread
        pass
