"""The compile check of scripts, in a process of its own with limits, where a script can do no harm."""

import os
import select
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO, NamedTuple

from zspider.errors import CompilerUnavailable, ScriptError
from zspider.script.check.compile_child import DOES_NOT_COMPILE

MEMORY_BYTES = 768 * 1024 * 1024  # address space; a megabyte of code takes some 100 MB
CPU_S = 6
WALL_S = 8  # whoever asks a master waits for 10 s
_CHILD = Path(__file__).with_name("compile_child.py")
_ANSWER_BYTES = 4096
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH")  # what an interpreter may need to start; secrets are none of its business


class Problem(NamedTuple):
    """Why a script does not compile. is_syntax: Python has found an error; else it took too much memory or time."""

    line: int
    text: str  # `SyntaxError: ...`, one line
    is_syntax: bool = True


def check_script(text: str, where: str) -> None:
    """Raise ScriptError `WHERE:LINE: SyntaxError: ...` for a script that does not compile.

    Nothing of it runs, and however odd it is, only a short-lived process suffers: `MEMORY_BYTES`, `CPU_S` and `WALL_S`
    are the most it gets. Raises CompilerUnavailable when that process cannot be started now. Blocks meanwhile; may be
    called from any thread.
    """
    if problem := problem_of(text):
        raise ScriptError(f"{where}:{problem.line}: {problem.text}")


def problem_of(
    text: str, *, memory_bytes: int = MEMORY_BYTES, cpu_s: int = CPU_S, wall_s: float = WALL_S
) -> Problem | None:
    """Return what keeps a script from compiling, or None. Raises CompilerUnavailable as `check_script` does."""
    try:
        source = text.encode()
    except UnicodeEncodeError as exc:
        return Problem(1 + text.count("\n", 0, exc.start), f"SyntaxError: {exc.reason} (character {exc.start})")
    command = [sys.executable, "-I", "-S", "-B", str(_CHILD), str(memory_bytes), str(cpu_s)]
    try:
        code, answer = _run(command, source, wall_s)
    except TimeoutError:
        return Problem(1, f"it was not compiled within {wall_s:g} s", is_syntax=False)
    except OSError as exc:
        raise CompilerUnavailable(f"no process to compile it could be started: {exc.strerror}; try again") from exc
    if code == 0:
        return None
    line, _, said = answer.partition(" ")
    if code == DOES_NOT_COMPILE and line.isdigit():
        return Problem(int(line), said, is_syntax="for Python's compiler" not in said)
    limits = f"{memory_bytes // 1024**2} MiB of memory and {cpu_s} s of processor time"
    return Problem(1, f"it takes too much to compile: {limits} are allowed (the compiler ended with {code})", False)


def _run(command: list[str], source: bytes, wall_s: float) -> tuple[int, str]:
    """Return its exit code and output. Both streams are files in memory, so neither side waits for the other."""
    with _memory_file() as given, _memory_file() as written:
        given.write(source)
        given.seek(0)  # and flush
        process = subprocess.Popen(
            command,
            stdin=given,
            stdout=written,
            stderr=subprocess.DEVNULL,
            env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
            start_new_session=True,  # a terminal's Ctrl-C is not for it
        )
        try:
            _wait_for_end(process.pid, wall_s)
        finally:
            process.kill()  # which does nothing to one that has ended
            code = process.wait()
        written.seek(0)
        return code, written.read(_ANSWER_BYTES).decode("utf-8", "replace")


def _wait_for_end(pid: int, wall_s: float) -> None:
    """Wait for a child to end, whatever happens to the clocks meanwhile. Raises TimeoutError, or OSError."""
    watch = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(watch, select.POLLIN)
        if not poll.poll(1000 * wall_s):
            raise TimeoutError
    finally:
        os.close(watch)


def _memory_file() -> BinaryIO:
    return os.fdopen(os.memfd_create("script", os.MFD_CLOEXEC), "w+b")
