"""The decorators of a script (docs/pyspider-behaviour.md 2.4): they mark a function and give back the same function."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar, overload

from zspider.script.cron import CRON_TICK_S, Cron

F = TypeVar("F", bound=Callable[..., Any])

EVERY_DEFAULT_S = 60  # a bare @every
EVERY_S_MAX = 2**31 - 1  # what ScriptInfo can tell the master


def config(_options: Mapping[str, Any] | None = None, **kwargs: Any) -> Callable[[F], F]:
    """Give `crawl()` options that hold whenever the function is the callback."""

    def mark(function: F) -> F:
        function._config = {**(_options or {}), **kwargs}  # type: ignore[attr-defined]
        return function

    return mark


def catch_status_code_error(function: F) -> F:
    """Call the callback for error responses and 304 as well."""
    function._catch_status_code_error = True  # type: ignore[attr-defined]
    return function


def not_send_status(function: F) -> F:
    """Keep nothing of the run in the task's record, not even a failure; follows and results are kept."""
    function._not_send_status = True  # type: ignore[attr-defined]
    return function


@overload
def every(minutes: F) -> F: ...
@overload
def every(minutes: float | None = None, seconds: float | None = None) -> Callable[[F], F]: ...
@overload
def every(*, cron: str, timezone: str | None = None) -> Callable[[F], F]: ...
def every(
    minutes: Any = None, seconds: float | None = None, *, cron: str | None = None, timezone: str | None = None
) -> Any:
    """Run the method periodically: when the Unix time is a multiple of minutes * 60 + seconds.

    Bare or without arguments: every minute. Fractions are allowed; less than one second is not.
    cron: an expression such as "0 3 * * *" instead of a period; timezone: where it holds ("Europe/Berlin"), else UTC.
    Raises ValueError, in one line, for what is no period, no expression or no time zone.
    """
    if callable(minutes):  # @every without parentheses
        return _mark_every(minutes, EVERY_DEFAULT_S)
    if cron is not None:
        if minutes is not None or seconds is not None:
            raise ValueError("@every takes minutes and seconds, or cron, not both")
        times = Cron(cron, timezone)
        return lambda function: _mark_every(function, CRON_TICK_S, times)
    if timezone is not None:
        raise ValueError("@every(timezone=...) needs cron: minutes and seconds count from the epoch, everywhere")
    if minutes is None and seconds is None:
        tick_s: float = EVERY_DEFAULT_S
    else:
        tick_s = (minutes or 0) * 60 + (seconds or 0)
    if not 1 <= tick_s <= EVERY_S_MAX:
        raise ValueError(f"@every needs at least one second and at most {EVERY_S_MAX}, not {tick_s}")
    return lambda function: _mark_every(function, tick_s)


def _mark_every(function: F, tick_s: float, cron: Cron | None = None) -> F:
    function.is_cronjob = True  # type: ignore[attr-defined]
    function.tick = tick_s  # type: ignore[attr-defined]
    function.cron = cron  # type: ignore[attr-defined]
    return function
