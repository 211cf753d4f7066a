"""How a callback is called: it gets as many arguments as it declares (pyspider.md 2.7), and may be `async`."""

import inspect
from collections.abc import Callable, Coroutine, Iterator
from types import FunctionType
from typing import Any

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def call(callback: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """Call a bound method with the first of `arguments`, as many as it has positional parameters.

    A generator is given back as it is (an async one as a plain one); a coroutine is run to its end.
    """
    result = callback(*arguments[: _count(callback)])
    if inspect.iscoroutine(result):
        return _run(result)
    if inspect.isasyncgen(result):
        return _iterate(result)
    return result


def _count(callback: Callable[..., Any]) -> int:
    """How many arguments a bound method takes. Kept on its function: the inspection costs 20 us."""
    function = getattr(callback, "__func__", None)
    if not isinstance(function, FunctionType):
        return _positional(callback)
    count: int | None = function.__dict__.get("_positional")
    if count is None:
        count = function.__dict__["_positional"] = max(0, _positional(function) - 1)
    return count


def _positional(function: Callable[..., Any]) -> int:
    """Count the declared parameters; `*args` counts nothing, unless it hides those of a wrapped function."""
    parameters = inspect.signature(function, follow_wrapped=False).parameters.values()
    if any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters):
        wrapped = getattr(function, "__wrapped__", None)
        if isinstance(wrapped, FunctionType):
            return _positional(wrapped)
    return sum(p.kind in _POSITIONAL for p in parameters)


def _run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    import asyncio  # 20 ms that only scripts with `async def` pay

    return asyncio.run(coroutine)


def _iterate(items: Any) -> Iterator[Any]:
    import asyncio

    with asyncio.Runner() as runner:
        while True:
            try:
                yield runner.run(items.__anext__())
            except StopAsyncIteration:
                return
