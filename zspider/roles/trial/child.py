"""The process in which a script is tried: a task of it made and run, or the script described.

`python -m zspider.roles.trial.child --pipe FD`; held to a processor's limits. It is asked one thing, answers, and
ends: nothing is stored, and it does not touch the network itself.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from hashlib import sha256
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import msgspec

from zspider.delivery import End, Follow, Message
from zspider.roles.machine.limits import become_script_runner, limit_memory
from zspider.script.deadline import Deadline
from zspider.script.errors import LoadError, ProjectImportError
from zspider.script.limits import ProcessorLimits
from zspider.script.loader import LoadedScript
from zspider.script.logs import captured
from zspider.script.plain import plain
from zspider.script.projects import ProjectFinder, ProjectText
from zspider.script.pyspider import shim
from zspider.script.runner import run
from zspider.script.trial import UnusableTask, checked_callback, load_trial, methods, submitted
from zspider.task import ProjectStatus, ScriptInfo

LOG_CHARS_MAX = 256 * 1024  # of what loading, and then the callback, printed


class Make(msgspec.Struct, frozen=True, tag=True):
    """To the child: load this script, and submit this URL with it. callback: "" for none.

    directory: where the script lies, and with it those of the projects that it imports.
    """

    name: str
    text: str
    directory: str
    url: str
    callback: str
    options: dict[str, Any]


class Describe(msgspec.Struct, frozen=True, tag=True):
    """To the child: say whether these modules are here, load this script, and say what is in it."""

    name: str
    text: str
    directory: str
    modules: list[str]


class Run(msgspec.Struct, frozen=True, tag=True):
    """To the child, after Made: this is the task and its page."""

    task: dict[str, Any]
    fetch: dict[str, Any]
    content: bytes


class Refused(msgspec.Struct, frozen=True, tag=True):
    """From the child: the script is fine, the task is not."""

    reason: str


class Unloadable(msgspec.Struct, frozen=True, tag=True):
    """From the child: the script cannot be loaded. `logs`: what it printed, and the traceback."""

    reason: str
    logs: str
    missing_modules: list[str] = []


class Made(msgspec.Struct, frozen=True, tag=True):
    """From the child: the task as it would be submitted, and what else decides how it is fetched."""

    follow: Follow
    info: ScriptInfo


class Stepped(msgspec.Struct, frozen=True, tag=True):
    """From the child: what the callback led to. returned: the beginning of its value's text; None for None."""

    end: End
    reason: str
    logs: str
    follows: list[Follow]
    messages: list[Message]
    results: list[bytes]
    returned: str | None
    save: Any
    fetch_ms: int
    process_ms: int


class Described(msgspec.Struct, frozen=True, tag=True):
    """From the child: the handler's name, its own methods as (name, @config options, its @every), and more."""

    handler: str
    methods: list[tuple[str, dict[str, Any], str]]
    known: list[str]  # names that may be callbacks
    crawl_config: dict[str, Any]
    missing_modules: list[str]


Asked = Make | Describe | Run
Answer = Refused | Unloadable | Made | Stepped | Described

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Asked).decode


