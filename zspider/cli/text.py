"""Text from the web, made safe to print: no character acts on the terminal, and it is cut short."""

import re

TEXT_CHARS_MAX = 2000  # of one value in a log line; more is a page, not a message

# C0 and C1 controls drive terminals, U+2028/9 and U+0085 break lines, the bidirectional controls reorder
# what is read, and lone surrogates cannot be written at all.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str, chars_max: int = TEXT_CHARS_MAX, *, keep: str = "") -> str:
    """Make a text safe to print on one line: controls become `\\x1b` or `\\u202e`, and a long one is cut.

    keep: unsafe characters that stay as they are, such as a newline between lines of a traceback.
    """
    if len(text) > chars_max:
        text = f"{text[:chars_max]}... ({len(text)} characters)"
    return _UNSAFE.sub(lambda found: found[0] if found[0] in keep else _escaped(found[0]), text)


def _escaped(character: str) -> str:
    if character in _SHORT:
        return _SHORT[character]
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
