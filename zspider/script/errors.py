"""Errors of user code as text: one line for lists, and a traceback that begins in the user's code."""

import traceback
from pathlib import Path
from types import TracebackType

from zspider.errors import ScriptError, is_shortage

REASON_CHARS = 2000
_LIBRARIES = frozenset({"lxml", "zlib", "_lzma", "sqlite3"})  # in C: without memory, their errors may say anything
_OF_MEMORY = ("memory", "alloc", "cannot map", "failed to map")  # in what C libraries say
FRAMES_MAX = 100  # of a traceback, the last ones: endless recursion has a million
_OURS = (str(Path(__file__).parent.parent) + "/", "<frozen importlib")
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


def reason_of(error: BaseException) -> str:
    """Return type and text of an error in one line, with a syntax error's line number."""
    if isinstance(error, ScriptError):
        text = str(error)
    elif isinstance(error, ProjectImportError):  # the name that it could be caught by
        text = f"ImportError: {error}"
    elif isinstance(error, SyntaxError) and error.lineno is not None:
        text = f"{type(error).__name__}: {error.msg} (line {error.lineno})"
    else:
        try:
            said = str(error)
        except Exception:  # a user's class may do anything
            said = "(its text cannot be made)"
        text = f"{type(error).__name__}: {said}" if said else type(error).__name__
    return " ".join(text.split())[:REASON_CHARS].encode("utf-8", "replace").decode()


def is_of_memory(error: BaseException) -> bool:
    """Return whether an error may mean that memory ran out: C libraries and Python do not always say MemoryError."""
    if isinstance(error, MemoryError | SystemError) or is_shortage(error):
        return True
    if type(error).__module__.partition(".")[0] in _LIBRARIES:
        return True
    try:
        said = str(error).lower()
    except Exception:  # a user's class may do anything
        return False
    return any(word in said for word in _OF_MEMORY)


def user_traceback(error: BaseException) -> str:
    """Return the traceback of an error, of its causes and of its parts, without the frames of zspider."""
    told = traceback.TracebackException(type(error), error, _skip_ours(error.__traceback__), limit=-FRAMES_MAX)
    chain: list[traceback.TracebackException | None] = [told]
    while chain:
        one = chain.pop()
        if one is not None:
            frames = [frame for frame in one.stack if not frame.filename.startswith(_OURS)]
            one.stack = traceback.StackSummary.from_list(frames)
            chain += [one.__cause__, one.__context__, *(one.exceptions or ())]
    try:
        return "".join(told.format()).rstrip()
    except Exception:  # the error's own text cannot be made
        return reason_of(error)


def _skip_ours(tb: TracebackType | None) -> TracebackType | None:
    """Return the traceback from the user's first frame on; before it are ours, and those that run an `async def`."""
    while tb is not None and tb.tb_frame.f_code.co_filename.startswith((*_OURS, _ASYNCIO)):
        tb = tb.tb_next
    return tb
