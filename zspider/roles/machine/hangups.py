"""SIGHUP while a daemon starts and ends: it waits until a loop can act on it, and never ends the process.

This module imports nothing of ours, since a daemon holds SIGHUP before it does anything else.
"""

import signal


def hold_hangups() -> None:
    """Keep SIGHUP from now on until `release_hangups`. Main thread only; in another one nothing is done."""
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    except ValueError:  # not the main thread
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})  # what is blocked stays pending, though it is ignored


def release_hangups() -> None:
    """Let SIGHUP come again; one that came meanwhile is delivered at once. Safe to repeat."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})


def ignore_hangups() -> None:
    """Ignore SIGHUP from now on: nothing acts on it any more. Main thread only; in another one nothing is done."""
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    except ValueError:  # not the main thread
        pass
