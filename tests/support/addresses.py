"""Addresses on loopback that nobody else uses: every test server gets one of 127/8 for itself."""

import random
import socket


def loopback_address() -> str:
    """A random address of 127/8 on which no two tests, nor two runs of the tests, meet."""
    return f"127.{random.randint(16, 250)}.{random.randint(0, 250)}.{random.randint(1, 250)}"


def free_port(address: str = "127.0.0.1") -> int:
    """A TCP port nobody listens on now. It is free when returned; use it at once, or an address of your own."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
        return port
