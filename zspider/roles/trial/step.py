"""A script tried in a process of its own, from outside: whatever the script does, there is an answer in time."""

import os
import signal
import sys
import time
from multiprocessing import Pipe
from multiprocessing.connection import wait
from typing import Any, NamedTuple, Self

import msgspec

from zspider.delivery import End
from zspider.errors import ScriptError
from zspider.fetch import Fetched
from zspider.roles.machine.child_process import ChildProcess
from zspider.roles.machine.limits import script_environment
from zspider.roles.slave.processors.options import limits_of
from zspider.roles.trial.child import (
    Answer,
    Asked,
    Describe,
    Described,
    Made,
    Make,
    Refused,
    Run,
    Stepped,
    Unloadable,
)
from zspider.roles.trial.fetching import as_granted, fetch_task
from zspider.script.check.source import ScriptFile
from zspider.script.deadline import time_limit_of
from zspider.script.limits import ProcessorLimits
from zspider.script.trial import UnusableTask
from zspider.settings import SlaveFile

START_S = 30.0  # for a process to come up on a busy machine
GRACE_S = 5.0  # a script is stopped within its process; if it is not so long after the limit, the process is killed
OUTPUT_BYTES = 64 * 1024  # of the end of what went past Python's sys.stdout

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Answer).decode


class Step(NamedTuple):
    """One task, its page, and what the callback made of it."""

    task: dict[str, Any]
    page: Fetched
    stepped: Stepped


class CannotLoad(ScriptError):
    """The script cannot be loaded. `logs`: what it printed, with a traceback if there is one."""

    def __init__(self, reason: str, logs: str = "", missing_modules: list[str] | None = None) -> None:
        super().__init__(reason)
        self.logs = logs
        self.missing_modules = missing_modules or []


class _Died(Exception):
    """The process ended, or had to be ended, without an answer."""


def step(script: ScriptFile, url: str, callback: str, options: dict[str, Any], settings: SlaveFile) -> Step:
    """Run one task of a script: made by `self.crawl(url, callback=callback, **options)`, fetched, processed.

    A script that kills its process, or never ends, is a failed Stepped like one that raises.
    Raises UnusableTask for a task that cannot be made, CannotLoad for a script that cannot be loaded.
    """
    limits = limits_of(settings)
    with _Process(limits) as process:
        made = process.load(Make(script.name, script.text, _directory(script), url, callback, options), limits)
        assert isinstance(made, Made)
        task = as_granted(made.follow, script.name, made.info)
        page = fetch_task(task, settings.fetch)
        limit_s = (time_limit_of(task, limits.process_time_limit_s) or 0.0) + GRACE_S
        try:
            stepped = process.ask(Run(task, page.result, page.content), limit_s)
        except _Died as exc:
            stepped = Stepped(End.FATAL, str(exc), "", [], [], [], None, {}, 0, 0)
        assert isinstance(stepped, Stepped)
        return Step(task, page, msgspec.structs.replace(stepped, logs=stepped.logs + process.output()))


def describe(script: ScriptFile, modules: list[str], settings: SlaveFile) -> Described:
    """Load a script and say what is in it, and which of the modules are missing here. Raises CannotLoad."""
    limits = limits_of(settings)
    with _Process(limits) as process:
        described = process.load(Describe(script.name, script.text, _directory(script), modules), limits)
        assert isinstance(described, Described)
        return described


def _directory(script: ScriptFile) -> str:
    return str(script.path.absolute().parent)


class _Process:
    """A process of `trial.child`. `with` ends it and all that the script started."""

    def __init__(self, limits: ProcessorLimits) -> None:
        self._pipe, theirs = Pipe()
        command = [sys.executable, "-m", "zspider.roles.trial.child", "--pipe", str(theirs.fileno())]
        command += ["--parent", str(os.getpid()), "--limits", msgspec.json.encode(limits).decode()]
        with theirs:
            self._child = ChildProcess(command, environment=script_environment(), keep_fds=[theirs.fileno()])
        self._waits_for = [self._pipe.fileno(), self._child.out]
        self._output = b""

    def load(self, asked: Make | Describe, limits: ProcessorLimits) -> Made | Stepped | Described:
        """Ask for something that loads the script. Raises CannotLoad and UnusableTask."""
        try:
            answer = self.ask(asked, START_S + limits.process_time_limit_s + GRACE_S)
        except _Died as exc:
            raise CannotLoad(str(exc), self.output()) from exc
        match answer:
            case Refused(reason=reason):
                raise UnusableTask(reason)
            case Unloadable(reason=reason, logs=logs, missing_modules=missing):
                raise CannotLoad(reason, logs + self.output(), missing)
        return answer

    def ask(self, asked: Asked, limit_s: float) -> Answer:
        """Send, and wait for the answer. Raises _Died, which says how the process ended."""
        end = time.monotonic() + limit_s
        try:
            self._pipe.send_bytes(_encode(asked))
            while self._pipe.fileno() not in (ready := wait(self._waits_for, max(0.0, end - time.monotonic()))):
                if not ready or time.monotonic() > end:
                    raise _Died("TimeoutError: process timeout")
                self._read_output()
            answer: Answer = _decode(self._pipe.recv_bytes())
        except (OSError, EOFError) as exc:
            raise _Died(self._how_it_ended()) from exc
        except msgspec.MsgspecError as exc:
            raise _Died(f"the script damaged its process: {exc}") from exc
        return answer

    def output(self) -> str:
        """Return the end of what was written past Python's sys.stdout: by libraries, and by processes of the script."""
        self._read_output()
        return self._output.decode("utf-8", "replace")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.close()
        self._pipe.close()

    def _read_output(self) -> None:
        """Take in what is there; the end of it is kept."""
        data = self._child.read_output(OUTPUT_BYTES)
        if data == b"":  # closed
            self._waits_for = [self._pipe.fileno()]
        self._output = (self._output + (data or b""))[-OUTPUT_BYTES:]

    def _how_it_ended(self) -> str:
        if not self._child.wait(GRACE_S):
            return "the script closed the pipe of its process"
        code = self._child.exit_code
        assert code is not None
        if code >= 0:
            return f"the script ended its process with exit code {code}"
        return f"the script's process was ended by signal {-code} ({signal.strsignal(-code)})"
