"""The last events of tasks: granted, taken, ended and so on, in a short memory."""

from collections import deque
from typing import NamedTuple

from zspider.task import Ref

STEPS_MAX = 1000  # of all tasks together: 0.3 MB, and at 100 pages a second the last three seconds
DETAIL_CHARS_MAX = 200

# The words of a story.
WAITS = "waits"  # it was submitted, restarted, is to be tried again, or was charged: it waits now
GRANTED = "granted"
ADOPTED = "adopted"  # after a restart of the master: its slave said that it has it
TAKEN = "taken"  # another slave has its fetched page, to process it
GIVEN_BACK = "given back"  # its slave did not begin it
LEFT = "left"  # its slave ended without giving it back
MISSED = "missed"  # its grant did not reach the slave
EXPIRED = "expired"  # its slave was silent, or could not deliver, for too long: that counts as an attempt
SUCCEEDED = "succeeded"
FAILED = "failed"  # this run; what waits again has tries left
ENDED = "ended"  # what is no page: a message, or a task of zspider's own
LATE = "late"  # an outcome of a run that was over
VOID = "void"  # cancelled, restarted or deleted while it waited, or deleted while it was leased
REPLACED = "replaced"  # cancelled or restarted while it was leased: that run ends first, and counts


END_OF = {True: SUCCEEDED, False: FAILED, None: ENDED}  # by whether a page succeeded; None: it was no page


class Step(NamedTuple):
    """One thing that happened to a task."""

    event: str
    session: bytes  # of the slave concerned; b"": none
    attempt: int  # 0: not known, or no delivery of it
    detail: str  # such as why it failed
    at_ms: int  # wall-clock


class Story:
    """The last steps of all tasks, as the core noted them.

    A step that `note` takes has no time of its own: `stamp_time` gives it one, at the end of the same step.
    """

    def __init__(self, size: int = STEPS_MAX) -> None:
        self._date: list[int] = []  # shared by the steps since the last `stamp_time`; empty until there is a next one
        self._steps: deque[tuple[list[int], str, Ref, bytes, int, str]] = deque(maxlen=size)
        self._append = self._steps.append  # three notes a task: each look-up counts

    def note(self, event: str, ref: Ref, session: bytes = b"", attempt: int = 0, detail: str = "") -> None:
        """Remember that this happened to a task just now."""
        if detail:
            detail = detail[:DETAIL_CHARS_MAX]
        self._append((self._date, event, ref, session, attempt, detail))

    def stamp_time(self, now_ms: int) -> None:
        """Say when the steps noted since the last call happened."""
        self._date.append(now_ms)
        self._date = []

    def of(self, ref: Ref, now_ms: int) -> list[Step]:
        """Return the remembered steps of one task, oldest first. now_ms: the time of steps that have none yet."""
        return [
            Step(event, session, attempt, detail, date[0] if date else now_ms)
            for date, event, of, session, attempt, detail in self._steps
            if of == ref
        ]
