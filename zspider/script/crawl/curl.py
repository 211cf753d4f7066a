"""`curl` commands, as browsers copy them, as options of `crawl()` (docs/pyspider-behaviour.md 2.6)."""

import re
from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, quote_plus

from zspider.script.crawl.bash_words import split_words

_VALUES = {  # options with a value: long names, and the letters of the short ones
    **dict.fromkeys(("H", "--header"), "header"),
    **dict.fromkeys(("X", "--request"), "method"),
    **dict.fromkeys(("d", "--data", "--data-ascii", "--data-binary"), "data"),
    **dict.fromkeys(("F", "--form"), "form"),
    **dict.fromkeys(("b", "--cookie"), "cookie"),
    **dict.fromkeys(("A", "--user-agent"), "agent"),
    **dict.fromkeys(("e", "--referer"), "referer"),
    **dict.fromkeys(("u", "--user"), "user"),
    **dict.fromkeys(("x", "--proxy"), "proxy"),
    **dict.fromkeys(("U", "--proxy-user"), "proxy_user"),
    **dict.fromkeys(("m", "--max-time"), "timeout"),
    **dict.fromkeys(("o", "--output"), "output"),
    "--data-raw": "data_raw",
    "--data-urlencode": "data_urlencode",
    "--form-string": "form_string",
    "--json": "json",
    "--connect-timeout": "connect_timeout",
    "--max-redirs": "max_redirects",
    "--url": "url",
}
_OPTIONS: dict[str, tuple[str, Any] | None] = {  # those without
    "--compressed": ("use_gzip", True),
    **dict.fromkeys(("k", "--insecure"), ("validate_cert", False)),
    **dict.fromkeys(("L", "--location"), ("allow_redirects", True)),
    **dict.fromkeys(("I", "--head"), ("method", "HEAD")),
    **dict.fromkeys(("G", "--get"), ("get", True)),
    **dict.fromkeys(("g", "--globoff"), ("globoff", True)),
    # about curl's output or connection only
    **dict.fromkeys(("s", "--silent", "S", "--show-error", "i", "--include", "v", "--verbose", "f", "--fail")),
    **dict.fromkeys(("#", "--progress-bar", "N", "--no-buffer", "4", "--ipv4", "6", "--ipv6", "--basic")),
    **dict.fromkeys(("0", "--http1.0", "--http1.1", "--http2", "--http2-prior-knowledge", "--http3")),
    **dict.fromkeys(("--tlsv1.2", "--tlsv1.3", "--path-as-is", "--no-keepalive")),
}
_GLOB_ESCAPE = re.compile(r"\\([\[\]{}])")
_FORM_SETTING = re.compile(r";\s*(type|filename)=(\"(?:[^\"\\]|\\.)*\"|[^;]*)")


def curl_to_arguments(command: str) -> dict[str, Any]:
    """Read a curl command; returns options of `crawl()` and the list `urls`.

    Raises TypeError for an option that is not known or asks for a file, or without a URL; ValueError for a quotation
    that is not closed.
    """
    read = _Command()
    words = iter(split_words(command)[1:])
    for word in words:
        if not word.startswith("-"):
            read.urls.append(word)
        elif word.startswith("--"):
            _long(read, word, words)
        else:
            _short(read, word, words)
    return read.arguments()


def _long(read: "_Command", word: str, words: Iterator[str]) -> None:
    name, equals, value = word.partition("=")
    if name in _VALUES:
        read.take(_VALUES[name], value if equals else _value(name, words))
    elif word in _OPTIONS:
        read.set(_OPTIONS[word])
    else:
        raise TypeError(f"Unknow curl option: {word}")  # pyspider's spelling


def _short(read: "_Command", word: str, words: Iterator[str]) -> None:
    """`-k`, `-sSL`, `-XPOST`, `-sX POST`."""
    for at, letter in enumerate(word[1:] or word, 1):
        if letter in _VALUES:
            read.take(_VALUES[letter], word[at + 1 :] or _value(f"-{letter}", words))
            return
        if letter not in _OPTIONS:
            raise TypeError(f"Unknow curl option: {word}")
        read.set(_OPTIONS[letter])


def _value(name: str, words: Iterator[str]) -> str:
    value = next(words, None)
    if value is None:
        raise TypeError(f"curl: option {name} needs a value")
    return value


