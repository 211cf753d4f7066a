"""Small functions that old scripts take from pyspider's modules; kept for them, not used by zspider.

Source: docs/pyspider-behaviour.md 2.1.
"""

import code
import inspect
import logging
import sys
import types
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Mapping
from hashlib import md5
from typing import Any, NamedTuple
from urllib.parse import quote, unquote_to_bytes

from zspider.script.deadline import Deadline

NOTSET = object()


def md5string(value: Any) -> str:
    """Return hex md5 of a text's UTF-8."""
    return md5(utf8(value), usedforsecurity=False).hexdigest()


def utf8(value: Any) -> bytes:
    """Return a value as UTF-8 bytes; bytes are given back."""
    if isinstance(value, bytes):
        return value
    return (value if isinstance(value, str) else str(value)).encode("utf-8", "surrogatepass")


def text(value: Any, encoding: str = "utf8") -> str:
    """Return bytes as text; text is given back."""
    return value.decode(encoding) if isinstance(value, bytes) else str(value)


def unicode_string(value: Any) -> str:
    """Return text of bytes that may be no UTF-8: then their repr, as pyspider has it on Python 3."""
    if not isinstance(value, bytes):
        return str(value)
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return repr(value)


def unicode_obj(value: Any) -> Any:
    """Return a value in JSON-like form; bytes become text."""
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, dict):
        return unicode_dict(value)
    return unicode_list(value) if isinstance(value, list | tuple) else unicode_string(value)


def unicode_dict(value: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return a dict with `unicode_obj` of keys and values."""
    return {unicode_obj(key): unicode_obj(item) for key, item in value.items()}


def unicode_list(value: Iterable[Any]) -> list[Any]:
    """Return a list with `unicode_obj` of each item."""
    return [unicode_obj(item) for item in value]


class timeout(Deadline):  # the name scripts know
    """Limit the time of a block: `with timeout(5): ...`"""

    def __init__(self, seconds: float | None = 1, error_message: str = "Timeout") -> None:
        super().__init__(seconds, error_message)


class ListO:
    """A file for writing that appends to a list."""

    def __init__(self, buffer: list[Any] | None = None) -> None:
        self._buffer = [] if buffer is None else buffer

    def isatty(self) -> bool:
        """Return False."""
        return False

    def close(self) -> None:
        """Do nothing."""

    def flush(self) -> None:
        """Do nothing."""

    def seek(self, n: int, mode: int = 0) -> None:
        """Do nothing."""

    def readline(self) -> str:
        """Return an empty text: there is nothing to read."""
        return ""

    def reset(self) -> None:
        """Do nothing."""

    def write(self, x: Any) -> None:
        """Append to the list."""
        self._buffer.append(x)

    def writelines(self, x: Iterable[Any]) -> None:
        """Append each item to the list."""
        self._buffer.extend(x)


class ProcessorResult:
    """The result of one run, as pyspider's handler returns it; scripts use it in tests of their own."""

    def __init__(
        self,
        result: Any = None,
        follows: Iterable[Any] = (),
        messages: Iterable[Any] = (),
        logs: Iterable[Any] = (),
        exception: BaseException | None = None,
        extinfo: Mapping[str, Any] | None = None,
        save: Any = None,
    ) -> None:
        self.result = result
        self.follows = follows
        self.messages = messages
        self.logs = logs
        self.exception = exception
        self.extinfo = extinfo or {}
        self.save = save

    def rethrow(self) -> None:
        """Raise what the run raised, if it did."""
        if self.exception:
            raise self.exception

    def logstr(self) -> str:
        """Return the log as text."""
        return "".join(
            f"[{entry.levelname[0]}] {entry.getMessage()}\n" if isinstance(entry, logging.LogRecord) else str(entry)
            for entry in self.logs
        )


def python_console(namespace: Mapping[str, Any] | None = None) -> None:
    """An interactive Python with the caller's names, for a script that is tried in a terminal."""
    if namespace is None:
        frame = sys._getframe(1)
        namespace = {**frame.f_globals, **frame.f_locals}
    code.interact(banner="", local=dict(namespace), exitmsg="")


def connect_database(url: str) -> Any:
    """Raise an error that says what to do instead: scripts run on slaves, which never see the master's database."""
    raise RuntimeError(
        "connect_database() is not there: scripts do not see zspider's database. Read results with `zspiderd results`; "
        "to write into a database of your own, override on_result and use its library"
    )


class ResultWorker:
    """pyspider's result worker, for scripts that subclass it."""

    def __init__(self, resultdb: Any, inqueue: Any) -> None:
        self.resultdb = resultdb
        self.inqueue = inqueue

    def on_result(self, task: Mapping[str, Any], result: Any) -> Any:
        """Save a result that is not falsy."""
        if not result:
            return None
        return self.resultdb.save(project=task["project"], taskid=task["taskid"], url=task["url"], result=result)


def encode_dataurl(data: Any, mime_type: str = "", charset: str = "utf-8", base64: bool = True) -> str:
    """Make a data: URL."""
    content = data.encode(charset) if isinstance(data, str) else bytes(data)
    head = "".join((mime_type, f";charset={charset}" if charset else "", ";base64" if base64 else ""))
    return f"data:{head},{b64encode(content).decode() if base64 else quote(content)}"


def decode_dataurl(data_url: str) -> str | bytes:
    """Return what a data: URL holds: bytes, or text when it names a charset or is not base64."""
    if not data_url.startswith("data:"):
        raise ValueError(f"not a data: URL: {data_url[:80]!r}")
    head, comma, body = data_url[5:].partition(",")
    if not comma:
        raise ValueError(f"a data: URL without a comma: {data_url[:80]!r}")
    content = unquote_to_bytes(body)
    parts = [part.strip() for part in head.split(";")]
    charset = next((part[8:] for part in parts if part.lower().startswith("charset=")), "")
    if "base64" in parts:
        content = b64decode(content)
        return content.decode(charset) if charset else content
    return content.decode(charset or "utf-8", "replace")


class ArgSpec(NamedTuple):
    """The result of `inspect.getargspec`."""

    args: list[str]
    varargs: str | None
    keywords: str | None
    defaults: tuple[Any, ...] | None


def getargspec(function: Callable[..., Any]) -> ArgSpec:
    """Do what `inspect.getargspec` did before Python 3.11. Raises ValueError for keyword-only parameters."""
    spec = inspect.getfullargspec(function)
    if spec.kwonlyargs:
        raise ValueError("Function has keyword-only parameters: use inspect.signature()")
    return ArgSpec(spec.args, spec.varargs, spec.varkw, spec.defaults)


def gcd(a: Any, b: Any) -> Any:
    """Do what `fractions.gcd` did before Python 3.9: for any numbers, with the sign of `b`."""
    while b:
        a, b = b, a % b
    return a


def module_with(module: types.ModuleType, **names: Any) -> types.ModuleType:
    """Return a copy of a module with more names: only those who get the copy find what Python dropped."""
    copy = types.ModuleType(module.__name__, module.__doc__)
    vars(copy).update(vars(module), **{name: value for name, value in names.items() if not hasattr(module, name)})
    return copy
