"""Errors of user code as text: one line for lists, and a traceback that begins in the user's code."""

import traceback
from collections import deque
from pathlib import Path
from types import TracebackType

from zspider.errors import ScriptError, is_shortage
from zspider.script.plain import said

REASON_CHARS = 2000
_LIBRARIES = frozenset({"lxml", "zlib", "_lzma", "sqlite3"})  # in C: without memory, their errors may say anything
_OF_MEMORY = ("memory", "alloc", "cannot map", "failed to map")  # in what C libraries say
FRAMES_MAX = 100  # of a traceback, the last ones: endless recursion has a million
_OURS = (str(Path(__file__).parent.parent) + "/", "<frozen importlib")
# What these are is not for the error's class, or its metaclass, to say.
_class_name = type.__dict__["__name__"].__get__
traceback_of = BaseException.__dict__["__traceback__"].__get__
_ASYNCIO = str(Path(traceback.__file__).parent / "asyncio") + "/"


class LoadError(ScriptError):
    """A script cannot be loaded. The text is one line.

    traceback: the full traceback, in the user's frames. is_missing_module: this machine lacks a module that others may
    have. lacks: name of an imported project that was not to be had; it may be later.
    """

    def __init__(self, reason: str, traceback: str = "", is_missing_module: bool = False, lacks: str = "") -> None:
        super().__init__(reason)
        self.lacks = lacks
        self.traceback = traceback or reason
        self.is_missing_module = is_missing_module


class ProjectImportError(ImportError):
    """`from projects import ...`: the master does not know this project, or did not answer."""

    def __init__(self, project: str, reason: str) -> None:
        super().__init__(reason, name=f"projects.{project}")
        self.project = project


def is_a(error: BaseException, *kinds: type[BaseException]) -> bool:
    """Return whether an error is of one of these kinds. Unlike `isinstance` it asks nothing of the error itself."""
    return issubclass(type(error), kinds)


def reason_of(error: BaseException) -> str:
    """Return type and text of an error in one line, with a syntax error's line number. Never raises."""
    try:
        reason = _reason_of(error)
    except BaseException:  # a user's class may do anything
        reason = f"{_name_of(error)}: (its text cannot be made)"
    return " ".join(reason.split())[:REASON_CHARS].encode("utf-8", "replace").decode()


def _reason_of(error: BaseException) -> str:
    if is_a(error, ScriptError):
        return said(error)
    if is_a(error, ProjectImportError):  # the name that it could be caught by
        return f"ImportError: {said(error)}"
    if is_a(error, SyntaxError) and type(line := error.lineno) is int:  # type: ignore[attr-defined]
        return f"{_name_of(error)}: {said(error.msg)} (line {line})"  # type: ignore[attr-defined]
    text = said(error)
    return f"{_name_of(error)}: {text}" if text else _name_of(error)


def _name_of(error: BaseException) -> str:
    """Return the name of an error's class, whatever its metaclass says."""
    return str.__str__(_class_name(type(error)))


def is_of_memory(error: BaseException) -> bool:
    """Return whether an error may mean that memory ran out: C libraries and Python do not always say MemoryError."""
    try:
        if is_a(error, MemoryError, SystemError) or is_shortage(error):
            return True
        if str(type(error).__module__).partition(".")[0] in _LIBRARIES:
            return True
        text = said(error).lower()
    except BaseException:  # a user's class may do anything
        return False
    return any(word in text for word in _OF_MEMORY)


def user_traceback(error: BaseException) -> str:
    """Return the traceback of an error, of its causes and of its parts, without the frames of zspider. Never raises."""
    try:
        return _user_traceback(error)
    except BaseException:  # what the error says of itself cannot be had
        return _bare_traceback(error)


def _user_traceback(error: BaseException) -> str:
    frames = _skip_ours(traceback_of(error))
    told = traceback.TracebackException(type(error), error, frames, limit=-FRAMES_MAX)
    chain: list[traceback.TracebackException | None] = [told]
    while chain:
        one = chain.pop()
        if one is not None:
            of_others = [frame for frame in one.stack if not frame.filename.startswith(_OURS)]
            one.stack = traceback.StackSummary.from_list(of_others)
            chain += [one.__cause__, one.__context__, *(one.exceptions or ())]
    return "".join(told.format()).rstrip()


def _bare_traceback(error: BaseException) -> str:
    """Return where an error was raised, and its reason: nothing that the error or its module is asked for."""
    lines = deque[str](maxlen=FRAMES_MAX)
    step = _skip_ours(traceback_of(error))
    while step is not None:
        code = step.tb_frame.f_code
        if not code.co_filename.startswith(_OURS):
            lines.append(f'  File "{code.co_filename}", line {step.tb_lineno}, in {code.co_name}\n')
        step = step.tb_next
    return "".join(["Traceback (most recent call last):\n", *lines, reason_of(error)])


def _skip_ours(tb: TracebackType | None) -> TracebackType | None:
    """Return the traceback from the user's first frame on; before it are ours, and those that run an `async def`."""
    while tb is not None and tb.tb_frame.f_code.co_filename.startswith((*_OURS, _ASYNCIO)):
        tb = tb.tb_next
    return tb
