"""Request bodies with files in them (RFC 7578), in the forms that `crawl(files=...)` takes."""

import secrets
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any


def encode_multipart(fields: Any, files: Any) -> tuple[bytes, str]:
    """Pack form fields and files; returns the body and its Content-Type.

    files: {field: content} or {field: (filename, content[, content_type[, headers]])}, or pairs of the same;
    a content is text, bytes or a file object. Raises TypeError for another shape.
    """
    if isinstance(fields, str | bytes):
        raise TypeError("crawl(files=...) needs `data` to be a dict")
    boundary = secrets.token_hex(16)
    parts: list[bytes] = []
    for name, value in _pairs(fields):
        for item in value if isinstance(value, list | tuple) else [value]:
            if item is not None:
                parts += _part(boundary, {"Content-Disposition": _disposition(name)}, _bytes(item))
    for name, value in _pairs(files):
        filename, content, headers = _file(name, value)
        parts += _part(boundary, {"Content-Disposition": _disposition(name, filename), **headers}, content)
    parts.append(f"--{boundary}--\r\n".encode())
    return b"".join(parts), f"multipart/form-data; boundary={boundary}"


def _pairs(value: Any) -> Iterable[tuple[str, Any]]:
    return value.items() if isinstance(value, Mapping) else value


def _file(name: str, value: Any) -> tuple[str, bytes, dict[str, str]]:
    if not isinstance(value, list | tuple):
        filename = getattr(value, "name", None)
        return PurePath(filename).name if isinstance(filename, str) else name, _bytes(value), {}
    if not 2 <= len(value) <= 4:
        raise TypeError(f"a file is (filename, content[, content_type[, headers]]), not {len(value)} values")
    filename, content, *rest = value
    headers = dict(rest[1]) if len(rest) == 2 else {}
    if rest and rest[0]:
        headers["Content-Type"] = rest[0]
    return filename, _bytes(content), headers


def _bytes(value: Any) -> bytes:
    if hasattr(value, "read"):
        value = value.read()
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    if isinstance(value, dict):
        raise TypeError("the content of a file is text, bytes or a file object, not a dict")
    return str(value).encode("utf-8", "replace")


def _disposition(name: str, filename: str | None = None) -> str:
    text = f'form-data; name="{_quoted(name)}"'
    return text if filename is None else f'{text}; filename="{_quoted(filename)}"'


def _quoted(text: str) -> str:
    return str(text).replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")  # as the HTML standard says


def _part(boundary: str, headers: Mapping[str, str], content: bytes) -> list[bytes]:
    lines = [f"--{boundary}", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return ["\r\n".join(lines).encode("utf-8", "replace"), content, b"\r\n"]
