"""Reading a script that may have been written for Python 2: every place that must change, not only the first."""

import ast
import re
import warnings
from typing import NamedTuple

from zspider.script.check.compiling import problem_of
from zspider.script.check.excepts import mend_excepts

FINDINGS_MAX = 200  # a script with more is told enough


class Finding(NamedTuple):
    """Something about a script that its author should know. stops: it cannot run like this."""

    line: int
    stops: bool
    text: str


# What Python 2 allowed -> how the line is mended to find the next place, and what to write instead.
_OLD = (
    (r"\braise\s+([\w.]+)\s*,[^\n]+", r"raise \1", "Python 3 writes `raise Error(value)`"),
    (r"\b[uU][rR](?=['\"])", "r", "Python 3 has no ur'...': write r'...'"),
    (r"(?<![\w.])0+([1-7][0-7]*)\b", r"0o\1", "Python 3 writes octal numbers as 0o17"),
    (r"\b(0[xX][0-9a-fA-F]+|\d+)[lL]\b", r"\1", "Python 3 has no 10L: write 10"),
    (r"<>", "!=", "Python 3 writes `!=` instead of `<>`"),
    (r"`([^`\n]*)`", r"repr(\1)", "Python 3 has no backticks: write repr(...)"),
    (r"\blambda\s*\(([^()\n]*)\)\s*:", r"lambda \1:", "Python 3 has no tuples as parameters"),
)
_EXCEPTS = "multiple exception types must be parenthesized"
_STATEMENT = re.compile(r"Missing parentheses in call to '(print|exec)'")


def parse(text: str) -> tuple[ast.Module | None, list[Finding]]:
    """Parse a script; returns its tree (None if it cannot be read at all) and what keeps it from compiling.

    Known habits of Python 2 are mended in memory, so that the tree is there and all of them are found. A script that
    is too much for a process with limits is not read here. Raises CompilerUnavailable when none can be started.
    """
    problem = problem_of(text)
    if problem is not None and not problem.is_syntax:
        return None, [Finding(problem.line, True, problem.text)]
    text, findings = _with_excepts(text)
    while len(findings) < FINDINGS_MAX:
        try:
            tree = _parsed(text)
        except SyntaxError as error:
            mended, more = _with_excepts(text) if _EXCEPTS in error.msg else (text, [])
            if more:  # behind what could not be read before
                text, findings = mended, findings + more
                continue
            mended, advice = _mended(text, error)
            findings.append(Finding(error.lineno or 1, True, advice))
            if mended == text:
                break
            text = mended
        except (ValueError, RecursionError, MemoryError) as error:  # a null byte, or nested too deep for the parser
            findings.append(Finding(1, True, f"SyntaxError: {error or type(error).__name__}"))
            break
        else:
            text, more = _with_excepts(text)
            if more:  # Python 3.14 reads them, and means something else
                findings += more
                continue
            if problem is not None and not findings:  # in a well-formed tree: `return` outside a function
                return None, [Finding(problem.line, True, problem.text)]
            return tree, findings
    return None, findings[:FINDINGS_MAX]


def _with_excepts(text: str) -> tuple[str, list[Finding]]:
    mended, told = mend_excepts(text)
    return mended, [Finding(line, True, advice) for line, advice in told]


def _parsed(text: str) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(text, "<script>")


def _mended(text: str, error: SyntaxError) -> tuple[str, str]:
    """Return the text with the error fixed (or as it was), and the advice to give."""
    told = f"{type(error).__name__}: {error.msg}"
    lines = text.splitlines(keepends=True)
    at = (error.lineno or 1) - 1
    if isinstance(error, TabError):
        return text.expandtabs(8), f"{told}: Python 3 wants spaces only"
    if at >= len(lines):
        return text, told
    if statement := _STATEMENT.match(error.msg):
        return _without_statement(lines, error), f"{statement[1]} is a function in Python 3: {statement[1]}(...)"
    for pattern, replacement, advice in _OLD:
        changed = re.sub(pattern, replacement, lines[at])
        candidate = "".join([*lines[:at], changed, *lines[at + 1 :]])
        if candidate != text and _is_mended(candidate, error, len(changed) - len(lines[at])):
            return candidate, advice
    return text, told


def _is_mended(text: str, before: SyntaxError, grown: int) -> bool:
    """Return whether the first error is another one now. grown: by how many characters its line grew."""
    try:
        _parsed(text)
    except SyntaxError as error:
        if (error.lineno, error.msg) != (before.lineno, before.msg):
            return True
        return (error.offset or 0) > (before.offset or 0) + max(0, grown)
    return True


def _without_statement(lines: list[str], error: SyntaxError) -> str:
    """`pass` where the statement was; as many lines as before."""
    first, last = (error.lineno or 1) - 1, (error.end_lineno or error.lineno or 1) - 1
    start, end = (error.offset or 1) - 1, (error.end_offset or 1) - 1
    joined = f"{lines[first][:start]}pass{lines[last][end:]}"
    return "".join([*lines[:first], joined, "\n" * (last - first), *lines[last + 1 :]])
