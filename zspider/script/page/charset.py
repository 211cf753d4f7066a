"""The encoding of a page: from the byte order mark, else the header, else the page itself, else a guess.

Source: docs/pyspider-behaviour.md 2.8.
"""

import codecs
import re
from functools import lru_cache

import webencodings

FALLBACK = "utf-8"
DECLARED_BYTES = 1024  # where a declaration is looked for, as browsers do
GUESS_BYTES = 16 * 1024  # guessing costs about 0.1 ms per KB

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16: it starts with the same bytes
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_HEADER = re.compile(r"charset\s*=\s*[\"']?\s*([^\s\"';,]+)", re.I)

# A part of markup, as the prescan of the HTML standard (13.2.3.2) walks over it. Possessive: nothing is tried twice.
_MARKUP = re.compile(
    rb"""<!--(?:-?>|.*?-->|.*)                                      # a comment, to the end of the page if need be
    |<(?P<tag>meta(?=[\s/])|/?[a-z][^\s/>]*+)(?P<attributes>(?:=\s*+(?:"[^"]*+"|'[^']*+')|[^>])*+)
    |<[!/?][^>]*+""",
    re.I | re.S | re.X,
)
_ATTRIBUTE = re.compile(rb"""([^\s/>=][^\s/>=]*+)(?:\s*+=\s*+(?:"([^"]*+)"|'([^']*+)'|([^\s>"']*+)))?""")
_CONTENT = re.compile(rb"""charset\s*+=\s*+(?:"([^"]*+)"|'([^']*+)'|([^\s;"']++))""", re.I)
_XML = re.compile(rb"""\A<\?xml[^>]*?encoding\s*=\s*["']([\w.:-]+)""")

# A guess is one of these: what the web was written in before UTF-8. Of others a page must say that it is in them.
_GUESSED = (
    *("cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256"),
    *("koi8_r", "cp866", "iso8859_5", "euc_jp", "cp932", "gb18030", "big5hkscs", "cp949"),
)
_NO_LETTERS = re.compile(rb"<(?:style|script)\b.*?</|<[^>]*>|&[a-z0-9#]+;|\s+", re.I | re.S)


def find_encoding(content: bytes, content_type: str = "") -> str:
    """Name a Python codec for the page. Labels mean what browsers take them for: gb2312 is gb18030."""
    return choose_encoding(content, content_type)[0]


def choose_encoding(content: bytes, content_type: str = "") -> tuple[str, str]:
    """Return the codec of `find_encoding`, and what named it, in words for people."""
    if mark := split_bom(content)[0]:
        return mark, "byte order mark"
    if named := _from_header(content_type):
        return named, "Content-Type header"
    if declared := _declared(content):
        return declared, "declared in the page"
    return _guessed(content), "guessed from the bytes"


def split_bom(content: bytes) -> tuple[str, bytes]:
    """Return the encoding a byte order mark names ("" without one), and the content after the mark."""
    if content[:1] in b"\xef\xff\xfe\x00":  # also true for b""
        for bom, encoding in _BOMS:
            if content.startswith(bom):
                return encoding, content[len(bom) :]
    return "", content


def codec_of(label: str) -> str:
    """Return the Python codec for a label of the Encoding standard; "" for any other word, also when Python knows it.

    "replacement" labels (hz, iso-2022-kr) count as unknown: browsers show such pages as one question mark.
    """
    found = webencodings.lookup(label) if label.isascii() else None  # it raises for half a character
    if found is None or found.name == "replacement":
        return ""
    if found.name == "x-user-defined":
        return "cp1252"
    # The standard decodes gbk as gb18030, and gb2312 is a label of gbk.
    return "gb18030" if found.name == "gbk" else str(found.codec_info.name)


@lru_cache(maxsize=256)  # a site's pages have the same
def _from_header(content_type: str) -> str:
    found = _HEADER.search(content_type)
    return codec_of(found.group(1)) if found else ""


def _declared(content: bytes) -> str:
    head = content[:DECLARED_BYTES]
    encoding = _from_meta(head)
    if not encoding and (found := _XML.match(head)):
        encoding = codec_of(found.group(1).decode("ascii", "replace"))
    # A page whose declaration can be read as ASCII is not in UTF-16, whatever it says (HTML standard).
    return FALLBACK if encoding.startswith("utf-16") else encoding


def _from_meta(head: bytes) -> str:
    """Return the codec of the first meta element that names one, outside comments and other elements' attributes."""
    if b"charset" not in head.lower():
        return ""
    for markup in _MARKUP.finditer(head):
        if markup["tag"] and markup["tag"].lower() == b"meta" and (encoding := _of_meta(markup["attributes"])):
            return encoding
    return ""


def _of_meta(attributes: bytes) -> str:
    values: dict[bytes, bytes] = {}
    for name, *value in _ATTRIBUTE.findall(attributes):
        values.setdefault(name.lower(), b"".join(value))
    label = values.get(b"charset")
    if label is None and values.get(b"http-equiv", b"").lower() == b"content-type":
        found = _CONTENT.search(values.get(b"content", b""))
        label = found[found.lastindex or 0] if found else None
    return codec_of(label.decode("ascii", "replace")) if label else ""


def _guessed(content: bytes) -> str:
    head = content[:GUESS_BYTES]
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # incremental: the cut may be within a character
    except UnicodeDecodeError:
        if len(content) > GUESS_BYTES and b"<" in head:
            head = head[: head.rindex(b"<")]  # not within a character
        return _likeliest(_NO_LETTERS.sub(b" ", head))
    return FALLBACK


def _likeliest(letters: bytes) -> str:
    from charset_normalizer import from_bytes  # 25 ms to import, and rarely needed

    matches = from_bytes(letters, cp_isolation=list(_GUESSED))
    best = matches.best()
    if best is None:
        return FALLBACK
    equals = [match for match in matches if (match.chaos, match.coherence) == (best.chaos, best.coherence)]
    if any("cp1252" in match.could_be_from_charset for match in equals):
        return "cp1252"  # what browsers take when they know nothing; French often looks as much like Romanian
    return codecs.lookup(best.encoding).name
