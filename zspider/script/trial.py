"""A script tried alone: loaded as in a debugger, described, and asked to submit one task."""

import inspect
from typing import Any, NamedTuple

from zspider.delivery import Follow
from zspider.errors import ConfigError
from zspider.script.collector import Collector
from zspider.script.cron import every_text
from zspider.script.handler import BaseHandler
from zspider.script.loader import LoadedScript, load
from zspider.task import ProjectStatus

NO_SCRIPT = "from zspider import BaseHandler\n\n\nclass Handler(BaseHandler):\n    pass\n"
ENTRY_POINTS = ("on_start", "on_result", "on_message", "on_finished", "get_taskid")


class UnusableTask(ConfigError):
    """The task that was asked for cannot be made; the text says why, or what is allowed."""


class Method(NamedTuple):
    """A method of a handler that may be a callback."""

    name: str
    options: dict[str, Any]  # of its @config
    every: str  # when its @every comes, for people: "120 s" or "cron 0 3 * * *"; "" without one


def load_trial(name: str, text: str) -> LoadedScript:
    """Load a script for a try: its project is DEBUG and `is_debugger()` is true. Raises LoadError."""
    loaded = load({"name": name, "status": ProjectStatus.DEBUG.value}, text)
    loaded.env["debugger"] = True
    return loaded


def methods(handler: BaseHandler) -> list[Method]:
    """Return the public methods that the script itself defines, as they stand in it, inherited ones first."""
    names: dict[str, None] = {}
    for base in reversed(type(handler).__mro__):
        if base is not object and base is not BaseHandler:
            names |= dict.fromkeys(name for name, value in vars(base).items() if inspect.isfunction(value))
    found = [(name, getattr(handler, name)) for name in names if not name.startswith("_")]
    return [Method(name, getattr(method, "_config", {}), every_text(method)) for name, method in found]


def submitted(loaded: LoadedScript, url: str, options: dict[str, Any]) -> Follow:
    """Return what `self.crawl(url, **options)` submits; `url` may be a curl command.

    Raises UnusableTask for a callback the handler does not have, an unknown option, a URL that is none.
    """
    handler = loaded.handler
    before, handler._run = handler._run, Collector()
    try:
        handler.crawl(url, **options)
        follows = handler._run.follows
    except (NotImplementedError, TypeError, ValueError) as exc:
        raise UnusableTask(str(exc)) from exc
    finally:
        handler._run = before
    if len(follows) != 1:
        raise UnusableTask(f"one URL is wanted, got {len(follows)}")
    return follows[0]  # type: ignore[no-any-return]


def checked_callback(loaded: LoadedScript, name: str) -> str:
    """Return the name. Raises UnusableTask, which lists the callbacks there are, if it is "" or unknown."""
    if name and callable(getattr(loaded.handler, name, None)):
        return name
    known = ", ".join(method.name for method in methods(loaded.handler) if method.name not in ENTRY_POINTS) or "none"
    problem = f"no callback {name!r} in {loaded.handler.project_name}" if name else "a callback is needed"
    raise UnusableTask(f"{problem}; there are: {known}")
