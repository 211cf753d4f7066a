"""Lines for systemd's journal: which stream leads there, and the prefix with a line's priority (sd-daemon(3))."""

import os
from collections.abc import Mapping
from typing import Protocol

PRIORITIES = {"critical": "<2>", "error": "<3>", "warning": "<4>", "info": "<6>", "debug": "<7>"}


class HasDescriptor(Protocol):
    """A stream that may have a descriptor; else `fileno` raises OSError or ValueError."""

    def fileno(self) -> int:
        """Return the descriptor."""
        ...


def is_journal(stream: HasDescriptor, environment: Mapping[str, str] | None = None) -> bool:
    """Return whether what is written to `stream` goes to the journal.

    environment: variables to read; os.environ when None. JOURNAL_STREAM has the device and inode of the stream that
    leads to the journal (systemd.exec(5)); a redirected stream has others.
    """
    named = (os.environ if environment is None else environment).get("JOURNAL_STREAM", "")
    if not named:
        return False
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError, AttributeError):  # closed, or no file at all
        return False
    return named == f"{found.st_dev}:{found.st_ino}"


def graded(text: str, level: str) -> str:
    """Return the text with its priority before each line, since each is an entry of its own.

    level: its name in structlog.
    """
    priority = PRIORITIES.get(level, PRIORITIES["info"])
    return "\n".join(priority + line for line in text.split("\n"))
