"""The master's keys, its cluster secret and the tokens it admits; and what proves that a task was granted."""

import hmac
import ipaddress
import secrets
import stat
import struct
import time
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

import msgspec
import yaml
import zmq
from zmq.utils import z85

from zspider.broker.messages import Held, Took
from zspider.broker.private_files import locked, make_private_directory, read_private, write_private
from zspider.broker.token import KEY_BYTES, Found, Kind, Token, find_token, token_id
from zspider.data_dir import CLUSTER_SECRET, MASTER_KEY, TOKENS, token_file_name
from zspider.delivery import PROOF_BYTES, Outcome
from zspider.errors import ConfigError

__all__ = ["Found", "Kind", "MasterKeys", "Role", "Token", "TokenEntry", "check_exposure", "find_token"]
__all__ += ["is_proof", "proof"]

Role = Literal["slave", "admin"]
TOKENS_BYTES_MAX = 4 * 1024 * 1024  # some 30,000 tokens
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # slaves wait for their heartbeat while it reads
ROLES: dict[Kind, Role] = {"join": "slave", "admin": "admin"}
_PROOF_HEAD = struct.Struct(">QQQ")


class TokenEntry(msgspec.Struct, frozen=True):
    """The master's record of a token: enough to admit it, not enough to use it."""

    id: str
    kind: Kind
    public: str  # Z85
    created_ms: int
    revoked_ms: int | None = None
    name: str = ""  # what for; none for those that people made


class MasterKeys:
    """All secrets of a master, in files of its data directory that only their owner can read.

    `role_of` and the attributes may be used from any thread; the rest from one.
    """

    def __init__(self, data_dir: Path) -> None:
        """Read the keys, or make them and one token of each kind at the first start.

        Raises DeniedError when others can read the directory or a file in it, ConfigError when a file is
        damaged or missing while the others are there.
        """
        make_private_directory(data_dir)
        self._dir = data_dir
        with locked(data_dir):
            if not (data_dir / TOKENS).exists():
                _first_start(data_dir)
        self._key = self._read(MASTER_KEY)
        self.public: bytes = zmq.curve_public(self._key)
        self.secret: bytes = z85.decode(self._read(CLUSTER_SECRET))  # proofs are made with it
        self._entries: list[TokenEntry] = []
        self._roles: dict[bytes, Role] = {}
        self.revocations = 0  # grows when a token that was valid is valid no longer
        self.reload()

    def __repr__(self) -> str:
        return f"MasterKeys({str(self._dir)!r})"

    @property
    def curve_secret(self) -> bytes:
        """The secret half of the master's CURVE key, in Z85."""
        return self._key

    def is_proven(self, one: Held | Took | Outcome) -> bool:
        """Return whether this cluster's master granted the delivery that a peer claims to have."""
        return is_proof(self.secret, one.project, one.taskid, one.run, one.attempt, one.proof)

    def role_of(self, user: bytes) -> Role | None:
        """Return the role of the holder of this public key (Z85); None if it is unknown or revoked."""
        return self._roles.get(user)

    def add_token(self, kind: Kind) -> Token:
        """Make a token that is valid from now on. Its secret is only in what is returned."""
        if kind not in ROLES:
            raise ConfigError(f"no such kind of token: {kind!r}; there are {', '.join(ROLES)}")
        token, entry = _new_token(self.public, kind)
        with locked(self._dir):
            self._write([*self._read_entries(), entry])
        return token

    def named_token(self, name: str) -> Path:
        """Return the token file of one of this master's own slaves; make the token if it is missing or revoked."""
        path = self._dir / token_file_name(name)
        if not self._admits(path):
            token, entry = _new_token(self.public, "join", name)
            with locked(self._dir):
                write_private(path, token.text.encode() + b"\n")
                self._write([*self._read_entries(), entry])
        return path

    def _admits(self, path: Path) -> bool:
        """Return whether a slave could join with what is in this file."""
        try:
            token = Token.parse(read_private(path).decode("ascii", "replace"))
        except (FileNotFoundError, ConfigError):
            return False
        return token.server == self.public and self.role_of(token.public) == "slave"

    def list_tokens(self) -> list[TokenEntry]:
        """Return all tokens ever made, revoked ones too, in order of age."""
        return list(self._entries)

    def revoke(self, id_: str) -> TokenEntry:
        """Make a token invalid, at once and for good. Safe to repeat. Raises ConfigError when there is no such id."""
        with locked(self._dir):
            entries = self._read_entries()
            for at, entry in enumerate(entries):
                if entry.id == id_:
                    if entry.revoked_ms is None:
                        entries[at] = msgspec.structs.replace(entry, revoked_ms=_now_ms())
                    self._write(entries)
                    return entries[at]
        raise ConfigError(f"there is no token {id_!r}")

    def reload(self) -> None:
        """Read the tokens again: another process may have made or revoked one."""
        self._use(self._read_entries())

    def _write(self, entries: list[TokenEntry]) -> None:
        _write_entries(self._dir, entries)
        self._use(entries)

    def _use(self, entries: list[TokenEntry]) -> None:
        valid = {one.public.encode(): ROLES[one.kind] for one in entries if one.revoked_ms is None}
        if self._roles.keys() - valid.keys():
            self.revocations += 1
        self._entries = entries
        self._roles = valid  # replaced, never changed: other threads read it

    def _read(self, name: str) -> bytes:
        """Return one key in Z85."""
        path = self._dir / name
        try:
            key = read_private(path).strip()
        except FileNotFoundError as exc:
            raise ConfigError(
                f"{path} is missing although {TOKENS} is there: put it back from a backup, "
                f"or remove {TOKENS} to start with new keys and new tokens"
            ) from exc
        except OSError as exc:
            raise ConfigError(f"{path} cannot be read: {exc.strerror}") from exc
        if not _is_key(key):
            raise ConfigError(f"{path} is damaged: it does not hold a key")
        return key

    def _read_entries(self) -> list[TokenEntry]:
        path = self._dir / TOKENS
        try:
            found = path.stat()
            if not stat.S_ISREG(found.st_mode) or found.st_size > TOKENS_BYTES_MAX:  # a pipe would hold the loop up
                raise ConfigError(f"{path} is damaged: it is no file of at most {TOKENS_BYTES_MAX} bytes")
            text = read_private(path)
        except FileNotFoundError as exc:
            raise ConfigError(f"{path} is missing") from exc
        except OSError as exc:
            raise ConfigError(f"{path} cannot be read: {exc.strerror}") from exc
        try:
            entries = msgspec.convert(yaml.load(text, _Loader), list[TokenEntry])  # noqa: S506 - a safe loader
        except (yaml.YAMLError, msgspec.ValidationError, ValueError, TypeError, RecursionError) as exc:
            raise ConfigError(f"{path} is damaged: {' '.join(str(exc).split())}") from exc
        for entry in entries:
            if not _is_key(entry.public.encode("utf-8", "replace")):
                raise ConfigError(f"{path} is damaged: token {entry.id!r} has no public key")
        return entries


