"""Outcomes that were received and wait for the writer: what each weighs, and how a large one is cut."""

from typing import NamedTuple

from msgspec.structs import replace

from zspider.delivery import End, Outcome

ROW_BYTES = 300  # what a follow, result or message costs in memory beside its bytes on the wire
CUT_FOLLOWS = 1000  # no honest slave sends more in one outcome; so its ends stay whole
CUT_BYTES = 4 * 1024 * 1024


class ReceivedOutcome(NamedTuple):
    """An outcome, and the item of its session's outbox to acknowledge when it is committed."""

    session: bytes
    id: int
    outcome: Outcome
    user: bytes = b""  # public key of the token with which it came (Z85)
    rows: int = 1  # that it may lead to; at least 1
    size: int = 0  # bytes that it takes in memory, about
    is_last: bool = True  # False: a piece that was cut off; the item is done with its last piece
    was_cut: bool = False  # it is the rest of a large one

    @property
    def is_large(self) -> bool:
        """Whether it is to be cut.

        A piece is a PART. Follows of a PART may be accepted twice if the master is killed between two pieces, so the
        follows of an end are cut only where no honest slave puts so many.
        """
        number = len(self.outcome.follows)
        if number > CUT_FOLLOWS:
            return True
        return self.outcome.end is End.PART and self.size > CUT_BYTES and number > 1

    def cut(self) -> tuple["ReceivedOutcome", "ReceivedOutcome"]:
        """Return the first piece of a large one, as a PART, and the rest."""
        outcome = self.outcome
        number = len(outcome.follows)
        many = max(1, min(CUT_FOLLOWS, number - 1, number * CUT_BYTES // max(1, self.size)))
        piece = Outcome(
            outcome.project,
            outcome.taskid,
            outcome.run,
            outcome.attempt,
            outcome.proof,
            End.PART,
            follows=outcome.follows[:many],
        )
        size = self.size * many // number
        return (
            self._replace(outcome=piece, rows=many, size=size, is_last=False),
            self._replace(
                outcome=replace(outcome, follows=outcome.follows[many:]),
                rows=self.rows - many,
                size=self.size - size,
                was_cut=True,
            ),
        )


def received(session: bytes, id: int, outcome: Outcome, user: bytes, packed_bytes: int) -> ReceivedOutcome:
    """Return a received outcome with its weight. packed_bytes: of it on the wire."""
    rows = (outcome.end is not End.PART) + len(outcome.follows) + len(outcome.results) + len(outcome.messages)
    rows = rows or 1
    return ReceivedOutcome(session, id, outcome, user, rows, packed_bytes + ROW_BYTES * (rows + 1))
