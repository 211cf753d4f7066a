"""`curl` commands, as browsers copy them, as options of `crawl()` (pyspider.md 2.6)."""

import shlex
from base64 import b64encode
from typing import Any

_DATA = {"-d", "--data", "--data-ascii", "--data-raw", "--data-binary"}
_VALUES = {
    "-H": "header",
    "--header": "header",
    "-X": "method",
    "--request": "method",
    "-b": "cookie",
    "--cookie": "cookie",
    "-A": "agent",
    "--user-agent": "agent",
    "-e": "referer",
    "--referer": "referer",
    "-u": "user",
    "--user": "user",
    "-x": "proxy",
    "--proxy": "proxy",
    "--url": "url",
    **dict.fromkeys(_DATA, "data"),
}
_FLAGS: dict[str, dict[str, Any]] = {
    "--compressed": {"use_gzip": True},
    "-k": {"validate_cert": False},
    "--insecure": {"validate_cert": False},
    "-L": {"allow_redirects": True},
    "--location": {"allow_redirects": True},
    "-I": {"method": "HEAD"},
    "--head": {"method": "HEAD"},
    # about curl's output or connection only
    **{flag: {} for flag in ("-s", "--silent", "-S", "-i", "--include", "-v", "--verbose")},
    **{flag: {} for flag in ("-g", "--globoff", "--http1.1", "--http2", "--path-as-is")},
}


def curl_to_arguments(command: str) -> dict[str, Any]:
    """Read a curl command; returns options of `crawl()` and the list `urls`.

    Raises TypeError for an option that is not known, or without a URL.
    """
    words = iter(shlex.split(command)[1:])
    options: dict[str, Any] = {}
    urls: list[str] = []
    for word in words:
        if not word.startswith("-"):
            urls.append(word)
        elif word in _FLAGS:
            options.update(_FLAGS[word])
        elif word in _VALUES:
            value = next(words, None)
            if value is None:
                raise TypeError(f"curl: option {word} needs a value")
            _apply(_VALUES[word], value, options, urls)
        else:
            raise TypeError(f"Unknow curl option: {word}")  # pyspider's spelling
    if not urls:
        raise TypeError("curl: no URL specified!")
    return {"urls": urls, **options}


def _apply(kind: str, value: str, options: dict[str, Any], urls: list[str]) -> None:
    match kind:
        case "url":
            urls.append(value)
        case "data":
            text = value.removeprefix("$")
            options["data"] = f"{options['data']}&{text}" if "data" in options else text
            options.setdefault("method", "POST")
        case "method" | "proxy":
            options[kind] = value
        case "header":
            name, colon, text = value.partition(":")
            if colon:
                _header(options, name.strip(), text.strip())
        case "cookie" | "agent" | "referer":
            _header(options, {"cookie": "Cookie", "agent": "User-Agent", "referer": "Referer"}[kind], value)
        case "user":
            _header(options, "Authorization", "Basic " + b64encode(value.encode()).decode())


def _header(options: dict[str, Any], name: str, value: str) -> None:
    options.setdefault("headers", {})[name] = value
