"""A script as a file on the operator's machine: its name, its text, and the rates that its comments ask for."""

import io
import re
import tokenize
from dataclasses import dataclass
from pathlib import Path

from zspider.errors import ConfigError, ScriptError
from zspider.script.check.compiling import check_script

RATE = 1.0  # tasks per second of a new project, pyspider's default
BURST = 3.0
# docs/pyspider-behaviour.md 1.6: a comment line with `# rate ... <number>`.
_COMMENT = r"(?im)^[ \t]*#[ \t]*{word}\b[^\n0-9]*([0-9]+(?:\.[0-9]+)?)"


@dataclass(frozen=True, slots=True)
class ScriptFile:
    """A script. `rate` and `burst` are what its comments say, None if they say nothing."""

    path: Path
    name: str
    text: str
    rate: float | None
    burst: float | None

    def rates(self, rate: float | None, burst: float | None) -> tuple[float | None, float | None]:
        """Return the rate and burst to set: flags come first, then comments; (None, None) when neither says anything.

        A rate alone brings a burst of its own size (at least 3), so that the first second is no slower.
        """
        rate = self.rate if rate is None else rate
        burst = self.burst if burst is None else burst
        if rate is not None and burst is None:
            burst = max(BURST, rate)
        return rate, burst


def read_script(path: Path, name: str | None = None) -> ScriptFile:
    """Read and compile a script; nothing of it runs.

    name: the project's name; None takes the file's name without its ending.
    Raises ConfigError when the file cannot be read, ScriptError `FILE:LINE: SyntaxError: ...` when it does
    not compile, CompilerUnavailable when that cannot be found out now.
    """
    script = open_script(path, name)
    check_script(script.text, str(path))
    return script


def open_script(path: Path, name: str | None = None) -> ScriptFile:
    """Read a script that need not compile. Raises ConfigError when the file cannot be read."""
    try:
        raw = path.read_bytes()
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read: {exc.strerror}") from exc
    text = _decoded(path, raw)
    return ScriptFile(path, name or path.stem, text, _commented("rate", text), _commented("burst", text))


def _decoded(path: Path, raw: bytes) -> str:
    """Return the text as Python would read it: UTF-8, or what a coding line says (PEP 263)."""
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(raw).readline)
        return io.TextIOWrapper(io.BytesIO(raw), encoding).read()
    except (SyntaxError, UnicodeError, LookupError) as exc:
        raise ScriptError(f"{path}:1: SyntaxError: {exc}") from exc


def _commented(word: str, text: str) -> float | None:
    found = re.search(_COMMENT.format(word=word), text)
    return float(found[1]) if found else None