class Child:
    """Answers what it is asked over the pipe."""

    def __init__(self, pipe: Connection, limits: ProcessorLimits) -> None:
        self._pipe = pipe
        self._limits = limits
        self._said = ""  # while the script was loaded

    def serve(self) -> None:
        """Answer one question; a task that was made is also run."""
        asked = _decode(self._pipe.recv_bytes())
        assert not isinstance(asked, Run)
        ProjectFinder(lambda name: _project_beside(Path(asked.directory), name)).install()
        try:
            match asked:
                case Make():
                    self._make(asked)
                case Describe():
                    self._send(self._described(asked))
        except UnusableTask as exc:
            self._send(Refused(str(exc)))
        except LoadError as exc:
            missing = _missing(asked.modules) if isinstance(asked, Describe) else []
            self._send(Unloadable(str(exc), f"{self._said}{exc.traceback}\n", missing))

    def _make(self, asked: Make) -> None:
        loaded = self._load(asked.name, asked.text)
        callback = checked_callback(loaded, asked.callback)
        follow = submitted(loaded, asked.url, {**asked.options, "callback": callback})
        self._send(Made(follow, _info(loaded)))
        page = _decode(self._pipe.recv_bytes())
        assert isinstance(page, Run)
        function = getattr(getattr(loaded.handler, callback), "__func__", None)
        if function is not None:  # the mark keeps failures out of a task's record; here somebody wants to see them
            vars(function).pop("_not_send_status", None)
        self._send(self._run(loaded, page))

    def _run(self, loaded: LoadedScript, page: Run) -> Stepped:
        limits = self._limits
        ran = run(
            loaded,
            page.task,
            page.fetch,
            page.content,
            limits=limits,
            log_chars=LOG_CHARS_MAX,
        )
        track = msgspec.msgpack.decode(ran.track) if ran.track else {"process": {"result": None}}
        return Stepped(
            end=ran.end,
            reason=ran.reason,
            logs=self._said + ran.logs,
            follows=ran.follows,
            messages=ran.messages,
            results=ran.results,
            returned=track["process"]["result"],
            save=plain(ran.save),
            fetch_ms=ran.fetch_ms,
            process_ms=ran.process_ms,
        )

    def _described(self, asked: Describe) -> Described:
        handler = self._load(asked.name, asked.text).handler
        return Described(
            handler=type(handler).__name__,
            methods=[(one.name, plain(one.options), one.every) for one in methods(handler)],
            known=[name for name in dir(type(handler)) if callable(getattr(type(handler), name))] + list(vars(handler)),
            crawl_config=plain(dict(handler.crawl_config or {})),
            missing_modules=_missing(asked.modules),
        )

    def _load(self, name: str, text: str) -> LoadedScript:
        deadline = Deadline(self._limits.process_time_limit_s)
        with captured(LOG_CHARS_MAX) as said:
            try:
                with deadline:
                    return load_trial(name, text)
            except TimeoutError as error:  # it struck between the script's end and ours
                raise LoadError(f"TimeoutError: {error}") from error
            finally:
                deadline.stop()
                self._said = said.tail()

    def _send(self, answer: Answer) -> None:
        self._pipe.send_bytes(_encode(answer))


def _info(loaded: LoadedScript) -> ScriptInfo:
    """Return what the script declares. Raises LoadError for a crawl_config that cannot be told to a master."""
    try:
        return loaded.info()
    except Exception as error:  # the script's own class attributes: anything
        raise LoadError(f"crawl_config or retry_delay: {error}") from error


def _project_beside(directory: Path, name: str) -> ProjectText:
    """Return what `from projects import NAME` gives in a trial: without a master to ask, perhaps a file beside."""
    file = directory / f"{name}.py"
    try:
        text = file.read_text("utf-8")
    except (OSError, ValueError) as exc:
        raise ProjectImportError(name, f"there is no {file.name} beside the script to try it with") from exc
    return ProjectText(sha256(text.encode()).digest(), ProjectStatus.DEBUG.value, text)


def _missing(modules: list[str]) -> list[str]:
    """Return those of the modules that cannot be imported on this machine."""
    return [name for name in modules if not _is_here(name)]


def _is_here(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ImportError:
        return False
    except ValueError:  # a module that was put into sys.modules by hand
        return True


def main(arguments: Sequence[str] | None = None) -> int:
    """Answer what the parent asks."""
    parser = argparse.ArgumentParser(prog="python -m zspider.roles.trial.child")
    parser.add_argument("--pipe", type=int, required=True, help="the descriptor of our end of the parent's pipe")
    parser.add_argument("--parent", type=int, default=os.getppid(), help="the parent's pid")
    parser.add_argument("--limits", default="{}", help="JSON of ProcessorLimits")
    given = parser.parse_args(arguments)
    limits = msgspec.json.decode(given.limits, type=ProcessorLimits)
    become_script_runner(given.parent)
    shim.install()
    limit_memory(limits.memory_bytes)
    with Connection(given.pipe) as pipe:
        Child(pipe, limits).serve()
    return 0


if __name__ == "__main__":
    sys.exit(main())