class _Command:
    """A curl command while it is parsed."""

    def __init__(self) -> None:
        self.urls: list[str] = []
        self.options: dict[str, Any] = {}
        self._headers: dict[str, str] = {}
        self._data: list[str] = []
        self._form: list[tuple[str, tuple[Any, ...]]] = []
        self._proxy_user = ""

    def set(self, option: tuple[str, Any] | None) -> None:
        """Read an option without a value; None means nothing here."""
        if option is not None:
            self.options[option[0]] = option[1]

    def take(self, kind: str, value: str) -> None:
        """Read an option that has a value."""
        match kind:
            case "url":
                self.urls.append(value)
            case "method" | "proxy":
                self.options[kind] = value
            case "timeout" | "connect_timeout":
                self.options[kind] = _number(kind, value, float)
            case "max_redirects":
                self.options[kind] = _number(kind, value, int)
            case "header":
                self._header_line(value)
            case "agent":
                self._header("User-Agent", value)
            case "referer":
                self._header("Referer", value.removesuffix(";auto"))
            case "user":
                self._header("Authorization", "Basic " + b64encode(_encoded(value)).decode())
            case "cookie":
                self._cookie(value)
            case "proxy_user":
                self._proxy_user = ":".join(quote(part, safe="") for part in value.split(":", 1)) + "@"
            case "data" | "data_raw" | "data_urlencode" | "json":
                self._body(kind, value)
            case "form" | "form_string":
                self._form.append(_form_field(value, is_literal=kind == "form_string"))

    def arguments(self) -> dict[str, Any]:
        """Return the command as options of `crawl()`."""
        if not self.urls:
            raise TypeError("curl: no URL specified!")
        if self._data and self._form:
            raise TypeError("curl: data and a form are two bodies, one request has one")
        options = self.options
        urls = self.urls if options.pop("globoff", False) else [_GLOB_ESCAPE.sub(r"\1", url) for url in self.urls]
        if options.pop("get", False):
            if self._data:
                options["params"] = "&".join(self._data)
        elif self._data:
            options["data"] = _text_or_bytes("&".join(self._data))
            options.setdefault("method", "POST")
        if self._form:
            options["files"] = self._form
        if self._headers:
            options["headers"] = self._headers
        if self._proxy_user and "proxy" in options:
            scheme, found, address = options["proxy"].rpartition("://")
            options["proxy"] = scheme + found + self._proxy_user + address
        return {"urls": urls, **options}

    def _header(self, name: str, value: str) -> None:
        same = [known for known in self._headers if known.lower() == name.lower()]
        self._headers[same[0] if same else name] = value

    def _header_line(self, line: str) -> None:
        if line.startswith("@"):
            raise TypeError(f"curl: headers from a file are not read: {line}")
        name, colon, value = line.partition(":")
        if not colon:
            name = line.removesuffix(";") if line.endswith(";") else ""  # "X-Y;" is curl's way to write an empty one
        if name.strip():
            self._header(name.strip(), value.strip())

    def _cookie(self, value: str) -> None:
        if value and "=" not in value:
            raise TypeError(f"curl: cookies from a file are not read: {value}")
        before = next((text for name, text in self._headers.items() if name.lower() == "cookie"), "")
        self._header("Cookie", f"{before}; {value}" if before else value)

    def _body(self, kind: str, value: str) -> None:
        if kind == "data_urlencode":
            value = _urlencoded(value)
        elif kind != "data_raw" and value.startswith("@"):
            raise TypeError(f"curl: data from a file is not read: {value}")
        self._data.append(value)
        if kind == "json":
            self._headers = {"Content-Type": "application/json", "Accept": "application/json", **self._headers}


def _number(kind: str, value: str, read: Callable[[str], Any]) -> Any:
    try:
        return read(value)
    except ValueError:
        raise TypeError(f"curl: {kind} must be a number, not {value!r}") from None


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _text_or_bytes(text: str) -> str | bytes:
    return text if text.isascii() or _is_text(text) else _encoded(text)


def _is_text(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _urlencoded(value: str) -> str:
    """`content`, `=content` or `name=content`, the content form-encoded."""
    found = re.match("[^=@]*", value)
    name = found[0] if found else ""
    mark, content = value[len(name) : len(name) + 1], value[len(name) + 1 :]
    if mark == "@":
        raise TypeError(f"curl: data from a file is not read: {value}")
    if not mark:
        return quote_plus(_encoded(value))
    return (f"{name}=" if name else "") + quote_plus(_encoded(content))


def _form_field(value: str, *, is_literal: bool) -> tuple[str, tuple[Any, ...]]:
    """`name=content[;type=...][;filename=...]` as an item of crawl's `files`."""
    name, equals, content = value.partition("=")
    if not equals:
        raise TypeError(f"curl: a form field is name=content, not {value!r}")
    if is_literal:
        return name, (None, _text_or_bytes(content))
    if content.startswith(("@", "<")):
        raise TypeError(f"curl: a form field from a file is not read: {value}")
    start = found.start() if (found := _FORM_SETTING.search(content)) else len(content)
    settings = {one[1]: _unquoted(one[2].strip()) for one in _FORM_SETTING.finditer(content, start)}
    part = (settings.get("filename"), _text_or_bytes(_unquoted(content[:start])))
    return name, (*part, settings["type"]) if "type" in settings else part


def _unquoted(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    return text
