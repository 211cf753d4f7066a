"""Calling a callback with the arguments that it declares (docs/pyspider-behaviour.md 2.7); it may be `async`."""

import inspect
from collections.abc import Callable, Coroutine, Iterator, Sequence
from types import FunctionType
from typing import Any, NamedTuple

from zspider.script.deadline import standing_still

OF_A_PAGE = ("response", "task")  # what callbacks are offered, by name
OF_A_RESULT = ("result", *OF_A_PAGE)  # ... and on_result

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Declared(NamedTuple):
    """The parameters that a callback declares, without `self`."""

    positional: int
    keywords: tuple[str, ...]  # keyword-only


def call(callback: Callable[..., Any], arguments: Sequence[Any], names: Sequence[str] = OF_A_PAGE) -> Any:
    """Call a bound method with the first of `arguments`, as many as it has positional parameters.

    names: the names of the arguments; a keyword-only parameter of such a name gets that argument as well.
    A generator is given back as it is (an async one as a plain one); a coroutine is run to its end.
    """
    positional, keywords = _declared(callback)
    if keywords:
        offered = dict(zip(names, arguments, strict=False))
        result = callback(*arguments[:positional], **{name: offered[name] for name in keywords if name in offered})
    else:
        result = callback(*arguments[:positional])
    if inspect.iscoroutine(result):
        return _run(result)
    if inspect.isasyncgen(result):
        return _iterate(result)
    return result


def _declared(callback: Callable[..., Any]) -> Declared:
    """Return what a bound method declares. It is kept on its function: the inspection costs 20 us."""
    function = getattr(callback, "__func__", None)
    if not isinstance(function, FunctionType):
        return _inspect(callback)
    declared: Declared | None = function.__dict__.get("_declared")
    if declared is None:
        found = _inspect(function)
        declared = function.__dict__["_declared"] = found._replace(positional=max(0, found.positional - 1))
    return declared


def _inspect(function: Callable[..., Any]) -> Declared:
    """Read a signature; `*args` and `**kwargs` count nothing, unless they hide the parameters of a wrapped function."""
    parameters = inspect.signature(function, follow_wrapped=False).parameters.values()
    kinds = {p.kind for p in parameters}
    positional = sum(p.kind in _POSITIONAL for p in parameters)
    keywords = tuple(p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY)
    wrapped = getattr(function, "__wrapped__", None)
    if isinstance(wrapped, FunctionType):
        inner = _inspect(wrapped)
        if inspect.Parameter.VAR_POSITIONAL in kinds:
            positional = inner.positional
        if inspect.Parameter.VAR_KEYWORD in kinds:
            keywords = tuple(dict.fromkeys((*keywords, *inner.keywords)))
    return Declared(positional, keywords)


def _run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    with standing_still():  # an import that a time limit cuts short leaves half a module
        import asyncio  # 20 ms that only scripts with `async def` pay

    return asyncio.run(coroutine)


def _iterate(items: Any) -> Iterator[Any]:
    with standing_still():
        import asyncio

    with asyncio.Runner() as runner:
        while True:
            try:
                yield runner.run(items.__anext__())
            except StopAsyncIteration:
                return
