"""zspiderd, the command: thin verbs around the roles and the master's admin protocol."""

import sys
from collections.abc import Sequence

from zspider.roles.machine.hangups import (
    end_as_usual,
    end_when_stopped,
    hold_hangups,
    ignore_hangups,
    ignore_user_signals,
)

__all__ = ["main"]

RELOADED = ("master", "slave", "run")  # verbs that SIGHUP must not end, from the first moment on
DAEMONS = ("master", "slave")  # verbs for which SIGTERM and SIGINT are the usual end
INTERRUPTED = 130  # 128 + SIGINT, as shells count


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code. Nothing slow is imported before a daemon treats signals as it should."""
    words = sys.argv[1:] if arguments is None else arguments
    is_reloaded = bool(words) and words[0] in RELOADED
    if words and words[0] in DAEMONS:
        end_when_stopped()
    if is_reloaded:
        ignore_user_signals()
        hold_hangups()
    try:
        from zspider.cli.app import main as run_verb

        return run_verb(arguments)
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        end_as_usual()
        if is_reloaded:
            ignore_hangups()
