"""Which IP addresses are private: those a public page must not lead a crawler to."""

import ipaddress
from functools import lru_cache

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052: an IPv4 address is in the last 32 bits


@lru_cache(maxsize=4096)
def is_private(address: str) -> bool:
    """Return whether this is no address of the public Internet: loopback, link-local, private, multicast.

    Text that is no IP address (a path of a Unix socket) counts as private. IPv4 addresses inside
    IPv6 ones are judged as what they lead to.
    """
    try:
        ip = ipaddress.ip_address(address.strip("[]").partition("%")[0])
    except ValueError:
        return True
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_private(str(inner))
    return not ip.is_global or ip.is_multicast


def is_private_host(host: str) -> bool:
    """Return whether a URL's host looks private, without asking DNS: a name of this machine, a private literal.

    For requests through a proxy, where only the proxy knows the address. Old spellings of IPv4
    addresses (one number, octal, hexadecimal) count as private: no public page has a reason for them.
    """
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith((".localhost", ".local", ".internal")):
        return True
    looks_numeric = ":" in name or name.rpartition(".")[2][:1].isdigit()
    return looks_numeric and is_private(name)


def refusal(address: str) -> str:
    """Return the error text for a private address that is refused."""
    return f"private address {address} refused: a public page has led here (fetch.private_networks)"
