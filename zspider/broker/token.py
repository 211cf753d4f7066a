"""Tokens, and where one is looked for.

A token is `ZS1.<master's public key>.<client's secret key>`, both keys 32 bytes in base64url without
padding: the holder of a token talks to this master only, and the master lets it in.
"""

import base64
import binascii
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple, Self

import zmq
from zmq.utils import z85

from zspider.broker.private_files import STRANGERS, read_private
from zspider.data_dir import token_file_name
from zspider.errors import ConfigError

Kind = Literal["join", "admin"]
PREFIX = "ZS1"
KEY_BYTES = 32
ETC = Path("/etc/zspider")
GROUP_MAY_READ = 0o026  # the mode bits that nobody but the owner may have, where a group is let in on purpose
TOKEN_VARIABLES: dict[Kind, str] = {"join": "ZSPIDER_TOKEN", "admin": "ZSPIDER_ADMIN_TOKEN"}
FILE_BYTES_MAX = 4096  # a token has 91 characters; more is another file


@dataclass(frozen=True)
class Token:
    """The right to talk to one master. Keys are in Z85, as ZeroMQ takes them; `repr` hides the secret."""

    server: bytes  # the master's public key
    secret: bytes = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a token's text. Raises ConfigError that says what is wrong and never repeats the text."""
        parts = text.strip().split(".")
        if parts[0] != PREFIX:
            raise ConfigError(f"not a zspider token: it does not begin with {PREFIX}.")
        if len(parts) != 3:
            raise ConfigError(f"the token has {len(parts)} parts, wanted 3: was it cut when it was copied?")
        return cls(_key(parts[1], "master's key"), _key(parts[2], "secret"))

    @property
    def text(self) -> str:
        """The token as people copy it. It is a secret."""
        return f"{PREFIX}.{_base64(self.server)}.{_base64(self.secret)}"

    @cached_property
    def public(self) -> bytes:
        """The public half of the client's key: what the master knows of this token."""
        return zmq.curve_public(self.secret)

    @property
    def id(self) -> str:
        """A short name for lists and `revoke`."""
        return token_id(self.public)


class Found(NamedTuple):
    """A token, and where it was found, for messages."""

    token: Token
    where: str


def token_id(public: bytes) -> str:
    """Return the short name of the token with this public key."""
    return hashlib.sha256(public).hexdigest()[:8]


def find_token(
    kind: Kind, token_file: Path | None, data_dir: Path, env: Mapping[str, str], *, etc: Path = ETC
) -> Found | None:
    """Return the first token found, or None.

    The places: the named file, systemd's credentials, the environment, /etc/zspider, the data directory. An admin token
    in /etc/zspider comes last, and may be readable by a group: it is for users who may administer the machine's own
    master, and is not used for a master that a user runs alone.

    A token that is there and cannot be used is an error and not a reason to look further: ConfigError
    when it is malformed or the named file is missing, DeniedError when others can read it or we cannot.
    """
    if token_file is not None and is_missing(token_file):
        raise ConfigError(f"there is no token file {token_file}")
    for place in _places(kind, token_file, data_dir, env, etc):
        if (text := place.text()) is None:
            continue
        try:
            return Found(Token.parse(text), place.name)
        except ConfigError as exc:
            raise ConfigError(f"{place.name}: {exc}") from exc
    return None


def is_missing(path: Path) -> bool:
    """Return whether there is no such file; False where we may not look: reading it will raise."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


@dataclass(frozen=True)
class _FilePlace:
    path: Path
    strangers: int = STRANGERS

    @property
    def name(self) -> str:
        return str(self.path)

    def text(self) -> str | None:
        try:
            content = read_private(self.path, strangers=self.strangers)
        except (FileNotFoundError, NotADirectoryError):
            return None
        text = content[:FILE_BYTES_MAX].decode("ascii", "replace")
        return text if text.strip() else None  # blank: systemd's stand-in for a credential that is not there


@dataclass(frozen=True)
class _VariablePlace:
    name: str
    value: str = field(repr=False)

    def text(self) -> str | None:
        return self.value or None  # set to nothing: as if not set


def _places(
    kind: Kind, token_file: Path | None, data_dir: Path, env: Mapping[str, str], etc: Path
) -> Iterator[_FilePlace | _VariablePlace]:
    if token_file is not None:
        yield _FilePlace(token_file)
    if kind == "join" and (credentials := env.get("CREDENTIALS_DIRECTORY")):
        # systemd guards the directory; where it uses an ACL its files show mode 0440
        yield _FilePlace(Path(credentials) / "join-token", strangers=0o006)
    variable = TOKEN_VARIABLES[kind]
    yield _VariablePlace(variable, env.get(variable, ""))
    if kind == "join":
        yield _FilePlace(etc / "join.token")
    yield _FilePlace(data_dir / token_file_name(kind))
    if kind == "admin":
        yield _FilePlace(etc / "admin.token", strangers=GROUP_MAY_READ)


def _base64(key: bytes) -> str:
    return base64.urlsafe_b64encode(z85.decode(key)).rstrip(b"=").decode("ascii")


def _key(text: str, name: str) -> bytes:
    """Decode base64url of 32 bytes to Z85.

    Only the canonical spelling is taken, so that equal tokens have equal texts.
    """
    try:
        raw = base64.b64decode(text.encode("ascii") + b"=", altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raw = b""
    key: bytes = z85.encode(raw) if len(raw) == KEY_BYTES else b""
    if not key or _base64(key) != text:
        raise ConfigError(f"the token's {name} is damaged ({len(text)} characters, wanted 43): copy it again")
    return key
