"""A Galera cluster on loopback: nodes that are ordinary private servers, and replicate to each other.

One node gives another its state by a script of ours, which copies files from directory to directory; so neither rsync
nor the scripts of a full server package are needed.
"""

import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from tests.support.mariadb import MariaDb, is_installed

LIBRARY = Path("/usr/lib/galera/libgalera_smm.so")  # of Debian's galera-4
SYNCED_S = 30.0
_METHOD = "copy"
# Called by both nodes, as MariaDB's own scripts are: the joiner says where its directory is and prints the state once
# the donor has brought it; the donor copies while its server writes nothing.
_SCRIPT = """#!/bin/sh
while [ $# -gt 0 ]; do
    case $1 in --role) role=$2 ;; --address) to=$2 ;; --datadir) data=$2 ;; esac
    case $1 in --gtid) gtid=$2 ;; --bypass) bypass=1 ;; esac
    shift
done
if [ "$role" = joiner ]; then
    rm -f "$data/state"
    echo "ready $data"
    until [ -s "$data/state" ]; do sleep 0.05; done
    cat "$data/state"
    rm "$data/state"
    exit
fi
if [ -z "$bypass" ]; then
    rm -f "$data/tables_flushed"
    echo "flush tables"
    until [ -s "$data/tables_flushed" ]; do sleep 0.05; done
    gtid=$(cat "$data/tables_flushed")
    rm "$data/tables_flushed"
    rm -f "$to"/ib* "$to"/aria_log* "$to"/undo*
    tar -C "$data" --exclude=./galera.cache --exclude=./grastate.dat --exclude=./gvwstate.dat --exclude='./*.pid' \\
        --exclude=./ibtmp1 -cf - . | tar -C "$to" -xf -
    echo continue
fi
echo "$gtid" >"$to/state.new" && mv "$to/state.new" "$to/state"
echo "done $gtid"
"""


def has_galera() -> bool:
    """Whether the packages are there."""
    return is_installed() and LIBRARY.exists()


def _ports(number: int) -> list[int]:
    """Ports that are free now, and not one of them twice."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(number)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def _options(group: Sequence[int], at: int, base: int, ist: int) -> list[str]:
    others = "" if at == 0 else ",".join(f"127.0.0.1:{port}" for port in group)
    provider = {
        "gmcast.listen_addr": f"tcp://127.0.0.1:{group[at]}",
        "base_host": "127.0.0.1",
        "base_port": base,
        "ist.recv_addr": f"127.0.0.1:{ist}",
        "gcache.size": "32M",
        "pc.recovery": "false",
    }
    return [
        "--wsrep-on=ON",
        f"--wsrep-provider={LIBRARY}",
        "--wsrep-cluster-name=zspider-test",
        f"--wsrep-cluster-address=gcomm://{others}",
        f"--wsrep-node-name=node{at}",
        f"--wsrep-node-address=127.0.0.1:{base}",
        f"--wsrep-sst-method={_METHOD}",
        "--wsrep-provider-options=" + ";".join(f"{name}={value}" for name, value in provider.items()),
        "--wsrep-gtid-mode=ON",  # numbers that are the same on all nodes, for WSREP_LAST_WRITTEN_GTID()
        "--wsrep-gtid-domain-id=7",
        "--server-id=1",
        "--binlog-format=ROW",
        "--innodb-autoinc-lock-mode=2",
        "--innodb-flush-log-at-trx-commit=0",  # nobody pulls the plug, and a commit of a cluster is certified anyway
    ]


@contextmanager
def galera_nodes(number: int = 3) -> Iterator[list[MariaDb]]:
    """Nodes that are in step with each other; skips the test where the packages are missing (CI has them)."""
    if not has_galera():
        if os.environ.get("CI"):
            pytest.fail("galera-4 is not installed")
        pytest.skip("galera-4 is not installed")
    directory = Path(tempfile.mkdtemp(prefix="zs-galera-"))
    ports = _ports(3 * number)
    group, bases, ists = ports[:number], ports[number : 2 * number], ports[2 * number :]
    nodes: list[MariaDb] = []
    try:
        script = directory / f"wsrep_sst_{_METHOD}"
        script.write_text(_SCRIPT)
        script.chmod(0o755)
        for at in range(number):
            place = directory / str(at)
            place.mkdir()
            node = MariaDb(place, *_options(group, at, bases[at], ists[at]), programs=directory)
            nodes.append(node)
            node.start()
        end = time.monotonic() + SYNCED_S
        while not all(_is_synced(node, number) for node in nodes):
            assert time.monotonic() < end, "the nodes do not come together"
            time.sleep(0.1)
        yield nodes
    finally:
        for node in nodes:
            node.kill()
        shutil.rmtree(directory, ignore_errors=True)


def _is_synced(node: MariaDb, number: int) -> bool:
    status = dict(node.query("SHOW GLOBAL STATUS LIKE 'wsrep_%'"))
    return status["wsrep_local_state_comment"] == "Synced" and int(status["wsrep_cluster_size"]) == number
