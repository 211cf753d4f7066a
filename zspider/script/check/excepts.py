"""`except A, b:`, which three Pythons read in three ways: found in a script's tokens, the same on all of them."""

import builtins
import io
import tokenize
from collections.abc import Iterator
from typing import NamedTuple

NAMED = "Python 3 writes `except Error as name:`"
LISTED = "several exceptions stand in parentheses, `except (A, B):`; only Python 3.14 and later read it without"


class _Clause(NamedTuple):
    """The text between `except` and its colon, if it has a comma outside parentheses."""

    words: list[tokenize.TokenInfo]
    commas: list[tokenize.TokenInfo]


def mend_excepts(text: str) -> tuple[str, list[tuple[int, str]]]:
    """Rewrite `except` clauses so that every Python 3 reads them alike; returns the script, line and advice for each.

    `except Error, name:` binds a name in Python 2, is an error in Python 3, and a list of two since 3.14 (PEP 758),
    with no name bound. The lines stay where they are. What stands behind the first place where the text is no series
    of tokens may be left as it is.
    """
    if "except" not in text:
        return text, []
    lines = text.split("\n")
    told, changes = [], []
    for words, commas in _clauses(text):
        line, last = words[0].start[0], words[-1]
        if len(commas) == 1 and words[-2] is commas[0] and _is_name(last):
            told.append((line, NAMED))
            changes.append((commas[0].start, commas[0].end, " as"))
            continue
        if words[-2].string == "as":
            last = words[-3]
        told.append((line, LISTED))
        changes += [(words[0].start, words[0].start, "("), (last.end, last.end, ")")]
    for (row, start), (_, end), new in reversed(changes):
        before = lines[row - 1]
        lines[row - 1] = before[:start] + new + before[end:]
    return "\n".join(lines), told


def _is_name(word: tokenize.TokenInfo) -> bool:
    """Return whether the exception would be bound to this name: Python's own exceptions are listed, not bound."""
    kind = getattr(builtins, word.string, None)
    return word.type == tokenize.NAME and not (isinstance(kind, type) and issubclass(kind, BaseException))


def _clauses(text: str) -> Iterator[_Clause]:
    """Yield the clauses that have such a comma and something on both of its sides, in order."""
    words: list[tokenize.TokenInfo] | None = None  # those since `except`
    commas: list[tokenize.TokenInfo] = []
    depth = 0
    for token in _tokens(text):
        if token.type == tokenize.NAME and token.string == "except":
            words, commas, depth = [], [], 0
        elif words is None or token.type in (tokenize.NL, tokenize.COMMENT):
            continue
        elif token.type == tokenize.NEWLINE:
            words = None
        elif token.string == ":" and not depth:
            if commas and words[0] is not commas[0] and words[-1] is not commas[-1]:
                yield _Clause(words, commas)
            words = None
        else:
            depth += (token.string in "([{") - (token.string in ")]}") if token.type == tokenize.OP else 0
            commas += [token] if token.string == "," and not depth else []
            words += [] if token.string == "*" and not words else [token]  # `except*`


def _tokens(text: str) -> Iterator[tokenize.TokenInfo]:
    try:
        yield from tokenize.generate_tokens(io.StringIO(text).readline)
    except (tokenize.TokenError, SyntaxError, ValueError):
        pass  # a parser says it better
