"""When @every methods are due: at multiples of a period, or at the times of a cron expression. Pure."""

from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from typing import Any

CRON_TICK_S = 60  # a cron expression names minutes
FIELDS = 5
_A_LEAP_DAY = datetime(2024, 2, 29, tzinfo=UTC)


class Cron:
    """The times of a cron expression (minute, hour, day of the month, month, weekday) in a time zone.

    On the days when clocks change it is as Debian's cron: a time that is skipped comes right after the gap, one that
    is there twice comes once.
    """

    def __init__(self, expression: str, timezone: str | None = None) -> None:
        """Raises ValueError, in one line, for an expression or a time zone that is none, or that never comes."""
        from cronsim import CronSim, CronSimError  # only scripts with a cron expression pay for it

        self._expression = expression
        self._zone = _zone(timezone)
        try:
            if not isinstance(expression, str) or len(expression.split()) != FIELDS:
                raise CronSimError(f"{FIELDS} fields wanted: minute hour day month weekday")
            if next(CronSim(expression, _A_LEAP_DAY), None) is None:
                raise CronSimError("there is no such day")
        except CronSimError as exc:
            raise ValueError(f"@every(cron={expression!r}): {exc}") from None

    def __str__(self) -> str:
        return self._expression if self._zone is UTC else f"{self._expression} ({self._zone})"

    def comes(self, since_s: int, until_s: int) -> bool:
        """Return whether one of its times lies in (since_s, until_s], in seconds since the epoch."""
        from cronsim import CronSim

        for moment in CronSim(self._expression, datetime.fromtimestamp(since_s, self._zone)):
            if moment.timestamp() > since_s:  # not so in the hour that is there twice
                return moment.timestamp() <= until_s
        return False


def _zone(name: str | None) -> tzinfo:
    if name is None:
        return UTC
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (ValueError, TypeError, OSError, KeyError, AttributeError) as exc:  # by what is wrong with it: all of them
        raise ValueError(f"@every(timezone={name!r}): no such time zone; an example is 'Europe/Berlin'") from exc


def whole_tick(job: Callable[..., Any]) -> int:
    """Return the period of an @every method in whole seconds, at least 1; for a cron expression how often to look."""
    return max(1, int(job.tick))  # type: ignore[attr-defined]


def every_text(method: Callable[..., Any]) -> str:
    """Return when a method marked @every comes, for people; "" for another one."""
    cron: Cron | None = getattr(method, "cron", None)
    if cron is not None:
        return f"cron {cron}"
    return f"{whole_tick(method)} s" if hasattr(method, "tick") else ""


def is_due(job: Callable[..., Any], since_s: int, until_s: int) -> bool:
    """Return whether an @every method has a tick in (since_s, until_s]; both in seconds since the epoch."""
    cron: Cron | None = getattr(job, "cron", None)
    if cron is not None:
        return cron.comes(since_s, until_s)
    period_s = whole_tick(job)
    return until_s // period_s != since_s // period_s
