"""A command line cut into words as bash does it, quoting and `$'...'` included; variables are left as they are.

`shlex` does not know `$'...'`, in which browsers write a body with line breaks, quotes or "!" in it.
"""

import re

_PIECE = re.compile(
    r"""
      \$'(?P<ansi>(?:[^'\\]|\\.)*)'
    | '(?P<single>[^']*)'
    | \$?"(?P<double>(?:[^"\\]|\\.)*)"
    | (?P<continued>\\(?:\r?\n|\Z))
    | \\(?P<escaped>.)
    | (?P<space>\s+)
    | (?P<bare>\$|[^\s'"\\$]+)
    """,
    re.DOTALL | re.VERBOSE,
)
_IN_DOUBLE = re.compile(r'\\(?:\r?\n|([$`"\\]))')
_IN_ANSI = re.compile(
    r"""
    \\(?:
      u(?P<high>[dD][89abAB][0-9a-fA-F]{2})\\u(?P<low>[dD][c-fC-F][0-9a-fA-F]{2})  # as JavaScript has it: one character
    | u(?P<u4>[0-9a-fA-F]{1,4})
    | U(?P<u8>[0-9a-fA-F]{1,8})
    | x(?P<hex>[0-9a-fA-F]{1,2})
    | (?P<octal>[0-7]{1,3})
    | c(?P<control>.)
    | (?P<letter>[abeEfnrtv\\'"?])
    )
    """,
    re.DOTALL | re.VERBOSE,
)
_LETTERS = {"a": "\a", "b": "\b", "e": "\x1b", "E": "\x1b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_REPLACEMENT = "\ufffd"  # for what is no character


def split_words(command: str) -> list[str]:
    """Return the words of a command. A byte that is no UTF-8 (`$'\\xff'`) is in them as os.fsdecode would have it.

    Raises ValueError when a quotation is not closed.
    """
    words: list[str] = []
    word: str | None = None
    at = 0
    while at < len(command):
        piece = _PIECE.match(command, at)
        if piece is None:
            raise ValueError("No closing quotation")
        at = piece.end()
        if piece["space"] is None:
            word = _text(piece, word)
        elif word is not None:
            words.append(word)
            word = None
    return words if word is None else [*words, word]


def _text(piece: re.Match[str], before: str | None) -> str | None:
    """Return the current word with a piece added."""
    match piece.lastgroup:
        case "continued":
            return before
        case "ansi":
            text = _bytes_joined(_IN_ANSI.sub(_unescaped, piece["ansi"]))
        case "double":
            text = _IN_DOUBLE.sub(lambda found: found[1] or "", piece["double"])
        case group:
            text = piece[group or 0]
    return (before or "") + text


def _unescaped(found: re.Match[str]) -> str:
    group, text = found.lastgroup, found[found.lastgroup or 0]
    match group:
        case "low":
            return chr(0x10000 + ((int(found["high"], 16) & 0x3FF) << 10) + (int(text, 16) & 0x3FF))
        case "u4" | "u8":
            code = int(text, 16)
            return chr(code) if code < 0xD800 or 0xE000 <= code <= 0x10FFFF else _REPLACEMENT
        case "hex" | "octal":
            byte = int(text, 16 if group == "hex" else 8) & 0xFF
            return chr(byte) if byte < 0x80 else chr(0xDC00 + byte)
        case "control":
            return chr(ord(text) & 0x1F)
    return _LETTERS.get(text, text)


def _bytes_joined(text: str) -> str:
    """Return the same bytes; those that are UTF-8 together as characters."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