def _is_key(text: bytes) -> bool:
    """Return whether this is a key in Z85."""
    try:
        return len(z85.decode(text)) == KEY_BYTES
    except (ValueError, KeyError, struct.error):
        return False


def proof(secret: bytes, project: int, taskid: str, run: int, attempt: int) -> bytes:
    """Return the proof of this delivery, which only a master with `secret` can make: 16 bytes.

    secret: at most 64 bytes. BLAKE2b with a key is a MAC (RFC 7693 section 2.9), four times as fast as HMAC here.
    """
    said = _PROOF_HEAD.pack(project, run, attempt) + taskid.encode("utf-8", "surrogatepass")
    return blake2b(said, key=secret, digest_size=PROOF_BYTES).digest()


def is_proof(secret: bytes, project: int, taskid: str, run: int, attempt: int, claimed: bytes) -> bool:
    """Return whether `claimed` is this delivery's proof; the time it takes tells nothing about it."""
    return hmac.compare_digest(proof(secret, project, taskid, run, attempt), claimed)


def check_exposure(bind: str, security: str, i_know_this_is_open: bool) -> None:
    """Raise ConfigError when the ports would be open to the network without encryption."""
    if security == "curve" or i_know_this_is_open or _is_loopback(bind):
        return
    raise ConfigError(
        f"master.security is none and master.bind is {bind}: anybody who reaches the port would own the crawl; "
        "use security: curve, bind to 127.0.0.1, or set master.i_know_this_is_open"
    )


def _is_loopback(bind: str) -> bool:
    try:
        return ipaddress.ip_address(bind.strip("[]")).is_loopback
    except ValueError:
        return bind == "localhost"


def _first_start(directory: Path) -> None:
    """Make everything; tokens.yaml comes last and says that the rest is complete."""
    public, secret = zmq.curve_keypair()
    write_private(directory / MASTER_KEY, secret + b"\n")
    write_private(directory / CLUSTER_SECRET, z85.encode(secrets.token_bytes(32)) + b"\n")
    entries = []
    for kind in ROLES:
        token, entry = _new_token(public, kind)
        write_private(directory / token_file_name(kind), token.text.encode() + b"\n")
        entries.append(entry)
    _write_entries(directory, entries)


def _new_token(master: bytes, kind: Kind, name: str = "") -> tuple[Token, TokenEntry]:
    public, secret = zmq.curve_keypair()
    return Token(master, secret), TokenEntry(token_id(public), kind, public.decode(), _now_ms(), name=name)


def _write_entries(directory: Path, entries: list[TokenEntry]) -> None:
    text = yaml.safe_dump(msgspec.to_builtins(entries), sort_keys=False)
    write_private(directory / TOKENS, text.encode())


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
