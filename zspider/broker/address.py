"""The address of a master, as people write it behind `--master`."""

import ipaddress
import re
import socket
from dataclasses import dataclass
from typing import Self

from zspider.broker.sockets import bracketed, endpoint
from zspider.errors import ConfigError
from zspider.settings import CONTROL_PORT

_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?:\.(?!-)[A-Za-z0-9_-]{1,63})*\.?")
_DIGITS = re.compile(r"[0-9.]+")
_PORT = re.compile(r"[0-9]{1,5}")


@dataclass(frozen=True)
class Address:
    """A master's control port. `host` is a name, or an IPv4 or IPv6 address without brackets."""

    host: str
    port: int = CONTROL_PORT

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read HOST, HOST:PORT, IPV6 or [IPV6]:PORT. Raises ConfigError for anything else."""
        text = text.strip()
        if "://" in text:
            raise ConfigError(f"{text!r} is not the address of a master: leave out {text.partition('://')[0]}://")
        host, port = _split(text)
        if not _is_host(host):
            raise ConfigError(f"{text!r} is not the address of a master; wanted HOST, HOST:PORT or [IPV6]:PORT")
        if port is None:
            return cls(host)
        if not _PORT.fullmatch(port) or not 1 <= int(port) <= 65535:
            raise ConfigError(f"{text!r} is not the address of a master: the port is a number from 1 to 65535")
        return cls(host, int(port))

    def __str__(self) -> str:
        return f"{bracketed(self.host)}:{self.port}"

    @property
    def is_name(self) -> bool:
        """Whether the host is a name that has to be looked up first."""
        return not _is_ip(self.host)

    def endpoint(self, port: int | None = None) -> str:
        """Return the address for ZeroMQ; `port` is another port of the same master."""
        return endpoint(self.host, port or self.port)

    def is_ipv6(self) -> bool:
        """Return whether only an IPv6 socket gets there. Looks names up, which may take seconds."""
        if not self.is_name:
            return ":" in self.host
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except OSError:
            return False  # it will not be reached; who tries will say so
        return all(family == socket.AF_INET6 for family, *_ in found)


def _split(text: str) -> tuple[str, str | None]:
    if text.startswith("["):
        host, closing, rest = text[1:].partition("]")
        if not closing or ":" not in host or (rest and not rest.startswith(":")):
            return "", None
        return host, rest[1:] if rest else None
    if text.count(":") > 1:  # IPv6 without brackets has no port
        return text, None
    host, colon, port = text.partition(":")
    return host, port if colon else None


def _is_host(host: str) -> bool:
    if _is_ip(host):
        return True
    # Digits and dots alone would be looked up as an address: 1.2.3 is 1.2.0.3 to some resolvers
    return len(host) <= 253 and bool(_NAME.fullmatch(host)) and not _DIGITS.fullmatch(host)


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
