"""The parts of a proven outcome that the master reads before it stores them: results, and the messages of a run.

The proof says which task a slave was granted, not that it tells the truth: docs/security.md has what is left to it.
"""

from typing import NamedTuple

import msgspec

from zspider.delivery import End, Message, Outcome
from zspider.json_text import json_fault
from zspider.task import message_options

_PART = End.PART
_pack = msgspec.msgpack.Encoder().encode


class _Fetch(msgspec.Struct):
    save: tuple[msgspec.Raw, msgspec.Raw]  # the sender, and what it says


class _MessageOptions(msgspec.Struct):
    """The parts of a sent message's options that are kept."""

    fetch: _Fetch
    guarded: bool = False


_read_options = msgspec.msgpack.Decoder(_MessageOptions).decode


class CheckedOutcome(NamedTuple):
    """An outcome that may be stored."""

    outcome: Outcome
    refused: str = ""  # why its run has failed, although its slave said something else
    dropped: int = 0  # messages that cannot be read


def check_outcome(outcome: Outcome, project: str | None) -> CheckedOutcome:
    """Return the outcome as it may be stored.

    A run with a result that is no JSON has failed, and leads to nothing. Each message is from `project`, whoever its
    slave says that it is from, and calls nothing but its receiver's on_message; one that cannot be read is dropped.

    project: the name of the outcome's project; None: the master knows none, so the outcome counts for nothing.
    """
    if outcome.end is _PART:
        return CheckedOutcome(outcome)
    for result in outcome.results:
        if fault := json_fault(result):
            number = outcome.results.index(result) + 1
            reason = f"its slave sent a result that is no JSON (number {number}): {fault}"
            return CheckedOutcome(outcome.failed(End.FAILURE, reason), reason)  # another slave may do better
    if not outcome.messages or project is None:
        return CheckedOutcome(outcome)
    messages = [checked for one in outcome.messages if (checked := _from(project, one)) is not None]
    dropped = len(outcome.messages) - len(messages)
    return CheckedOutcome(msgspec.structs.replace(outcome, messages=messages), dropped=dropped)


def _from(project: str, message: Message) -> Message | None:
    """Return a message with this project as its sender; None if it cannot be read."""
    try:
        options = _read_options(message.body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    body = _pack(message_options(project, options.fetch.save[1], guarded=options.guarded))
    return Message(message.receiver, message.url, body)
