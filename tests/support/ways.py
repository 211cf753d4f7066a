"""Ways between a slave and its master's ports, and how they fail: at a firewall, a router, a proxy."""

import re
import sys
from collections.abc import Sequence

from tests.support.netns import Host
from tests.support.process import Process, eventually

NEVER_READS = """
import socket, sys, signal
listener = socket.create_server(("0.0.0.0", int(sys.argv[1])), backlog=200)
print("listening", flush=True)
kept = []
while True:
    kept.append(listener.accept())
"""
SINK_PORT = 9999
STANDS_S = 60.0


class Ways:
    """Some ports of a master, as one slave's host reaches them. `heal` makes all whole again; safe to repeat."""

    def __init__(self, host: Host, master: str, ports: Sequence[int]) -> None:
        self._host = host
        self._master = master
        self._ports = ports
        self._rules: list[list[str]] = []
        self._sink: Process | None = None

    def drop(self) -> None:
        """Packets to them vanish, also those of connections that stand."""
        for port in self._ports:
            self._add("-A", "OUTPUT", *self._to(port), "-j", "DROP")
            self._add("-A", "INPUT", "-p", "tcp", "-s", self._master, "--sport", str(port), "-j", "DROP")

    def reset(self) -> None:
        """Everything that goes there is answered with a reset."""
        for port in self._ports:
            self._add("-A", "OUTPUT", *self._to(port), "-j", "REJECT", "--reject-with", "tcp-reset")

    def forget(self) -> None:
        """A router forgets the connections that stand; new ones work. It waits until there is one."""
        for port in self._ports:
            for one in eventually(lambda port=port: self._own_ports(port), STANDS_S, f"a connection to port {port}"):
                self._add("-A", "OUTPUT", *self._to(port), "--sport", one, "-j", "DROP")
                self._add("-A", "INPUT", "-p", "tcp", "--sport", str(port), "--dport", one, "-j", "DROP")

    def _own_ports(self, port: int) -> list[str]:
        found = self._host.run("ss", "-Htn", "state", "established", f"dport = :{port}")
        return re.findall(rf":(\d+)\s+\S+:{port}\b", found.out)

    def swallow(self) -> None:
        """New connections are accepted by somebody who never reads."""
        self._sink = Process(self._host.argv([sys.executable, "-c", NEVER_READS, str(SINK_PORT)]), name="sink")
        self._sink.wait_for("^listening$")
        for port in self._ports:
            self._add("-t", "nat", "-A", "OUTPUT", *self._to(port), "-j", "REDIRECT", "--to-ports", str(SINK_PORT))

    def heal(self) -> None:
        while self._rules:
            self._iptables([("-D" if word == "-A" else word) for word in self._rules.pop()])
        if self._sink is not None:
            self._sink.close()
            self._sink = None

    def _to(self, port: int) -> list[str]:
        return ["-p", "tcp", "-d", self._master, "--dport", str(port)]

    def _add(self, *rule: str) -> None:
        self._iptables(rule)
        self._rules.append(list(rule))

    def _iptables(self, rule: Sequence[str]) -> None:
        done = self._host.run("iptables", "-w", "10", *rule)
        assert done.code == 0, str(done)
