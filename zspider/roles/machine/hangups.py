"""SIGHUP while a daemon starts and ends: it waits until somebody can act on it, and never ends anything.

Imports nothing of ours: it is the first thing that a daemon does.
"""

import signal


def hold_hangups() -> None:
    """From now on SIGHUP is kept for `release_hangups`. Main thread only; elsewhere nothing is done."""
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    except ValueError:  # not the main thread
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})  # what is blocked stays pending, though it is ignored


def release_hangups() -> None:
    """Somebody acts on SIGHUP now; one that came meanwhile is delivered at once. Safe to repeat."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})


def ignore_hangups() -> None:
    """Nobody acts on SIGHUP any more. Main thread only; elsewhere nothing is done."""
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    except ValueError:  # not the main thread
        pass
