"""Loading a script: from its text to a handler that can be run (docs/pyspider-behaviour.md 2.1, 6.1)."""

import linecache
import logging
import sys
from hashlib import md5
from types import ModuleType
from typing import Any, NamedTuple

import msgspec

from zspider.script.errors import LoadError, ProjectImportError, is_a, reason_of, user_traceback
from zspider.script.handler import BaseHandler
from zspider.script.interpreter import accept_names
from zspider.script.logs import LoggingProxy, project_logger
from zspider.script.plain import plain
from zspider.task import ScriptInfo

# Of pyspider's `self.project`, beside name and status: what nobody says is None; `comments` is always so.
_MAY_BE_TOLD = ("group", "comments", "rate", "burst", "updatetime")
_ENV = {"enable_stdout_capture": True, "result_queue": None}  # of pyspider's `__env__`
INFO_BYTES_MAX = 192 * 1024  # of a packed crawl_config; a whole ScriptInfo may have 256 KiB


class Source:
    """The `__loader__` of a script's module: gives the text, so that tracebacks can show lines."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text

    def get_source(self, name: str) -> str:
        """Return the script's text."""
        return self.text


class ProjectFacts(NamedTuple):
    """The facts of a project that may change, as its script sees them in `self.project`."""

    status: str
    group: str
    rate: float
    burst: float
    updated_ms: int

    def as_project(self) -> dict[str, Any]:
        """Return the project as a dict, with pyspider's names and units (docs/pyspider-behaviour.md 2.2)."""
        return {
            "status": self.status,
            "group": self.group or None,
            "rate": self.rate,
            "burst": self.burst,
            "updatetime": self.updated_ms / 1000,
        }


class LoadedScript:
    """A script version in this process: its module and the one instance of its handler."""

    def __init__(
        self, module: ModuleType, handler: Any, lines: list[str], project: dict[str, Any], env: dict[str, Any]
    ) -> None:
        """project, env: what the handler has as `project` and `__env__`, unless the script puts others there."""
        self.module = module
        self.handler = handler
        self.env = env
        self._project = project
        self._lines = lines
        self._told: ProjectFacts | None = None

    def tell(self, facts: "ProjectFacts") -> None:
        """Update the project's facts in the script; they may change while its text stays."""
        if facts != self._told:
            self._told = facts
            self._project.update(facts.as_project())
            self.env["debug"] = facts.status == "DEBUG"

    def info(self) -> ScriptInfo:
        """Return what the master must know of this version. Raises ValueError or TypeError when it cannot be packed."""
        handler = self.handler
        crawl_config = {**(handler.crawl_config or {})}
        callback = crawl_config.get("callback")
        if callable(callback):
            crawl_config["callback"] = callback.__name__
        packed = msgspec.msgpack.encode(plain(crawl_config))
        if len(packed) > INFO_BYTES_MAX:
            raise ValueError(f"crawl_config has {len(packed)} bytes, the limit is {INFO_BYTES_MAX}")
        delays = handler.retry_delay or {}
        if not isinstance(delays, dict):
            delays = {"": delays}
        return ScriptInfo(
            crawl_config=packed,
            retry_delay={str(attempt): float(delay) for attempt, delay in delays.items()},
            min_tick=type(handler)._min_tick,
            has_on_finished=type(handler).on_finished is not BaseHandler.on_finished,
        )

    def forget(self) -> None:
        """Drop what the process keeps of the script for tracebacks, unless another version has replaced it."""
        filename = self.module.__file__ or ""
        kept = linecache.cache.get(filename)
        if kept is not None and len(kept) == 4 and kept[2] is self._lines:
            del linecache.cache[filename]


def load(project: dict[str, Any], text: str) -> LoadedScript:
    """Execute a script and make its handler.

    project: what the script sees as `self.project`; `name` and `status` are needed.
    Raises LoadError (a ScriptError) when it cannot be compiled, executed or has no handler.
    """
    name = project["name"]
    module = ModuleType(name)
    try:
        lines = execute(module, project, text, Source(name, text))
        handler = _handler_class(module)()
        told, env = vars(module)["__project__"], {"debug": project["status"] == "DEBUG", **_ENV}
        _equip(handler, told, env, vars(module)["logger"])
    except BaseException as error:  # SystemExit as well: a script does not end a processor
        if type(error) is LoadError:
            raise
        missing = is_a(error, ModuleNotFoundError)
        lacks = getattr(error, "project", "") if type(error) is ProjectImportError else ""
        raise LoadError(reason_of(error), user_traceback(error), missing, lacks) from error
    accept_names()
    return LoadedScript(module, handler, lines, told, env)


def execute(module: ModuleType, project: dict[str, Any], text: str, loader: Source) -> list[str]:
    """Run a script's text in a module with the names that pyspider gives it; returns its lines.

    Raises whatever the script raises.
    """
    name = project["name"]
    filename = f"<{name}>"
    lines = text.splitlines(keepends=True)
    linecache.cache[filename] = (len(text), None, lines, filename)
    project = {
        **dict.fromkeys(_MAY_BE_TOLD),
        **project,
        "script": text,
        "md5sum": md5(text.encode("utf-8", "replace"), usedforsecurity=False).hexdigest(),
    }
    vars(module).update(__file__=filename, __loader__=loader, __project__=project, __package__="")
    # dont_inherit: our own __future__ flags are none of the script's
    exec(compile(text, filename, "exec", dont_inherit=True), vars(module))  # noqa: S102 # what we are for
    logger = project_logger(name)
    vars(module).update(log_buffer=[], logger=logger, logging=LoggingProxy(logger))
    return lines


def _handler_class(module: ModuleType) -> type:
    """Return `__handler_cls__`, or the last proper subclass of what the module calls BaseHandler."""
    names = vars(module)
    chosen = names.get("__handler_cls__")
    base = names.get("BaseHandler", BaseHandler)
    if chosen is None and isinstance(base, type):
        for value in names.values():
            if isinstance(value, type) and value is not base and issubclass(value, base):
                chosen = value
    if isinstance(chosen, type) and issubclass(chosen, BaseHandler):
        return chosen
    if isinstance(base, type) and not issubclass(base, BaseHandler):
        home = getattr(sys.modules.get(base.__module__), "__file__", base.__module__)
        raise LoadError(f"need BaseHandler of zspider in project module; its BaseHandler is that of {home}")
    raise LoadError("need BaseHandler in project module")


def _equip(handler: Any, project: dict[str, Any], env: dict[str, Any], logger: logging.Logger) -> None:
    handler.project_name = project["name"]
    handler.project = project
    handler.logger = logger
    handler.__env__ = env
