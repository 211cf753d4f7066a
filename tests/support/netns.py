"""A private network of hosts: each a network namespace with its own address, all joined by a bridge.

Nothing in it reaches any other network: there is no route out. Needs root and iproute2.
"""

import itertools
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.support.process import Process, Ran, run

NAMESPACES = Path("/run/netns")
_numbers = itertools.count(1)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=20)


class Host:
    """One machine of the network: run commands on it, cut its cable, heal it."""

    def __init__(self, namespace: str, address: str) -> None:
        self.namespace = namespace
        self.address = address
        self._is_cut = False

    def argv(self, argv: Sequence[str | Path]) -> list[str]:
        """The command that runs `argv` on this host. `ip netns exec` replaces itself: the pid is the program's."""
        return ["ip", "netns", "exec", self.namespace, *map(str, argv)]

    def run(self, *argv: str | Path, deadline_s: float = 60.0) -> Ran:
        return run(self.argv(argv), deadline_s=deadline_s)

    def spawn(self, *argv: str | Path) -> Process:
        return Process(self.argv(argv), name=f"{Path(argv[0]).name}@{self.namespace}")

    def cut(self) -> None:
        """From now on every packet to and from the others vanishes silently; loopback works on."""
        if not self._is_cut:
            self._filter("-I")
            self._is_cut = True

    def heal(self) -> None:
        """The cable is whole again; connections that nobody gave up meanwhile go on."""
        if self._is_cut:
            self._filter("-D")
            self._is_cut = False

    def _filter(self, change: str) -> None:
        for chain, side in (("INPUT", "-i"), ("OUTPUT", "-o")):
            done = self.run("iptables", "-w", "10", change, chain, side, "eth0", "-j", "DROP")
            assert done.code == 0, str(done)


class Network:
    """Namespaces around one bridge. Leaving the `with` block removes all of them."""

    def __init__(self) -> None:
        self._prefix = f"zs{os.getpid()}-{next(_numbers)}"
        self._bridge = f"{self._prefix}-bridge"
        self._namespaces: list[str] = []

    def __enter__(self) -> "Network":
        try:
            self._add_namespace(self._bridge)
            _ip("-n", self._bridge, "link", "add", "bridge", "type", "bridge", "forward_delay", "0")
            _ip("-n", self._bridge, "link", "set", "bridge", "up")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def host(self, name: str) -> Host:
        """A new host, 10.80.0.N, that reaches every other host of this network."""
        namespace, number = f"{self._prefix}-{name}", len(self._namespaces)
        address = f"10.80.0.{number}"
        self._add_namespace(namespace)
        cable = ("eth0", "netns", namespace)
        _ip("-n", self._bridge, "link", "add", f"port{number}", "type", "veth", "peer", "name", *cable)
        _ip("-n", self._bridge, "link", "set", f"port{number}", "master", "bridge", "up")
        _ip("-n", namespace, "address", "add", f"{address}/24", "dev", "eth0")
        _ip("-n", namespace, "link", "set", "eth0", "up")
        return Host(namespace, address)

    def _add_namespace(self, namespace: str) -> None:
        _ip("netns", "add", namespace)
        self._namespaces.append(namespace)
        _ip("-n", namespace, "link", "set", "lo", "up")

    def remaining(self) -> list[str]:
        """Namespaces of this network that exist, as the system says."""
        return [path.name for path in NAMESPACES.glob(f"{self._prefix}-*")]

    def close(self) -> None:
        """Remove the namespaces, and with them cables, bridge and rules. Safe to repeat."""
        while self._namespaces:
            _ip("netns", "del", self._namespaces.pop())
