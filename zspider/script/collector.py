"""The follows, results and messages that one run of a callback submits, counted and within limits."""

import json
import logging
from collections.abc import Callable
from typing import Any

from zspider.delivery import MESSAGE_BYTES_MAX, MESSAGES_MAX, RESULT_BYTES_MAX, RESULTS_MAX, Follow, Message
from zspider.errors import ScriptError
from zspider.json_text import finite
from zspider.script.known import Known
from zspider.script.limits import USUAL_LIMITS, ProcessorLimits
from zspider.script.plain import plain

FOLLOWS_PENDING_MAX = 1000  # handed on from here, so that a million of them need no more memory

_encode_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=str).encode


class LimitError(ScriptError):
    """The run submitted more than it may; another try cannot help."""


class Collector:
    """Follows, results and messages of one run.

    Invariant: `follows` holds what was not handed to `on_follows` yet and is no repeat, fewer than FOLLOWS_PENDING_MAX
    if `on_follows` is given; `fatal` is set once a limit was passed, even if the script swallowed the error.
    """

    __slots__ = (
        "_follows_max",
        "_on_follows",
        "_outcome_bytes",
        "_outcome_bytes_max",
        "_seen",
        "count",
        "fatal",
        "follows",
        "guarded",
        "known",
        "messages",
        "repeats",
        "results",
    )

    def __init__(
        self,
        on_follows: Callable[[list[Follow]], None] | None = None,
        limits: ProcessorLimits = USUAL_LIMITS,
        guarded: bool = False,
        known: Known | None = None,
    ) -> None:
        """guarded: mark messages and follows as GUARDED (task.py). known: URLs whose tasks have rows."""
        self.guarded = guarded
        self.follows: list[Follow] = []
        self.messages: list[Message] = []
        self.results: list[bytes] = []
        self.known = known or Known()
        self.repeats = 0  # follows that need not be submitted
        self.count = 0
        self.fatal = ""
        self._seen: set[str] = set()
        self._on_follows = on_follows
        self._follows_max = limits.follows
        self._outcome_bytes = 0  # of results and messages, which travel in one piece
        self._outcome_bytes_max = limits.outcome_bytes

    def is_new(self, taskid: str) -> bool:
        """Return whether the taskid is new to this run; the first submission wins. Raises LimitError."""
        if taskid in self._seen:
            return False
        if self.count >= self._follows_max:
            raise self.fail(f"more than {self._follows_max} URLs submitted by one run (limits.follows)")
        return True

    def repeat(self, taskid: str) -> None:
        """Count a follow that asks for nothing and whose URL is `known`. Raises LimitError."""
        if self.is_new(taskid):
            self._seen.add(taskid)
            self.count += 1
            self.repeats += 1

    def add(self, follow: Follow) -> None:
        """Add a follow for which `is_new` was true."""
        if follow.asks_nothing and self.known.get(follow.url) == follow.taskid:
            self.repeat(follow.taskid)
            return
        self._seen.add(follow.taskid)
        self.count += 1
        self.follows.append(follow)
        if len(self.follows) >= FOLLOWS_PENDING_MAX and self._on_follows is not None:
            ready, self.follows = self.follows, []
            self._on_follows(ready)

    def add_result(self, result: Any) -> None:
        """Keep a result as JSON text; falsy ones are no results. Raises LimitError, or TypeError for no JSON."""
        if not result:
            return
        packed = result_json(result)
        if len(packed) > RESULT_BYTES_MAX:
            raise self.fail(f"a result of {len(packed)} bytes, the limit is {RESULT_BYTES_MAX}")
        if len(self.results) >= RESULTS_MAX:
            raise self.fail(f"more than {RESULTS_MAX} results of one run")
        self._make_room("results", len(packed))
        self.results.append(packed)

    def add_message(self, message: Message) -> None:
        """Add a message. Raises LimitError."""
        size = len(message.body)
        if size > MESSAGE_BYTES_MAX:
            raise self.fail(f"a message of {size} bytes, the limit is {MESSAGE_BYTES_MAX}")
        if len(self.messages) >= MESSAGES_MAX:
            raise self.fail(f"more than {MESSAGES_MAX} messages of one run")
        self._make_room("messages", size + len(message.url))
        self.messages.append(message)

    def _make_room(self, what: str, size: int) -> None:
        if self._outcome_bytes + size > self._outcome_bytes_max:
            raise self.fail(f"{what} of more than {self._outcome_bytes_max} bytes of one run (limits.outcome_bytes)")
        self._outcome_bytes += size

    def fail(self, reason: str) -> LimitError:
        """Mark the run as failed for good; returns the error for the caller to raise."""
        self.fatal = self.fatal or reason
        return LimitError(reason)


def result_json(result: Any) -> bytes:
    """JSON text of a result, as UTF-8; what JSON does not know is written as `str(x)`, NaN and Infinity as null.

    Source: docs/pyspider-behaviour.md 6.5.
    """
    try:
        text = _encode_json(result)
    except (TypeError, ValueError):  # keys that JSON does not allow, numbers that it does not have
        known = plain(result)
        allowed = finite(known)
        if allowed != known:
            logging.getLogger(__name__).warning("NaN or Infinity in a result: JSON has neither, null is stored")
        text = _encode_json(allowed)
    return text.encode("utf-8", "replace")
