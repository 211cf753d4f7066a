"""A message as `send_message()` makes it (docs/pyspider-behaviour.md 2.7)."""

from typing import Any

import msgspec

from zspider.delivery import Message
from zspider.script.plain import plain, said
from zspider.task import URL_BYTES_MAX, message_options

NAME_CHARS_MAX = 64  # of a project

_pack = msgspec.msgpack.Encoder().encode


def make_message(sender: str, receiver: Any, msg: Any, url: Any, guarded: bool = False) -> Message:
    """Pack a message. Raises ValueError that says what is wrong; its size is the caller's to check.

    The URL is kept as it is: it names the result, nobody fetches it. guarded: task.GUARDED.
    """
    name, address = said(receiver), said(url)
    if not 1 <= len(name) <= NAME_CHARS_MAX:
        raise ValueError(f"a project's name has 1 to {NAME_CHARS_MAX} characters, not {len(name)}")
    if not 1 <= len(address.encode()) <= URL_BYTES_MAX:
        raise ValueError(f"a message's url has 1 to {URL_BYTES_MAX} bytes, not {len(address.encode())}")
    return Message(name, address, _pack(message_options(sender, plain(msg), guarded=guarded)))
