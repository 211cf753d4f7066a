"""Which encoding a page is in (pyspider.md 2.8): byte order mark, then header, then the page itself, then a guess."""

import codecs
import re

from w3lib.encoding import resolve_encoding

FALLBACK = "utf-8"
DECLARED_BYTES = 4096  # where a declaration is looked for; pyspider and browsers look at about 1,000
GUESS_BYTES = 16 * 1024  # guessing costs about 1 ms per KB

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16: it starts with the same bytes
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_HEADER = re.compile(r"charset\s*=\s*[\"']?\s*([^\s\"';,]+)", re.I)
_DECLARATIONS = (
    re.compile(rb"<meta[^>]*?charset\s*=\s*[\"']?\s*([\w.:-]+)", re.I),  # both kinds of meta
    re.compile(rb"<\?xml[^>]*?encoding\s*=\s*[\"']([\w.:-]+)", re.I),
)


def find_encoding(content: bytes, content_type: str = "") -> str:
    """Name a Python codec for the page. Labels mean what browsers take them for: gb2312 is gb18030."""
    return choose_encoding(content, content_type)[0]


def choose_encoding(content: bytes, content_type: str = "") -> tuple[str, str]:
    """The codec of `find_encoding`, and what named it, in words for people."""
    if mark := split_bom(content)[0]:
        return mark, "byte order mark"
    if named := _from_header(content_type):
        return named, "Content-Type header"
    if declared := _declared(content):
        return declared, "declared in the page"
    return _guessed(content), "guessed from the bytes"


def split_bom(content: bytes) -> tuple[str, bytes]:
    """The encoding a byte order mark names ("" without one), and the content after the mark."""
    if content[:1] in b"\xef\xff\xfe\x00":  # also true for b""
        for bom, encoding in _BOMS:
            if content.startswith(bom):
                return encoding, content[len(bom) :]
    return "", content


def _from_header(content_type: str) -> str:
    found = _HEADER.search(content_type)
    return _codec(found.group(1)) if found else ""


def _declared(content: bytes) -> str:
    head = content[:DECLARED_BYTES]
    for declaration in _DECLARATIONS:
        if found := declaration.search(head):
            encoding = _codec(found.group(1).decode("ascii", "replace"))
            if encoding:
                # A page whose declaration can be read as ASCII is not in UTF-16, whatever it says (HTML standard).
                return FALLBACK if encoding.startswith(("utf-16", "utf-32")) else encoding
    return ""


def _codec(label: str) -> str:
    return resolve_encoding(label) or ""


def _guessed(content: bytes) -> str:
    head = content[:GUESS_BYTES]
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # incremental: the cut may be within a character
    except UnicodeDecodeError:
        from charset_normalizer import from_bytes  # 25 ms to import, and rarely needed

        best = from_bytes(head).best()
        return (_codec(best.encoding) if best else "") or FALLBACK
    return FALLBACK
