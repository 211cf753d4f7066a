"""zspiderd, the command: thin verbs around the roles and the master's admin protocol."""

import sys
from collections.abc import Sequence

from zspider.roles.machine.hangups import hold_hangups, ignore_hangups

__all__ = ["main"]

RELOADED = ("master", "slave", "run")  # verbs that SIGHUP must not end, from the first moment on
INTERRUPTED = 130  # 128 + SIGINT, as shells count


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code. Nothing slow is imported before a daemon is safe from SIGHUP."""
    words = sys.argv[1:] if arguments is None else arguments
    is_reloaded = bool(words) and words[0] in RELOADED
    if is_reloaded:
        hold_hangups()
    try:
        from zspider.cli.app import main as run_verb

        return run_verb(arguments)
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        if is_reloaded:
            ignore_hangups()
