"""When a URL is accepted and what follows the end of a run: docs/pyspider-behaviour.md 4.6 and 4.7."""

from collections.abc import Mapping
from math import isnan

from zspider.activity import SINCE_FINISHED
from zspider.decisions import Accept, Finish
from zspider.delivery import End, Follow
from zspider.task import FAR_FUTURE_MS, ON_FINISHED, ON_START, Status, Stored, is_message

# Seconds before the n-th retry; "" is for all later ones (docs/pyspider-behaviour.md 4.1).
RETRY_DELAYS: Mapping[str, float] = {"0": 30, "1": 3600, "2": 21600, "3": 43200, "": 86400}
LAST_DELAY_S = 86400  # a script's own table without "" falls back to this
_ALWAYS = frozenset({ON_START, ON_FINISHED})  # find room in any project


class SchedulerRules:
    """The rules, with each project's own table of retry delays."""

    def __init__(self, *, has_recrawl: bool = True, waiting_max: int = 0) -> None:
        """has_recrawl: False leaves auto_recrawl out (`zspiderd run`).

        waiting_max: most tasks of a project that may wait; 0: no limit.
        """
        self.waiting_max = waiting_max
        self._has_recrawl = has_recrawl
        self._delays: dict[int, Mapping[str, float]] = {}

    def set_retry_delays(self, project: int, delays: Mapping[str, float]) -> None:
        """Use a script's `retry_delay` for this project; an empty one means the defaults.

        From any thread: a table is put in whole and never changed, so the writer's thread reads the old or the new one.
        """
        self._delays[project] = dict(delays) or RETRY_DELAYS

    def forget(self, project: int) -> None:
        """Forget the retry delays of a project that is gone. From any thread, as `set_retry_delays`."""
        self._delays.pop(project, None)

    def accept(self, stored: Stored | None, follow: Follow, now_ms: int) -> Accept:
        """Decide about a submitted URL (the table of docs/pyspider-behaviour.md 4.6)."""
        if stored is None:
            return Accept.NOTHING_TO_CANCEL if follow.cancel else Accept.NEW
        if not follow.force_update:
            if stored.status == Status.ACTIVE and not _waits_for_retry(stored, now_ms):
                return Accept.RUNNING
            if not _asks_again(stored, follow, now_ms):
                return Accept.KNOWN
        return Accept.CANCEL if follow.cancel else Accept.RESTART

    def has_room(self, waiting: int, follow: Follow) -> bool:
        """Return whether a new URL may be added to those that wait (docs/pyspider-behaviour.md 4.6).

        What zspider submits itself, and messages, always may. A restart or a retry is nothing new, and not asked about.
        """
        return waiting < self.waiting_max or follow.taskid in _ALWAYS or is_message(follow.taskid)

    def finish(self, project: int, stored: Stored, end: End, now_ms: int) -> Finish:
        """Decide about a task whose run ended: done, failed, or a retry and when (docs/pyspider-behaviour.md 4.7).

        end: script/runner.py decides it for a page that was processed; roles/slave/endings.py and
        roles/slave/processors/deaths.py for one that could not be. A delivery that came to nothing is none of them:
        `Batch.charge` counts it, and fails the task after ATTEMPTS_MAX.
        """
        recrawl_ms = stored.age_ms if stored.auto_recrawl and self._has_recrawl else None
        if end is End.SUCCESS:
            if recrawl_ms is None:
                return Finish(Status.SUCCESS, 0, stored.retried, "success")
            return Finish(Status.ACTIVE, min(FAR_FUTURE_MS, now_ms + recrawl_ms), stored.retried, "success")
        if end is End.FATAL:
            return Finish(Status.FAILED, 0, stored.retried, "failed")
        delay_ms = self._delay_ms(project, stored.retried)
        if recrawl_ms is not None:
            delay_ms = min(delay_ms, recrawl_ms)
        elif stored.retried >= stored.retries:
            return Finish(Status.FAILED, 0, stored.retried, "failed")
        elif stored.age_ms is not None:
            delay_ms = min(delay_ms, stored.age_ms)
        if delay_ms < 0:  # the script's table says: give up here
            return Finish(Status.FAILED, 0, stored.retried, "failed")
        due_ms = min(FAR_FUTURE_MS, now_ms + max(1, delay_ms))  # 0 would mean "ready", which is not a retry
        return Finish(Status.ACTIVE, due_ms, stored.retried + 1, "retry")

    def is_finished(self, counts: Mapping[str, int]) -> bool:
        """Return whether it is time for on_finished, by a project's counters."""
        return is_finished(counts)

    def _delay_ms(self, project: int, retried: int) -> int:
        delays = self._delays.get(project, RETRY_DELAYS)
        delay_s = delays.get(str(retried), delays.get("", LAST_DELAY_S))
        if isnan(delay_s):  # scripts may declare any float
            delay_s = LAST_DELAY_S
        return int(max(-1, min(1000 * delay_s, FAR_FUTURE_MS)))


def is_finished(counts: Mapping[str, int]) -> bool:
    """Return whether no task is left and some run ended since the last on_finished (docs/pyspider-behaviour.md 4.8).

    Tasks that are leased, retried or recrawled are counted as waiting.
    """
    return counts.get(SINCE_FINISHED, 0) > 0 and not counts.get(Status.ACTIVE.word, 0)


def _waits_for_retry(stored: Stored, now_ms: int) -> bool:
    """Return whether it is not due yet after a failure, so that no slave can be working on it."""
    return stored.retried > 0 and stored.due_ms > now_ms


def _asks_again(stored: Stored, follow: Follow, now_ms: int) -> bool:
    """A new itag, or an age that has passed."""
    if follow.itag is not None and follow.itag != stored.itag:
        return True
    return follow.age_ms is not None and follow.age_ms + stored.lastcrawl_ms < now_ms
